"""All TCP connections of a capture: from segments to SIP messages and HEP frames.

Rule 1: what a stream carries is told by its content, not by its port.
Rule 2: memory is bounded in all, not per connection: the connection unused for longest gives way.
Rule 3: a stream that cannot be read is given up once and costs nothing more; `tls` and `not-sip` count them.
"""

import struct
from collections import Counter
from typing import Final, TypeAlias

from .address import endpoint
from .hep_stream import GZIP, HepStream
from .sip_stream import SipStream
from .tcp import GAP, Direction
from .websocket import WebSocketError, WebSocketStream, opens

Completed: TypeAlias = tuple[str, str, str, bytes]
"""Sender and receiver (`host:port`), what the message or frame came over (`tcp`, `ws`), and its bytes."""

MAX_STREAMS = 16_384
"""Directions kept. Fewer: a SIP trunk quiet behind a port scan starts anew in the middle. More: 1 kB each."""

MAX_BYTES = 1 << 26
"""Bytes that all incomplete messages and early segments may take."""

_Framer: TypeAlias = SipStream | HepStream | WebSocketStream

_FRUITLESS: Final = 65_536  # bytes without any SIP message after which a stream is something else

_HEADER: Final = struct.Struct("!HHI4xH").unpack_from  # ports, sequence number, data offset and flags
_FIN: Final = 1
_SYN: Final = 2
_RST: Final = 4
_TLS: Final = frozenset({20, 21, 22, 23})  # record types, followed by version 3.x: RFC 8446 s.5.1


class _Stream:
    """One direction: its order, and what cuts it into messages; None once it is given up."""

    __slots__ = ("bytes", "decided", "direction", "dst", "framer", "src", "transport")

    def __init__(self, src: str, dst: str) -> None:
        self.src = src
        self.dst = dst
        self.direction = Direction()
        self.framer: _Framer | None = SipStream()
        self.transport = "tcp"
        self.decided = False
        self.bytes = 0

    @property
    def pending(self) -> int:
        return self.direction.held_bytes + (self.framer.pending if self.framer else 0)


class Streams:
    """The TCP side of one capture."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        # By both addresses and both ports, as they stand in the packets.
        self._streams: dict[bytes, _Stream] = {}
        self._bytes = 0

    def segment(self, source: bytes, destination: bytes, tcp: bytes, now_ms: int) -> list[Completed]:
        """Return the SIP messages and HEP frames that this segment completes, and where each belongs."""
        if len(tcp) < 20:
            return []
        source_port: int
        destination_port: int
        sequence: int
        bits: int
        source_port, destination_port, sequence, bits = _HEADER(tcp)
        data = tcp[(bits >> 12) * 4 :]
        if not data and not bits & (_FIN | _SYN | _RST):
            return []
        key = source + destination + tcp[:4]
        stream = self._streams.pop(key, None)
        if stream is None:
            stream = _Stream(endpoint(source, source_port), endpoint(destination, destination_port))
        self._streams[key] = stream  # put last: used last
        out: list[Completed] = []
        for piece in stream.direction.receive(sequence, data, now_ms, bool(bits & _SYN)):
            for message in self._messages(stream, piece):
                out.append((stream.src, stream.dst, stream.transport, message))
        self._bytes -= stream.bytes
        stream.bytes = stream.pending
        self._bytes += stream.bytes
        if bits & (_FIN | _RST) and not stream.direction.held_bytes:
            out += self._close(key)
        while len(self._streams) > MAX_STREAMS or self._bytes > MAX_BYTES:
            self._counts["limit"] += 1
            out += self._close(next(iter(self._streams)))
        return out

    def close(self) -> list[Completed]:
        """Return what the end of the capture leaves incomplete but readable."""
        out: list[Completed] = []
        while self._streams:
            out += self._close(next(iter(self._streams)))
        return out

    def _close(self, key: bytes) -> list[Completed]:
        stream = self._streams.pop(key)
        self._bytes -= stream.bytes
        messages = [m for piece in stream.direction.close() for m in self._messages(stream, piece)]
        if stream.framer is not None:
            messages += stream.framer.gap()
        return [(stream.src, stream.dst, stream.transport, message) for message in messages]

    def _messages(self, stream: _Stream, piece: bytes | None) -> list[bytes]:
        """Return the messages that a piece of the stream, or a gap in it, completes."""
        if stream.framer is None:
            return []
        if piece is GAP:
            self._counts["tcp-gap"] += 1
            return stream.framer.gap()
        if not stream.decided:
            if piece[1:2] == b"\3" and piece[0] in _TLS:
                self._counts["tls"] += 1
                stream.framer = None
                return []
            if b"HEP3" in piece or b"EEP3" in piece or piece.startswith(GZIP):
                stream.framer = HepStream()
                stream.decided = True
            elif opens(piece):
                stream.framer = WebSocketStream(piece)
                stream.transport = "ws"
                stream.decided = True
        before = _losses(stream.framer)
        try:
            messages = stream.framer.feed(piece)
        except WebSocketError:
            self._counts["not-sip"] += 1
            stream.framer = None
            return []
        if stream.decided:  # else it began in the middle, or is something else
            self._lost(stream.framer, _losses(stream.framer) - before)
        if messages:
            stream.decided = True
        elif (
            not stream.decided
            and isinstance(stream.framer, SipStream)
            and stream.framer.fruitless > _FRUITLESS
        ):
            self._counts["not-sip"] += 1
            stream.framer = None
        return messages

    def _lost(self, framer: _Framer, times: int) -> None:
        if not times:
            return
        if isinstance(framer, SipStream):
            self._counts["malformed-sip"] += times
        elif isinstance(framer, HepStream):
            self._counts["malformed-hep"] += times
        else:
            self._counts["compressed"] += times


def _losses(framer: _Framer) -> int:
    """Return how often a framer came upon what it could not read."""
    return framer.compressed if isinstance(framer, WebSocketStream) else framer.resyncs
