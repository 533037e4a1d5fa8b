"""SIP over WebSocket (RFC 7118) in one direction of a captured TCP connection: from frames to messages.

Rule 1: one WebSocket message is one SIP message (RFC 7118 s.5); control frames are skipped.
Rule 2: what was lost cannot be searched for, because clients mask what they send: reading goes on where a segment
        begins with a frame of text or bytes.
Rule 3: memory is bounded by the largest message.

Compressed messages (RFC 7692) are skipped and counted: the SIP servers in use do not agree to them.
"""

import re
from typing import Final

from .sip_stream import MAX_BODY, MAX_HEAD

MAX_MESSAGE = MAX_HEAD + MAX_BODY
"""Bytes of a message. Below: as for SIP over TCP. Above: memory per connection."""

MAX_HANDSHAKE: Final = 16_384
"""Bytes of the HTTP request or response that opens it: cookies and tokens are in it. More: memory."""

_MAX_PARTS: Final = 1024  # frames of one message; browsers send one
_OPENS: Final = re.compile(rb"GET [^\r\n]* HTTP/1\.1\r\n|HTTP/1\.1 101[ \r]")
_UPGRADE: Final = re.compile(rb"\nUpgrade[ \t]*:[ \t]*websocket", re.IGNORECASE)
_CONTINUATION: Final = 0
_TEXT: Final = 1
_BINARY: Final = 2
_CLOSE: Final = 8
# a message begins: s.5.2, FIN and opcode, no extension bits
_FIRST: Final = frozenset({0x81, 0x82, 0x01, 0x02})
_SIP: Final = re.compile(rb"SIP/2\.0 |[A-Z]{3,16} [^\r\n]{1,8192} SIP/2\.0\r?\n")


class WebSocketError(ValueError):
    """The stream is not WebSocket."""


def opens(piece: bytes) -> bool:
    """Whether a stream that begins with `piece` opens a WebSocket, or begins in the middle of one with SIP."""
    if _OPENS.match(piece):
        return True
    if not piece or piece[0] not in _FIRST:
        return False
    frame = _frame(piece, 0)
    return frame is not None and _SIP.match(_unmasked(piece, *frame)) is not None


class WebSocketStream:
    """Cuts one direction of a connection into messages."""

    def __init__(self, begin: bytes) -> None:
        """Take the first bytes of the stream, only to see whether there is a handshake; `feed` them as well."""
        self.compressed = 0
        """Messages that were skipped."""
        self._opening = _OPENS.match(begin) is not None
        self._lost = False
        self._buffer = bytearray()
        self._need = 0
        self._parts: list[bytes] | None = None

    @property
    def pending(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer) + sum(map(len, self._parts or ()))

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that `data` completes, in order.

        Raises:
            WebSocketError: it is none.
        """
        if self._lost:
            if data[:1] and data[0] in _FIRST:
                self._lost = False
            else:
                return []
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._need or (self._opening and not self._opened()):
            return []
        messages: list[bytes] = []
        at = self._need = 0
        while (frame := _frame(buffer, at)) is not None:
            begin, stop, _ = frame
            if stop - begin > MAX_MESSAGE:
                raise WebSocketError(f"a frame of {stop - begin} bytes")
            if stop > len(buffer):
                self._need = stop - at
                break
            self._take(buffer[at], _unmasked(buffer, *frame), messages)
            at = stop
        del buffer[:at]
        return messages

    def gap(self) -> list[bytes]:
        """Call where bytes are missing, or at the end: the incomplete message is dropped. Returns none."""
        self._buffer.clear()
        self._need = 0
        self._parts = None
        self._lost = True
        self._opening = False
        return []

    def _opened(self) -> bool:
        """Remove the handshake, if it is complete."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HANDSHAKE:
                raise WebSocketError("a handshake without end")
            return False
        if not _UPGRADE.search(self._buffer, 0, end):
            raise WebSocketError("HTTP")
        del self._buffer[: end + 4]
        self._opening = False
        return True

    def _take(self, first: int, payload: bytes, messages: list[bytes]) -> None:
        """Take a frame's payload; add the message that it ends, if it does."""
        opcode = first & 0x0F
        if first & 0x30 or opcode > 10 or _BINARY < opcode < _CLOSE:
            raise WebSocketError(f"reserved bits in {first:#04x}")
        if opcode >= _CLOSE:
            return
        if opcode != _CONTINUATION:
            self._parts = None if first & 0x40 else []
            self.compressed += first >> 6 & 1
        if self._parts is None:  # compressed, or the rest of what was lost
            return
        if payload or not self._parts:
            self._parts.append(payload)
        if sum(map(len, self._parts)) > MAX_MESSAGE or len(self._parts) > _MAX_PARTS:
            raise WebSocketError("a message without end")
        if first & 0x80:
            messages.append(b"".join(self._parts))
            self._parts = None


def _frame(data: bytes | bytearray, at: int) -> tuple[int, int, bytes] | None:
    """Return where the payload of the frame at `at` begins and ends, and its mask; None if that is not there."""
    if len(data) - at < 2:
        return None
    size = data[at + 1] & 0x7F
    begin = at + 2
    if size >= 126:  # RFC 6455 s.5.2: the length follows in 2 or 8 bytes
        begin += 2 if size == 126 else 8
        size = int.from_bytes(data[at + 2 : begin], "big")
    mask = b""
    if data[at + 1] & 0x80:
        mask = bytes(data[begin : begin + 4])
        begin += 4
    return (begin, begin + size, mask) if begin <= len(data) else None


def _unmasked(data: bytes | bytearray, begin: int, stop: int, mask: bytes) -> bytes:
    """Return `data[begin:stop]` without its mask (s.5.3)."""
    payload = bytes(data[begin:stop])
    if not mask or not payload:
        return payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
