"""HEP, the Homer encapsulation: captured packets as proxies and capture agents send them.

Rule 1: bytes in, `HepPacket` or `HepError` out. What a version and its senders mean is in `hep_v1`, `hep_v3`.
"""

from .hep_packet import MAX_FRAME, MAX_PAYLOAD, SIP, HepError, HepLimitError, HepPacket
from .hep_stream import GZIP, HepStream
from .hep_v1 import decode_v1_v2, looks_like_v1_or_v2
from .hep_v3 import MAGIC, decode_v3, encode_v3
from .inflate import BombError, InflateError, gunzip

__all__ = [
    "MAX_FRAME",
    "SIP",
    "HepError",
    "HepLimitError",
    "HepPacket",
    "HepStream",
    "decode",
    "encode",
    "looks_like_hep",
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
    magic = frame[:4]
    if magic in MAGIC:
        return decode_v3(frame)
    if frame[:1] in (b"\1", b"\2"):
        return decode_v1_v2(frame)
    if frame[:3] == GZIP:  # heplify's payload_zip compresses the whole frame, not chunk 0x0f
        return _decode_gzipped(frame)
    raise HepError(f"found {magic!r} at offset 0, expected HEP3, EEP3, version 1 or 2, or gzip")


def _decode_gzipped(frame: bytes) -> HepPacket:
    try:
        inner = gunzip(frame, MAX_PAYLOAD)
    except BombError as error:
        raise HepLimitError(f"gzipped frame {error}") from error
    except InflateError as error:
        raise HepError(f"gzipped frame: {error}") from error
    if inner[:4] not in MAGIC:
        raise HepError(f"gzipped frame holds {inner[:4]!r}, expected HEP3 or EEP3")
    return decode_v3(inner)


def encode(packet: HepPacket) -> bytes:
    """Return `packet` as a version 3 frame.

    Raises:
        HepLimitError: it does not fit into 65,535 bytes.
    """
    return encode_v3(packet)
