"""Packets of a pcap file: both byte orders, microseconds and nanoseconds (draft-ietf-opsawg-pcap)."""

import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from .capture_error import CaptureError
from .source import MAX_RECORD, Source

Packet: TypeAlias = tuple[int, int, bytes]
"""Capture time in milliseconds since the epoch, link type (LINKTYPE_*), the bytes from the link header on.
A tuple, not a class: it lives for one call, a million times."""

PACKETS: Final = 256
"""Packets handed on at once. Fewer: what each hand-over costs shows. More: they leave the processor's cache before
they are looked at."""

MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000),
}
"""First four bytes -> byte order, and fractions of a second per millisecond."""

_FILE_HEADER: Final = 24
_RECORD_HEADER: Final = 16


def packets(source: Source) -> Iterator[list[Packet]]:
    """Yield the packets of the pcap file at `source`, up to `PACKETS` at once.

    Raises:
        CaptureError: after the last readable packet, if the file is damaged or cut short.
    """
    if source.need(_FILE_HEADER) < _FILE_HEADER:
        source.end(f"a pcap file header of {_FILE_HEADER} bytes")
        return
    order, per_ms = MAGIC[source.data[source.at : source.at + 4]]
    # The upper half of the word may hold the length of a frame check sequence: draft-ietf-opsawg-pcap s.4.
    link = struct.unpack_from(order + "I", source.data, source.at + 20)[0] & 0xFFFF
    source.at += _FILE_HEADER
    header = struct.Struct(order + "IIII").unpack_from
    second = second_ms = 0  # of the packet before: multiplying costs more than looking
    while True:
        if source.need(_RECORD_HEADER) < _RECORD_HEADER:
            source.end(f"a record header of {_RECORD_HEADER} bytes")
            return
        data, at, end = source.data, source.at, len(source.data)
        seconds: int
        fraction: int
        size = 0
        found: list[Packet] = []
        while end - at >= _RECORD_HEADER and len(found) < PACKETS:
            seconds, fraction, size, _ = header(data, at)
            begin = at + _RECORD_HEADER
            stop = begin + size
            if stop > end:
                break
            at = stop
            if seconds != second:
                second, second_ms = seconds, seconds * 1000
            found.append((second_ms + fraction // per_ms, link, data[begin:stop]))
        source.at = at
        if found:
            yield found
            continue
        if size > MAX_RECORD:
            raise CaptureError(source.offset + 8, f"a packet of {size} bytes", f"at most {MAX_RECORD}")
        if source.need(_RECORD_HEADER + size) < _RECORD_HEADER + size:
            source.end(f"a packet of {size} bytes")
            return
