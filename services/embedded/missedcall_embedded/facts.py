"""The topic `missed-calls` as the notifier reads it: what is committed, by position."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from missedcall_common.runtime.events import Event, emit
from missedcall_notifier.source import SourcedFact
from missedcall_schemas import codec

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

    async def read(self, after: int, limit: int) -> Sequence[SourcedFact]:
        """Return up to ``limit`` facts behind position ``after``; a record that cannot be read is passed over."""
        newer: Counter[str] = Counter()
        while rows := self._store.rows(FACTS, after, limit):
            found = []
            for row in rows:
                try:
                    found.append(SourcedFact(row.seq, codec.decode_missed_call(row.value, newer)))
                except codec.CodecError as error:
                    emit(Event.RECORD_REFUSED, error, topic=FACTS.name, offset=row.seq)
            if newer:
                emit(Event.RECORD_NEWER, topic=FACTS.name, count=newer.total())
            if found:
                return found
            after = rows[-1].seq
        return ()

    async def wait(self, after: int) -> None:
        """Return when there are facts behind ``after``."""
        while after >= self._last:
            await self._more.wait()
