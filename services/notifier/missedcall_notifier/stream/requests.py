"""The topic `notify-redrive`, followed by a thread: every worker reads all of it, it is small.

Rule 1: nothing depends on when a request is read, or how often: the ledger of the delivery decides.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from missedcall_common.kafka.client import KafkaUnusableError
from missedcall_common.runtime.events import Event, emit

from .letters import LetterError, Request, read_request

POLL_MS = 1_000
"""Longest wait before we look whether to stop."""
RETRY_S = 5.0
CONNECT_MS = 10_000
LEAVE_MS = 1_000


class Requests:
    """One thread."""

    def __init__(
        self, connection: Mapping[str, Any], topic: str, channel: str, hear: Callable[[Request], None]
    ) -> None:
        """Prepare.

        Args:
            connection: arguments that all clients have in common.
            topic: full name.
            channel: whose requests to hear.
            hear: told of each request, on this thread.
        """
        self._connection = connection
        self._topic = topic
        self._channel = channel
        self._hear = hear
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="requests", daemon=True)

    def start(self) -> None:
        """Follow from now on, from the first request that Kafka has kept."""
        self._thread.start()

    def stop(self) -> None:
        """End; blocks."""
        self._stopping.set()
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
                emit(Event.KAFKA_FAILED, error, detail=f"topic {self._topic} may not be read: docs/rights.md")
                self._stopping.wait(RETRY_S)
            except (KafkaError, KafkaUnusableError, OSError, RuntimeError, ValueError):
                self._stopping.wait(RETRY_S)  # the others say that Kafka is away
            finally:
                if consumer is not None:
                    with suppress(KafkaError, OSError, RuntimeError, ValueError):
                        consumer.close(autocommit=False, timeout_ms=LEAVE_MS)

    def _follow(self, consumer: Any) -> None:
        parts = [
            TopicPartition(self._topic, part) for part in consumer.partitions_for_topic(self._topic) or ()
        ]
        if not parts:
            self._stopping.wait(RETRY_S)
            return
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        while not self._stopping.is_set():
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                for record in records:
                    try:
                        request = read_request(record.value or b"")
                    except LetterError as error:
                        emit(Event.RECORD_REFUSED, error, topic="notify-redrive", offset=record.offset)
                        continue
                    if request.channel == self._channel:
                        self._hear(request)
