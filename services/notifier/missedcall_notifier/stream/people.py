"""People from the topics `directory` and `preferences`, followed by a thread: every worker reads all of both.

Rule 1: nothing is delivered before both have been read to their end once: a notice without its reader's language
        cannot be taken back.
Rule 2: afterwards nothing waits for Kafka: what was read last holds while it is away.
"""

import asyncio
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from missedcall_common.kafka.client import KafkaUnusableError
from missedcall_common.runtime.events import Event, emit
from missedcall_notifier.people.files import FilePeople
from missedcall_notifier.people.log import PeopleLog, RecordError
from missedcall_notifier.people.port import People
from missedcall_notifier.settings import PeopleSettings

POLL_MS = 500
"""Longest wait before we look whether to stop."""
REBUILD_S = 5.0
"""Between two times that changes are taken over. Less: of 50,000 persons each takes seconds of a core. More: a
change counts that much later."""
RETRY_S = 5.0
LOOK_S = 0.1
CONNECT_MS = 10_000
LEAVE_MS = 1_000


class TopicPeople:
    """One thread."""

    def __init__(
        self, settings: PeopleSettings, connection: Mapping[str, Any], names: Mapping[str, str]
    ) -> None:
        """Prepare.

        Args:
            settings: the region; the file with the choices of groups and everybody.
            connection: arguments that all clients have in common.
            names: DIRECTORY and PREFERENCES by their full names.

        Raises:
            SettingsError: the file is wrong.
        """
        self._region = settings.region
        self._files = FilePeople(settings)
        self._connection = connection
        self._names = names
        self._people = self._files.snapshot()
        self._loaded = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="people", daemon=True)

    def snapshot(self) -> People:
        """Return what was last read."""
        return self._people

    async def load(self, stopping: asyncio.Event) -> None:
        """Return when both topics have been read to their end, or we are told to stop."""
        self._thread.start()
        while not self._loaded.is_set() and not stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await stopping.wait()

    async def follow(self, stopping: asyncio.Event) -> None:
        """Follow the file, too, until told to stop; then end the thread."""
        await self._files.follow(stopping)
        self._stopping.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            consumer = None
            try:
                consumer = KafkaConsumer(
                    **self._connection,
                    isolation_level="read_committed",
                    auto_offset_reset="earliest",
                    enable_auto_commit=False,
                    bootstrap_timeout_ms=CONNECT_MS,
                    metrics_enabled=False,
                )
                self._follow(consumer)
            except TopicAuthorizationFailedError as error:
                named = ", ".join(self._names)
                emit(Event.KAFKA_FAILED, error, detail=f"topics {named}: may not be read: docs/rights.md")
                self._stopping.wait(RETRY_S)
            except (KafkaError, KafkaUnusableError, OSError, RuntimeError, ValueError):
                self._stopping.wait(RETRY_S)  # the others say that Kafka is away
            finally:
                if consumer is not None:
                    with suppress(KafkaError, OSError, RuntimeError, ValueError):
                        consumer.close(autocommit=False, timeout_ms=LEAVE_MS)

    def _follow(self, consumer: Any) -> None:
        parts = [
            TopicPartition(name, part)
            for name in self._names
            for part in consumer.partitions_for_topic(name) or ()
        ]
        if {part.topic for part in parts} != set(self._names):
            self._stopping.wait(RETRY_S)
            return
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        ends = consumer.end_offsets(parts)
        log, wishes = PeopleLog(), None
        changed, complete, rebuild_at = True, False, 0.0
        while not self._stopping.is_set():
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                for record in records:
                    changed = True
                    self._hear(log, record)
            complete = complete or all((consumer.position(part) or 0) >= end for part, end in ends.items())
            given = self._files.snapshot().wishes
            if complete and (changed or given is not wishes) and time.monotonic() >= rebuild_at:
                self._people = log.people(self._region, given)
                emit(Event.DIRECTORY_LOADED, record="topics", records=len(self._people.directory))
                changed, wishes, rebuild_at = False, given, time.monotonic() + REBUILD_S
                self._loaded.set()

    def _hear(self, log: PeopleLog, record: Any) -> None:
        topic = self._names[record.topic]
        try:
            log.hear(topic, record.key, record.value)
        except RecordError as error:
            emit(
                Event.RECORD_REFUSED,
                topic=topic,
                partition=record.partition,
                offset=record.offset,
                detail=str(error),
            )
