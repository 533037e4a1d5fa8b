"""SipMessages to CaptureBatches: the unit that is numbered, stored and committed.

Rule 1: a batch has one partition; its number is one more than that of the partition's batch before it.
Rule 2: the clock in a batch is never before a `received_ms` in it, and never goes back.
Rule 3: messages stay in the order in which they were added.
Rule 4: a message whose key has two users is in the batches of both their partitions.
Rule 5: a partition that has nothing to say says so: an empty batch each `tick_ms` moves its clock on.
"""

from typing import Final, TypeAlias

from missedcall_common.placing import heirs, partitions_of
from missedcall_schemas.records import CaptureBatch, SipMessage

MAX_MESSAGES: Final = 500
"""Fewer: the cost per record shows. More: nothing gained, and a transaction that takes longer to repeat."""

MAX_BYTES: Final = 524_288
"""Below Kafka's default `max.request.size` of 1 MiB, with room for one more message of the largest size."""

LINGER_MS: Final = 100
"""How long a message waits for company. Less: more batches, each of which costs Kafka's client as much time as 30
messages take in all, and the sockets wait for it. More: the notice comes later."""

TICK_MS: Final = 1_000
"""How long a partition may be silent. Less: more empty records. More: calls end later on quiet partitions."""

_OVERHEAD: Final = 256  # bytes of a record beside its head, about

Batch: TypeAlias = tuple[int, CaptureBatch]
"""A partition and its batch."""


class Batcher:
    """One collector's numbering, for all partitions.

    Call `add` for each message or `add_all`, `due` several times in `LINGER_MS`, and `flush` at the end; publish
    what they return, in that order.
    """

    def __init__(
        self,
        collector: str,
        incarnation: int,
        partitions: int = 1,
        *,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        linger_ms: int = LINGER_MS,
        tick_ms: int = TICK_MS,
    ) -> None:
        self._collector = collector
        self._incarnation = incarnation
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._linger_ms = linger_ms
        self._tick_ms = tick_ms
        self._open = [_Open() for _ in range(partitions)]
        self._clock_ms = 0
        self.doubled = 0
        """Messages that are in the batches of two partitions."""

    @property
    def clock_ms(self) -> int:
        """The latest time seen, milliseconds since the epoch."""
        return self._clock_ms

    def add(self, message: SipMessage, now_ms: int) -> list[Batch]:
        """Take a message; return the batch that it completes, or that had waited long enough before it."""
        return self.add_all([message], now_ms)

    def add_all(self, messages: list[SipMessage], now_ms: int) -> list[Batch]:
        """Take messages; return what `add` of each would return."""
        closed: list[Batch] = []
        for message in messages:
            if message.received_ms > now_ms:
                now_ms = message.received_ms
            if now_ms > self._clock_ms:
                self._clock_ms = now_ms
            if len(self._open) == 1:
                self._take(message, 0, closed)
            else:
                numbers = partitions_of(message.key, len(self._open))
                self.doubled += len(numbers) - 1
                for number in numbers:
                    self._take(message, number, closed)
        return closed

    def _take(self, message: SipMessage, number: int, closed: list[Batch]) -> None:
        batch = self._open[number]
        size = len(message.head) + _OVERHEAD
        if batch.messages and (
            self._clock_ms - batch.since_ms >= self._linger_ms or batch.bytes + size > self._max_bytes
        ):
            closed.append(self._close(number))
        if not batch.messages:
            batch.since_ms = self._clock_ms
        batch.messages.append(message)
        batch.bytes += size
        if len(batch.messages) >= self._max_messages:
            closed.append(self._close(number))

    def due(self, now_ms: int) -> list[Batch]:
        """Return the batches that have waited long enough, and a tick for each partition that was silent."""
        self._clock_ms = clock = max(self._clock_ms, now_ms)
        return [
            self._close(number)
            for number, batch in enumerate(self._open)
            if clock - batch.closed_ms >= self._tick_ms
            or (batch.messages and clock - batch.since_ms >= self._linger_ms)
        ]

    def flush(self, now_ms: int) -> list[Batch]:
        """Return every batch that has messages."""
        self._clock_ms = max(self._clock_ms, now_ms)
        return [self._close(number) for number, batch in enumerate(self._open) if batch.messages]

    @property
    def partitions(self) -> int:
        """How many there are."""
        return len(self._open)

    def cut_into(self, partitions: int) -> None:
        """Go on with more partitions, each with the numbers of the one whose heir it is. Call `flush` before.

        Raises:
            ValueError: it is no multiple of what there were.
        """
        before = self._open
        self._open = [_Open() for _ in range(partitions)]
        for number, batch in enumerate(before):
            for heir in heirs(number, len(before), partitions):
                self._open[heir].sequence = batch.sequence
                self._open[heir].closed_ms = batch.closed_ms

    def _close(self, number: int) -> Batch:
        batch = self._open[number]
        record = CaptureBatch(
            self._collector, self._incarnation, batch.sequence, self._clock_ms, tuple(batch.messages)
        )
        batch.sequence += 1
        batch.messages = []
        batch.bytes = 0
        batch.closed_ms = self._clock_ms
        return number, record


class _Open:
    """The batch of one partition that is being filled."""

    __slots__ = ("bytes", "closed_ms", "messages", "sequence", "since_ms")

    def __init__(self) -> None:
        self.messages: list[SipMessage] = []
        self.bytes = 0
        self.sequence = 0
        self.since_ms = 0
        self.closed_ms = 0
