"""From a judged case to what is said about each user: verdicts, and facts for those who missed the call.

Rule 1: the called user gets exactly one verdict; everyone else whose phone the call went to gets one too, and
        is never told of a miss unless the policy says so.
Rule 2: a fact's id is a function of Call-ID, callee and From-tag of the upstream-most leg, never of offsets.
Rule 3: what was published stays: a call that turns out to have been taken is retracted, under the same id.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, cast

from msgspec import structs

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


class Ruling(NamedTuple):
    """One user's verdict, and the case it was read from."""

    case: Case
    verdict: Verdict


def rule_on(call: Call, cases: Iterable[Case], decided_ms: int, digest: str) -> list[Ruling]:
    """Return a verdict for every user involved, the called one first."""
    rulings: dict[str, Ruling] = {}
    for case in cases:
        rule, near = judge(case)
        verdict = _verdict(call, case, rule, near, decided_ms, digest)
        verdict = _by_policy(verdict, case.policy)
        if verdict.callee:
            rulings.setdefault(verdict.callee, Ruling(case, verdict))
        if verdict.outcome in {"not-a-call", "not-a-user"} and rule.name != "unknown-user":
            continue
        for ruling in _others(case, verdict):
            rulings.setdefault(ruling.verdict.callee, ruling)
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


def _verdict(call: Call, case: Case, rule: Rule, near: list[Rule], decided_ms: int, digest: str) -> Verdict:
    messages = dict.fromkeys(id(m) for m in rule.evidence(case) if m is not None)
    proof = [m for m in case.picture.seen if id(m) in messages][:MAX_EVIDENCE]
    role: Role = "primary"
    if case.offer.referred_by and not case.offer.history:
        role = "transfer-target"
    elif rule.name == "ring-group-unjoined":
        role = "member"
    elif rule.outcome == "secondary-suppressed":
        role = "secondary"
    rang = case.rang_at_ms
    return Verdict(
        call_id=case.root.call_id,
        callee=case.primary or _only_user(case),
        outcome=rule.outcome,
        cause=cast("Cause", rule.cause),
        rule=rule.name,
        detail=_detail(case, rule),
        role=role,
        fact_id="",
        caller=_party(case.offer.caller),
        rang_at=case.began_ms / 1000,
        ring_s=max(0, case.ring_end_ms - rang) / 1000 if rang and rule.outcome != "answered" else 0.0,
        ended_at=case.ended_at_ms / 1000,
        confidence=_confidence(call, case),
        suppressed=_suppressed(case, rule) if rule.outcome == "missed" else "",
        evidence=tuple(evidence(m) for m in proof),
        near=tuple(other.name for other in near),
        decided_at=decided_ms / 1000,
        policy=digest,
    )


def _party(caller: Caller) -> Party:
    source = cast("Literal['p-asserted-identity', 'remote-party-id', 'from', '']", caller.source)
    return Party(caller.uri, caller.number, caller.display_name, caller.anonymous, source)


def _only_user(case: Case) -> str:
    return next((leaf.user for leaf in case.leaves if leaf.user), case.offer.target or case.offer.to)


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
    return next((row.name for row in FILTERS if row.when(case, rule)), "")


def _by_policy(verdict: Verdict, policy: Policy) -> Verdict:
    """Turn an outcome into a miss where the operator asked for it."""
    changes: dict[str, Any] = {}
    if verdict.outcome in {"declined", "blocked"} and verdict.outcome in policy.notify:
        changes = {"outcome": "missed", "cause": verdict.outcome}
    elif verdict.outcome == "diverted-to-voicemail" and policy.notify_after_voicemail:
        changes = {"outcome": "missed", "cause": "no-answer", "detail": "voicemail"}
    elif verdict.rule == "forwarded-answered" and policy.forwarded_answered == "primary":
        changes = {"outcome": "missed", "cause": "no-answer", "detail": "forwarded-answered"}
    return structs.replace(verdict, **changes) if changes else verdict


# -- the others ------------------------------------------------------------------------------------


def _others(case: Case, primary: Verdict) -> list[Ruling]:
    """Return the verdicts of further users: forwarding targets, delegates, agents, members of a group."""
    taker = case.human.user if case.human else ""
    told = _members_told(case, primary)
    rulings = []
    for user in case.users:
        if user == primary.callee:
            continue
        leaves = [leaf for leaf in case.leaves if leaf.user == user]
        role: Role = "member" if case.is_member(user) else "secondary"
        outcome: Outcome = "secondary-suppressed"
        rule = "group-member" if role == "member" else "secondary"
        cause: Cause | str = ""
        if user == taker:
            outcome, rule = "answered", "answered"
        elif not ours(user, case.policy):
            outcome, rule = "not-a-user", "not-our-user"
        elif taker or primary.outcome in {"answered", "answered-elsewhere"}:
            outcome, rule = "answered-elsewhere", "answered-by-another"
        elif user in told:
            outcome, rule, cause = "missed", "member-told", primary.cause
        elif not leaves and not case.offer.history and not case.offer.diversions:
            continue
        verdict = structs.replace(
            primary,
            callee=user,
            outcome=outcome,
            cause=cast("Cause", cause),
            rule=rule,
            role=role,
            detail="",
            near=(),
            suppressed=primary.suppressed if outcome == "missed" else "",
        )
        rulings.append(Ruling(case, verdict))
    return rulings


def _members_told(case: Case, primary: Verdict) -> list[str]:
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
    for case, verdict in rulings:
        before = call.ruled.get(verdict.callee)
        if before is not None and (before.outcome, before.rule) == (verdict.outcome, verdict.rule):
            continue
        state, revision, cause = "", 0, verdict.cause
        if before is not None:
            state, revision, cause = (
                before.state,
                before.revision,
                cast("Cause", before.cause) or verdict.cause,
            )
        identifier = before.fact_id if before else ""
        fact = None
        if verdict.outcome == "missed" and not state:
            identifier, state, revision, cause = fact_id(case, verdict.callee), "missed", 1, verdict.cause
            fact = _fact(case, verdict, identifier, blind=blind)
        elif verdict.outcome in TAKEN and state == "missed":
            state, revision = "retracted", revision + 1
            fact = _fact(case, structs.replace(verdict, cause=cause), identifier, blind=blind)
            fact = structs.replace(fact, state="retracted", revision=revision)
        elif before is not None and (state or verdict.outcome == "incomplete"):
            continue  # a later message changes neither a published cause nor an answer into doubt
        number = before.verdict_revision + 1 if before else 1
        verdict = structs.replace(verdict, fact_id=identifier, revision=number)  # noqa: PLW2901 - completed
        call.rule(
            verdict.callee,
            Ruled(verdict.outcome, verdict.rule, identifier, revision, state, cause, number),
        )
        verdicts.append(verdict)
        if fact is not None:
            facts.append(fact)
    return verdicts, facts


def _fact(case: Case, verdict: Verdict, identifier: str, *, blind: bool) -> MissedCall:
    rang = {leaf.user for leaf in case.leaves if leaf.rang}
    others = case.users
    return MissedCall(
        fact_id=identifier,
        call_id=verdict.call_id,
        callee=verdict.callee,
        caller=verdict.caller,
        cause=cast("Cause", verdict.cause),
        detail=verdict.detail,
        rang_at=verdict.rang_at,
        ring_s=verdict.ring_s,
        ended_at=verdict.ended_at,
        role=verdict.role,
        diverted_via=tuple(u for u in others if u != verdict.callee and not case.is_member(u)),
        devices_rung=case.devices_rung,
        also_rang=tuple(u for u in others if u in rang and u != verdict.callee),
        rule=verdict.rule,
        confidence=verdict.confidence,
        blind_window=blind,
        suppressed=verdict.suppressed,
        urgent="psap-callback" in case.offer.traits,
        decided_at=verdict.decided_at,
        policy=verdict.policy,
    )
