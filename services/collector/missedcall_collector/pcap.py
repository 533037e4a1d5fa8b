"""Packets of a pcap file: both byte orders, microseconds and nanoseconds (draft-ietf-opsawg-pcap)."""

import struct
from collections.abc import Iterator
from typing import TypeAlias

from .capture_error import CaptureError
from .source import MAX_RECORD, Source

Packet: TypeAlias = tuple[int, int, bytes]
"""Capture time in milliseconds since the epoch, link type (LINKTYPE_*), the bytes from the link header on.
A tuple, not a class: it lives for one call, a million times."""

MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000),
}
"""First four bytes -> byte order, and fractions of a second per millisecond."""

_FILE_HEADER = 24
_RECORD_HEADER = 16


def packets(source: Source) -> Iterator[Packet]:
    """Yield the packets of the pcap file at `source`.

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
    while True:
        if source.need(_RECORD_HEADER) < _RECORD_HEADER:
            source.end(f"a record header of {_RECORD_HEADER} bytes")
            return
        data, at, last = source.data, source.at, len(source.data) - _RECORD_HEADER
        size = 0
        while at <= last:
            seconds, fraction, size, _ = header(data, at)
            begin = at + _RECORD_HEADER
            stop = begin + size
            if stop > len(data):
                break
            at = stop
            source.at = at
            yield seconds * 1000 + fraction // per_ms, link, data[begin:stop]
        else:
            continue
        if size > MAX_RECORD:
            raise CaptureError(source.offset + 8, f"a packet of {size} bytes", f"at most {MAX_RECORD}")
        if source.need(_RECORD_HEADER + size) < _RECORD_HEADER + size:
            source.end(f"a packet of {size} bytes")
            return
