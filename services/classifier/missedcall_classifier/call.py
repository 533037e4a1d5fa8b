"""The state of one call: the set of its distinct messages, and what was decided of them.

Rule 1: a call is a *set* of messages. A copy (retransmission, second capture point) adds nothing but its
        earlier time, so repetition and order cannot change what is decided from it.
Rule 2: nothing here decides. `picture.py` reads the set as transactions, `rules.py` judges.
Rule 3: a hundred thousand calls ring at the same time: what few calls have is None until they have it.
"""

from collections.abc import Iterable
from typing import Final, final

from mypy_extensions import mypyc_attr

from missedcall_common.placing import BETWEEN

from .seen import Offer, Seen
from .seen_rows import pack, unpack

SETTLES: Final = frozenset({"CANCEL", "BYE", "REFER", "INFO"})
"""Requests after which the call may be over: look again when the dust has settled."""

MAX_LINKS: Final = 16
"""Identifiers kept of one message and its copies. Less: a capture point that alone names the leg is not heard.
More: a sender who writes a new one into every copy fills the memory."""


@final
@mypyc_attr(acyclic=True)
class Ruled:
    """What was already said about one user of the call."""

    __slots__ = ("cause", "fact_id", "outcome", "revision", "rule", "state", "verdict_revision")

    def __init__(
        self,
        outcome: str,
        rule: str,
        fact_id: str = "",
        revision: int = 0,
        state: str = "",
        cause: str = "",
        verdict_revision: int = 1,
    ) -> None:
        self.outcome: Final = outcome
        self.rule: Final = rule
        self.fact_id: Final = fact_id
        self.revision: Final = revision
        """Of the last fact published; 0 if none was."""
        self.state: Final = state
        """`missed` or `retracted` as last published."""
        self.cause: Final = cause
        """As published; a later message does not change it."""
        self.verdict_revision: Final = verdict_revision


NOTHING: Final[list[Seen]] = []
NO_HINTS: Final[dict[str, Offer]] = {}
NOT_RULED: Final[dict[str, Ruled]] = {}


@final
@mypyc_attr(acyclic=True)
class Call:
    """One correlated call. Times are milliseconds of the collector's clock unless they say capture."""

    __slots__ = (
        "_hints", "_links", "_packed", "_ruled", "_seen", "due_ms", "forget_ms", "held_by", "home", "key",
        "last_ms", "low_confidence", "opened_ms", "refused", "scheduled_ms", "settling",
    )  # fmt: skip

    def __init__(
        self,
        key: str,
        opened_ms: int,
        last_ms: int,
        due_ms: int,
        seen: list[Seen],
        hints: dict[str, Offer] | None = None,
        ruled: dict[str, Ruled] | None = None,
        forget_ms: int = 0,
        settling: bool = False,
        low_confidence: bool = False,
        held_by: tuple[str, str] | None = None,
        refused: int = 0,
        home: str = BETWEEN,
    ) -> None:
        self.key: Final = key
        self.opened_ms = opened_ms
        self.last_ms = last_ms
        """When the last new message was received."""
        self.due_ms = due_ms
        """When to look again."""
        self._seen = seen
        self._packed = b""
        self._hints = hints or None
        self._ruled = ruled or None
        self.forget_ms = forget_ms
        """When a closed call is dropped; 0 while it is open. A message that may matter opens it again."""
        self.settling = settling
        """A message that may end the call came since the last look."""
        self.low_confidence = low_confidence
        """Legs were joined by resemblance."""
        self.held_by = held_by
        """When it began: source and destination of a call of the same caller, or for the same callee, whose box
        it may come out of; None before that was looked for."""
        self.refused = refused
        """Messages beyond the limit, not kept."""
        self.home = home
        """Key of the message that began it: where the call belongs if there are more partitions. One of one user is
        better than one of two; `BETWEEN` alone says that it is not known."""
        self._links: dict[str, None] | None = None
        self.scheduled_ms = 0
        """When the engine will look at it next; 0 if it is in no queue. Not part of the state row."""

    @property
    def seen(self) -> list[Seen]:
        """Its distinct messages, in the order in which they came."""
        if self._packed:
            self._seen, self._packed = unpack(self._packed), b""
        return self._seen

    def rest(self) -> None:
        """Take less memory until somebody asks for the messages again."""
        if not self._packed:
            self._packed, self._seen = pack(self._seen), NOTHING

    @property
    def hints(self) -> dict[str, Offer]:
        """By Call-ID: what responses repeat of an INVITE not captured (yet). To be read only, see `hint`."""
        return NO_HINTS if self._hints is None else self._hints

    @property
    def ruled(self) -> dict[str, Ruled]:
        """By callee: what was published. To be read only, see `rule`.

        Not empty: the call is closed, kept only for late messages.
        """
        return NOT_RULED if self._ruled is None else self._ruled

    @property
    def links(self) -> list[str]:
        """Identifiers beside its Call-IDs by which the index knows it. Not part of the state row."""
        return [] if self._links is None else list(self._links)

    def named_by(self, links: list[str]) -> None:
        """Note that the index knows the call by ``links``."""
        if self._links is None:
            self._links = {}
        for link in links:
            self._links[link] = None

    def has_offer(self, call_id: str) -> bool:
        """Whether an INVITE (or REFER) that began the leg is known."""
        for seen in self.seen:
            if seen.offer is not None and seen.call_id == call_id:
                return True
        return False

    def hint(self, call_id: str, offer: Offer) -> None:
        """Keep what stands for an INVITE that was not captured."""
        if self._hints is None:
            self._hints = {}
        self._hints[call_id] = offer

    def rule(self, callee: str, ruled: Ruled) -> None:
        """Keep what was published about a user."""
        if self._ruled is None:
            self._ruled = {}
        self._ruled[callee] = ruled

    def find(self, seen: Seen) -> Seen | None:
        """Return the message of which ``seen`` is a copy.

        A transaction's messages are told apart by method, status and To-tag; the branch is per hop (RFC 3261
        s.17.1.3, s.17.2.3), so the same message on two hops stays two.
        """
        status, branch = seen.status, seen.branch
        for known in self.seen:
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
        if 100 < copy.status < 200 and received_ms > self.last_ms:
            self.last_ms = received_ms  # refreshed while it rings or waits (RFC 3261 s.13.3.1.1)
            return True
        return changed

    def belongs(self, key: str) -> None:
        """Note the key of a message of the call."""
        if BETWEEN in self.home and (self.home == BETWEEN or BETWEEN not in key):
            self.home = key

    def observe(self, seen: Seen, received_ms: int, settle_ms: int, open_branch_ms: int) -> None:
        """Add a message that is new to the set.

        Sets `due_ms`: a possible end is looked at after ``settle_ms``, anything else after ``open_branch_ms``.
        """
        self.seen.append(seen)
        if received_ms > self.last_ms:
            self.last_ms = received_ms
        if not self.settling:
            if seen.method == "INVITE":
                self.settling = seen.status >= 200 or self.forget_ms != 0
            else:
                self.settling = seen.method in SETTLES
        if self.settling:
            self.due_ms = received_ms + settle_ms
        elif not self.due_ms:
            self.due_ms = received_ms + open_branch_ms

    def absorb(self, other: "Call") -> None:
        """Take over another call that turned out to be this one."""
        for seen in other.seen:
            known = self.find(seen)
            if known is None:
                self.seen.append(seen)
            else:
                _merge_copy(known, seen)
        self._hints = (other.hints | self.hints) or None
        self._ruled = (other.ruled | self.ruled) or None
        self.opened_ms = min(self.opened_ms, other.opened_ms)
        self.last_ms = max(self.last_ms, other.last_ms)
        self.due_ms = min(self.due_ms, other.due_ms)
        self.settling = self.settling or other.settling
        self.low_confidence = self.low_confidence or other.low_confidence
        if self.held_by is None or not self.held_by[1]:
            self.held_by = other.held_by
        self.refused += other.refused
        self.belongs(other.home)


def _merge_copy(known: Seen, copy: Seen) -> bool:
    """Keep the earliest sighting; remember the latest of an INVITE (its retransmissions are evidence).

    What only one capture point knows of the leg, its correlation id, counts for both.
    """
    changed = False
    if copy.offer is not None or copy.ending is not None:
        changed = _merge_links(known, copy)
    if known.method == "INVITE" and not known.status:
        latest = max(known.again_ms or known.at_ms, copy.again_ms or copy.at_ms, known.at_ms, copy.at_ms)
        changed = changed or latest != known.again_ms
        known.again_ms = latest
    if (copy.at_ms, copy.src, copy.dst) < (known.at_ms, known.src, known.dst):
        known.at_ms, known.src, known.dst = copy.at_ms, copy.src, copy.dst
        changed = True
    return changed


def _merge_links(known: Seen, copy: Seen) -> bool:
    offer, more = known.offer, copy.offer
    if offer is not None and more is not None:
        links = _union(offer.links, more.links)
        if links != offer.links:
            known.offer = offer.linked(links)
            return True
    ending, other = known.ending, copy.ending
    if ending is not None and other is not None:
        links = _union(ending.links, other.links)
        if links != ending.links:
            known.ending = ending.linked(links)
            return True
    return False


def _union(links: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return links if links == more else tuple(dict.fromkeys(links + more))[:MAX_LINKS]


def call_ids(seen: Iterable[Seen]) -> list[str]:
    """Return the Call-IDs of ``seen`` in order of first sight."""
    return list(dict.fromkeys([message.call_id for message in seen]))
