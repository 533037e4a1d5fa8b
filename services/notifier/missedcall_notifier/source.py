"""Where the facts come from: the port, and facts in memory.

Rule 1: the source only reads. Where a channel stands in the facts is part of its journal, so that the intents
        and the position move together; facts that are read again after a crash open nothing new.
Rule 2: each channel reads for itself, so that one that is down holds up nobody else.
Rule 3: facts come in parts, as the journal has them: who is given no part reads nothing.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from missedcall_schemas.records import MissedCall

from .journal import ONLY


class Page(NamedTuple):
    """Facts of one part, in order."""

    part: int
    position: int
    """Where the part stands behind them: 1, 2, 3 ..., holes allowed."""
    facts: Sequence[MissedCall | None]
    """None: the record could not be read; it moves the position like any other."""


class FactSource(Protocol):
    """The topic `missed-calls`, read by several channels at once."""

    async def read(self, positions: Mapping[int, int], limit: int) -> Page | None:
        """Return up to `limit` durable facts behind the position of one of the parts; None if there are none."""

    async def wait(self, positions: Mapping[int, int]) -> None:
        """Return when there may be facts behind a position, or another part. May return early.

        May be cancelled at any time.
        """


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

    async def read(self, positions: Mapping[int, int], limit: int) -> Page | None:
        """Return up to `limit` facts behind the position."""
        after = positions[ONLY]
        facts = self._facts[after : after + limit]
        return Page(ONLY, after + len(facts), facts) if facts else None

    async def wait(self, positions: Mapping[int, int]) -> None:
        """Return when there are facts behind the position."""
        while positions[ONLY] >= len(self._facts):
            await self._added.wait()
