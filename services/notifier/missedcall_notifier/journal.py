"""The delivery journal: ledger and retry queue in one. The port, and the journal in memory.

Rule 1: when a method returns, what it changed is durable: an attempt before anything is sent, its outcome
        before the next decision. Intents and the position in the facts that they bring us to are one change.
Rule 2: a delivery id is opened once. Whatever its state, opening it again changes nothing.
Rule 3: each method is one transaction; a crash between two of them is what the states are for.
Rule 4: facts come in parts, each with a position of its own; a part may come and go, as Kafka's partitions do.
        Of a part that is not ours (any more) nothing is opened, claimed or recorded.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from .delivery import Delivery
from .ledger import Ledger, StaleDeliveryError

ONLY = 0
"""The part, where there is but one."""

__all__ = ["ONLY", "Journal", "MemoryJournal", "StaleDeliveryError"]


class Journal(Protocol):
    """What the notifier needs of a journal. Times are POSIX seconds."""

    async def positions(self, channel: str) -> Mapping[int, int]:
        """Return, by part that is ours, up to where the channel's facts have become intents; 0: not begun."""

    async def open(
        self, channel: str, intents: Sequence[Delivery], *, position: int, part: int = ONLY
    ) -> list[Delivery]:
        """Record the channel's intents and the part's new position; return the intents that are new."""

    async def claim(
        self, channel: str, *, now: float, limit: int, newest_first: bool = False
    ) -> list[Delivery]:
        """Begin up to `limit` due deliveries; return all that changed: in ATTEMPT, SUPPRESSED, or UNCERTAIN.

        A correction comes before everything else. `newest_first` takes what became due last: alternated, an
        outage's backlog does not keep fresh notices waiting, nor they the backlog.
        """

    async def record(self, before: Delivery, after: Delivery) -> None:
        """Replace `before` by `after`.

        Raises:
            StaleDeliveryError: the journal does not hold `before` (any more).
        """

    async def recover(self, channel: str, *, now: float) -> list[Delivery]:
        """Return the attempts that a dead process left behind, now UNCERTAIN and due. Call once, first.

        Those of a part that comes later are recovered before it is ours, and told by `claim`.
        """

    async def find(self, delivery_id: str) -> Delivery | None:
        """Return a delivery, or None if it was never opened or is forgotten."""

    async def next_due(self, channel: str) -> float | None:
        """Return when the next open delivery is due; None if there is none. May lie in the past."""

    async def waiting(self, channel: str) -> int:
        """Return how many deliveries are open."""

    async def is_gone(self, channel: str, mark: str) -> bool:
        """Whether an open delivery found the channel `gone` under this mark. Called once, at the start.

        Of a part that comes later it is not known: its first call is answered with 410 again.
        """

    async def forget(self, *, before: float) -> int:
        """Remove what ended before this time; return how many. A fact read again after that is sent again."""


class MemoryJournal:
    """A journal that lives as long as its process; for tests, trials and as the reference of the port."""

    def __init__(self) -> None:
        self._ledgers: dict[str, Ledger] = {}

    async def positions(self, channel: str) -> Mapping[int, int]:
        """Return up to where the channel's facts have become intents."""
        return {ONLY: self.ledger(channel).position}

    async def open(
        self,
        channel: str,
        intents: Sequence[Delivery],
        *,
        position: int,
        part: int = ONLY,  # noqa: ARG002 - of the port
    ) -> list[Delivery]:
        """Record the channel's intents and its new position; return the intents that are new."""
        return self.ledger(channel).take(intents, position)

    async def claim(
        self, channel: str, *, now: float, limit: int, newest_first: bool = False
    ) -> list[Delivery]:
        """Begin up to `limit` due deliveries; return all that changed."""
        return self.ledger(channel).claim(now, limit, newest_first=newest_first)

    async def record(self, before: Delivery, after: Delivery) -> None:
        """Replace `before` by `after`."""
        self.ledger(before.channel).record(before, after)

    async def recover(self, channel: str, *, now: float) -> list[Delivery]:
        """Return the attempts that a dead process left behind, now UNCERTAIN and due."""
        return self.ledger(channel).recover(now)

    async def find(self, delivery_id: str) -> Delivery | None:
        """Return a delivery, or None."""
        found = (ledger.find(delivery_id) for ledger in self._ledgers.values())
        return next((delivery for delivery in found if delivery is not None), None)

    async def next_due(self, channel: str) -> float | None:
        """Return when the next open delivery is due; None if there is none."""
        return self.ledger(channel).next_due()

    async def waiting(self, channel: str) -> int:
        """Return how many deliveries are open."""
        return self.ledger(channel).waiting

    async def is_gone(self, channel: str, mark: str) -> bool:
        """Whether an open delivery found the channel `gone` under this mark."""
        return self.ledger(channel).is_gone(mark)

    async def forget(self, *, before: float) -> int:
        """Remove what ended before this time; return how many."""
        return sum(ledger.forget(before) for ledger in self._ledgers.values())

    def ledger(self, channel: str) -> Ledger:
        """Return what a channel has."""
        ledger = self._ledgers.setdefault(channel, Ledger())
        ledger.turn()  # nobody asks for it
        return ledger
