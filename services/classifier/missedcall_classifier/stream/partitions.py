"""The partitions of this worker on Kafka: fenced, loaded, committed.

Rule 1: the transactional id is the application and the source partition, never the worker: taking it fences
        whoever had the partition.
Rule 2: a batch that says that time goes on is no part of a transaction: it is read like any other.
Rule 3: a transaction is committed once all that it holds is acknowledged: the client commits what it could deliver,
        also without what was refused.
Rule 4: a unit that was ours before and lost nothing is kept; if another had the partition meanwhile, our next
        transaction is refused and the process ends.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.structs import OffsetAndMetadata

from missedcall_classifier.policy import Policy
from missedcall_common.kafka.cut import Cut
from missedcall_common.kafka.plan import name_of
from missedcall_common.runtime.events import Event, emit
from missedcall_common.runtime.telemetry import SILENT, Reading, Telemetry
from missedcall_schemas.codec import encode_batch
from missedcall_schemas.records import CaptureBatch

from .eos import Partitions, crash
from .settings import ClassifierSettings, group_of
from .silence import UNBROKEN_S, Silence
from .unit import POISON, PassedOverError, Turn, Unit

TRANSACTION_MS = 30_000
"""A transaction that is open for longer is aborted by Kafka. More: readers wait for as long after a crash."""
BATCH_BYTES = 262_144
COUNTED = (
    "batches",
    "accepted",
    "verdicts",
    "facts",
    "gap",
    "limit",
    "undecidable",
    "rule-failed",
    "malformed-sip",
)
"""Told from the start, so that the first of a kind is seen to be one more than none."""


class KafkaPartitions(Partitions):
    """Units and their producers, by partition."""

    def __init__(
        self,
        settings: ClassifierSettings,
        policy: Policy,
        connection: dict[str, Any],
        cut: Cut,
        telemetry: Telemetry = SILENT,
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            settings: of the service.
            policy: how to decide.
            connection: arguments that all clients of aiokafka have in common.
            cut: how the log is cut.
            telemetry: is told of what is committed.
        """
        self.units: dict[int, Unit] = {}
        self.ready = False
        """Whether all that is assigned to us is loaded; that may be nothing."""
        self._settings = settings
        self._policy = policy
        self._connection = connection
        self._cut = cut
        self._group = group_of(settings, cut)
        self._telemetry = telemetry
        self._producers: dict[int, AIOKafkaProducer] = {}
        self._names = {
            topic: name_of(topic, settings.kafka, cut)
            for topic in ("sip-transactions", "call-state", "missed-calls", "call-verdicts", "dead-letters")
        }
        self._left: Counter[str] = Counter()
        self._closing: set[asyncio.Future[None]] = set()
        self._committing = asyncio.Lock()
        self._silence = Silence()
        self._clock: tuple[AIOKafkaConsumer, AIOKafkaProducer] | None = None
        self._failing: asyncio.Future[None] | None = None

    @property
    def counts(self) -> Counter[str]:
        """Totals of all units since the start, those given away included."""
        own: Counter[str] = Counter(self._left)
        for unit in self.units.values():
            own += unit.counts + unit.engine.counts
        return own

    def feed(self, partition: int, offset: int, value: bytes) -> None:
        """Decide a record of the source; one of a partition that is not ours any more is its owner's to decide."""
        unit = self.units.get(partition)
        if unit is None:
            return
        try:
            unit.feed(offset, value)
        except PassedOverError as error:
            crash(error)
        except Exception as error:  # noqa: BLE001 - Faust would take the record for done
            self._fail(partition, error)

    async def let_time_go_on(self) -> None:
        """Write a batch without messages where all collectors have been silent for long; call each second."""
        quiet = self._silence.quiet({number: unit.heard for number, unit in self.units.items()})
        if quiet:
            try:
                async with asyncio.timeout(UNBROKEN_S):
                    await self._let_time_go_on(quiet)
            except TopicAuthorizationFailedError as error:  # it will not pass, and calls would never end
                crash(error)
            except (KafkaError, TimeoutError):  # Kafka is away: nothing was seen, and that is no silence
                return

    async def _let_time_go_on(self, quiet: list[int]) -> None:
        source = self._names["sip-transactions"]
        asking, telling = await self._clock_clients()
        where = [TopicPartition(source, partition) for partition in quiet]
        ends = await asking.end_offsets(where)
        now_s, tick = time.monotonic(), CaptureBatch("", 0, 0, time.time_ns() // 1_000_000)
        for partition, end in ((each.partition, end) for each, end in ends.items()):
            unit = self.units.get(partition)
            if unit is not None and self._silence.looked(partition, now_s, empty=end <= unit.next):
                await telling.send_and_wait(source, encode_batch(tick), partition=partition)

    async def _clock_clients(self) -> tuple[AIOKafkaConsumer, AIOKafkaProducer]:
        if self._clock is None:
            asking = AIOKafkaConsumer(**self._connection, enable_auto_commit=False)
            telling = AIOKafkaProducer(**self._connection, enable_idempotence=True, linger_ms=0)
            try:
                await asking.start()
                await telling.start()
            except BaseException:
                await asking.stop()
                await telling.stop()
                raise
            self._clock = asking, telling
        return self._clock

    async def take_over(self, assigned: set[int]) -> None:
        """Give away what is not ours any more; fence and load what is new."""
        self.ready = False
        async with self._committing:  # a transaction that has begun keeps its producer to its end
            for partition in self.units.keys() - assigned:
                await self._give_away(partition)
            for partition in [number for number, unit in self.units.items() if unit.pending]:
                await self._give_away(partition)
        await asyncio.gather(*(self._load(partition) for partition in sorted(assigned - self.units.keys())))
        self.ready = True

    def positions(self) -> dict[int, int]:
        """Return the next offset of each unit."""
        return {number: unit.next for number, unit in self.units.items()}

    async def commit(self) -> dict[int, int]:
        """Commit each unit that has something, each in a transaction of its own."""
        async with self._committing:
            turns = [
                (number, unit, unit.turn())
                for number, unit in self.units.items()
                if unit.pending and unit.poisoned is None
            ]
            await asyncio.gather(*(self._transaction(number, turn) for number, _, turn in turns))
            for _, unit, turn in turns:
                unit.committed = turn.next
                self._tell(turn)
            return {number: turn.next for number, _, turn in turns}

    def readings(self) -> Iterator[Reading]:
        """Yield how everything stands."""
        now_s = time.time()
        counts = self.counts
        for name in COUNTED:
            counts.setdefault(name, 0)
        yield from (Reading(name, total) for name, total in counts.items())
        yield Reading("missedcall.partitions", len(self.units))
        yield Reading("missedcall.open_calls", sum(unit.engine.open_calls for unit in self.units.values()))
        for number, unit in self.units.items():
            clock_s = unit.engine.clock_ms / 1000
            if clock_s:
                yield Reading("missedcall.behind", max(0.0, now_s - clock_s), {"partition": number})

    def _tell(self, turn: Turn) -> None:
        """Tell what is known to be committed."""
        now_s = time.time()
        for due_at in turn.due_at:
            self._telemetry.record("missedcall.decision.delay", max(0.0, now_s - due_at))
        for one in turn.traced:
            began = one.rang_at or one.decided_at
            self._telemetry.span(
                one.call, "process sip-transactions", began, one.decided_at, one.attributes, root=True
            )
            if one.missed:
                said = {"messaging.system": "kafka"}
                self._telemetry.span(one.call, "send missed-calls", one.decided_at, now_s, said)

    def _fail(self, partition: int, error: Exception) -> None:
        """Note in the state on which record we failed, so that the next life takes care, and end this one."""
        offset = self.units[partition].poisoned
        emit(Event.RECORD_REFUSED, error, topic="sip-transactions", partition=partition, offset=offset or 0)
        self._failing = asyncio.ensure_future(self._note_and_crash(partition, offset, error))

    async def _note_and_crash(self, partition: int, offset: int | None, error: Exception) -> None:
        try:
            async with self._committing, asyncio.timeout(TRANSACTION_MS / 1000):
                producer = self._producers[partition]
                await producer.begin_transaction()
                await producer.send_and_wait(
                    self._names["call-state"], b"%d" % (offset or 0), key=POISON.encode(), partition=partition
                )
                await producer.commit_transaction()
        finally:
            crash(error)

    async def _give_away(self, partition: int) -> None:
        unit = self.units.pop(partition)
        self._left += unit.counts + unit.engine.counts
        self._close(self._producers.pop(partition))

    def _close(self, client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
        """Close a client that has nothing to do any more, beside us: over TLS that takes 30 s as a rule.

        Its connections wait for the broker's own farewell (asyncio's ssl_shutdown_timeout), which does not come.
        """
        closing = asyncio.ensure_future(client.stop())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _load(self, partition: int) -> None:
        began = time.monotonic()
        producer = AIOKafkaProducer(
            **self._connection,
            transactional_id=f"{self._settings.application}-{partition}",
            transaction_timeout_ms=TRANSACTION_MS,
            max_batch_size=BATCH_BYTES,
            linger_ms=0,
        )
        await producer.start()  # fences
        self._producers[partition] = producer
        rows = await self._rows(partition)
        settings = self._settings
        unit = Unit(
            self._policy, self._cut.partitions, rows.items(), settings.source, self._telemetry.sampler
        )
        self.units[partition] = unit
        emit(
            Event.STATE_LOADED,
            partition=partition,
            offset=unit.next,
            open_calls=unit.engine.open_calls,
            records=len(rows),
            load_s=round(time.monotonic() - began, 3),
        )

    async def _rows(self, partition: int) -> dict[str, bytes]:
        """Read a partition of the state to its end: the last value of each key."""
        where = TopicPartition(self._names["call-state"], partition)
        consumer = AIOKafkaConsumer(
            **self._connection,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        rows: dict[str, bytes] = {}
        await consumer.start()
        try:
            consumer.assign([where])
            end = (await consumer.end_offsets([where]))[where]
            await consumer.seek_to_beginning(where)
            while await consumer.position(where) < end:
                for records in (await consumer.getmany(where, timeout_ms=500)).values():
                    for record in records:
                        key = record.key.decode()
                        if record.value is None:
                            rows.pop(key, None)
                        else:
                            rows[key] = record.value
        finally:
            self._close(consumer)
        return rows

    async def _transaction(self, partition: int, turn: Any) -> None:
        producer, names = self._producers[partition], self._names
        began, began_s = time.monotonic(), time.time()
        await producer.begin_transaction()
        sent = [
            await producer.send(
                names[one.topic], one.value, key=one.key.encode("utf-8", "replace"), headers=one.headers
            )
            for one in turn.publications
        ]
        sent += await _send_rows(producer, TopicPartition(names["call-state"], partition), turn.rows)
        await producer.send_offsets_to_transaction(
            {TopicPartition(names["sip-transactions"], partition): OffsetAndMetadata(turn.next, "")},
            self._group,
        )
        await asyncio.gather(*sent)
        await producer.commit_transaction()
        took_s = time.monotonic() - began
        self._telemetry.record("missedcall.commit.duration", took_s)
        self._telemetry.batch(
            "settle sip-transactions",
            began_s,
            began_s + took_s,
            {
                "messaging.system": "kafka",
                "messaging.destination.partition.id": str(partition),
                "messaging.batch.message_count": turn.next - self.units[partition].committed,
                "missedcall.published": len(turn.publications),
                "missedcall.rows": len(turn.rows),
            },
            calls=dict.fromkeys(one.call for one in turn.traced),
        )


async def _send_rows(
    producer: AIOKafkaProducer, where: TopicPartition, rows: Iterable[tuple[str, bytes | None]]
) -> list[asyncio.Future[Any]]:
    """Send state rows; return the futures of their batches.

    In batches of our own: for a record by itself the producer makes a future and looks up the topic.
    """
    sent = []
    batch = producer.create_batch()
    for key, row in rows:
        name = key.encode("utf-8", "surrogatepass")
        if batch.append(timestamp=None, key=name, value=row) is None:  # it is full, and holds something
            sent.append(await producer.send_batch(batch, where.topic, partition=where.partition))
            batch = producer.create_batch()
            batch.append(timestamp=None, key=name, value=row)
    sent.append(await producer.send_batch(batch, where.topic, partition=where.partition))
    return sent
