"""Our place in the consumer group of a channel: a thread that takes part, reads facts and hands them over.

Rule 1: the thread does nothing that takes long: heartbeats go on however slow a channel is. While partitions are
        given up it waits in the client's own way, which lets heartbeats through.
Rule 2: where a partition is read from is the journal's to say: it stands still until it is told.
Rule 3: what goes wrong with the client ends the client and not the service: our partitions are lost, and a new
        client asks for some.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    KafkaError,
    UnknownTopicOrPartitionError,
)

from missedcall_common.kafka.client import KafkaUnusableError
from missedcall_common.kafka.rights import may_not
from missedcall_common.runtime.events import Event, emit

POLL_MS = 50
"""Longest wait for facts before we look what we are told. Less: work for nothing. More: a partition that was loaded
begins that much later."""
POLL_RECORDS = 500
COMMIT_S = 5.0
"""Between two notes of our positions in the group, where operators and autoscalers look; nothing depends on it."""
REBALANCE_S = 60.0
"""For others to take part when partitions are shared out anew, besides the time that deliveries may take to end."""
CONNECT_MS = 10_000
REQUEST_MS = 30_000
RETRY_S = 1.0
LEAVE_MS = 3_000
LEAVING_S = 0.02


class Fact(NamedTuple):
    """A record of a partition."""

    offset: int
    value: bytes | None


class Owner(Protocol):
    """Who is told, on this thread."""

    def came(self, parts: set[int]) -> None:
        """Take partitions up; each waits for `read_from`."""

    def left(self, parts: set[int], *, lost: bool) -> threading.Event:
        """Give partitions up; return what is set when that is done. `lost`: others have them already."""

    def heard(self, part: int, run: int, facts: Sequence[Fact]) -> None:
        """Take facts; `run` is that of the last `read_from`."""

    def positions_durable(self) -> Mapping[int, int]:
        """Return up to where the facts of each partition are durable intents."""


class Place(NamedTuple):
    """Where we belong."""

    topic: str
    group: str
    worker: str
    """Our name in the group; "" for none."""
    session_s: float
    stop_s: float


class Membership:
    """One thread, one client at a time."""

    def __init__(self, connection: Mapping[str, Any], place: Place, owner: Owner) -> None:
        """Prepare; nothing is connected."""
        self.alive_at = time.monotonic()
        """When the thread last went round."""
        self.joined = False
        """Whether we have our share of the partitions; that may be none."""
        self.failed: BaseException | None = None
        """Why it cannot go on, if so; it has ended then."""
        self._connection = connection
        self._place = place
        self._owner = owner
        self._told: queue.SimpleQueue[Callable[[Any], None]] = queue.SimpleQueue()
        self._runs: dict[int, int] = {}
        self._ours: set[int] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="membership", daemon=True)
        self._lost_at: float | None = None

    def start(self) -> None:
        """Take part from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Give everything up and leave; blocks."""
        self._stopping.set()
        self._thread.join()

    def read_from(self, part: int, offset: int, run: int) -> None:
        """Begin to read a partition of ours at an offset; what is heard from now on bears this run."""

        def begin(consumer: Any) -> None:
            where = TopicPartition(self._place.topic, part)
            if part in self._ours and where in consumer.assignment():
                consumer.seek(where, offset)
                consumer.resume(where)
                self._runs[part] = run

        self._told.put(begin)

    def pause(self, part: int, *, paused: bool) -> None:
        """Read no more of a partition, or read on."""

        def change(consumer: Any) -> None:
            where = TopicPartition(self._place.topic, part)
            if part in self._runs and where in consumer.assignment():
                (consumer.pause if paused else consumer.resume)(where)

        self._told.put(change)

    # -- the thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping.is_set():
            self.alive_at = time.monotonic()
            consumer = None
            try:
                consumer = self._connect()
                self._take_part(consumer)
            except FencedInstanceIdError as error:  # another of our name: two of us would go on for ever
                self.failed = error
                self._stopping.set()
            except (KafkaError, KafkaUnusableError, OSError, RuntimeError, ValueError) as error:
                self._say_lost(error)
                self._stopping.wait(RETRY_S)
            except BaseException as error:  # noqa: BLE001 - whoever waits for us learns it
                self.failed = error
                self._stopping.set()
            finally:
                self._end(consumer)

    def _connect(self) -> Any:
        place = self._place
        consumer = KafkaConsumer(
            **self._connection,
            group_id=place.group,
            group_instance_id=place.worker or None,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            partition_assignment_strategy=[CooperativeStickyAssignor],
            session_timeout_ms=int(place.session_s * 1000),
            heartbeat_interval_ms=int(place.session_s * 1000 / 4),
            max_poll_interval_ms=int((REBALANCE_S + 2 * place.stop_s) * 1000),
            request_timeout_ms=REQUEST_MS,
            bootstrap_timeout_ms=CONNECT_MS,
            max_poll_records=POLL_RECORDS,
            metrics_enabled=False,
        )
        consumer.subscribe([place.topic], listener=_Listener(self, consumer))
        # Who shares the partitions out and does not know the topic yet gives nobody any, and does not look again.
        if not consumer.partitions_for_topic(place.topic):
            consumer.close(autocommit=False, timeout_ms=LEAVE_MS)
            raise UnknownTopicOrPartitionError(place.topic)
        return consumer

    def _take_part(self, consumer: Any) -> None:
        commit_at = time.monotonic() + COMMIT_S
        while not self._stopping.is_set():
            self.alive_at = time.monotonic()
            with suppress(queue.Empty):
                while True:
                    self._told.get_nowait()(consumer)
            _make_room(consumer)
            records_by_part = consumer.poll(timeout_ms=POLL_MS)
            self.joined = consumer.group_metadata().generation_id > 0
            for where, records in records_by_part.items():
                run = self._runs.get(where.partition)
                if run is not None:
                    facts = [Fact(record.offset, record.value) for record in records]
                    self._owner.heard(where.partition, run, facts)
            if time.monotonic() >= commit_at:
                commit_at = time.monotonic() + COMMIT_S
                consumer.commit_async(self._offsets())

    def _offsets(self) -> dict[Any, Any]:
        topic = self._place.topic
        return {
            TopicPartition(topic, part): OffsetAndMetadata(position, "", -1)
            for part, position in self._owner.positions_durable().items()
            if part in self._ours and position
        }

    def _end(self, consumer: Any) -> None:
        """Leave the group in order if that can be, and own nothing in any case."""
        self.joined = False
        if consumer is not None:
            with suppress(KafkaError, OSError, RuntimeError, ValueError):
                if self._stopping.is_set() and self.failed is None and (offsets := self._offsets()):
                    consumer.commit(offsets, timeout_ms=LEAVE_MS)
            with suppress(KafkaError, OSError, RuntimeError, ValueError):
                consumer.close(autocommit=False, timeout_ms=LEAVE_MS)
        if self._ours:
            parts, self._ours = self._ours, set()
            self._owner.left(parts, lost=True).wait()
        self._runs.clear()

    def _say_lost(self, error: BaseException) -> None:
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            place = self._place
            detail = f"no facts of {place.topic} are read as group {place.group}"
            if isinstance(error, GroupAuthorizationFailedError):
                detail = may_not(f"group {place.group}", "Read")
            emit(Event.KAFKA_LOST, error, detail=detail)

    # -- called by the listener ----------------------------------------------------------------------

    def assigned(self, consumer: Any, found: set[Any]) -> None:
        """Hear of partitions that are ours from now on."""
        consumer.pause(*found)
        parts = {one.partition for one in found}
        self._ours |= parts
        if self._lost_at is not None:
            emit(Event.KAFKA_REACHED, wait_s=round(time.monotonic() - self._lost_at, 1))
            self._lost_at = None
        self._owner.came(parts)

    def gives_up(self, found: set[Any], *, lost: bool) -> threading.Event:
        """Hear of partitions that are not ours any more; return what is set once nothing of them goes on."""
        parts = {one.partition for one in found}
        self._ours -= parts
        for part in parts:
            self._runs.pop(part, None)
        return self._owner.left(parts, lost=lost)


def _make_room(consumer: Any) -> None:
    """Let the client take up what it put aside of a partition that was paused and is not any more.

    kafka-python 3.0.12 takes it up when it has no records in hand, and counts those as in hand whose last was
    handed out: the partition would stand still until another is paused.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - a test holds it to be there
    in_hand = fetcher._next_partition_records  # noqa: SLF001 - as above
    if in_hand is not None and not in_hand:
        fetcher._next_partition_records = None  # noqa: SLF001 - as above


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Waits without holding up heartbeats."""

    def __init__(self, membership: Membership, consumer: Any) -> None:
        self._membership = membership
        self._consumer = consumer

    async def on_partitions_assigned(self, assigned: set[Any]) -> None:
        self._membership.assigned(self._consumer, assigned)

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        done = self._membership.gives_up(revoked, lost=False)
        while not done.is_set():
            await self._consumer._net.sleep(LEAVING_S)  # noqa: SLF001 - a test holds it to be there

    async def on_partitions_lost(self, lost: set[Any]) -> None:
        self._membership.gives_up(lost, lost=True)
