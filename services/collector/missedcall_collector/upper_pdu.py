"""Messages that Wireshark exported (link type 252): how SIP decrypted with the keys of its TLS leaves Wireshark.

Rule 1: tags that say nothing about addresses are skipped; a packet without the end of its tags carries nothing.

`tshark -r FILE -o tls.keylog_file:KEYS -U "OSI layer 7" -w OUT` writes such files: what a message was wrapped in is
replaced by tags (type, length, value), and TCP segments are joined.
"""

import struct
from typing import Final, NamedTuple

LINK: Final = 252
"""LINKTYPE_WIRESHARK_UPPER_PDU."""

_END: Final = 0
_IPV4_SOURCE: Final = 20
_IPV4_DESTINATION: Final = 21
_IPV6_SOURCE: Final = 22
_IPV6_DESTINATION: Final = 23
_PORT_TYPE: Final = 24
_SOURCE_PORT: Final = 25
_DESTINATION_PORT: Final = 26
_TRANSPORTS: Final = {1: "sctp", 2: "tcp", 3: "udp"}  # epan/address.h, as exported files keep it
_MAX_TAGS: Final = 64  # Wireshark writes some ten

_tag: Final = struct.Struct("!HH").unpack_from


class UpperPdu(NamedTuple):
    """What was exported."""

    source: bytes
    """Packed address; empty if there is none."""
    source_port: int
    destination: bytes
    destination_port: int
    transport: str
    """Below TLS, if there was any: Wireshark does not say; "" if it says nothing."""
    payload: bytes


def upper_pdu(data: bytes) -> UpperPdu | None:
    """Return what a packet of this link type carries; None if its tags do not end."""
    tags: dict[int, bytes] = {}
    at = 0
    for _ in range(_MAX_TAGS):
        if len(data) - at < 4:
            return None
        kind, size = _tag(data, at)
        at += 4
        if kind == _END:
            return UpperPdu(
                tags.get(_IPV4_SOURCE) or tags.get(_IPV6_SOURCE, b""),
                _number(tags.get(_SOURCE_PORT, b"")),
                tags.get(_IPV4_DESTINATION) or tags.get(_IPV6_DESTINATION, b""),
                _number(tags.get(_DESTINATION_PORT, b"")),
                _TRANSPORTS.get(_number(tags.get(_PORT_TYPE, b"")), ""),
                data[at:],
            )
        tags[kind] = data[at : at + size]
        at += size
    return None


def _number(value: bytes) -> int:
    return int.from_bytes(value[:4], "big") & 0xFFFF
