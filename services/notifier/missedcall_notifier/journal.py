"""The delivery journal: ledger and retry queue in one. The port, and the journal in memory.

Rule 1: when a method returns, what it changed is durable: an attempt before anything is sent, its outcome
        before the next decision. Intents and the position in the facts that they bring us to are one change.
Rule 2: a delivery id is opened once. Whatever its state, opening it again changes nothing.
Rule 3: each method is one transaction; a crash between two of them is what the states are for.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from .claim import claim
from .delivery import ENDED, OPEN, Delivery, State, interrupted


class StaleDeliveryError(Exception):
    """The delivery has changed since it was read: somebody else owns it. The attempt's outcome is lost."""


class Journal(Protocol):
    """What the notifier needs of a journal. Times are POSIX seconds."""

    async def position(self, channel: str) -> int:
        """Return up to where the channel's facts have become intents; 0 if it has read none."""

    async def open(self, channel: str, intents: Sequence[Delivery], *, position: int) -> list[Delivery]:
        """Record the channel's intents and its new position; return the intents that are new."""

    async def claim(
        self, channel: str, *, now: float, limit: int, newest_first: bool = False
    ) -> list[Delivery]:
        """Begin up to `limit` due deliveries; return all that changed: in ATTEMPT, or SUPPRESSED.

        A correction comes before everything else. `newest_first` takes what became due last: alternated, an
        outage's backlog does not keep fresh notices waiting, nor they the backlog.
        """

    async def record(self, before: Delivery, after: Delivery) -> None:
        """Replace `before` by `after`.

        Raises:
            StaleDeliveryError: the journal does not hold `before` (any more).
        """

    async def recover(self, channel: str, *, now: float) -> list[Delivery]:
        """Return the attempts that a dead process left behind, now UNCERTAIN and due. Call once, first."""

    async def find(self, delivery_id: str) -> Delivery | None:
        """Return a delivery, or None if it was never opened or is forgotten."""

    async def next_due(self, channel: str) -> float | None:
        """Return when the next open delivery is due; None if there is none. May lie in the past."""

    async def waiting(self, channel: str) -> int:
        """Return how many deliveries are open."""

    async def forget(self, *, before: float) -> int:
        """Remove what ended before this time; return how many. A fact read again after that is sent again."""


class MemoryJournal:
    """A journal that lives as long as its process; for tests, trials and as the reference of the port."""

    def __init__(self) -> None:
        self._deliveries: dict[str, Delivery] = {}
        self._positions: dict[str, int] = {}

    async def position(self, channel: str) -> int:
        """Return up to where the channel's facts have become intents."""
        return self._positions.get(channel, 0)

    async def open(self, channel: str, intents: Sequence[Delivery], *, position: int) -> list[Delivery]:
        """Record the channel's intents and its new position; return the intents that are new."""
        opened = []
        for delivery in intents:
            if delivery.delivery_id not in self._deliveries:
                self._deliveries[delivery.delivery_id] = delivery
                opened.append(delivery)
        self._positions[channel] = position
        return opened

    async def claim(
        self, channel: str, *, now: float, limit: int, newest_first: bool = False
    ) -> list[Delivery]:
        """Begin up to `limit` due deliveries; return all that changed."""
        due = [delivery for delivery in self._of(channel, OPEN) if delivery.next_at <= now]
        due.sort(key=lambda d: (d.next_at, d.delivery_id), reverse=newest_first)
        corrections = [delivery for delivery in due if delivery.supersedes][:limit]
        notices = [delivery for delivery in due if not delivery.supersedes][:limit]
        changes = claim(corrections + notices, self._deliveries.get, now=now, limit=limit)
        for _, after in changes:
            self._deliveries[after.delivery_id] = after
        return [after for _, after in changes]

    async def record(self, before: Delivery, after: Delivery) -> None:
        """Replace `before` by `after`."""
        held = self._deliveries.get(before.delivery_id)
        if held is None or held.version != before.version:
            raise StaleDeliveryError(before.delivery_id)
        self._deliveries[after.delivery_id] = after

    async def recover(self, channel: str, *, now: float) -> list[Delivery]:
        """Return the attempts that a dead process left behind, now UNCERTAIN and due."""
        recovered = [interrupted(delivery, now) for delivery in self._of(channel, {State.ATTEMPT})]
        self._deliveries.update((delivery.delivery_id, delivery) for delivery in recovered)
        return recovered

    async def find(self, delivery_id: str) -> Delivery | None:
        """Return a delivery, or None."""
        return self._deliveries.get(delivery_id)

    async def next_due(self, channel: str) -> float | None:
        """Return when the next open delivery is due; None if there is none."""
        return min((delivery.next_at for delivery in self._of(channel, OPEN)), default=None)

    async def waiting(self, channel: str) -> int:
        """Return how many deliveries are open."""
        return sum(1 for _ in self._of(channel, OPEN))

    async def forget(self, *, before: float) -> int:
        """Remove what ended before this time; return how many."""
        old = [d.delivery_id for d in self._deliveries.values() if d.state in ENDED and d.changed_at < before]
        for delivery_id in old:
            del self._deliveries[delivery_id]
        return len(old)

    def _of(self, channel: str, states: Iterable[State]) -> Iterable[Delivery]:
        return [d for d in self._deliveries.values() if d.channel == channel and d.state in states]
