"""From a judged case to what is said about each user: verdicts, and facts for those who missed the call.

Rule 1: the called user gets exactly one verdict; everyone else whose phone the call went to gets one too, and
        is never told of a miss unless the policy says so.
Rule 2: a fact's id is a function of Call-ID, callee and From-tag of the upstream-most leg, never of offsets.
Rule 3: what was published stays: a call that turns out to have been taken is retracted, under the same id.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, cast, final

from mypy_extensions import mypyc_attr

from missedcall_schemas.records import Cause, Confidence, Evidence, MissedCall, Outcome, Party, Role, Verdict

from .call import Call, Ruled
from .case import Case
from .ends import End
from .policy import Policy
from .rules import Rule, judge
from .seen import Caller, Seen
from .users import ours

MAX_EVIDENCE = 12
"""Messages named as evidence. Less loses the second device; more repeats the ladder."""


@final
@mypyc_attr(acyclic=True)
class Findings:
    """What the verdicts on all users of a case have in common."""

    __slots__ = (
        "call_id", "caller", "case", "confidence", "decided_at", "ended_at", "evidence", "policy",
        "rang_at", "ring_s",
    )  # fmt: skip

    case: Case
    call_id: str
    caller: Party
    rang_at: float
    ring_s: float
    ended_at: float
    confidence: Confidence
    evidence: tuple[Evidence, ...]
    decided_at: float
    policy: str

    def __init__(self, call: Call, case: Case, rule: Rule, decided_ms: int, digest: str) -> None:
        rang = case.rang_at_ms if rule.outcome != "answered" else 0
        self.case = case
        self.call_id = case.root.call_id
        self.caller = _party(case.offer.caller)
        self.rang_at = case.began_ms / 1000
        self.ring_s = max(0, case.ring_end_ms - rang) / 1000 if rang else 0.0
        self.ended_at = case.ended_at_ms / 1000
        self.confidence = _confidence(call, case)
        self.evidence = _evidence(case, rule)
        self.decided_at = decided_ms / 1000
        self.policy = digest


@final
@mypyc_attr(acyclic=True)
class Ruling:
    """One user's verdict, not yet compared with what was published."""

    __slots__ = ("callee", "cause", "detail", "findings", "near", "outcome", "role", "rule", "suppressed")

    findings: Findings
    callee: str
    outcome: Outcome
    rule: str
    cause: str
    detail: str
    role: Role
    suppressed: str
    near: tuple[str, ...]

    def __init__(
        self, findings: Findings, callee: str, outcome: Outcome, rule: str, cause: str, role: Role
    ) -> None:
        self.findings = findings
        self.callee = callee
        self.outcome = outcome
        self.rule = rule
        self.cause = cause
        self.detail = ""
        self.role = role
        self.suppressed = ""
        self.near = ()


def rule_on(call: Call, cases: Iterable[Case], decided_ms: int, digest: str) -> list[Ruling]:
    """Return a ruling for every user involved, the called one first."""
    rulings: dict[str, Ruling] = {}
    for case in cases:
        rule, near = judge(case)
        ruling = _rule_on_called(Findings(call, case, rule, decided_ms, digest), rule, near)
        _by_policy(ruling, case.policy)
        if ruling.callee:
            rulings.setdefault(ruling.callee, ruling)
        if ruling.outcome in ("not-a-call", "not-a-user") and rule.name != "unknown-user":
            continue
        if case.users:
            for other in _others(ruling):
                rulings.setdefault(other.callee, other)
    return list(rulings.values())


def fact_id(case: Case, callee: str) -> str:
    """Return the id of the fact that ``callee`` missed this call: 32 hex digits."""
    key = f"{case.root.call_id}\x00{callee}\x00{case.root.from_tag}"
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def evidence(seen: Seen) -> Evidence:
    """Return one message as evidence."""
    first_line = (
        f"{seen.status} {seen.method}" if seen.status else f"{seen.method} {seen.request_uri}".rstrip()
    )
    return Evidence(
        at=seen.at_ms / 1000,
        src=seen.src,
        dst=seen.dst,
        first_line=first_line,
        reason=seen.ending.raw if seen.ending else "",
        call_id=seen.call_id,
    )


def _rule_on_called(findings: Findings, rule: Rule, near: list[Rule]) -> Ruling:
    case = findings.case
    role: Role = "primary"
    if case.offer.referred_by and not case.offer.history:
        role = "transfer-target"
    elif rule.name == "ring-group-unjoined":
        role = "member"
    elif rule.outcome == "secondary-suppressed":
        role = "secondary"
    ruling = Ruling(findings, case.primary or _only_user(case), rule.outcome, rule.name, rule.cause, role)
    ruling.detail = _detail(case, rule)
    if rule.outcome == "missed":
        ruling.suppressed = _suppressed(case, rule)
    if near:
        ruling.near = tuple([other.name for other in near])
    return ruling


def _evidence(case: Case, rule: Rule) -> tuple[Evidence, ...]:
    """Return the messages that made a rule fire, in order of capture."""
    named = rule.evidence(case)
    if len(named) > MAX_EVIDENCE:
        many = {id(seen) for seen in named}
        proof = [seen for seen in case.picture.seen if id(seen) in many][:MAX_EVIDENCE]
    else:
        proof = [seen for seen in case.picture.seen if _is_among(seen, named)]
    return tuple([evidence(seen) for seen in proof])


def _is_among(seen: Seen, named: list[Seen | None]) -> bool:
    for other in named:
        if other is seen:
            return True
    return False


def _party(caller: Caller) -> Party:
    source = cast("Literal['p-asserted-identity', 'remote-party-id', 'from', '']", caller.source)
    return Party(caller.uri, caller.number, caller.display_name, caller.anonymous, source)


def _only_user(case: Case) -> str:
    for leaf in case.leaves:
        if leaf.user:
            return leaf.user
    return case.offer.target or case.offer.to


def _confidence(call: Call, case: Case) -> Confidence:
    if call.low_confidence:
        return "low"
    several = len(case.picture.legs) + len(case.picture.takeovers) > 1
    return "high" if several else "single-leg"


def _detail(case: Case, rule: Rule) -> str:
    if rule.detail == "error":
        failed = [leaf.status for leaf in case.deciding if leaf.end is End.ERROR]
        return f"error-{failed[0] if failed else case.status}"
    if rule.detail:
        return rule.detail
    if rule.cause == "caller-cancelled" and not case.rang:
        return "unrung"
    return ""


# -- what the policy keeps from being delivered ----------------------------------------------------


class Filter(NamedTuple):
    """Why no notice is due for a missed call."""

    name: str
    when: Callable[[Case, Rule], bool]
    meaning: str


# fmt: off
FILTERS: tuple[Filter, ...] = (
    Filter("notified-by-exchange", lambda c, r: c.exchange_notifies and not c.policy.notify_when_exchange_does, "an INFO to Exchange UM was seen: Exchange writes the item (`notify_when_exchange_does`)"),
    Filter("cause-off",            lambda c, r: (r.detail if r.detail == "dnd" else r.cause) not in c.policy.notify, "the cause is not in `notify`"),
    Filter("unrung",               lambda c, r: r.name in {"caller-cancelled", "server-cancelled"} and not c.rang and not c.policy.notify_unrung, "no phone rang before the caller gave up (`notify_unrung`)"),
    Filter("short-ring",           lambda c, r: c.ring_at_most_ms < c.policy.min_ring_s * 1000, "it rang for less than `min_ring_s`, or cannot have rung longer"),
    Filter("anonymous",            lambda c, r: c.offer.caller.anonymous and not c.policy.notify_anonymous, "the caller hides his number (`notify_anonymous`)"),
    Filter("internal",             lambda c, r: c.internal and not c.policy.notify_internal, "the caller is of our own `domains` (`notify_internal`)"),
)
# fmt: on


def _suppressed(case: Case, rule: Rule) -> str:
    if "psap-callback" in case.offer.traits:
        return ""
    for row in FILTERS:
        if row.when(case, rule):
            return row.name
    return ""


def _by_policy(ruling: Ruling, policy: Policy) -> None:
    """Turn an outcome into a miss where the operator asked for it."""
    outcome = ruling.outcome
    if outcome in ("declined", "blocked"):
        if outcome in policy.notify:
            ruling.outcome, ruling.cause = "missed", outcome
    elif outcome == "diverted-to-voicemail" and policy.notify_after_voicemail:
        ruling.outcome, ruling.cause, ruling.detail = "missed", "no-answer", "voicemail"
    elif ruling.rule == "forwarded-answered" and policy.forwarded_answered == "primary":
        ruling.outcome, ruling.cause, ruling.detail = "missed", "no-answer", "forwarded-answered"


# -- the others ------------------------------------------------------------------------------------


def _others(primary: Ruling) -> list[Ruling]:
    """Return the rulings on further users: forwarding targets, delegates, agents, members of a group."""
    case = primary.findings.case
    taker = case.human.user if case.human is not None else ""
    told = _members_told(case, primary)
    leaf_users = {leaf.user for leaf in case.leaves}
    rulings = []
    for user in case.users:
        if user == primary.callee:
            continue
        role: Role = "member" if case.is_member(user) else "secondary"
        outcome: Outcome = "secondary-suppressed"
        rule = "group-member" if role == "member" else "secondary"
        cause = ""
        if user == taker:
            outcome, rule = "answered", "answered"
        elif not ours(user, case.policy):
            outcome, rule = "not-a-user", "not-our-user"
        elif taker or primary.outcome in ("answered", "answered-elsewhere"):
            outcome, rule = "answered-elsewhere", "answered-by-another"
        elif user in told:
            outcome, rule, cause = "missed", "member-told", primary.cause
        elif user not in leaf_users and not case.offer.history and not case.offer.diversions:
            continue
        ruling = Ruling(primary.findings, user, outcome, rule, cause, role)
        if outcome == "missed":
            ruling.suppressed = primary.suppressed
        rulings.append(ruling)
    return rulings


def _members_told(case: Case, primary: Ruling) -> list[str]:
    wanted = case.policy.members
    if primary.outcome != "missed" or wanted == "none":
        return []
    members = [u for u in case.users if case.is_member(u) and ours(u, case.policy)]
    return {"first": members[:1], "last": members[-1:], "all": members}[wanted]


# -- facts -----------------------------------------------------------------------------------------

TAKEN = frozenset({"answered", "answered-elsewhere"})
"""Outcomes that retract a published miss: somebody did take the call."""


def publish(call: Call, rulings: list[Ruling], *, blind: bool) -> tuple[list[Verdict], list[MissedCall]]:
    """Compare the rulings with what was published and return what is new.

    Updates ``call.ruled``, so that saying it again says nothing.
    """
    verdicts: list[Verdict] = []
    facts: list[MissedCall] = []
    for ruling in rulings:
        before = call.ruled.get(ruling.callee)
        identifier, state, revision, cause, number = "", "", 0, ruling.cause, 1
        if before is not None:
            if before.outcome == ruling.outcome and before.rule == ruling.rule:
                continue
            identifier, state, revision = before.fact_id, before.state, before.revision
            cause = before.cause or cause
            number = before.verdict_revision + 1
        if ruling.outcome == "missed" and not state:
            identifier, state, revision = fact_id(ruling.findings.case, ruling.callee), "missed", 1
            cause = ruling.cause
            facts.append(_fact(ruling, identifier, "missed", revision, cause, blind=blind))
        elif state == "missed" and ruling.outcome in TAKEN:
            state, revision = "retracted", revision + 1
            facts.append(_fact(ruling, identifier, "retracted", revision, cause, blind=blind))
        elif before is not None and (state or ruling.outcome == "incomplete"):
            continue  # a later message changes neither a published cause nor an answer into doubt
        call.rule(
            ruling.callee,
            Ruled(ruling.outcome, ruling.rule, identifier, revision, state, cause, number),
        )
        verdicts.append(_verdict(ruling, identifier, number))
    return verdicts, facts


def _verdict(ruling: Ruling, identifier: str, revision: int) -> Verdict:
    findings = ruling.findings
    return Verdict(
        call_id=findings.call_id,
        callee=ruling.callee,
        outcome=ruling.outcome,
        cause=cast("Cause", ruling.cause),
        rule=ruling.rule,
        detail=ruling.detail,
        role=ruling.role,
        fact_id=identifier,
        revision=revision,
        caller=findings.caller,
        rang_at=findings.rang_at,
        ring_s=findings.ring_s,
        ended_at=findings.ended_at,
        confidence=findings.confidence,
        suppressed=ruling.suppressed,
        evidence=findings.evidence,
        near=ruling.near,
        decided_at=findings.decided_at,
        policy=findings.policy,
    )


def _fact(
    ruling: Ruling,
    identifier: str,
    state: Literal["missed", "retracted"],
    revision: int,
    cause: str,
    *,
    blind: bool,
) -> MissedCall:
    findings = ruling.findings
    case = findings.case
    others = [user for user in case.users if user != ruling.callee]
    rang = {leaf.user for leaf in case.leaves if leaf.rang} if others else frozenset()
    return MissedCall(
        fact_id=identifier,
        revision=revision,
        state=state,
        call_id=findings.call_id,
        callee=ruling.callee,
        caller=findings.caller,
        cause=cast("Cause", cause),
        detail=ruling.detail,
        rang_at=findings.rang_at,
        ring_s=findings.ring_s,
        ended_at=findings.ended_at,
        role=ruling.role,
        diverted_via=tuple([user for user in others if not case.is_member(user)]),
        devices_rung=case.devices_rung,
        also_rang=tuple([user for user in others if user in rang]),
        rule=ruling.rule,
        confidence=findings.confidence,
        blind_window=blind,
        suppressed=ruling.suppressed,
        urgent="psap-callback" in case.offer.traits,
        decided_at=findings.decided_at,
        policy=findings.policy,
    )
