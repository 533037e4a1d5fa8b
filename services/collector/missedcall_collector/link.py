"""From a link layer frame to the IP packet in it.

Rule 1: a link type is one row of `LINKS`; a frame that carries no IP, or is too short, gives -1.
"""

from collections.abc import Callable
from typing import Final

_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_VLAN: Final = frozenset({0x8100, 0x88A8, 0x9100, 0x9200, 0x9300})
"""802.1Q, 802.1ad and what switches wrote before 802.1ad."""

_PPPOE: Final = 0x8864
_MPLS: Final = frozenset({0x8847, 0x8848})
_MAX_TAGS: Final = 8  # nested VLAN tags and MPLS labels; more is a loop or an attack


def by_ethertype(data: bytes, type_at: int, at: int) -> int:
    """Return where the IP header begins, given where the EtherType and where its payload begins; or -1."""
    for _ in range(_MAX_TAGS):
        if len(data) < type_at + 2:
            break
        kind = data[type_at] << 8 | data[type_at + 1]
        if kind in (_IPV4, _IPV6):
            return at
        if kind in _VLAN:
            type_at, at = at + 2, at + 4
        elif kind == _PPPOE:  # RFC 2516 s.4: version, code, session id, length
            return _ppp(data, at + 6)
        elif kind in _MPLS:
            return _mpls(data, at)
        elif kind <= 1500 and data[at : at + 6] == b"\xaa\xaa\x03\0\0\0":  # RFC 1042: LLC and SNAP
            type_at, at = at + 6, at + 8
        else:
            break
    return -1


def ethernet(data: bytes, at: int = 0) -> int:
    """Return where the IP header in the Ethernet frame at `at` begins, or -1."""
    return by_ethertype(data, at + 12, at + 14)


def _mpls(data: bytes, at: int) -> int:
    for _ in range(_MAX_TAGS):
        label = data[at : at + 4]
        at += 4
        if len(label) < 4:
            break
        if label[2] & 1:  # RFC 3032 s.2.1: bottom of stack
            return _raw(data, at)
    return -1


def _ppp(data: bytes, at: int) -> int:
    if data[at : at + 2] == b"\xff\x03":  # RFC 1662 s.3.1: address and control
        at += 2
    if data[at : at + 1] in (b"\x21", b"\x57"):  # RFC 1661 s.6.5: compressed protocol field
        return at + 1
    return at + 2 if data[at : at + 2] in (b"\0\x21", b"\0\x57") else -1


def _raw(data: bytes, at: int = 0) -> int:
    return at if data[at : at + 1] and data[at] >> 4 in (4, 6) else -1


# fmt: off
LINKS: dict[int, Callable[[bytes], int]] = {
    0:   lambda data: _raw(data, 4),               # NULL: the family in the byte order of some BSD
    1:   ethernet,
    9:   lambda data: _ppp(data, 0),               # PPP
    12:  _raw,                                     # RAW as OpenBSD numbers it
    14:  _raw,                                     # RAW as others number it
    50:  lambda data: _ppp(data, 0),               # PPP_HDLC
    51:  lambda data: _ppp(data, 6),               # PPP_ETHER: PPPoE without Ethernet
    101: _raw,                                     # RAW
    108: lambda data: _raw(data, 4),               # LOOP: the family in network order
    113: lambda data: by_ethertype(data, 14, 16),  # LINUX_SLL (tcpdump -i any)
    228: _raw,                                     # IPV4
    229: _raw,                                     # IPV6
    276: lambda data: by_ethertype(data, 0, 20),   # LINUX_SLL2
}
# fmt: on
"""By link type (LINKTYPE_*)."""
