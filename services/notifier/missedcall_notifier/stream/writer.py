"""One partition of the journal on Kafka: taken over, read, written. Blocks: not for an event loop.

Rule 1: the transactional id is the group and the partition, never the worker: taking it fences whoever had the
        partition, and ends what he had begun. Then only is the partition read.
Rule 2: a turn is one transaction. One that fails says nothing about what is in the topic: the partition is taken
        over anew, and read again.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import InvalidProducerEpochError, KafkaError, KafkaTimeoutError, ProducerFencedError

POSITION = b"__position__"
"""Key of the row that says up to where the facts of the partition have become intents: a decimal number."""

TRANSACTION_MS = 30_000
"""A transaction that is open for longer is aborted by Kafka. Less: a busy broker aborts good ones."""
PATIENCE_MS = 30_000
"""For a transaction, and to take a partition over. Less: a broker that restarts makes us read the partition again.
More: the thread is taken for longer."""
REQUEST_MS = 10_000
"""Without an answer for this long, a broker is asked again."""
RETRY_MS = 5
"""Between two questions whether the last transaction is over: the next may begin only then. The client's 100 ms
would be in every notice."""
CONNECT_MS = 10_000
BATCH_BYTES = 262_144
FETCH_BYTES = 4_194_304
CLOSE_S = 2.0


class FencedError(Exception):
    """Another has taken the partition over."""


class Record(NamedTuple):
    """One to be written."""

    topic: str
    key: bytes
    value: bytes | None
    partition: int | None
    """None: by the key."""


class Rows(NamedTuple):
    """What a partition holds."""

    deliveries: list[bytes]
    position: int


class Writer:
    """The partition's one writer, as long as nobody else becomes it."""

    def __init__(self, connection: Mapping[str, Any], transactional_id: str) -> None:
        """Take the partition over.

        Args:
            connection: arguments that all clients have in common.
            transactional_id: of the partition.

        Raises:
            KafkaError: Kafka does not answer, or refuses.
        """
        self._producer = KafkaProducer(
            **connection,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_MS,
            request_timeout_ms=REQUEST_MS,
            delivery_timeout_ms=PATIENCE_MS,
            max_block_ms=PATIENCE_MS,
            bootstrap_timeout_ms=CONNECT_MS,
            retry_backoff_ms=RETRY_MS,
            linger_ms=0,
            batch_size=BATCH_BYTES,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        try:
            self._producer.init_transactions()
        except BaseException:
            self.close()
            raise

    def write(self, records: Sequence[Record]) -> None:
        """Write all or nothing.

        Raises:
            FencedError: somebody else writes now.
            KafkaError: it may be written or not.
        """
        try:
            self._producer.begin_transaction()
            sent = [
                self._producer.send(one.topic, one.value, key=one.key, partition=one.partition)
                for one in records
            ]
            for future in sent:  # the client waits for ever with the end of one that was refused a right
                future.get(PATIENCE_MS / 1000)
            self._producer.commit_transaction()
        except KafkaError as error:
            if _fenced(error):
                raise FencedError from error
            raise

    def close(self) -> None:
        """Write no more; an open transaction stays for whoever takes the partition over."""
        # close() would wait for deliveries that cannot happen, and then leave its thread behind.
        self._producer._sender.force_close()  # noqa: SLF001 - a test holds it to be there
        self._producer._sender.join(CLOSE_S)  # noqa: SLF001 - as above
        with suppress(KafkaError):
            self._producer.close(timeout=0)


def read(connection: Mapping[str, Any], topic: str, partition: int) -> Rows:
    """Return the last row of each key, once whoever wrote them is fenced.

    Raises:
        KafkaError: Kafka does not answer, or refuses.
        ValueError: the position is no number.
    """
    where = TopicPartition(topic, partition)
    consumer = KafkaConsumer(
        **connection,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        request_timeout_ms=REQUEST_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
        metrics_enabled=False,
    )
    rows: dict[bytes, bytes] = {}
    try:
        consumer.assign([where])
        end = consumer.end_offsets([where], timeout_ms=PATIENCE_MS)[where]
        consumer.seek_to_beginning(where)
        heard_at, at = time.monotonic(), -1
        while (now_at := consumer.position(where, timeout_ms=PATIENCE_MS)) < end:
            if now_at > at:
                heard_at, at = time.monotonic(), now_at
            elif time.monotonic() - heard_at > PATIENCE_MS / 1000:
                raise KafkaTimeoutError(f"{topic} is not read to its end")
            for records in consumer.poll(timeout_ms=500, max_records=5_000).values():
                for record in records:
                    if record.value is None:
                        rows.pop(record.key, None)
                    else:
                        rows[record.key] = record.value
    finally:
        consumer.close(autocommit=False, timeout_ms=int(CLOSE_S * 1000))
    position = int(rows.pop(POSITION, b"0"))
    return Rows(list(rows.values()), position)


def _fenced(error: BaseException) -> bool:
    """Whether an error, or one that it carries, says that there is another writer."""
    carried = [one for one in (*error.args, error.__cause__) if isinstance(one, BaseException)]
    return isinstance(error, ProducerFencedError | InvalidProducerEpochError) or any(map(_fenced, carried))
