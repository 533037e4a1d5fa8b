"""The topic `missed-calls` as the notifier reads it: what is committed, by position."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from missedcall_common.runtime.events import Event, emit
from missedcall_notifier.journal import ONLY
from missedcall_notifier.source import Page
from missedcall_schemas import codec
from missedcall_schemas.records import MissedCall

from .store import Store
from .store_file import FACTS


class StoredFacts:
    """A FactSource over the store; on the pipeline's event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = store.next_seq(FACTS) - 1
        self._more = asyncio.Event()

    def committed(self) -> None:
        """Wake whoever waits for facts; to be called after each commit."""
        last = self._store.next_seq(FACTS) - 1
        if last > self._last:
            self._last = last
            self._more.set()
            self._more = asyncio.Event()

    async def read(self, positions: Mapping[int, int], limit: int) -> Page | None:
        """Return up to ``limit`` facts behind the position; a record that cannot be read is none of them."""
        rows = self._store.rows(FACTS, positions[ONLY], limit)
        if not rows:
            return None
        newer: Counter[str] = Counter()
        facts: list[MissedCall | None] = []
        for row in rows:
            try:
                facts.append(codec.decode_missed_call(row.value, newer))
            except codec.CodecError as error:
                emit(Event.RECORD_REFUSED, error, topic=FACTS.name, offset=row.seq)
                facts.append(None)
        if newer:
            emit(Event.RECORD_NEWER, topic=FACTS.name, count=newer.total())
        return Page(ONLY, rows[-1].seq, facts)

    async def wait(self, positions: Mapping[int, int]) -> None:
        """Return when there are facts behind the position."""
        while positions[ONLY] >= self._last:
            await self._more.wait()
