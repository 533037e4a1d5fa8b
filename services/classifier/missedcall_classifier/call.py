"""The state of one call: the set of its distinct messages, and what was decided of them.

Rule 1: a call is a *set* of messages. A copy (retransmission, second capture point) adds nothing but its
        earlier time, so repetition and order cannot change what is decided from it.
Rule 2: nothing here decides. `picture.py` reads the set as transactions, `rules.py` judges.
Rule 3: a state row is `VERSION` and the fields; this release reads VERSION and VERSION - 1.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct, structs

from .policy import Policy
from .seen import Offer, Seen

VERSION = 1
"""Of the state row. Raise it when a field changes its meaning; appending one with a default needs nothing."""

SETTLES = frozenset({"CANCEL", "BYE", "REFER", "INFO"})
"""Requests after which the call may be over: look again when the dust has settled."""


class Ruled(Struct, array_like=True, gc=False):
    """What was already said about one user of the call."""

    outcome: str
    rule: str
    fact_id: str = ""
    revision: int = 0
    """Of the last fact published; 0 if none was."""
    state: str = ""
    """`missed` or `retracted` as last published."""
    cause: str = ""
    """As published; a later message does not change it."""
    verdict_revision: int = 1


class Call(Struct, array_like=True, gc=False):
    """One correlated call. Times are milliseconds of the collector's clock unless they say capture."""

    key: str
    opened_ms: int
    last_ms: int
    """When the last new message was received."""
    due_ms: int
    """When to look again."""
    seen: list[Seen]
    hints: dict[str, Offer] = {}
    """By Call-ID: what responses repeat of an INVITE not captured (yet)."""
    ruled: dict[str, Ruled] = {}
    """By callee: what was published. Not empty: the call is closed, kept only for late messages."""
    forget_ms: int = 0
    """When a closed call is dropped; 0 while it is open. A message that may matter opens it again."""
    settling: bool = False
    """A message that may end the call came since the last look."""
    low_confidence: bool = False
    """Legs were joined by resemblance."""
    held_by: tuple[str, str] = ("", "")
    """When it began: source and destination of a call of the same caller, or for the same callee, whose box it
    may come out of."""
    refused: int = 0
    """Messages beyond the limit, not kept."""


class Live(Struct, gc=False):
    """A call at work."""

    row: Call
    scheduled_ms: int = 0
    """When the engine will look at it next; 0 if it is in no queue."""

    def find(self, seen: Seen) -> Seen | None:
        """Return the message of which ``seen`` is a copy.

        A transaction's messages are told apart by method, status and To-tag; the branch is per hop (RFC 3261
        s.17.1.3, s.17.2.3), so the same message on two hops stays two.
        """
        status, branch = seen.status, seen.branch
        for known in self.row.seen:
            if (
                known.status == status
                and known.branch == branch
                and known.method == seen.method
                and known.to_tag == seen.to_tag
                and known.cseq == seen.cseq
                and known.call_id == seen.call_id
            ):
                return known
        return None

    def note_copy(self, known: Seen, copy: Seen, received_ms: int) -> bool:
        """Note another sighting of a message of the set; return whether that changed anything."""
        changed = _merge_copy(known, copy)
        if 100 < copy.status < 200 and received_ms > self.row.last_ms:
            self.row.last_ms = received_ms  # refreshed while it rings or waits (RFC 3261 s.13.3.1.1)
            return True
        return changed

    def observe(self, seen: Seen, received_ms: int, policy: Policy) -> bool:
        """Add a message that is new to the set; return whether there was room for it.

        Sets `due_ms`: a possible end is looked at after `settle_s`, anything else after `open_branch_s`.
        """
        row = self.row
        if len(row.seen) >= policy.max_messages_per_call:
            row.refused += 1
            return False
        row.seen.append(seen)
        row.last_ms = max(row.last_ms, received_ms)
        final = seen.status >= 200 and seen.method == "INVITE"
        if row.settling or final or seen.method in SETTLES or (row.forget_ms and seen.method == "INVITE"):
            row.settling = True
            row.due_ms = received_ms + int(policy.settle_s * 1000)
        elif not row.due_ms:
            row.due_ms = received_ms + int(policy.open_branch_s * 1000)
        return True

    def absorb(self, other: "Live") -> None:
        """Take over another call that turned out to be this one."""
        for seen in other.row.seen:
            known = self.find(seen)
            if known is None:
                self.row.seen.append(seen)
            else:
                _merge_copy(known, seen)
        row, gone = self.row, other.row
        row.hints = gone.hints | row.hints
        row.ruled = gone.ruled | row.ruled
        row.opened_ms = min(row.opened_ms, gone.opened_ms)
        row.last_ms = max(row.last_ms, gone.last_ms)
        row.due_ms = min(row.due_ms, gone.due_ms)
        row.settling |= gone.settling
        row.low_confidence |= gone.low_confidence
        row.held_by = row.held_by if row.held_by[1] else gone.held_by
        row.refused += gone.refused


MAX_LINKS = 16
"""Identifiers kept of one message and its copies. Less: a capture point that alone names the leg is not heard.
More: a sender who writes a new one into every copy fills the memory."""


def _merge_copy(known: Seen, copy: Seen) -> bool:
    """Keep the earliest sighting; remember the latest of an INVITE (its retransmissions are evidence).

    What only one capture point knows of the leg, its correlation id, counts for both.
    """
    changed = False
    if copy.offer is not None or copy.ending is not None:
        changed = _merge_links(known, copy)
    if known.method == "INVITE" and not known.status:
        latest = max(known.again_ms or known.at_ms, copy.again_ms or copy.at_ms, known.at_ms, copy.at_ms)
        changed |= latest != known.again_ms
        known.again_ms = latest
    if (copy.at_ms, copy.src, copy.dst) < (known.at_ms, known.src, known.dst):
        known.at_ms, known.src, known.dst = copy.at_ms, copy.src, copy.dst
        changed = True
    return changed


def _merge_links(known: Seen, copy: Seen) -> bool:
    if known.offer is not None and copy.offer is not None:
        links = _union(known.offer.links, copy.offer.links)
        if links != known.offer.links:
            known.offer = structs.replace(known.offer, links=links)
            return True
    if known.ending is not None and copy.ending is not None:
        links = _union(known.ending.links, copy.ending.links)
        if links != known.ending.links:
            known.ending = structs.replace(known.ending, links=links)
            return True
    return False


def _union(links: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return links if links == more else tuple(dict.fromkeys(links + more))[:MAX_LINKS]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Call).decode


class StateError(ValueError):
    """A state row that this release cannot read."""


def encode_row(call: Call) -> bytes:
    """Return the state row: one version byte, then the call as msgpack."""
    return bytes((VERSION,)) + _encode(call)


def decode_row(row: bytes) -> Call:
    """Read a state row of this release or the one before.

    Raises:
        StateError: an unknown version, or bytes that are no call.
    """
    if not row or row[0] not in (VERSION, VERSION - 1):
        found = row[0] if row else "nothing"
        raise StateError(f"state row of version {found}: this release reads {VERSION - 1} and {VERSION}")
    try:
        return _decode(memoryview(row)[1:])
    except msgspec.DecodeError as error:
        raise StateError(f"state row of {len(row)} bytes is no call: {error}") from error


def call_ids(seen: Iterable[Seen]) -> list[str]:
    """Return the Call-IDs of ``seen`` in order of first sight."""
    return list(dict.fromkeys(message.call_id for message in seen))
