"""When a call was missed, as rows: the first whose condition holds decides.

Rule 1: the order is the argument: no call; not ours; taken by a person; taken by a machine; unclear; refused;
        ended by the caller; rang out; busy; unreachable; incomplete (docs/deciding.md).
Rule 2: a captured 2xx of a person beats every CANCEL, 487 and Reason. The exceptions are rows of their own.
Rule 3: who cancelled is the position of the CANCEL, never the 487.
Rule 4: the last row is the catch-all: no call ends without a named reason, and none is "missed" by default.
"""

from collections.abc import Callable, Iterable
from typing import final

from mypy_extensions import mypyc_attr

from missedcall_schemas.records import Cause, Outcome

from .case import Case
from .causes import Says
from .ends import End
from .picture import Leg
from .policy import Policy
from .seen import Seen
from .users import user_part


@final
@mypyc_attr(acyclic=True)
class Rule:
    """One row. `name` is the fact's field, the metric's label and the line in docs/rules.md."""

    __slots__ = ("cause", "detail", "evidence", "name", "outcome", "source", "when")

    name: str
    outcome: Outcome
    cause: Cause | str
    """Only with `missed`."""
    when: Callable[[Case], bool]
    evidence: Callable[[Case], list[Seen | None]]
    source: str
    detail: str

    def __init__(
        self,
        name: str,
        outcome: Outcome,
        cause: Cause | str,
        when: Callable[[Case], bool],
        evidence: Callable[[Case], list[Seen | None]],
        source: str,
        detail: str = "",
    ) -> None:
        self.name = name
        self.outcome = outcome
        self.cause = cause
        self.when = when
        self.evidence = evidence
        self.source = source
        self.detail = detail


# -- conditions that need a name -------------------------------------------------------------------


def _not_admitted(case: Case) -> bool:
    if case.status in (401, 407):
        return True
    return case.status == 403 and (case.challenged_before or not case.rang) and not _blocked(case)


def _blocked(case: Case) -> bool:
    return case.any_deciding(End.BLOCKED)


def _feature_code(case: Case) -> bool:
    return user_part(case.primary).startswith(case.policy.feature_code_prefixes)


def _emergency(case: Case) -> bool:
    if case.offer.traits and "emergency" in case.offer.traits:
        return True
    if user_part(case.primary) not in case.policy.emergency_numbers:
        return False
    return case.policy.users is None or case.primary not in case.policy.users


def _unclear(case: Case) -> bool:
    """Whether what is missing from the capture could be an answer or "answered elsewhere"."""
    if not case.offered or case.picture.upstream_unseen:
        return True
    if case.picked_up_unseen or (case.picture.handed_over and not case.picture.takeovers):
        return True  # the INVITE that takes this dialog over is lost
    if case.takeover_rings:
        return True  # and the one that does has no end yet
    for branch in case.attempt:
        if branch.children:
            return case.final is None and not case.cancel_known
    if case.cancel_known and case.cancel is None and Says.CALLER_CANCELLED not in case.root_says:
        return True  # the CANCEL is lost, and its Reason with it
    if case.forked_upstream:
        return _hidden_by_fork(case)
    return False


def _hidden_by_fork(case: Case) -> bool:
    if not case.went_on:
        for leaf in case.leaves:
            if leaf.user == case.primary:
                break
        else:
            return True  # the called user's own phones ring outside the capture
    if case.status == 487 and not (case.cancel_known or case.root_says):
        return True
    for branch in case.attempt:
        if branch.open:
            return True
    return False


def _by_caller(case: Case) -> bool:
    told = case.root_says
    if Says.RING_TIMEOUT in told or case.cancelled_by_box:
        return False
    return (
        case.cancel is not None
        or case.cancel_known
        or case.early_bye is not None
        or Says.CALLER_CANCELLED in told
    )


def _over_in_greeting(case: Case, *, by_caller: bool) -> bool:
    machine = case.machine
    if machine is None or machine.machine != "voicemail":
        return False
    answered = machine.branch.oks[0].at_ms
    bye = case.bye_after(answered, by_caller=by_caller)
    return bye is not None and bye.at_ms - answered < case.policy.greeting_s * 1000


def _agents_rung(case: Case) -> bool:
    agents = [leaf for leaf in case.leaves if leaf.end is not End.MACHINE]
    return any(leaf.rang for leaf in agents) and not any(leaf.end is End.OPEN for leaf in agents)


def _recalls(case: Case) -> list[Leg]:
    """Return the legs back to whoever transferred the call (row 40)."""
    transferor = user_part(case.offer.referred_by) if case.offer.referred_by else ""
    if not transferor:
        return []
    return [
        leg
        for leg in case.picture.all_legs
        if leg is not case.root
        and leg.first_ms >= case.began_ms
        and transferor in {user_part(leg.offer.to), user_part(leg.offer.target)}
    ]


def _recalled(case: Case) -> bool:
    for leg in _recalls(case):
        if leg.answered_ms:
            return True
    return False


def _recall_rings(case: Case) -> bool:
    for leg in _recalls(case):
        for branch in leg.last_attempt:
            if not (branch.ended_ms or branch.acked):
                return True
    return False


def _redirected(case: Case) -> bool:
    return 300 <= case.status < 400


def _to_voicemail(case: Case) -> bool:
    final = case.final
    return _redirected(case) and bool(final and final.ending and "voicemail" in final.ending.contacts)


def _contact_given(case: Case) -> bool:
    final = case.final
    return bool(final and final.ending and any(final.ending.contacts))


def _cancel_crossed(case: Case) -> bool:
    for leaf in case.leaves:
        if leaf.discarded == "cancelled":
            return True
    return False


def _because_of_dnd(case: Case) -> bool:
    for diversion in case.offer.diversions:
        if "disturb" in diversion.reason:
            return True
    return False


def _from_queue(case: Case) -> bool:
    for entry in case.offer.history:
        if entry.reason == "acd":
            return True
    return False


# -- evidence --------------------------------------------------------------------------------------


def _root_end(case: Case) -> list[Seen | None]:
    return [case.cancel, case.early_bye, case.final]


def _invite(case: Case) -> list[Seen | None]:
    return [case.attempt[0].invite]


def _ok(case: Case) -> list[Seen | None]:
    leaf = case.human or case.machine
    return [leaf.branch.oks[0]] if leaf is not None else []


def _ok_and_bye(case: Case) -> list[Seen | None]:
    found = [case.cancel]
    for leaf in case.leaves:
        if leaf.branch.oks:
            ok = leaf.branch.oks[0]
            found += [ok, case.bye_after(ok.at_ms, by_caller=True)]
    return found


def _pickup(case: Case) -> list[Seen | None]:
    return [*case.pickups, case.cancel]


def _leaf_ends(case: Case, *ends: End) -> list[Seen | None]:
    found = _root_end(case)
    for leaf in case.leaves:
        if not ends or leaf.end in ends:
            found += [leaf.branch.cancel, leaf.branch.final]
    return found


def _last(case: Case) -> list[Seen | None]:
    return [*case.picture.seen[-2:]]


# fmt: off
RULES: tuple[Rule, ...] = (
    # -- no call, or not for us
    Rule("conference",          "not-a-call", "", lambda c: "conference" in c.offer.traits,                        _invite, "row 46; MS-CONFBAS"),
    Rule("instant-message",     "not-a-call", "", lambda c: c.offer.silent or "instant-message" in c.offer.traits, _invite, "RFC 4975 s.8; row 46"),
    Rule("emergency",           "not-a-call", "", _emergency,                                                      _invite, "RFC 5031; row 48"),
    Rule("feature-code",        "not-a-call", "", _feature_code,                                                   _invite, "row 53"),
    Rule("self-call",           "not-a-call", "", lambda c: bool(c.primary) and c.offer.caller.uri == c.primary,   _invite, "row 53"),
    Rule("test-call",           "not-a-call", "", lambda c: "no-fork" in c.offer.traits,                           _invite, "RFC 3841 s.9.1; row 53"),
    Rule("not-our-user",        "not-a-user", "", lambda c: not c.is_ours,                                         _invite, "row 52"),
    # -- taken by a person
    Rule("taken-at-another-phone", "answered-elsewhere", "", lambda c: c.taken_at_another_phone,                   _ok, "Q.850 26; row 39"),
    Rule("answered",            "answered",           "", lambda c: c.human is not None and c.human.user == c.primary, _ok, "RFC 3261 s.13.2.2.4; rows 1, 2"),
    Rule("member-answered",     "answered-elsewhere", "", lambda c: c.human is not None and c.is_member(c.human.user), _ok, "row 36"),
    Rule("forwarded-answered",  "answered-elsewhere", "", lambda c: c.human is not None,                           _ok, "rows 23, 25, 34"),
    Rule("replaced-answered",   "answered",           "", lambda c: bool(c.pickups) and c.took_over_callee,        _pickup, "RFC 3891; row 41"),
    Rule("picked-up",           "answered-elsewhere", "", lambda c: bool(c.pickups),                               _pickup, "RFC 3891; row 38"),
    Rule("crossed-cancel",      "missed", "caller-cancelled", _cancel_crossed,                                     _ok_and_bye, "RFC 3261 s.9.1, s.15; RFC 5407 s.3.1.2; row 5"),
    Rule("completed-elsewhere", "answered-elsewhere", "", lambda c: c.elsewhere,                                   lambda c: _leaf_ends(c, End.ELSEWHERE), "RFC 3326 s.3.1; Q.850 26; row 39"),
    Rule("recalled",            "answered-elsewhere", "", _recalled,                                               _root_end, "RFC 5589 s.6; row 40"),
    # -- unjoined legs: better none than a false one
    Rule("covered-upstream",    "secondary-suppressed", "", lambda c: c.covered,                                   _invite, "ADR 0005"),
    Rule("ring-group-unjoined", "secondary-suppressed", "", lambda c: c.twins or c.group_unseen,                   _invite, "ADR 0005"),
    # -- taken by a machine
    Rule("voicemail-hangup",    "missed", "caller-cancelled", lambda c: _over_in_greeting(c, by_caller=True),      _ok_and_bye, "row 28", "voicemail-hangup"),
    Rule("voicemail-refused",   "missed", "no-answer",        lambda c: _over_in_greeting(c, by_caller=False),     _ok_and_bye, "a full mailbox; row 28", "voicemail-failed"),
    Rule("voicemail",           "diverted-to-voicemail", "", lambda c: c.machine is not None and c.machine.machine == "voicemail", _ok, "RFC 4458; RFC 3840 s.10; rows 26, 27"),
    Rule("group-unanswered",    "missed", "caller-cancelled", lambda c: c.machine is not None and _agents_rung(c), _ok_and_bye, "rows 33, 37", "queue-hangup"),
    Rule("attendant",           "answered",           "", lambda c: c.machine is not None,                         _ok, "RFC 3840 s.10.14; row 29"),
    Rule("voicemail-redirect",  "diverted-to-voicemail", "", _to_voicemail,                                        _root_end, "row 26"),
    Rule("voicemail-failed",    "missed", "no-answer",        lambda c: Says.VOICEMAIL_FAILED in c.root_says,      _root_end, "MS-OCER 15000, 15030", "voicemail-failed"),
    # -- not let in, or no way to know
    Rule("outbound",            "not-a-user", "", lambda c: Says.OUTBOUND in c.root_says,                          _root_end, "MS-OCER 12000, 12004; row 52"),
    Rule("not-admitted",        "not-a-call", "", _not_admitted,                                                   _root_end, "RFC 3261 s.22; rows 21, 50"),
    Rule("blocked",             "blocked",    "", _blocked,                                                        lambda c: _leaf_ends(c, End.BLOCKED), "RFC 8197; RFC 8688; row 17"),
    Rule("queue-unseen",        "incomplete", "", lambda c: "acd" in c.offer.traits and bool(c.primary),           _last, "an agent's leg alone does not say how the queue went on; row 33"),
    Rule("auto-answer",         "suppressed", "", lambda c: "auto-answer" in c.offer.traits,                       _invite, "RFC 5373; row 49"),
    Rule("no-called-user",      "secondary-suppressed", "", lambda c: not c.primary,                               _invite, "row 33"),
    Rule("unclear",             "incomplete", "", _unclear,                                                        _last, "a wrong notice is worse than none; row 51"),
    # -- a person refused
    Rule("declined",            "declined",   "", lambda c: c.declined is not None,                                lambda c: _leaf_ends(c, End.DECLINED), "RFC 3261 s.21.6.2; RFC 6432; rows 13, 15, 16"),
    # -- the caller ended it
    Rule("caller-cancelled",    "missed", "caller-cancelled", _by_caller,                                          _root_end, "RFC 3261 s.9, s.15; Lync 5002; rows 3, 4, 12, 43"),
    # -- the phones did not answer
    Rule("rang-out",            "missed", "no-answer",        lambda c: c.rang_out,                                lambda c: _leaf_ends(c, End.RANG_OUT, End.CANCELLED), "RFC 3261 s.16.8; Q.850 18, 19; Lync 5025, 52051; rows 6, 7"),
    Rule("do-not-disturb",      "missed", "busy",             lambda c: c.any_deciding(End.DND),                   lambda c: _leaf_ends(c, End.DND), "row 18", "dnd"),
    Rule("diverted-by-dnd",     "missed", "busy",             _because_of_dnd,                                     _root_end, "RFC 5806; row 18", "dnd"),
    Rule("busy",                "missed", "busy",             lambda c: c.any_deciding(End.BUSY),                  lambda c: _leaf_ends(c, End.BUSY), "RFC 3261 s.21.4.24, s.21.6.1; Q.850 17; row 11"),
    Rule("unknown-user",        "not-a-user", "",             lambda c: c.policy.users is None and c.any_deciding(End.UNKNOWN_USER), _root_end, "RFC 3261 s.21.4.5; row 10"),
    Rule("not-registered",      "missed", "unreachable",      lambda c: c.any_deciding(End.UNKNOWN_USER),          _root_end, "a provisioned user's 404; row 10"),
    Rule("offline",             "missed", "unreachable",      lambda c: c.any_deciding(End.OFFLINE),               _root_end, "RFC 3261 s.21.4.18; Lync 13014, 13002; row 9"),
    Rule("no-response",         "missed", "unreachable",      lambda c: c.any_deciding(End.NO_RESPONSE),           _root_end, "RFC 3261 s.17.1.1.2, Timer B; row 8", "no-response"),
    Rule("refused-by-server",   "missed", "unreachable",      lambda c: c.any_deciding(End.REFUSED),               _root_end, "row 14", "refused-by-server"),
    Rule("redirected-away",     "incomplete", "",             lambda c: _redirected(c) and _contact_given(c),      _root_end, "RFC 3261 s.21.3: the new target is outside the capture"),
    Rule("no-usable-contact",   "not-a-user", "",             lambda c: _redirected(c) and c.policy.users is None, _root_end, "RFC 3261 s.21.3; row 10"),
    Rule("server-cancelled",    "missed", "unreachable",      lambda c: c.status >= 400 and c.any_deciding(End.CANCELLED), _root_end, "RFC 3261 s.16.8; no phone rang"),
    Rule("error",               "missed", "unreachable",      lambda c: c.status >= 300,                           _leaf_ends, "RFC 3261 s.21.5; row 19", "error"),
    Rule("incomplete",          "incomplete", "",             lambda c: True,                                      _last, "catch-all; row 51"),
)
# fmt: on

assert len({rule.name for rule in RULES}) == len(RULES), "two rules of one name"  # noqa: S101 - at import


def judge(case: Case) -> tuple[Rule, list[Rule]]:
    """Return the first rule that holds, and those below it, but for the catch-all, that would have held as well."""
    holding = [rule for rule in RULES if rule.when(case)]
    return holding[0], holding[1:-1]


# -- when to judge ---------------------------------------------------------------------------------


@final
@mypyc_attr(acyclic=True)
class Wait:
    """A reason not to judge yet: look again ``seconds`` after the last message."""

    __slots__ = ("fields", "name", "source", "when")

    name: str
    when: Callable[[Case], bool]
    fields: tuple[str, ...]
    """Fields of the policy; their sum is the wait in seconds."""
    source: str

    def __init__(self, name: str, when: Callable[[Case], bool], fields: tuple[str, ...], source: str) -> None:
        self.name = name
        self.when = when
        self.fields = fields
        self.source = source

    def seconds(self, policy: Policy) -> float:
        """Return how long to wait after the last message."""
        total = 0.0
        for name in self.fields:
            total += float(getattr(policy, name))
        return total


def _answered(case: Case) -> bool:
    return case.human is not None or bool(case.pickups)


def _machine_busy(case: Case, kind: str) -> bool:
    machine = case.machine
    if machine is None or machine.machine != kind or _answered(case):
        return False
    answered = machine.branch.oks[0].at_ms
    return all(bye.at_ms < answered for bye in case.byes)


# fmt: off
WAITS: tuple[Wait, ...] = (
    Wait("answered",      _answered,                                              ("settle_s",), "nothing more can matter"),
    Wait("greeting",      lambda c: _machine_busy(c, "voicemail"),                ("greeting_s", "settle_s"), "row 27"),
    Wait("attendant",     lambda c: _machine_busy(c, "attendant"),                ("queue_s",), "row 33: the agents come later"),
    Wait("machine-ended", lambda c: c.machine is not None,                        ("settle_s",), "row 28"),
    Wait("takeover",      lambda c: c.takeover_rings,                             ("give_up_s",), "RFC 3891; row 41"),
    Wait("recall",        _recall_rings,                                          ("give_up_s",), "RFC 5589 s.6; row 40"),
    Wait("ringing",       lambda c: c.final is None and not c.cancel_known and not _resent_only(c), ("give_up_s",), "RFC 3261 s.16.6, Timer C"),
    Wait("next-agent",    _from_queue,                                            ("open_branch_s",), "row 33: a queue rings one agent after another"),
    Wait("open-branch",   lambda c: c.final is None or c.open_branch,             ("open_branch_s",), "RFC 3261 s.9.1: 64*T1"),
    Wait("settling",      lambda c: True,                                         ("settle_s",), "RFC 3261 s.17.1.1.1"),
)
# fmt: on


def _resent_only(case: Case) -> bool:
    return case.any_deciding(End.NO_RESPONSE)


def wait(case: Case) -> Wait:
    """Return what is to be waited for, counted from the last message."""
    for row in WAITS:
        if row.when(case):
            return row
    raise AssertionError("the last row of WAITS must hold for every case")


def wait_s(cases: Iterable[Case], policy: Policy) -> float:
    """Return how long after its last message a call is decided: the longest wait of its cases, in seconds."""
    return max([wait(case).seconds(policy) for case in cases])
