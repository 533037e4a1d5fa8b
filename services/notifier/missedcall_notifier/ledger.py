"""The deliveries of one part of the facts, in memory: what every journal that is not a database works on.

Rule 1: pure: whoever makes a change durable asks for it with `turn`, and answers nobody before it is.
Rule 2: what is due is found from both ends, without looking at the rest: a backlog of any length costs a fresh
        notice nothing.
Rule 3: what has ended is kept without its fact and its reader if `slim`: its id and its state are all that is
        asked for.
Rule 4: the last notice of a series is kept whole for as long as a further call may join it or a retraction may take
        one out of it, and no more than REMEMBERED of them.
"""

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from missedcall_schemas.records import MissedCall, Party

from .claim import claim
from .delivery import ENDED, OPEN, Delivery, State, correction_of, decode, encode, interrupted, redriven
from .failure import Failure
from .reader import Reader
from .repeats import Known, placed, remembered_until

REMEMBERED = 4_096
"""Series of one part that are remembered, some 3 kB for each call. Less: where more callers than this ring within a
window, some repeats are notices of their own. More: memory."""

_SLACK = 1024
"""Entries that a queue may hold beyond twice what is open before it is made anew."""

_NO_FACT = MissedCall(
    fact_id="",
    call_id="",
    callee="",
    caller=Party(),
    cause="no-answer",
    rang_at=0.0,
    ring_s=0.0,
    ended_at=0.0,
    devices_rung=0,
    rule="",
    decided_at=0.0,
)


class StaleDeliveryError(Exception):
    """The delivery has changed since it was read: somebody else owns it. The attempt's outcome is lost."""


class _Late(NamedTuple):
    """An entry of the queue that is served from its end."""

    at: float
    name: str
    version: int

    def __lt__(self, other: tuple[object, ...]) -> bool:
        return tuple(self) > tuple(other)


class _Queue:
    """When each of some deliveries is due; an entry whose delivery has changed since is passed over."""

    def __init__(self, held: Mapping[str, Delivery]) -> None:
        self._held = held
        self._later: list[tuple[float, str, int]] = []
        self._due: list[tuple[float, str, int]] = []
        self._due_late: list[_Late] = []

    def add(self, delivery: Delivery) -> None:
        heapq.heappush(self._later, (delivery.next_at, delivery.delivery_id, delivery.version))

    def head(self, now: float, *, newest_first: bool) -> float | None:
        """Return when the first that is due was due; None if none is."""
        heap = self._heap(now, newest_first=newest_first)
        while heap and not self._valid(heap[0]):
            heapq.heappop(heap)
        return heap[0][0] if heap and heap[0][0] <= now else None

    def next_at(self) -> float | None:
        """Return when the next is due; may lie in the past."""
        ends = []
        for heap in (self._due, self._later):
            while heap and not self._valid(heap[0]):
                heapq.heappop(heap)
            if heap:
                ends.append(heap[0][0])
        return min(ends, default=None)

    def take(self, now: float, limit: int, *, newest_first: bool) -> list[Delivery]:
        """Take up to `limit` that are due from one end; `put_back` those that stay."""
        heap = self._heap(now, newest_first=newest_first)
        found: list[Delivery] = []
        set_back = []
        while heap and len(found) < limit:
            entry = heapq.heappop(heap)
            if not self._valid(entry):
                continue
            if entry[0] > now:  # the wall clock was set back
                set_back.append(entry)
                continue
            found.append(self._held[entry[1]])
        for entry in set_back:
            heapq.heappush(heap, entry)
        return found

    def put_back(self, deliveries: Iterable[Delivery], *, newest_first: bool) -> None:
        """Let deliveries that were taken from one end wait on, if they have not changed."""
        for delivery in deliveries:
            entry = (delivery.next_at, delivery.delivery_id, delivery.version)
            if not self._valid(entry):
                continue
            if newest_first:
                heapq.heappush(self._due_late, _Late(*entry))
            else:
                heapq.heappush(self._due, entry)
        if len(self._due) + len(self._due_late) > 4 * len(self._held) + _SLACK:
            self._due = sorted(entry for entry in self._due if self._valid(entry))
            self._due_late = sorted(entry for entry in self._due_late if self._valid(entry))

    def _heap(self, now: float, *, newest_first: bool) -> list[tuple[float, str, int]]:
        """Return what is due, from one end; entries may be stale."""
        while self._later and self._later[0][0] <= now:
            entry = heapq.heappop(self._later)
            if self._valid(entry):
                heapq.heappush(self._due, entry)
                heapq.heappush(self._due_late, _Late(*entry))
        return self._due_late if newest_first else self._due  # type: ignore[return-value]

    def _valid(self, entry: tuple[float, str, int]) -> bool:
        held = self._held.get(entry[1])
        return held is not None and held.version == entry[2] and held.state in OPEN


class Ledger:
    """One part."""

    def __init__(self, rows: Iterable[bytes] = (), position: int = 0, *, slim: bool = False) -> None:
        """Take up what a journal holds.

        Args:
            rows: the last row of each delivery, as `turn` gave it.
            position: up to where the facts of this part have become intents.
            slim: forget the facts and the readers of what has ended well.

        Raises:
            msgspec.DecodeError: a row is no delivery.
        """
        self.position = position
        self._slim = slim
        self._held: dict[str, Delivery] = {}
        self._open = 0
        self._notices = _Queue(self._held)
        self._corrections = _Queue(self._held)
        self._ended: list[tuple[float, str]] = []
        self._begun: list[tuple[float, str]] = []
        """When each was to be delivered first; entries of what has ended are stale."""
        self._changed: dict[str, bytes | None] = {}
        self._heads: dict[str, dict[str, str]] = {}
        """By key and root of a series, the id of its last notice."""
        self._remembered: list[tuple[float, str, str]] = []
        """Until when each head counts, its key and its root; entries of series that went on are stale."""
        self._series = 0
        for row in rows:
            self._put(decode(row))
            self._remember_no_longer(0.0)

    @property
    def waiting(self) -> int:
        """How many deliveries are open."""
        return self._open

    @property
    def waits_since(self) -> float | None:
        """When the oldest of those that have not ended was to be delivered, POSIX seconds; None if all have."""
        while self._begun:
            since, name = self._begun[0]
            held = self._held.get(name)
            if held is not None and held.state not in ENDED and since == max(held.opened_at, held.not_before):
                return since
            heapq.heappop(self._begun)
        return None

    @property
    def under_way(self) -> list[Delivery]:
        """Deliveries in ATTEMPT."""
        return [delivery for delivery in self._held.values() if delivery.state is State.ATTEMPT]

    def turn(self) -> dict[str, bytes | None]:
        """Return the rows that changed since the last turn, None for one to be deleted, by delivery id."""
        changed, self._changed = self._changed, {}
        return changed

    def find(self, delivery_id: str) -> Delivery | None:
        """Return a delivery, or None."""
        return self._held.get(delivery_id)

    def take(self, intents: Sequence[Delivery], position: int) -> list[Delivery]:
        """Take intents and the position; return the intents that are new.

        Raises:
            UnicodeEncodeError: a text is not Unicode; nothing has changed then.
        """
        new = {one.delivery_id: one for one in reversed(intents) if one.delivery_id not in self._held}
        self._remember_no_longer(max((one.opened_at for one in new.values()), default=0.0))
        opened = self._placed([one for one in intents if new.get(one.delivery_id) is one])
        rows = [encode(delivery) for delivery in opened]
        for delivery, row in zip(opened, rows, strict=True):
            self._change(delivery, row)
        self.position = position
        return opened

    def head(self, now: float, *, newest_first: bool) -> tuple[bool, float] | None:
        """Return whether a correction comes first, and when what comes first was due; None if nothing is due."""
        for corrects, queue in ((True, self._corrections), (False, self._notices)):
            at = queue.head(now, newest_first=newest_first)
            if at is not None:
                return corrects, at
        return None

    def claim(self, now: float, limit: int, *, newest_first: bool = False) -> list[Delivery]:
        """Begin up to `limit` due deliveries; return all that changed."""
        self._remember_no_longer(now)
        due = [
            delivery
            for queue in (self._corrections, self._notices)
            for delivery in queue.take(now, limit, newest_first=newest_first)
        ]
        changes = claim(due, self.find, now=now, limit=limit)
        for _, after in changes:
            self._change(after, encode(after))
        for queue, corrects in ((self._corrections, True), (self._notices, False)):
            waits_on = (one for one in due if bool(one.supersedes) is corrects)
            queue.put_back(waits_on, newest_first=newest_first)
        return [after for _, after in changes]

    def record(self, before: Delivery, after: Delivery) -> bool:
        """Replace `before` by `after`; return False if that was done already.

        Raises:
            StaleDeliveryError: it holds neither.
        """
        held = self._held.get(before.delivery_id)
        if held is not None and held.version == after.version and _slimmed(held) == _slimmed(after):
            return False
        if held is None or held.version != before.version:
            raise StaleDeliveryError(before.delivery_id)
        self._change(after, encode(after))
        return True

    def recover(self, now: float, besides: Collection[str] = ()) -> list[Delivery]:
        """Return the attempts that nobody makes any more, now UNCERTAIN and due.

        Args:
            now: POSIX seconds.
            besides: ids of those that somebody makes.
        """
        recovered = [interrupted(one, now) for one in self.under_way if one.delivery_id not in besides]
        for delivery in recovered:
            self._change(delivery, encode(delivery))
        return recovered

    def redrive(self, dead: Delivery, now: float) -> Delivery | None:
        """Let a dead delivery live again, due now; return it, or None if it is not as dead as `dead` any more.

        One that is forgotten here is taken from `dead`. One whose call turned out to have been taken stays dead,
        and so does one whose call a later notice tells, too.
        """
        held = self._held.get(dead.delivery_id)
        if dead.state is not State.DEAD or (held is not None and held.version != dead.version):
            return None
        if correction_of(dead) in self._held or self._is_followed(dead):
            return None
        delivery = redriven(dead, now)
        self._change(delivery, encode(delivery))
        return delivery

    def forget(self, before: float) -> int:
        """Remove what ended before this time; return how many."""
        count = 0
        while self._ended and self._ended[0][0] < before:
            at, name = heapq.heappop(self._ended)
            held = self._held.get(name)
            if held is not None and held.state in ENDED and held.changed_at == at:
                del self._held[name]
                self._changed[name] = None
                count += 1
                series = held.series
                if series is not UNSET and self._heads.get(series.key, {}).get(series.root) == name:
                    self._unremember(series.key, series.root)
        return count

    def next_due(self) -> float | None:
        """Return when the next open delivery is due; None if there is none."""
        ends = (self._corrections.next_at(), self._notices.next_at())
        return min((at for at in ends if at is not None), default=None)

    def is_gone(self, mark: str) -> bool:
        """Whether an open delivery found the channel `gone` under this mark; looks at all of them."""
        return any(
            one.failure is Failure.GONE and one.detail == mark and one.state in OPEN
            for one in self._held.values()
        )

    def _change(self, delivery: Delivery, row: bytes) -> None:
        self._changed[delivery.delivery_id] = row
        self._put(delivery)

    def _put(self, delivery: Delivery) -> None:
        held = self._held.get(delivery.delivery_id)
        self._open += (delivery.state in OPEN) - (held is not None and held.state in OPEN)
        is_head = self._is_head(delivery)
        self._held[delivery.delivery_id] = delivery if is_head else self._kept(delivery)
        if delivery.state not in ENDED and (held is None or held.state in ENDED):
            since = max(delivery.opened_at, delivery.not_before)
            heapq.heappush(self._begun, (since, delivery.delivery_id))
        if delivery.state in OPEN:
            (self._corrections if delivery.supersedes else self._notices).add(delivery)
        elif delivery.state in ENDED:
            heapq.heappush(self._ended, (delivery.changed_at, delivery.delivery_id))

    def _kept(self, delivery: Delivery) -> Delivery:
        """Return what is kept of a delivery that no other may be joined to."""
        ended_well = delivery.state in ENDED and delivery.state is not State.DEAD
        return _slimmed(delivery) if self._slim and ended_well else delivery

    def _placed(self, intents: Sequence[Delivery]) -> list[Delivery]:
        """Return intents with their places in series, each after those before it."""
        found: dict[str, Delivery] = {}
        heads: dict[str, dict[str, Delivery]] = {}

        def find(name: str) -> Delivery | None:
            return found.get(name) or self._held.get(name)

        def heads_of(key: str) -> Iterable[Delivery]:
            held = {root: self._held[name] for root, name in self._heads.get(key, {}).items()}
            return (held | heads.get(key, {})).values()

        for one in intents:
            found[one.delivery_id] = intent = placed(one, Known(find, heads_of))
            if intent.series is not UNSET:
                heads.setdefault(intent.series.key, {})[intent.series.root] = intent
        return list(found.values())

    def _is_head(self, delivery: Delivery) -> bool:
        """Whether a delivery is the last of its series, as far as is known; the one before it is it no more."""
        series = delivery.series
        if series is UNSET:
            return False
        roots = self._heads.setdefault(series.key, {})
        name = roots.get(series.root)
        head = self._held.get(name) if name is not None else None
        if head is not None and head.series is not UNSET and head.series.number > series.number:
            return False
        if name != delivery.delivery_id:
            self._series += name is None
            roots[series.root] = delivery.delivery_id
            entry = (remembered_until(delivery, series), series.key, series.root)
            heapq.heappush(self._remembered, entry)
            if head is not None:
                self._held[head.delivery_id] = self._kept(head)
        return True

    def _is_followed(self, delivery: Delivery) -> bool:
        """Whether a later notice of its series is known."""
        series = delivery.series
        if series is UNSET:
            return False
        head = self._heads.get(series.key, {}).get(series.root)
        return head not in {None, delivery.delivery_id}

    def _remember_no_longer(self, now: float) -> None:
        """Let go of series that no call joins any more, and of the oldest beyond REMEMBERED."""
        while self._remembered and (self._remembered[0][0] <= now or self._series > REMEMBERED):
            until, key, root = heapq.heappop(self._remembered)
            head = self._held.get(self._heads.get(key, {}).get(root, ""))
            if head is None or head.series is UNSET:
                continue
            if until < remembered_until(head, head.series):
                continue  # it went on
            self._unremember(key, root)
            self._held[head.delivery_id] = self._kept(head)

    def _unremember(self, key: str, root: str) -> None:
        del self._heads[key][root]
        self._series -= 1
        if not self._heads[key]:
            del self._heads[key]


def _slimmed(delivery: Delivery) -> Delivery:
    if delivery.series is UNSET:
        return replace(delivery, fact=_NO_FACT, reader=Reader())
    fact = replace(_NO_FACT, fact_id=delivery.fact.fact_id, revision=delivery.fact.revision)
    return replace(delivery, fact=fact, reader=Reader(), series=replace(delivery.series, others=()))
