"""Sockets to numbered batches, on the running event loop: the half of a collector that must never wait.

Rule 1: whoever takes the batches says how much waits (`backlog`). At half of `listen.queue_mb` TCP and TLS senders
        have to wait; beyond all of it what comes over UDP is dropped and counted.
Rule 2: what is dropped, by us or by the kernel, leaves a hole in the sequence of every partition, since nobody
        knows which calls it belonged to: the calls around it are decided as calls of which messages are missing.
Rule 3: a mistake of ours costs the frame that found it, and is counted.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from missedcall_common.runtime.events import Event, emit
from missedcall_common.runtime.sampling import NO_CALL, CallTrace, Sampler
from missedcall_schemas.records import CaptureBatch, SipMessage

from .batching import Batch, Batcher
from .clock import Clock
from .correlation import CorrelationRules
from .intake import Intake
from .listeners import Listeners, Listening
from .relay import Relay
from .settings import ListenSettings, read_auth_keys

RESUME_SHARE = 0.25
"""Share of the queue below which waiting senders are read again; they are stopped at half of it."""
REFUSALS_SAID = 10
"""Frames that a mistake of ours cost and that are named in the log; all are counted. More: a sender fills it."""
TICK_S = 0.02
"""Between two looks which batches have waited long enough. Less: work for nothing. More: they wait longer."""
KEYS_S = 5.0
"""Between two looks whether the file of authenticate keys has changed."""

HandOn = Callable[[int, CaptureBatch], None]


class Collecting:
    """One collector: its sockets, its clock, its numbering."""

    def __init__(
        self,
        settings: ListenSettings,
        rules: CorrelationRules,
        *,
        hand_on: HandOn,
        backlog: Callable[[], int],
        partitions: int = 1,
        not_before_ms: int = 0,
        relay: str = "",
        sampler: Sampler = NO_CALL,
        trace: Callable[[SipMessage, CallTrace], None] = lambda _message, _call: None,
    ) -> None:
        """Prepare; nothing is bound before `start`.

        Args:
            settings: where, whom, how much.
            rules: what the network's identifiers look like.
            hand_on: takes partition and batch, in order; must not block.
            backlog: how many bytes of what was handed on are waiting.
            partitions: of `sip-transactions`.
            not_before_ms: the log's clock, where there is one: no batch may be older.
            relay: target of a `Relay`, "" for none.
            sampler: which calls are traced.
            trace: is shown each INVITE of these.

        Raises:
            OSError, ValueError: the file of authenticate keys cannot be used.
        """
        self._settings = settings
        self._keys_file = Path(settings.auth_key_file) if settings.auth_key_file else None
        self._keys = read_auth_keys(self._keys_file) if self._keys_file else ()
        self._counts: Counter[str] = Counter()
        self._listeners = Listeners(settings, self._receive, self._counts)
        self._intake = Intake(rules, self._keys, sampler)
        self._clock = Clock(not_before_ms)
        # Incarnations grow: the clock is past that of the life before.
        self._batcher = Batcher(settings.collector, self._clock.now_ms(), partitions)
        self._hand_on = hand_on
        self._backlog = backlog
        self._trace = trace
        self._relay = Relay(relay, self._counts) if relay else None
        self._queue = settings.queue_mb * 1_000_000
        self._full = False
        self._holes = 0
        self._kernel_drops = 0
        self._ticking: asyncio.Task[None] | None = None

    @property
    def counts(self) -> Counter[str]:
        """Totals since the start."""
        self._count_kernel_drops()
        self._counts["doubled"] = self._batcher.doubled
        return self._counts + self._intake.counts

    async def start(self) -> list[Listening]:
        """Listen.

        Raises:
            ListenError: a listener cannot start.
        """
        listening = await self._listeners.start()
        if self._relay is not None:
            self._relay.start()
        self._ticking = asyncio.get_running_loop().create_task(self._tick())
        return listening

    async def stop(self, *, at_once: bool = False) -> None:
        """Take what the kernel has, unless that is of no use, listen no more, and hand on the rest."""
        await self._listeners.stop(at_once=at_once)
        if self._relay is not None:
            await self._relay.close()
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        self._count_kernel_drops()
        self._hand_on_all(self._batcher.flush(self._clock.now_ms()))

    @property
    def partitions(self) -> int:
        """How many the batches that are handed on are for."""
        return self._batcher.partitions

    def cut_into(self, partitions: int) -> None:
        """Make batches for so many partitions from now on, a multiple of what there were."""
        if partitions != self._batcher.partitions:
            self._hand_on_all(self._batcher.flush(self._clock.now_ms()))
            self._batcher.cut_into(partitions)

    def _receive(self, frames: list[bytes]) -> None:
        if self._relay is not None:
            self._relay.send(frames)
        if self._backlog() >= self._queue:
            self._counts["dropped.queue-full"] += len(frames)
            self._full = True
            return
        if self._full:
            self._full = False
            self._holes += 1
        now_ms = self._clock.now_ms()
        messages = self._intake.from_frames(frames, now_ms, self._refuse)
        if self._intake.traced:
            for message, call in self._intake.traced:
                self._trace(message, call)
            self._intake.traced.clear()
        for batch in self._batcher.add_all(messages, now_ms):
            try:
                self._hand_on_all([batch])
            except Exception as error:  # noqa: BLE001 - a mistake of ours costs the batch that found it
                self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self._counts["dropped.refused"] += 1
        if self._counts["dropped.refused"] <= REFUSALS_SAID:
            emit(Event.RECORD_REFUSED, error, record="SipMessage")

    def _hand_on_all(self, closed: list[Batch]) -> None:
        if closed:  # who stood still learns of it here: the clock of this batch is beyond what was lost
            self._count_kernel_drops()
        holes = self._holes
        for partition, batch in closed:
            self._hand_on(partition, replace(batch, sequence=batch.sequence + holes) if holes else batch)
        if not self._listeners.paused and self._backlog() > self._queue / 2:
            self._listeners.pause()

    async def _tick(self) -> None:
        look_at = time.monotonic() + KEYS_S
        while True:
            await asyncio.sleep(TICK_S)
            self._count_kernel_drops()
            backlog = self._backlog()
            if backlog < self._queue:  # ticks, too, are something that waits
                self._hand_on_all(self._batcher.due(self._clock.now_ms()))
            if self._listeners.paused and backlog < self._queue * RESUME_SHARE:
                self._listeners.resume()
            if (now := time.monotonic()) >= look_at:
                look_at = now + KEYS_S
                self._look_at_keys()

    def _look_at_keys(self) -> None:
        """Take other keys if the file holds others; keep the old ones while it cannot be read."""
        if self._keys_file is not None:
            with suppress(OSError, ValueError):
                if (keys := read_auth_keys(self._keys_file)) != self._keys:
                    self._keys = keys
                    self._intake.accept(keys)
                    emit(Event.KEYS_CHANGED, count=len(keys))

    def _count_kernel_drops(self) -> None:
        self._listeners.count_kernel_drops()
        if self._counts["dropped.kernel"] > self._kernel_drops:
            self._kernel_drops = self._counts["dropped.kernel"]
            self._holes += 1
