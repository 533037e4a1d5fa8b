"""Packets of a pcapng file (draft-ietf-opsawg-pcapng).

Rule 1: blocks that carry no packet are skipped unread: names, statistics, decryption secrets, whatever comes.
Rule 2: a section may change the byte order and starts a new list of interfaces (s.4.1).
"""

import struct
from collections.abc import Iterator

from .capture_error import CaptureError
from .pcap import Packet
from .source import MAX_RECORD, Source

MAGIC = b"\x0a\x0d\x0d\x0a"

_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_MAX_INTERFACES = 65_536  # an enhanced packet block can name more; nobody captures on more
_TSRESOL, _TSOFFSET = 9, 14


class _Interface:
    """One interface description block: link type and how its times are written."""

    __slots__ = ("link", "offset_ms", "per_s")

    def __init__(self, order: str, body: bytes) -> None:
        self.link = struct.unpack_from(order + "H", body)[0]
        self.per_s = 1_000_000
        self.offset_ms = 0
        at = 8
        while at + 4 <= len(body):  # options, s.3.5: code, length, value padded to 32 bits
            code, size = struct.unpack_from(order + "HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if code == _TSRESOL and value:
                self.per_s = 1 << (value[0] & 0x3F) if value[0] & 0x80 else 10 ** min(value[0], 18)
            elif code == _TSOFFSET and size == 8:
                self.offset_ms = struct.unpack(order + "q", value)[0] * 1000
            at += 4 + (size + 3 & ~3)

    def ms(self, high: int, low: int) -> int:
        return (high << 32 | low) * 1000 // self.per_s + self.offset_ms


def packets(source: Source) -> Iterator[Packet]:
    """Yield the packets of the pcapng file at `source`.

    Raises:
        CaptureError: after the last readable packet, if the file is damaged or cut short.
    """
    order = "<"
    interfaces: list[_Interface] = []
    last_ms = 0
    while source.need(12) >= 12:
        at = source.at
        if source.data[at : at + 4] == MAGIC:
            begin = source.data[at + 8 : at + 12]
            if begin not in _ORDERS:
                raise CaptureError(source.offset + 8, f"{begin.hex()}", "the byte-order magic 1a2b3c4d")
            order = _ORDERS[begin]
            interfaces = []
        kind, size = struct.unpack_from(order + "II", source.data, at)
        if size < 12 or size % 4 or size > MAX_RECORD:
            raise CaptureError(
                source.offset + 4, f"a block of {size} bytes", f"a multiple of 4 from 12 to {MAX_RECORD}"
            )
        if source.need(size) < size:
            source.end(f"a block of {size} bytes")
            return
        body = source.data[source.at + 8 : source.at + size - 4]
        packet = None
        if kind == _ENHANCED_PACKET and len(body) >= 20:
            number, high, low, captured = struct.unpack_from(order + "IIII", body)
            packet = _packet(source, interfaces, number, body, 20, captured)
            last_ms = packet[1].ms(high, low)
        elif kind == _INTERFACE and len(body) >= 8 and len(interfaces) < _MAX_INTERFACES:
            interfaces.append(_Interface(order, body))
        elif kind == _SIMPLE_PACKET and len(body) >= 4:
            # It has neither time nor captured length (s.4.4).
            packet = _packet(source, interfaces, 0, body, 4, struct.unpack_from(order + "I", body)[0])
        elif kind == _OLD_PACKET and len(body) >= 20:
            number, _, high, low, captured = struct.unpack_from(order + "HHIII", body)
            packet = _packet(source, interfaces, number, body, 20, captured)
            last_ms = packet[1].ms(high, low)
        source.at += size
        if packet is not None:
            yield last_ms, packet[1].link, packet[0]
    source.end("a block of 12 bytes or more")


def _packet(
    source: Source, interfaces: list[_Interface], number: int, body: bytes, at: int, size: int
) -> tuple[bytes, _Interface]:
    """Return the packet's bytes and its interface."""
    if number >= len(interfaces):
        raise CaptureError(
            source.offset,
            f"a packet of interface {number}",
            f"one of the {len(interfaces)} described before it",
        )
    return body[at : at + size], interfaces[number]
