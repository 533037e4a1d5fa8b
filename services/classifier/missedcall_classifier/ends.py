"""How one branch ended, as rows: the first that holds names it.

Rule 1: an end is read from one branch alone: its status, its Reasons and diagnostics, whether it rang.
Rule 2: who ended a cancelled branch, caller or server, is not known here: see `rules.py`.
Rule 3: the last row is the catch-all: a branch that nothing ended is open.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import final

from mypy_extensions import mypyc_attr

from .causes import LOOPS, NO_SUCH_USER, Says
from .picture import Branch


class End(StrEnum):
    """What became of one branch."""

    ANSWERED = "answered"
    MACHINE = "machine"
    DISCARDED = "discarded"
    LOOP = "loop"
    CHALLENGED = "challenged"
    REDIRECTED = "redirected"
    ELSEWHERE = "elsewhere"
    DND = "dnd"
    BLOCKED = "blocked"
    DECLINED = "declined"
    BUSY = "busy"
    RANG_OUT = "rang-out"
    CANCELLED = "cancelled"
    UNKNOWN_USER = "unknown-user"
    REFUSED = "refused"
    NO_RESPONSE = "no-response"
    OFFLINE = "offline"
    ERROR = "error"
    OPEN = "open"


@final
@mypyc_attr(acyclic=True)
class Leaf:
    """A branch, whose phone it rang, and how it ended."""

    __slots__ = ("branch", "discarded", "end", "machine", "rang", "status", "user")

    branch: Branch
    user: str
    """Address of record."""
    machine: str
    """What answered if no person did: `voicemail` or `attendant`."""
    discarded: str
    """Why its 2xx does not count: `cancelled` (row 5; Lync 5009, 5010) or `escaped` (row 30)."""
    end: End
    status: int
    """The failure's status; 0 if none."""
    rang: bool
    """Whether its phone rang."""

    def __init__(self, branch: Branch, user: str, machine: str = "") -> None:
        self.branch = branch
        self.user = user
        self.machine = machine
        self.discarded = ""
        self.end = End.OPEN
        final = branch.final
        self.status = final.status if final is not None else 0
        self.rang = rang_ms(branch) != 0

    @property
    def mark(self) -> str:
        """`dnd` or `blocked` if the final response is so marked."""
        final = self.branch.final
        if final is None or final.ending is None:
            return ""
        return "dnd" if final.ending.dnd else "blocked" if final.ending.blocked else ""


PROMPT_MS = 1000
"""A server that refuses by itself does so within this; a person needs longer (rows 13, 14). Less: a slow
server's refusal reads as a person's. More: a quick person's reads as a server's, and he is told of a call that
he declined."""


def reached(branch: Branch) -> bool:
    """Whether the request got to a phone, beyond the server that knows the user (rows 13, 14)."""
    if branch.ringing_ms:
        return True
    forwarded = branch.nested or bool(branch.children) or branch.vias > 1
    final = branch.final
    if final is not None and final.at_ms - branch.first_ms >= PROMPT_MS:
        return forwarded or final.status == 603
    return forwarded and not _for_the_user(branch)


def _for_the_user(branch: Branch) -> bool:
    """Whether the last INVITE seen still names the user himself and none of his devices: a server has it."""
    offer = branch.offer
    if offer is None or branch.children:
        return False
    return offer.target == offer.to and not offer.contact_like


def rang_ms(branch: Branch) -> int:
    """Return the capture time at which a phone began to ring; 0 if none did.

    180 is ringing. 183 is weaker: from a server that then says 408 or 480 by itself it was an announcement
    (rows 9, 31).
    """
    if branch.ringing_ms or not branch.progress_ms or reached(branch):
        return branch.alerted_ms
    final = branch.final
    return 0 if final is not None and final.status in (408, 480) else branch.progress_ms


@final
@mypyc_attr(acyclic=True)
class Row:
    """One way to end."""

    __slots__ = ("end", "source", "when")

    end: End
    when: Callable[[Leaf], bool]
    source: str

    def __init__(self, end: End, when: Callable[[Leaf], bool], source: str) -> None:
        self.end = end
        self.when = when
        self.source = source


def _elsewhere(leaf: Leaf) -> bool:
    return Says.ELSEWHERE in leaf.branch.says


def _declined(leaf: Leaf) -> bool:
    says = leaf.branch.says
    return Says.DECLINED in says or Says.DECLINED_ELSEWHERE in says


def _timed_out(leaf: Leaf) -> bool:
    says = leaf.branch.says
    return Says.RING_TIMEOUT in says or Says.VOICEMAIL_FAILED in says


# fmt: off
ROWS: tuple[Row, ...] = (
    Row(End.DISCARDED,    lambda e: bool(e.branch.oks) and bool(e.discarded),     "RFC 3261 s.9.1; rows 5, 30"),
    Row(End.MACHINE,      lambda e: bool(e.branch.oks) and bool(e.machine),       "RFC 3840 s.10; row 29"),
    Row(End.ANSWERED,     lambda e: bool(e.branch.oks),                           "RFC 3261 s.13.2.2.4"),
    Row(End.LOOP,         lambda e: e.status in LOOPS,                            "RFC 3261 s.16.3; row 45"),
    Row(End.ELSEWHERE,    _elsewhere,                                             "RFC 3326 s.3.1; Q.850 cause 26"),
    Row(End.DND,          lambda e: e.mark == "dnd",                              "row 18"),
    Row(End.BLOCKED,      lambda e: e.mark == "blocked",                          "RFC 8197; RFC 8688; RFC 5079; row 17"),
    Row(End.DECLINED,     _declined,                                              "RFC 3398 s.7.2.4.1; rows 15, 16"),
    Row(End.DECLINED,     lambda e: e.status == 603 and reached(e.branch),        "RFC 3261 s.21.6.2; row 13"),
    Row(End.REFUSED,      lambda e: e.status == 603,                              "row 14"),
    Row(End.BUSY,         lambda e: e.status in (486, 600) or Says.BUSY in e.branch.says,  "RFC 3261 s.21.4.24, s.21.6.1"),
    Row(End.RANG_OUT,     _timed_out,                                             "Q.850 18, 19; Lync 5025, 52051"),
    Row(End.CANCELLED,    lambda e: e.branch.cancel_known,                        "RFC 3261 s.9"),
    Row(End.CHALLENGED,   lambda e: e.status in (401, 407),                        "RFC 3261 s.22"),
    Row(End.REDIRECTED,   lambda e: 300 <= e.status < 400,                        "RFC 3261 s.21.3"),
    Row(End.RANG_OUT,     lambda e: e.rang and e.status in (408, 480, 504),        "row 7"),
    Row(End.RANG_OUT,     lambda e: e.status == 487,                              "row 7: 487 without a CANCEL"),
    Row(End.UNKNOWN_USER, lambda e: e.status in NO_SUCH_USER,                     "RFC 3261 s.21.4.5; row 10"),
    Row(End.UNKNOWN_USER, lambda e: Says.UNKNOWN_USER in e.branch.says,           "MS-OCER 1003, 4005"),
    Row(End.NO_RESPONSE,  lambda e: e.status == 408,                              "RFC 3261 s.16.8; row 8"),
    Row(End.OFFLINE,      lambda e: e.status == 480 or Says.UNREACHABLE in e.branch.says,  "RFC 3261 s.21.4.18; row 9"),
    Row(End.ERROR,        lambda e: e.status >= 400,                              "row 19"),
    Row(End.NO_RESPONSE,  lambda e: e.branch.silent and resent(e.branch),         "RFC 3261 s.17.1.1.2, Timer B"),
    Row(End.OPEN,         lambda e: True,                                         "catch-all"),
)
# fmt: on

RESENT_MS = 400
"""A copy of an INVITE this much later is a retransmission (T1 = 500 ms, RFC 3261 s.17.1.1.2), not a second
capture point. Less: clock skew between agents looks like it. More: the first retransmission is overlooked."""


def resent(branch: Branch) -> bool:
    """Whether the INVITE was retransmitted, so that nobody can have answered it."""
    invite = branch.invite
    return invite is not None and invite.again_ms - invite.at_ms >= RESENT_MS


def end_of(leaf: Leaf) -> End:
    """Return the end that the first matching row names."""
    for row in ROWS:
        if row.when(leaf):
            return row.end
    raise AssertionError("the last row of ROWS must hold for every branch")
