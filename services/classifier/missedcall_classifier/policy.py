"""What the operator may choose about deciding; defaults are the safe ones.

Rule 1: everything that can change a verdict is in `Policy`, so that (log, Policy) -> facts is a function.
Rule 2: its hash is in every verdict and fact, so that two deployments that differ can be told apart.
"""

import hashlib
import re
from functools import cache

import msgspec
from msgspec import Struct

SETTLE_S = 3.0
"""Wait after the last final response. RFC 3261 s.17.1.1.1: a 200 that crossed a CANCEL may be retransmitted
at 0.5, 1, 2 s. Less: false "missed". More: the notice comes later, nothing else."""

OPEN_BRANCH_S = 35.0
"""Wait while a branch has no final response or a CANCEL waits for its 487. RFC 3261 s.9.1: 64*T1 = 32 s."""

GIVE_UP_S = 240.0
"""Silence after which a call without an end is closed as incomplete. Timer C is above 180 s (RFC 3261
s.16.6), the 487 may take 32 s more. Less: long rings are closed while they ring. More: state is kept longer."""

CLOSED_KEEP_S = 64.0
"""How long a decided call is remembered: late copies are recognised, a late 2xx retracts (2 * 64*T1)."""

GREETING_S = 10.0
"""Voicemail greeting: who hangs up within it has left no message (rows 27, 28)."""

CROSSING_S = 2.0
"""A BYE this soon after a 2xx that crossed the caller's CANCEL ends a call nobody had (RFC 5407 s.3.1.2)."""

QUEUE_S = 1800.0
"""Silence after which a call that a queue or attendant holds is closed. Less: agents who ring later are not
joined to the caller. More: state is kept longer."""

VOICEMAIL_ESCAPE_S = 2.5
"""Lync PSTNVoicemailEscapeTimer: a mobile that answers and is dropped this soon was its voicemail (row 30)."""


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration that decides. Durations are seconds."""

    users: frozenset[str] | None = None
    """Provisioned users as addresses of record; None: every callee counts as one of ours, and a 404 says
    that the user is unknown."""
    domains: tuple[str, ...] = ()
    """Hosts whose users are ours; empty: all."""
    number_prefixes: tuple[str, ...] = ()
    """Telephone numbers that are ours begin with one of these (`+4930123`); empty: all."""

    correlation_headers: tuple[str, ...] = ("x-cid", "x-call-id")
    """Headers that carry the A-leg's Call-ID, lower case."""
    call_id_suffixes: tuple[str, ...] = (r"_b2b-\d+", r"_pbx-\d+")
    """Regular expressions of what a B2BUA appends to the A-leg's Call-ID (Sipwise/SEMS)."""
    join_by_resemblance: bool = False
    """Join legs of one caller and callee through one box when nothing else does; marked low confidence."""
    resemblance_window_s: float = 5.0

    voicemail: frozenset[str] = frozenset()
    """Addresses of record of voicemail systems, besides those that say so themselves."""
    attendants: frozenset[str] = frozenset()
    """Addresses of record of auto attendants and queues."""
    greeting_s: float = GREETING_S
    crossing_s: float = CROSSING_S
    queue_s: float = QUEUE_S
    voicemail_escape_s: float = VOICEMAIL_ESCAPE_S
    emergency_numbers: frozenset[str] = frozenset({"110", "112"})
    feature_code_prefixes: tuple[str, ...] = ("*", "#")

    notify: frozenset[str] = frozenset({"caller-cancelled", "no-answer", "unreachable", "busy", "dnd"})
    """Causes (and `dnd`, `declined`, `blocked`) that count as missed and are due a notice."""
    notify_unrung: bool = True
    """Also when no phone rang before the caller gave up."""
    notify_when_exchange_does: bool = False
    """Also when an INFO to Exchange UM shows that Exchange writes the item itself."""
    notify_after_voicemail: bool = False
    """Also when the caller left a message (the voicemail system mails as a rule)."""
    min_ring_s: float = 0.0
    notify_anonymous: bool = True
    notify_internal: bool = True
    """Also calls from one of `domains` (needs `domains`)."""
    members: str = "none"
    """Who of a ring group is told of the group's missed call: none, first, last or all."""
    forwarded_answered: str = "none"
    """Whether P is told of a call that was forwarded and answered: none or primary."""

    settle_s: float = SETTLE_S
    open_branch_s: float = OPEN_BRANCH_S
    give_up_s: float = GIVE_UP_S
    closed_keep_s: float = CLOSED_KEEP_S
    max_messages_per_call: int = 512
    """A call that sends more is decided on these; the rest is counted as `limit`."""
    max_legs_per_call: int = 64
    """More legs than this are not joined: a correlation id that never changes must not join the world."""
    max_open_calls: int = 200_000
    """Beyond it the oldest open call is closed as incomplete and counted."""

    def digest(self) -> str:
        """Return the hash that verdicts carry: 12 hex digits over every field in a fixed order."""
        encoded = msgspec.json.encode(self, order="deterministic")
        return hashlib.blake2b(encoded, digest_size=6).hexdigest()


class Suffixes:
    """What B2BUAs append to the A-leg's Call-ID."""

    def __init__(self, suffixes: tuple[str, ...]) -> None:
        # Most Call-IDs have none: alternatives alone are searched for by their first characters.
        self._any = re.compile("|".join(suffixes))
        self._all = re.compile(rf"(?:{'|'.join(suffixes)})+(?=@|$)")

    def stem(self, call_id: str) -> str:
        """Return the Call-ID that a suffix was appended to; "" if there is none."""
        if self._any.search(call_id) is None:
            return ""
        stem = self._all.sub("", call_id)
        return stem if stem != call_id else ""


@cache
def suffixes_of(suffixes: tuple[str, ...]) -> Suffixes | None:
    """Return the suffixes; None if there are none."""
    return Suffixes(suffixes) if suffixes else None
