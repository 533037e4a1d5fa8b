"""HEP, the Homer encapsulation: captured packets as proxies and capture agents send them.

Rule 1: bytes in, `HepPacket` or `HepError` out. What a version and its senders mean is in `hep_v1`, `hep_v3`.
Rule 2: `read` is for every message and gives a tuple; `decode` gives the same by name.
"""

from .hep_packet import MAX_FRAME, MAX_PAYLOAD, SIP, Fields, HepError, HepLimitError, HepPacket, packet_of
from .hep_stream import GZIP, HepStream
from .hep_v1 import looks_like_v1_or_v2, read_v1_v2
from .hep_v3 import MAGIC, encode_v3, read_v3
from .inflate import BombError, InflateError, gunzip

__all__ = [
    "MAX_FRAME",
    "SIP",
    "Fields",
    "HepError",
    "HepLimitError",
    "HepPacket",
    "HepStream",
    "decode",
    "encode",
    "looks_like_hep",
    "read",
]


def looks_like_hep(payload: bytes) -> bool:
    """Whether the first bytes can begin a frame: cheap, to tell the packets of a capture apart."""
    return payload[:4] in MAGIC or payload[:3] == GZIP or looks_like_v1_or_v2(payload)


def decode(frame: bytes) -> HepPacket:
    """Return the packet of one datagram or stream frame: version 1, 2 or 3, gzipped as a whole or not.

    Raises:
        HepError: the bytes are none of these.
        HepLimitError: they decompress to more than `MAX_PAYLOAD` bytes.
    """
    return packet_of(read(frame))


def read(frame: bytes) -> Fields:
    """Return what `decode` returns, as a tuple; raises what `decode` raises."""
    magic = frame[:4]
    if magic == b"HEP3":
        return read_v3(frame)
    first = frame[0] if frame else 0
    if first in (1, 2):
        return read_v1_v2(frame)
    if magic in MAGIC:
        return read_v3(frame)
    if magic[:3] == GZIP:  # heplify's payload_zip compresses the whole frame, not chunk 0x0f
        return _read_gzipped(frame)
    raise HepError(f"found {magic!r} at offset 0, expected HEP3, EEP3, version 1 or 2, or gzip")


def _read_gzipped(frame: bytes) -> Fields:
    try:
        inner = gunzip(frame, MAX_PAYLOAD)
    except BombError as bomb:
        raise HepLimitError(f"gzipped frame {bomb}") from bomb
    except InflateError as broken:
        raise HepError(f"gzipped frame: {broken}") from broken
    if inner[:4] not in MAGIC:
        raise HepError(f"gzipped frame holds {inner[:4]!r}, expected HEP3 or EEP3")
    return read_v3(inner)


def encode(packet: HepPacket) -> bytes:
    """Return `packet` as a version 3 frame.

    Raises:
        HepLimitError: it does not fit into 65,535 bytes.
    """
    return encode_v3(packet)
