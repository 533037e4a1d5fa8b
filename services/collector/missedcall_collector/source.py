"""A capture file as bytes with a position: read in large pieces, decompressed as it goes.

Rule 1: what is in memory is one piece and one record, whatever the size of the file.
Rule 2: offsets count decompressed bytes, progress counts bytes of the file: only those have a known total.
Rule 3: damage is reported when the reader gets there, not before: what was readable is yielded first.
"""

import zlib
from collections.abc import Callable
from typing import Final, Protocol

from .capture_error import CaptureError

PIECE: Final = 1 << 20
"""Bytes read at once. Smaller: more calls per record. Larger: memory, and progress that jumps."""

MAX_RECORD: Final = 1 << 24
"""Bytes of one record. tcpdump writes 262,144 at most; above this the length is damaged, not large."""

_GZIP_PIECE: Final = 1 << 16  # compressed bytes inflated at once; byte by byte where the stream is damaged


class Readable(Protocol):
    """What a file opened for reading bytes is."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


class Source:
    """The bytes of a capture: `data[at:]` has been read and not been taken yet."""

    def __init__(self, file: Readable) -> None:
        self.bytes_read = 0
        """Bytes taken from the file, compressed if it is."""
        self.data = b""
        self.at = 0
        self._base = 0  # offset of data[0]
        self._file = file
        self._gzip: _Gunzip | None = None
        self._ended = False
        self._damage: CaptureError | None = None
        if self.need(2) >= 2 and self.data.startswith(b"\x1f\x8b"):
            self._gzip = _Gunzip(self.data)
            self.data = b""
            self._ended = False

    @property
    def offset(self) -> int:
        """Offset of the next byte."""
        return self._base + self.at

    def need(self, size: int) -> int:
        """Return how many bytes are available at `data[at:]`: `size` or more unless the file ends before."""
        have = len(self.data) - self.at
        if have >= size or self._ended:
            return have
        parts = [self.data[self.at :]]
        self._base += self.at
        self.at = 0
        while have < size:
            piece = self._read()
            if not piece:
                self._ended = True
                break
            parts.append(piece)
            have += len(piece)
        self.data = b"".join(parts)
        return have

    def take(self) -> bytes:
        """Return whatever is available, at least one byte unless the file ends here."""
        self.need(1)
        data = self.data[self.at :]
        self.at = len(self.data)
        return data

    def end(self, expected: str) -> None:
        """Call where a record cannot be read.

        Raises:
            CaptureError: the file is damaged here, or bytes are left that are no whole record.
        """
        if self._damage is not None:
            raise self._damage
        left = len(self.data) - self.at
        if left:
            raise CaptureError(self.offset, f"the last {left} bytes of the file", expected)

    def _read(self) -> bytes:
        if self._gzip is None:
            return self._fetch(PIECE)
        try:
            return self._gzip.read(self._fetch)
        except zlib.error as error:
            have = self._base + len(self.data)
            self._damage = CaptureError(have, f"damaged gzip data ({error})", "a whole gzip stream")
            return b""

    def _fetch(self, size: int) -> bytes:
        piece = self._file.read(size)
        self.bytes_read += len(piece)
        return piece


class _Gunzip:
    """Inflates one gzip member after the other (RFC 1952 s.2.2)."""

    def __init__(self, begin: bytes) -> None:
        self._tail = begin
        self._stream: zlib._Decompress | None = None
        self._broken: zlib.error | None = None

    def read(self, fetch: Callable[[int], bytes]) -> bytes:
        """Return the next decompressed bytes; none at the end.

        Raises:
            zlib.error: the stream is damaged or cut short here.
        """
        while self._broken is None:
            data = self._tail or fetch(_GZIP_PIECE)
            if not data:
                if self._stream is None:
                    return b""
                raise zlib.error("it is cut short")
            if self._stream is None:
                if not data.startswith(b"\x1f"):  # padding behind the last member, as gzip(1) takes it
                    return b""
                self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            before = self._stream.copy()
            try:
                plain = self._stream.decompress(data, PIECE)
            except zlib.error as error:
                self._broken = error
                plain = _salvage(before, data)
            else:
                self._tail = self._stream.unconsumed_tail
                if self._stream.eof:
                    self._tail = self._stream.unused_data
                    self._stream = None
            if plain:
                return plain
        raise self._broken


def _salvage(stream: "zlib._Decompress", data: bytes) -> bytes:
    """Return what inflates before the damage in `data`."""
    plain = bytearray()
    try:
        for at in range(len(data)):
            plain += stream.decompress(data[at : at + 1], PIECE)
            if len(plain) > PIECE:
                break
    except zlib.error:
        pass
    return bytes(plain)
