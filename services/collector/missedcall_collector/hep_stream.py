"""HEP over TCP and TLS, and in dump files: a stream of version 3 frames, told apart by their length field.

Rule 1: what is not a frame is skipped up to the next magic, and counted: one broken sender, or a connection
        taken over in the middle, costs the frames it breaks and no more.
Rule 2: memory is bounded by one frame and one piece of input, and work by the input's length, however small
        the pieces in which it arrives.

Versions 1 and 2 do not say where they end and so have no stream form.
"""

import re
import zlib
from typing import Final

from .hep_packet import MAX_PAYLOAD

GZIP: Final = b"\x1f\x8b\x08"
"""A gzip member by deflate (RFC 1952 s.2.3): how heplify's `payload_zip` begins."""

_NEXT: Final = re.compile(rb"HEP3|EEP3|\x1f\x8b\x08")
_LONGEST_MAGIC: Final = 4


class HepStream:
    """Cuts one connection's bytes into frames for `hep.decode`."""

    def __init__(self) -> None:
        self.skipped = 0
        """Bytes that belonged to no frame."""
        self.resyncs = 0
        """How often such bytes began."""
        self._parts: list[bytes] = []
        self._missing = 0
        self._lost = False
        self._member: _Member | None = None

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return sum(map(len, self._parts)) + (self._member.consumed if self._member else 0)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that `data` completes, in order."""
        if self._missing > len(data):  # a large frame in small pieces is joined once, not per piece
            self._parts.append(data)
            self._missing -= len(data)
            return []
        if self._parts:
            self._parts.append(data)
            data = b"".join(self._parts)
            self._parts.clear()
        frames: list[bytes] = []
        while data:
            member = self._member
            if member is not None:
                data = self._inflate(member, data, frames)
                continue
            data = data[self._cut(data, frames) :]
            if not self._zipped():
                break
        if data:
            self._parts.append(data)
        return frames

    def gap(self) -> list[bytes]:
        """Call where bytes are missing: the incomplete frame is dropped and counted. Returns no frames."""
        if self.pending:
            self._skip(self.pending)
        self._parts.clear()
        self._missing = 0
        self._member = None
        return []

    def _zipped(self) -> bool:
        return self._member is not None

    def _cut(self, data: bytes, frames: list[bytes]) -> int:
        """Append the complete frames of `data` to `frames`; return where the incomplete one begins."""
        at = 0
        size = len(data)
        self._missing = 0
        while size - at >= 6:
            magic = data[at : at + 4]
            if magic == b"HEP3" or magic == b"EEP3":
                stop = at + (data[at + 4] << 8 | data[at + 5])
                if stop > size:
                    self._missing = stop - size
                    break
                if stop - at >= 6:
                    frames.append(data[at:stop])
                    self._lost = False
                    at = stop
                    continue
            elif magic.startswith(GZIP):  # heplify's payload_zip: each frame a gzip member
                self._member = _Member()
                break
            at = self._resync(data, at)
        return at

    def _resync(self, data: bytes, at: int) -> int:
        """Return where the next frame can begin; count what lies before it."""
        found = _NEXT.search(data, at + 1)
        next_at = found.start() if found else max(at + 1, len(data) - _LONGEST_MAGIC + 1)
        self._skip(next_at - at)
        return next_at

    def _skip(self, size: int) -> None:
        if not self._lost:
            self._lost = True
            self.resyncs += 1
        self.skipped += size

    def _inflate(self, member: "_Member", data: bytes, frames: list[bytes]) -> bytes:
        """Feed the gzip member; return what lies behind it."""
        try:
            rest = member.feed(data)
        except zlib.error:
            rest = None
        if rest is None:
            self._member = None
            self._skip(member.consumed)
            return b""
        if member.eof:
            self._member = None
            self._lost = False
            frames.append(member.plain)
        return rest


class _Member:
    """A gzip member as it arrives."""

    def __init__(self) -> None:
        self.consumed = 0
        self.plain = b""
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    def feed(self, data: bytes) -> bytes | None:
        """Return the bytes behind the member's end; None if the member is larger than a frame may be.

        Raises:
            zlib.error: this is not gzip.
        """
        self.consumed += len(data)
        self.plain += self._stream.decompress(data, MAX_PAYLOAD + 1 - len(self.plain))
        if len(self.plain) > MAX_PAYLOAD:
            return None
        return self._stream.unused_data
