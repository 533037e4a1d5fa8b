"""The collector service: HEP in, batches on `sip-transactions`.

Rule 1: it keeps no state: kill one, start two. What matters of its life is its name and its incarnation, in every
        batch.
Rule 2: it starts, and receives, whether Kafka is there or not; only a topic of another partition count ends it.
Rule 3: SIGTERM ends it in order: be not ready and listen on until senders are sent elsewhere, stop listening,
        publish what was received, keep on disk what cannot be.
"""

import asyncio
import gc
import math
import signal
import time
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from missedcall_common.runtime.events import Event, emit
from missedcall_common.runtime.health import Health
from missedcall_common.runtime.sampling import CallTrace
from missedcall_common.runtime.telemetry import Reading, Telemetry
from missedcall_schemas import codec
from missedcall_schemas.records import CaptureBatch, SipMessage

from .collecting import Collecting
from .correlation import CorrelationRules
from .publisher import Publisher, Sent
from .service_settings import CollectorSettings
from .spool import Spool

STOP_S = 15.0
"""To publish the rest. Less: what Kafka would have taken goes to disk, or is lost. More: Kubernetes kills us, 30 s
after it asked."""
HANGS_S = 60.0
"""Without a sign of the publisher's thread. Less: a slow disk, on which it waits, restarts us. More: so much longer
nothing is published."""
LOOK_S = 0.2
"""Between two looks whether the publisher has failed."""
TELL_S = 1.0
"""Between two states of what is told by telemetry."""
COUNTED = (
    *(
        "received",
        "published",
        "spooled",
        "auth",
        "malformed-hep",
        "malformed-sip",
        "not-sip",
        "noise-method",
        "limit",
    ),
    *(
        f"dropped.{cause}"
        for cause in ("kernel", "queue-full", "not-allowed", "source-limit", "refused", "unsent")
    ),
)
"""Told from the start, so that the first of a kind is seen to be one more than none."""
ALLOCATIONS = 20_000
"""Objects made between two looks of the garbage collector; hardly anything here is a cycle."""


class Service:
    """One collector from its start to its end."""

    def __init__(self, settings: CollectorSettings, telemetry: Telemetry) -> None:
        """Prepare.

        Raises:
            OSError, ValueError, SpoolError: a file or folder that a setting names cannot be used.
        """
        self._settings = settings
        self._telemetry = telemetry
        listen, kafka = settings.listen, settings.kafka
        memory = listen.queue_mb * 1_000_000
        spool = (
            Spool(Path(settings.spool.folder), settings.spool.mb * 1_000_000)
            if settings.spool.folder
            else None
        )
        self._publisher = Publisher(
            kafka,
            f"missedcall-{listen.collector}",
            memory,
            spool,
            compression=settings.compression,
            tell=self._tell_of if telemetry.traces else None,
        )
        rules = CorrelationRules(settings.correlation_headers, settings.call_id_suffixes)
        self._collecting = Collecting(
            listen,
            rules,
            hand_on=self._hand_on,
            backlog=lambda: self._publisher.backlog,
            partitions=kafka.partitions,
            relay=settings.relay,
            sampler=telemetry.sampler,
            trace=self._trace,
        )
        self._health = Health(
            settings.health, live=self._live, ready=self._ready, metrics=telemetry.exposition
        )
        self._listening = self._draining = False
        self._stopping = asyncio.Event()
        self._said: Counter[str] = Counter()

    async def until_stopped(self) -> None:
        """Work until a signal, then end in order.

        Raises:
            ListenError, HealthError: a listener cannot start.
            KafkaUnusableError: the topic must not be written to.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        began = time.monotonic()
        await self._health.start()
        for transport, address, buffer in await self._collecting.start():
            emit(Event.LISTENER_OPENED, transport=transport, port=address.port, bytes=buffer)
        self._publisher.start()
        self._listening = True
        emit(
            Event.SERVICE_STARTED,
            version=metadata.version("missedcall-collector"),
            collector=self._settings.listen.collector,
            detail=f"publishes to {self._settings.kafka.partitions} partitions",
        )
        gc.collect()
        gc.freeze()  # what is here now stays: it is not looked at again
        gc.set_threshold(ALLOCATIONS, 10, 10)
        await self._work(math.inf)
        self._draining = True
        self._stopping.clear()
        await self._work(self._settings.drain_s)
        self._listening = False
        await self._collecting.stop()
        await asyncio.to_thread(self._publisher.stop, STOP_S)
        await self._health.stop()
        self._say()
        await asyncio.to_thread(self._telemetry.close)
        if self._publisher.failed is not None:
            raise self._publisher.failed
        emit(Event.SERVICE_STOPPED, uptime_s=round(time.monotonic() - began, 1))

    async def _work(self, for_s: float) -> None:
        """Tell how it goes for so long, until a signal or a failure."""
        now = time.monotonic()
        ends, say_at, tell_at = now + for_s, now + self._settings.report_s, 0.0
        while now < ends and not self._stopping.is_set() and self._publisher.failed is None:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._stopping.wait()
            except TimeoutError:
                self._collecting.cut_into(self._publisher.cut.partitions)
                now = time.monotonic()
                if now >= say_at:
                    say_at = now + self._settings.report_s
                    self._say()
                if now >= tell_at:
                    tell_at = now + TELL_S
                    self._telemetry.tell(self._readings())

    def _readings(self) -> Iterator[Reading]:
        counts = self._collecting.counts + self._publisher.counts
        for name in COUNTED:
            counts.setdefault(name, 0)
        yield from (Reading(name, total) for name, total in counts.items())
        yield Reading("missedcall.waiting", self._publisher.waiting)
        yield Reading("missedcall.backlog", self._publisher.backlog)

    def _live(self) -> str:
        hangs = self._listening and time.monotonic() > self._publisher.alive_at + HANGS_S
        return "the publisher hangs" if hangs else ""

    def _ready(self) -> str:
        if not self._listening:
            return "not listening"
        if self._draining:
            return "about to end: others take what comes"
        full = self._publisher.backlog > self._settings.listen.queue_mb * 1_000_000 / 2
        return "memory is half full: Kafka does not take what comes" if full else ""

    def _hand_on(self, partition: int, batch: CaptureBatch) -> None:
        value = codec.encode_batch(batch)
        self._publisher.offer(partition, value, len(batch.messages), self._collecting.partitions)

    def _tell_of(self, sent: Sent) -> None:
        """Tell of what was sent to Kafka in one go."""
        said: dict[str, str | int | float] = {
            "messaging.system": "kafka",
            "messaging.batch.message_count": sent.records,
            "missedcall.messages": sent.messages,
        }
        name = "send sip-transactions"
        self._telemetry.batch(name, sent.began_s, sent.ended_s, said, failure=sent.failure)

    def _trace(self, message: SipMessage, call: CallTrace) -> None:
        """Tell how long an INVITE took to come here."""
        captured_s = message.captured_ms / 1000
        received_s = max(captured_s, message.received_ms / 1000)
        said = {"network.transport": message.transport}
        self._telemetry.span(call, "receive hep", captured_s, received_s, said)

    def _say(self) -> None:
        """Write the line of counters, and a warning for each cause of which something was lost since the last."""
        counts = self._collecting.counts + self._publisher.counts
        for name, count in (counts - self._said).items():
            if name.startswith("dropped."):
                emit(Event.INPUT_DROPPED, cause=name.removeprefix("dropped."), count=count)
        self._said = counts
        emit(Event.COUNTERS_REPORTED, counts=dict(counts), waiting=self._publisher.waiting)
