"""Batches whose messages are read already: what lets reading and deciding run on two processors.

Rule 1: reading a batch here and feeding it read decides exactly what feeding it does.
Rule 2: a response can stand for an INVITE that was not captured. Only who decides knows which calls lack theirs,
        so whatever may be asked for goes along: for each message of a leg of which no INVITE was read lately.
"""

from typing import Any, Final, final

import msgspec

from missedcall_common.sip.message import SipError
from missedcall_schemas.records import CaptureBatch

from .policy import Policy
from .seen import Offer, Seen, repeated_offer, see
from .seen_rows import offer_of, offer_row, pack, unpack

LEGS: Final = 65_536
"""Call-IDs of which an INVITE was read lately, and at most twice as many. Less: more is sent along in vain. More:
memory."""


@final
class ReadBatch:
    """A `CaptureBatch` whose messages were read."""

    __slots__ = (
        "clock_ms", "collector", "hints", "incarnation", "malformed", "noise", "received_ms", "seen", "sequence",
    )  # fmt: skip

    def __init__(self, collector: str, incarnation: int, sequence: int, clock_ms: int) -> None:
        self.collector: Final = collector
        self.incarnation: Final = incarnation
        self.sequence: Final = sequence
        self.clock_ms: Final = clock_ms
        self.seen: list[Seen] = []
        self.received_ms: list[int] = []
        """When each of `seen` was received."""
        self.hints: dict[int, Offer] = {}
        """By its place in `seen`: what a message repeats of an INVITE."""
        self.noise = 0
        """Messages whose method can never matter."""
        self.malformed = 0


@final
class Reader:
    """Reads the batches of one partition, in their order."""

    def __init__(self, policy: Policy) -> None:
        self._headers: tuple[str, ...] = policy.correlation_headers
        self._legs: set[str] = set()
        self._older: set[str] = set()
        """Those before. Two sets, since to forget the oldest one by one costs more with each one forgotten."""

    def read(self, batch: CaptureBatch) -> ReadBatch:
        """Read the messages of a batch."""
        read = ReadBatch(batch.collector, batch.incarnation, batch.sequence, batch.clock_ms)
        legs = self._legs
        for message in batch.messages:
            try:
                seen = see(message, self._headers)
            except SipError:
                read.malformed += 1
                continue
            if seen is None:
                read.noise += 1
                continue
            if seen.offer is not None:
                if seen.method == "INVITE":
                    if len(legs) >= LEGS:
                        self._older, legs = legs, set()
                        self._legs = legs
                    legs.add(seen.call_id)
            elif seen.method in ("INVITE", "CANCEL") and (
                message.correlation_id or not (seen.call_id in legs or seen.call_id in self._older)
            ):
                read.hints[len(read.seen)] = repeated_offer(message)
            read.seen.append(seen)
            read.received_ms.append(message.received_ms)
        return read


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def encode_read(read: ReadBatch) -> bytes:
    """Return the batch as bytes, for a process of the same release on the same machine."""
    return _encode(
        (
            read.collector,
            read.incarnation,
            read.sequence,
            read.clock_ms,
            read.noise,
            read.malformed,
            pack(read.seen),
            read.received_ms,
            {at: offer_row(hint) for at, hint in read.hints.items()},
        )
    )


def decode_read(data: bytes) -> ReadBatch:
    """Return the batch that `encode_read` wrote."""
    row: list[Any] = _decode(data)
    read = ReadBatch(row[0], row[1], row[2], row[3])
    read.noise, read.malformed = row[4], row[5]
    read.seen = unpack(row[6])
    read.received_ms = row[7]
    hints: dict[int, list[Any]] = row[8]
    read.hints = {at: offer_of(hint) for at, hint in hints.items()}
    return read
