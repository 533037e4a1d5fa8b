"""Packets of a pcapng file (draft-ietf-opsawg-pcapng).

Rule 1: blocks that carry no packet are skipped unread: names, statistics, decryption secrets, whatever comes.
Rule 2: a section may change the byte order and starts a new list of interfaces (s.4.1).
Rule 3: a time that a pcap file could not hold, after 2106 or before 1970, is the nearest one that it could: an
        interface can claim any unit and any offset.
"""

import struct
from collections.abc import Iterator
from typing import Final

from .capture_error import CaptureError
from .pcap import PACKETS, Packet
from .source import MAX_RECORD, Source

MAGIC: Final = b"\x0a\x0d\x0d\x0a"

_INTERFACE: Final = 1
_OLD_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6
_ORDERS: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_LATEST_MS: Final = (1 << 32) * 1000 - 1
_BLOCK: Final = 12  # type, length, and the length once more at its end
_MAX_INTERFACES: Final = 65_536  # an enhanced packet block can name more; nobody captures on more
_TSRESOL: Final = 9
_TSOFFSET: Final = 14


class _Interface:
    """One interface description block: link type and how its times are written."""

    __slots__ = ("_multiply", "_per", "link", "offset_ms")

    def __init__(self, order: str, body: bytes) -> None:
        self.link: int = struct.unpack_from(order + "H", body)[0]
        self.offset_ms = 0
        per_s = 1_000_000
        at = 8
        while at + 4 <= len(body):  # options, s.3.5: code, length, value padded to 32 bits
            code, size = struct.unpack_from(order + "HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if code == _TSRESOL and value:
                per_s = 1 << (value[0] & 0x3F) if value[0] & 0x80 else 10 ** min(value[0], 18)
            elif code == _TSOFFSET and size == 8:
                self.offset_ms = struct.unpack(order + "q", value)[0] * 1000
            at += 4 + (size + 3 & ~3)
        self._multiply, self._per = (1, per_s // 1000) if per_s % 1000 == 0 else (1000, per_s)

    def ms(self, high: int, low: int) -> int:
        at_ms = (high << 32 | low) * self._multiply // self._per + self.offset_ms
        return at_ms if 0 <= at_ms <= _LATEST_MS else max(0, min(at_ms, _LATEST_MS))


def packets(source: Source) -> Iterator[list[Packet]]:
    """Yield the packets of the pcapng file at `source`, up to `pcap.PACKETS` at once.

    Raises:
        CaptureError: after the last readable packet, if the file is damaged or cut short.
    """
    blocks = _Blocks(source)
    more = True
    while more:
        found: list[Packet] = []
        try:
            more = blocks.read(found)
        except CaptureError:
            if found:
                yield found
            raise
        if found:
            yield found


class _Blocks:
    """The blocks of one file, and what those that carry no packet have said."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._interfaces: list[_Interface] = []
        self._last_ms = 0
        self._in_order("<")

    def _in_order(self, order: str) -> None:
        self._order = order
        self._header = struct.Struct(order + "II").unpack_from
        self._enhanced = struct.Struct(order + "IIII").unpack_from

    def read(self, found: list[Packet]) -> bool:
        """Append the next packets to `found`; return whether there may be more.

        Raises:
            CaptureError: after what was readable has been appended.
        """
        source = self._source
        kind: int
        size: int
        number: int
        high: int
        low: int
        captured: int
        while len(found) < PACKETS:
            if source.need(_BLOCK) < _BLOCK:
                source.end("a block of 12 bytes or more")
                return False
            data, at = source.data, source.at
            if data[at : at + 4] == MAGIC:
                self._begin_section(data[at + 8 : at + 12])
            kind, size = self._header(data, at)
            if size < _BLOCK or size % 4 or size > MAX_RECORD:
                raise CaptureError(
                    source.offset + 4, f"a block of {size} bytes", f"a multiple of 4 from 12 to {MAX_RECORD}"
                )
            if len(data) - at < size:
                if source.need(size) < size:
                    source.end(f"a block of {size} bytes")
                    return False
                data, at = source.data, source.at
            begin, end = at + 8, at + size - 4
            if kind == _ENHANCED_PACKET and end - begin >= 20:
                number, high, low, captured = self._enhanced(data, begin)
                interface = self._interface(number)
                self._last_ms = interface.ms(high, low)
                found.append((self._last_ms, interface.link, _cut(data, begin + 20, captured, end)))
            elif kind in (_INTERFACE, _SIMPLE_PACKET, _OLD_PACKET):
                self._other(kind, data[begin:end], found)
            source.at += size
        return True

    def _begin_section(self, magic: bytes) -> None:
        if magic not in _ORDERS:
            raise CaptureError(self._source.offset + 8, f"{magic.hex()}", "the byte-order magic 1a2b3c4d")
        self._in_order(_ORDERS[magic])
        self._interfaces = []

    def _other(self, kind: int, body: bytes, found: list[Packet]) -> None:
        """Read a block that is rare."""
        size = len(body)
        if kind == _INTERFACE and size >= 8 and len(self._interfaces) < _MAX_INTERFACES:
            self._interfaces.append(_Interface(self._order, body))
        elif kind == _SIMPLE_PACKET and size >= 4:
            # It has neither time nor captured length (s.4.4).
            captured = struct.unpack_from(self._order + "I", body)[0]
            found.append((self._last_ms, self._interface(0).link, _cut(body, 4, captured, size)))
        elif kind == _OLD_PACKET and size >= 20:
            number, _, high, low, captured = struct.unpack_from(self._order + "HHIII", body)
            interface = self._interface(number)
            self._last_ms = interface.ms(high, low)
            found.append((self._last_ms, interface.link, _cut(body, 20, captured, size)))

    def _interface(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise CaptureError(
                self._source.offset,
                f"a packet of interface {number}",
                f"one of the {len(self._interfaces)} described before it",
            )
        return self._interfaces[number]


def _cut(data: bytes, at: int, size: int, end: int) -> bytes:
    """Return `size` bytes from `at` on, as far as there are any before `end`."""
    return data[at : min(at + size, end)]
