"""Batches to Kafka: one thread that hands them to the client, and keeps them while Kafka is away.

    offer -> memory -> (disk, if Kafka is away and memory fills) -> under way -> acknowledged

Rule 1: per partition, records reach Kafka in the order in which they were offered, also over the disk, a
        reconnection and a restart.
Rule 2: what is under way is bounded by us, since the client's own buffer has no bound; the client keeps it until
        it is acknowledged, however long that takes, and repeats it by itself (idempotent, acknowledged by all).
Rule 3: a client that fails is replaced, and what it had not delivered is sent again, in order. A record may so
        appear twice, which its sequence number shows. A record that Kafka calls unacceptable is found by sending
        one by one, and dropped.
Rule 4: another partition count than ours ends the service: nothing may be written into the wrong partition.
Rule 5: how the log is cut is looked up with each connection. While it is being changed the log refuses everything,
        and so ends each connection; nothing is sent until it is known how to go on, then in the order of offering.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import count
from operator import itemgetter
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.kafka.cut import first_cut
from missedcall_common.kafka.partitioning import Looked, look
from missedcall_common.kafka.plan import name_of, plan, refusals
from missedcall_common.kafka.rights import lacking
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.kafka.topics import connected
from missedcall_common.runtime.events import Event, emit
from missedcall_schemas.codec import CodecError

from .recut import recut
from .spool import Record, Spool

UNDER_WAY = 16_000_000
"""Bytes handed to the client and not acknowledged, at most. Less: the brokers' answers are waited for. More:
memory."""
UNDER_WAY_SHARE = 0.25
"""The same as a share of the memory, where that is less."""
SPOOL_SHARE = 0.2
"""Share of the memory from which on the disk is used. Less: short absences touch the disk. More: less room for
the time in which the disk is slow."""
REQUEST_BYTES = 4_000_000
"""Of one request, batches of many partitions. Less: more requests. More: a lost answer repeats more."""
LINGER_MS = 1
"""What is handed over at once goes in one request. More: later, and the client looks once more."""
FOR_EVER_MS = 2**31 - 1
REQUEST_MS = 10_000
"""Without an answer for this long, a broker is asked again. Less: a busy broker is asked twice for everything."""
RECONNECT_MS = 1_000
"""Longest pause between two attempts to reach a broker. More: so much later everything is sent."""
STALL_S = 3.0
"""Nothing acknowledged for this long while something is under way: Kafka is away. It is said, nothing else."""
RETRY_S = 1.0
"""Between two attempts to connect."""
PAUSED_S = 0.3
"""The same while the log is being cut anew. Less: brokers are asked more. More: so much longer everything waits."""
SAY_S = 60.0
"""Between two lines that say so."""
CONNECT_MS = 10_000
"""For one attempt."""
PACE_S = 0.02
"""Between two hand-overs. Whenever it is given something, the client looks at every partition. Less: it does so for
each record, which takes a third of the interpreter's time from the sockets. More: later."""

_UNACCEPTABLE = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError)


class PartitionsChangedError(KafkaUnusableError):
    """The topic is cut into another number of partitions than ours."""


class TopicMissingError(KafkaUnusableError):
    """There is no such topic yet."""


class RightMissingError(KafkaUnusableError):
    """Brokers do not let us do what we have to."""


class PausedError(KafkaUnusableError):
    """The log is being cut anew."""


class _Connected(NamedTuple):
    producer: Any
    looked: Looked


class Sent(NamedTuple):
    """What was handed to the client in one go, and has ended."""

    began_s: float
    """POSIX seconds."""
    ended_s: float
    """When Kafka had acknowledged the last of it, seen within `PACE_S`."""
    records: int
    messages: int
    """SIP messages in them."""
    failure: str
    """Class of the error for which they are sent again; "" if Kafka has them."""


class _Round(NamedTuple):
    last: int
    """Number of the last record."""
    began_s: float
    records: int
    messages: int


class Publisher:
    """One topic, one thread, one client at a time."""

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        memory: int,
        spool: Spool | None,
        *,
        compression: str = "none",
        tell: Callable[[Sent], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            settings: the cluster and how our topics are cut.
            client_id: our name in the brokers' logs and quotas.
            memory: bytes that may wait in memory; more only costs what the owner does about `backlog`.
            spool: the disk, if there is one; closed at the end.
            compression: of what Kafka keeps: `none` or `zstd`.
            tell: is told of everything that was sent; on the publisher's thread.
        """
        self.counts: Counter[str] = Counter()
        """`published` messages and `published-batches`, `spooled` messages, `dropped.refused`, `dropped.unsent`."""
        self.failed: KafkaUnusableError | None = None
        """Why it cannot go on, if so; it has ended then."""
        self.alive_at = time.monotonic()
        """When the thread last went round."""
        self._settings = settings
        self.cut = first_cut(settings)
        """How the log is cut, as far as we know."""
        self._topic = name_of("sip-transactions", settings)
        self._client_id = client_id
        self._compression = None if compression == "none" else compression
        self._spool_from = int(memory * SPOOL_SHARE)
        self._under_way_limit = min(UNDER_WAY, int(memory * UNDER_WAY_SHARE))
        self._spool = spool

        self._memory: deque[Record] = deque()
        self._offered = [0, 0]  # bytes and messages, of the owner's thread
        self._taken = [0, 0]  # the same, of ours; the difference is in memory
        self._again: deque[Record] = deque()
        self._under_way: dict[int, Record] = {}
        self._handed = 0  # bytes, of ours
        self._answered = 0  # bytes, of the client's thread
        self._numbers = count()
        self._tell = tell
        self._rounds: deque[_Round] = deque()

        self._producer: Any = None
        self._life = 0
        self._broken: BaseException | None = None
        self._one_by_one = False
        self._blamed = False  # the first of `again` is what Kafka refused, if it was not the whole log
        self._looked_at = -1
        self._paused_at: float | None = None
        self._say_paused_at = 0.0
        self._connecting: Future[_Connected] | None = None
        self._connect_at = 0.0
        self._asked_at = self._heard_at = time.monotonic()
        self._lost_at: float | None = None

        self._end_at: float | None = None
        self._thread = threading.Thread(target=self._work, name="publisher")

    @property
    def backlog(self) -> int:
        """Bytes in memory that wait to be handed on."""
        return self._offered[0] - self._taken[0]

    @property
    def waiting(self) -> int:
        """Messages that are not acknowledged, wherever they are."""
        under_way = sum(record.messages for record in list(self._under_way.values()))
        again = sum(record.messages for record in list(self._again))
        on_disk = self._spool.messages if self._spool else 0
        return self._offered[1] - self._taken[1] + on_disk + again + under_way

    def start(self) -> None:
        """Connect and publish from now on."""
        self._thread.start()

    def offer(self, partition: int, value: bytes, messages: int, partitions: int = 0) -> None:
        """Take a record; never waits. For one thread.

        Args:
            partition: its own.
            value: of the record.
            messages: how many are in it.
            partitions: how many there were when it was made; 0: those of the settings.
        """
        self._memory.append(Record(partition, value, messages, None, partitions))
        self._offered[0] += len(value)
        self._offered[1] += messages

    def stop(self, patience_s: float) -> None:
        """Publish the rest for as long as that; what is left is put on disk, or counted as `dropped.unsent`."""
        self._end_at = time.monotonic() + patience_s
        self._thread.join()

    def _work(self) -> None:
        try:
            while not self._over():
                self.alive_at = time.monotonic()
                self._stay_connected()
                self._use_disk()
                self._send_some()
                self._tell_of_ended()
                self._say_if_lost()
                time.sleep(PACE_S)
        except KafkaUnusableError as error:
            self.failed = error
        finally:
            self._tell_of_ended()
            self._discard_producer()
            self._keep_rest()

    def _over(self) -> bool:
        if self._end_at is None:
            return False
        away = self._lost_at is not None or self._paused_at is not None
        if away and self._spool is not None:  # waiting would not help, and nothing is lost
            return True
        return self.waiting == 0 or time.monotonic() > self._end_at

    # -- the client ----------------------------------------------------------------------------------

    def _stay_connected(self) -> None:
        """See to it that there is a client that works."""
        if self._broken is not None:
            while self._rounds:
                self._tell_of(self._rounds.popleft(), type(self._broken).__name__)
            wait_s = 0.0
            if not isinstance(self._broken, _UNACCEPTABLE):
                emit(Event.KAFKA_FAILED, self._broken)
                wait_s = RETRY_S
            self._discard_producer()
            self._connect_at = time.monotonic() + wait_s
        if self._producer is not None:
            return
        if self._connecting is None and time.monotonic() >= self._connect_at:
            self._connecting = Future()
            # A thread of its own, since it waits; it does not keep the process from ending.
            threading.Thread(target=self._connect, args=(self._connecting,), daemon=True).start()
        if self._connecting is not None and self._connecting.done():
            connecting, self._connecting = self._connecting, None
            self._connect_at = time.monotonic() + RETRY_S
            try:
                self._begin(connecting.result())
            except PartitionsChangedError:
                raise
            except PausedError:
                self._connect_at = time.monotonic() + PAUSED_S
                self._say_paused()
            except (TopicMissingError, RightMissingError) as error:
                self._say_lost(str(error))
            except (KafkaUnusableError, KafkaError) as error:
                self._say_lost("the brokers cannot be reached", error)

    def _begin(self, connected: _Connected) -> None:
        """Go on with a new client."""
        offset, partitioning, there = connected.looked
        if self._blamed and not there:  # then nobody knows whether it is the record or the whole log
            connected.producer.close(timeout=0)
            name = name_of("partitioning", self._settings)
            raise TopicMissingError(f"a record is refused, and topic {name} is missing or may not be read")
        if partitioning.cut.partitions % self.cut.partitions:
            raise PartitionsChangedError(
                f"the log has {partitioning.cut.partitions} partitions, no multiple of {self.cut.partitions}"
            )
        if self._blamed and offset == self._looked_at:
            self._drop(self._again.popleft())
        self._blamed = False
        if offset != self._looked_at:  # it was not a record that was refused
            self._one_by_one = False
        self._looked_at = offset
        if self._paused_at is not None or partitioning.cut != self.cut:
            began, self._paused_at = self._paused_at or time.monotonic(), None
            emit(
                Event.PARTITIONS_RESUMED,
                partitions=partitioning.cut.partitions,
                generation=partitioning.cut.generation,
                wait_s=round(time.monotonic() - began, 1),
            )
        self.cut = partitioning.cut
        self._topic = name_of("sip-transactions", self._settings, self.cut)
        self._producer = connected.producer

    def _connect(self, made: Future[_Connected]) -> None:
        try:
            made.set_result(self._new_producer())
        except BaseException as error:  # noqa: BLE001 - it comes out of the future
            made.set_exception(error)

    def _new_producer(self) -> _Connected:
        looked = look(self._settings, self._client_id)
        cut = looked.partitioning.cut
        if looked.partitioning.held:
            raise PausedError("scale-partitions holds the log")
        topic = name_of("sip-transactions", self._settings, cut)
        with connected(self._settings, self._client_id) as topics:
            found = topics.find([topic, name_of("partitioning", self._settings)])
            if problems := list(map(str, lacking("collector", self._settings, found, cut))):
                raise RightMissingError("; ".join(problems))
            for sentence in refusals(plan(self._settings, cut), found):
                raise PartitionsChangedError(sentence)
            if topic not in found:
                raise TopicMissingError(
                    f"topic {topic} is missing: create it with `python -m missedcall_common.kafka`"
                )
        producer = KafkaProducer(
            **connection(self._settings, self._client_id),
            acks="all",
            compression_type=self._compression,
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            batch_size=REQUEST_BYTES // 8,
            max_request_size=REQUEST_BYTES,
            request_timeout_ms=REQUEST_MS,
            delivery_timeout_ms=FOR_EVER_MS,
            bootstrap_timeout_ms=CONNECT_MS,
            max_block_ms=int(RETRY_S * 1000),
            reconnect_backoff_max_ms=RECONNECT_MS,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        producer.partitions_for(topic)
        return _Connected(producer, looked)

    def _discard_producer(self) -> None:
        """Drop the client; what it had not delivered is to be sent again."""
        self._life += 1
        self._broken = None
        producer, self._producer = self._producer, None
        if producer is not None:
            # close() would wait for deliveries that cannot happen, and then leave its thread behind.
            producer._sender.force_close()  # noqa: SLF001 - a test holds it to be there
            producer._sender.join(RETRY_S)  # noqa: SLF001 - as above
            with suppress(KafkaError):
                producer.close(timeout=0)
        rest = [record for _, record in sorted(self._under_way.items(), key=itemgetter(0))]
        self._under_way.clear()
        self._again.extendleft(reversed(rest))
        self._handed = self._answered = 0

    # -- the way of a record -------------------------------------------------------------------------

    def _send_some(self) -> None:
        """Hand records to the client while it may have more."""
        began_s, last, records, messages = time.time(), 0, 0, 0
        if self._one_by_one and not self._again and not self._under_way:
            self._one_by_one = False
        while self._producer is not None and self._broken is None and self._has_room():
            record = self._next()
            if record is None:
                break
            if (number := self._send(record)) is None:
                break
            last, records, messages = number, records + 1, messages + record.messages
        if records and self._tell is not None:
            self._rounds.append(_Round(last, began_s, records, messages))

    def _tell_of_ended(self) -> None:
        """Tell of the rounds of which nothing is under way any more."""
        if self._tell is not None and self._rounds:
            oldest = next(iter(list(self._under_way)), None)
            while self._rounds and (oldest is None or self._rounds[0].last < oldest):
                self._tell_of(self._rounds.popleft())

    def _tell_of(self, ended: _Round, failure: str = "") -> None:
        if self._tell is not None:
            self._tell(Sent(ended.began_s, time.time(), ended.records, ended.messages, failure))

    def _has_room(self) -> bool:
        if self._one_by_one:
            return not self._under_way
        return self._handed - self._answered < self._under_way_limit

    def _next(self) -> Record | None:
        """Return the next record, for the partitions that there are."""
        while (record := self._front()) is not None:
            made_for = record.partitions or self._settings.partitions
            if made_for == self.cut.partitions:
                return record
            try:
                parts = recut(record.partition, record.value, made_for, self.cut.partitions)
            except (CodecError, ValueError) as error:  # not ours, or for more than there are
                self._drop(record, error)
                continue
            if record.segment is not None:
                record.segment.given += len(parts) - 1
            self._again.extendleft(
                Record(*part, record.segment, self.cut.partitions) for part in reversed(parts)
            )
        return None

    def _front(self) -> Record | None:
        if self._again:
            return self._again.popleft()
        if self._spool is not None and (record := self._spool.read()) is not None:
            return record
        return self._take() if self._memory else None

    def _take(self) -> Record:
        record = self._memory.popleft()
        self._taken[0] += len(record.value)
        self._taken[1] += record.messages
        return record

    def _use_disk(self) -> None:
        """Move what is too much for memory to disk, and give back what disk is free again."""
        if self._spool is None:
            return
        self._spool.sweep()
        while self.backlog > self._spool_from and self._memory:
            if not self._spool.append(self._memory[0]):
                break
            self.counts["spooled"] += self._take().messages

    def _send(self, record: Record) -> int | None:
        """Hand a record to the client; return its number, None if it takes none now."""
        number = next(self._numbers)
        if not self._under_way:
            self._asked_at = time.monotonic()
        self._under_way[number] = record
        self._handed += len(record.value)
        try:
            future = self._producer.send(self._topic, value=record.value, partition=record.partition)
        except KafkaTimeoutError:  # it has forgotten the topic, and no broker tells
            del self._under_way[number]
            self._handed -= len(record.value)
            self._again.appendleft(record)
            return None
        except MessageSizeTooLargeError as error:  # the client's own bound: nothing of it was sent
            del self._under_way[number]
            self._handed -= len(record.value)
            self._drop(record, error)
            return number
        except KafkaError as error:
            self._refused(self._life, error)
            return None
        future.add_callback(partial(self._acknowledged, self._life, number))
        future.add_errback(partial(self._refused, self._life))
        return number

    def _acknowledged(self, life: int, number: int, _: object) -> None:
        """Hear that Kafka has a record; called by the client's thread."""
        if life == self._life and (record := self._under_way.pop(number, None)) is not None:
            self._answered += len(record.value)
            self._heard_at = time.monotonic()
            self.counts["published"] += record.messages
            self.counts["published-batches"] += 1
            if record.segment is not None:
                record.segment.acknowledged += 1

    def _refused(self, life: int, error: BaseException) -> None:
        """Hear that Kafka does not have a record; called by the client's thread."""
        if life != self._life:
            return
        # The client gives the error of one record to all that are under way, and takes none after it.
        if isinstance(error, _UNACCEPTABLE):
            # A log that is being cut anew refuses everything; which it is shows when we connect again.
            self._blamed = len(self._under_way) == 1
            self._one_by_one = True
        self._broken = error

    def _drop(self, record: Record, error: BaseException | None = None) -> None:
        """Give up a record that Kafka will never take."""
        self.counts["dropped.refused"] += record.messages
        if record.segment is not None:
            record.segment.acknowledged += 1
        emit(Event.RECORD_REFUSED, error, topic=self._topic, record="CaptureBatch")

    def _keep_rest(self) -> None:
        if self._spool is None:
            if self.waiting:
                self.counts["dropped.unsent"] += self.waiting
            return
        kept = True
        while self._memory and kept:
            kept = self._spool.append(self._memory[0], bound=False)
            if kept:
                self.counts["spooled"] += self._take().messages
        lost = sum(record.messages for record in self._memory)
        try:
            self._spool.sweep()
            self._spool.put_back(self._again)
        except OSError:
            lost += sum(record.messages for record in self._again)
        if lost:
            self.counts["dropped.unsent"] += lost
        self._spool.close()

    # -- what is said --------------------------------------------------------------------------------

    def _say_paused(self) -> None:
        now = time.monotonic()
        if self._paused_at is None:
            self._paused_at = self._say_paused_at = now
        if now >= self._say_paused_at:
            self._say_paused_at = now + SAY_S
            emit(Event.PARTITIONS_PAUSED, wait_s=round(now - self._paused_at, 1), waiting=self.waiting)

    def _say_if_lost(self) -> None:
        now = time.monotonic()
        if self._lost_at is not None and self._heard_at > self._lost_at:
            emit(Event.KAFKA_REACHED, wait_s=round(now - self._lost_at, 1))
            self._lost_at = None
        elif self._under_way and now - max(self._asked_at, self._heard_at) > STALL_S:
            self._say_lost("nothing is acknowledged")

    def _say_lost(self, detail: str, error: BaseException | None = None) -> None:
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            emit(Event.KAFKA_LOST, error, detail=detail)
