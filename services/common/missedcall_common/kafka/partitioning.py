"""The topic `partitioning`: read by whoever writes or reads the log.

Rule 1: reading means to its end. A commit is answered before readers see what it committed, so the writer goes on
only when it has read it back: what it did next, such as the seal, is never met by a reader that does not know why.
"""

from contextlib import suppress
from typing import Any, NamedTuple, Self

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import TopicAuthorizationFailedError

from .client import KafkaUnusableError, connection
from .cut import Partitioning, decode, unscaled
from .plan import name_of
from .rights import may_not
from .settings import KafkaSettings
from .topics import CONNECT_MS, said_simply

POLL_MS = 500
READS = 40
"""Of `POLL_MS` each, for a topic of a handful of records."""


class Looked(NamedTuple):
    """What was found."""

    offset: int
    """Behind the last record: nothing was changed meanwhile if it is the same at another time."""
    partitioning: Partitioning
    there: bool = False
    """Whether the topic is."""


class PartitioningTopic:
    """A connection. Blocks: not for an event loop; for one thread at a time. Use it in a `with`, or `close` it."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        """Prepare; nothing is connected before the first `look`."""
        self._settings = settings
        self._client_id = client_id
        self._where = TopicPartition(name_of("partitioning", settings), 0)
        self._consumer: Any = None
        self._looked = Looked(0, unscaled(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def look(self) -> Looked:
        """Return what holds now. Where the topic is missing, nothing was ever changed.

        Raises:
            KafkaUnusableError: the cluster does not answer or refuses, or the record is not of this deployment.
        """
        try:
            with said_simply():
                self._read()
        except KafkaUnusableError as error:
            self.close()
            if isinstance(error.__cause__, TopicAuthorizationFailedError):
                raise KafkaUnusableError(may_not(f"topic {self._where.topic}", "Read")) from error
            raise
        except BaseException:
            self.close()
            raise
        return self._looked

    def close(self) -> None:
        """Let go of the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _read(self) -> None:
        if self._consumer is None:
            self._consumer = self._connect()
            self._looked = Looked(0, unscaled(self._settings))
        consumer, where = self._consumer, self._where
        if not consumer.assignment():
            with suppress(TopicAuthorizationFailedError):
                if consumer.partitions_for_topic(where.topic):
                    self._looked = self._looked._replace(there=True)
            if not self._looked.there:
                return
            consumer.assign([where])
            consumer.seek_to_beginning(where)
        end = consumer.end_offsets([where])[where]
        for _ in range(READS):
            if consumer.position(where) >= end:
                return
            for record in consumer.poll(timeout_ms=POLL_MS).get(where, ()):
                try:
                    found = decode(record.value, self._settings)
                except ValueError as error:
                    raise KafkaUnusableError(f"topic {where.topic}: {error}") from error
                self._looked = Looked(record.offset + 1, found, there=True)
        raise KafkaUnusableError(f"topic {where.topic} cannot be read to its end")

    def _connect(self) -> Any:
        return KafkaConsumer(
            **connection(self._settings, self._client_id),
            bootstrap_timeout_ms=CONNECT_MS,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )


def look(settings: KafkaSettings, client_id: str) -> Looked:
    """Connect, look once, and let go.

    Raises:
        KafkaUnusableError: as of `PartitioningTopic.look`.
    """
    with PartitioningTopic(settings, client_id) as topic:
        return topic.look()
