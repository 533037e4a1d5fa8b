"""Topics that every worker reads from their beginnings and then on: a thread, whatever becomes of its client."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from missedcall_common.kafka.client import KafkaUnusableError
from missedcall_common.runtime.events import Event, emit

POLL_MS = 500
"""Longest wait before we look whether to stop."""
RETRY_S = 5.0
CONNECT_MS = 10_000
LEAVE_MS = 1_000


class Reader(Protocol):
    """Who is told, on the thread."""

    def hear(self, record: Any) -> None:
        """Take a record of kafka-python."""

    def went_round(self, *, complete: bool) -> None:
        """Hear that a poll is over; whether what was there at the beginning has been read."""


class Follower:
    """One thread, one client at a time."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        topics: Sequence[str],
        read: Callable[[], Reader],
        thread: str,
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            connection: arguments that all clients have in common.
            topics: full names.
            read: called for each client; its reader hears of everything from the beginnings.
            thread: its name.
        """
        self._connection = connection
        self._topics = topics
        self._read = read
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=thread, daemon=True)

    def start(self) -> None:
        """Follow from now on."""
        self._thread.start()

    def end(self) -> None:
        """Have it end soon."""
        self._stopping.set()

    def stop(self) -> None:
        """End; blocks."""
        self.end()
        self._thread.join()

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
                named = ", ".join(self._topics)
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
            TopicPartition(topic, part)
            for topic in self._topics
            for part in consumer.partitions_for_topic(topic) or ()
        ]
        if {part.topic for part in parts} != set(self._topics):
            self._stopping.wait(RETRY_S)
            return
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        ends = consumer.end_offsets(parts)
        reader, complete = self._read(), False
        while not self._stopping.is_set():
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                for record in records:
                    reader.hear(record)
            complete = complete or all((consumer.position(part) or 0) >= end for part, end in ends.items())
            reader.went_round(complete=complete)
