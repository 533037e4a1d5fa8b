"""Where the facts come from: the port, and facts in memory.

Rule 1: the source only reads. Where a channel stands in the facts is part of its journal, so that the intents
        and the position move together; facts that are read again after a crash open nothing new.
Rule 2: each channel reads for itself, so that one that is down holds up nobody else.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from missedcall_schemas.records import MissedCall


class SourcedFact(NamedTuple):
    """A fact and where it stands in its topic: 1, 2, 3 ..., holes allowed."""

    position: int
    fact: MissedCall | None
    """None: the record could not be read; it moves the position like any other."""


class FactSource(Protocol):
    """The topic `missed-calls`, read by several channels at once."""

    async def read(self, after: int, limit: int) -> Sequence[SourcedFact]:
        """Return up to `limit` durable facts behind position `after`, in order; none if there are none."""

    async def wait(self, after: int) -> None:
        """Return when there may be facts behind `after`. May return early; may be cancelled at any time."""


class MemoryFacts:
    """Facts that live as long as their process; for tests and trials."""

    def __init__(self, facts: Iterable[MissedCall] = ()) -> None:
        self._facts = list(facts)
        self._added = asyncio.Event()

    def add(self, *facts: MissedCall) -> None:
        """Publish further facts. Call from the event loop's thread."""
        self._facts.extend(facts)
        self._added.set()
        self._added = asyncio.Event()

    async def read(self, after: int, limit: int) -> Sequence[SourcedFact]:
        """Return up to `limit` facts behind position `after`."""
        page = self._facts[after : after + limit]
        return [SourcedFact(after + at, fact) for at, fact in enumerate(page, 1)]

    async def wait(self, after: int) -> None:
        """Return when there are facts behind `after`."""
        while after >= len(self._facts):
            await self._added.wait()
