"""From an IP packet to the UDP or TCP segment in it: IPv4, IPv6, fragments, tunnels.

Rule 1: fragments wait for each other in bounded memory and for bounded time, by the capture's own clock.
Rule 2: tunnels are opened to a bounded depth: IP in IP (RFC 2003, RFC 4213, RFC 2473) and GRE (RFC 2784,
        RFC 2890) with what a mirror port wraps in it (Ethernet, ERSPAN).
Rule 3: bytes that the capture cut off, or that a field only claims, are missing bytes, not an error.
"""

import struct
from collections import Counter
from typing import Final, TypeAlias

from .link import by_ethertype, ethernet

Segment: TypeAlias = tuple[int, bytes, bytes, bytes]
"""Protocol (17 UDP, 6 TCP), packed source address, packed destination address, the transport's bytes."""

TCP: Final = 6
UDP: Final = 17

_MAX_DEPTH: Final = 6
"""Tunnels in tunnels. Operators stack two or three; more is a loop."""

_MAX_DATAGRAMS: Final = 1024
"""Incomplete datagrams kept. Fewer: lost SIP behind a burst of other fragments. More: memory (64 kB each)."""

_MAX_WAIT_MS: Final = 30_000
"""RFC 791 s.3.2 suggests 15 s, RFC 8200 s.4.5 says 60 s; agents use 30 s."""

_MAX_DATAGRAM: Final = 65_535
_MAX_FRAGMENTS: Final = 256  # per datagram; 65,535 bytes in pieces of 256: smaller pieces are an attack

_IPV4: Final = struct.Struct(
    "!BxHHHxB2x4s4s"
).unpack_from  # version/length, total, id, fragment, protocol, from, to
_IPV6: Final = struct.Struct("!4xHBx16s16s").unpack_from  # payload length, next header, addresses
_EXTENSIONS: Final = frozenset({0, 43, 60, 135, 139, 140})  # RFC 8200 s.4, RFC 6275, RFC 7401, RFC 5533
_FRAGMENT: Final = 44
_AUTHENTICATION: Final = 51
_IPV4_IN_IP: Final = 4
_IPV6_IN_IP: Final = 41
_GRE: Final = 47

_Key: TypeAlias = tuple[bytes, bytes, int, int]


class Reassembler:
    """Opens IP packets; keeps fragments until they are whole."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._waiting: dict[_Key, _Datagram] = {}

    def segment(self, data: bytes, at: int, now_ms: int) -> Segment | None:
        """Return the UDP or TCP segment in the IP packet at `data[at:]`; None if there is none (yet)."""
        for _ in range(_MAX_DEPTH):
            if len(data) - at < 20:
                return None
            version = data[at] >> 4
            if version == 4:
                opened = self._ipv4(data, at, now_ms)
            elif version == 6:
                opened = self._ipv6(data, at, now_ms)
            else:
                return None
            if opened is None:
                return None
            protocol, _, _, body = opened
            if protocol in (UDP, TCP):
                return opened
            if protocol in (_IPV4_IN_IP, _IPV6_IN_IP):
                data, at = body, 0
            elif protocol == _GRE:
                data, at = body, _gre(body)
                if at < 0:
                    return None
            else:
                return None
        self._counts["limit"] += 1
        return None

    def _ipv4(self, data: bytes, at: int, now_ms: int) -> Segment | None:
        begin: int
        total: int
        identification: int
        fragment: int
        protocol: int
        source: bytes
        destination: bytes
        begin, total, identification, fragment, protocol, source, destination = _IPV4(data, at)
        size = (begin & 0x0F) * 4
        if size < 20:
            return None
        # A total length of 0 is a packet that the network card cuts up later (TCP segmentation offload).
        body = data[at + size : at + total] if total else data[at + size :]
        if fragment & 0x3FFF:  # more fragments, or an offset: RFC 791 s.3.1
            key = (source, destination, protocol, identification)
            body = self._join(key, (fragment & 0x1FFF) * 8, bool(fragment & 0x2000), body, now_ms)
            if not body:
                return None
        return protocol, source, destination, body

    def _ipv6(self, data: bytes, at: int, now_ms: int) -> Segment | None:
        if len(data) - at < 40:
            return None
        size: int
        protocol: int
        source: bytes
        destination: bytes
        size, protocol, source, destination = _IPV6(data, at)
        at += 40
        end = min(at + size, len(data)) if size else len(data)  # 0: a jumbogram (RFC 2675) or offload
        for _ in range(_MAX_DEPTH):
            if protocol in _EXTENSIONS and end - at >= 8:
                protocol, at = data[at], at + (data[at + 1] + 1) * 8
            elif protocol == _AUTHENTICATION and end - at >= 8:  # RFC 4302 s.2.2: in words of 4, less 2
                protocol, at = data[at], at + (data[at + 1] + 2) * 4
            elif protocol == _FRAGMENT and end - at >= 8:
                protocol, _, offset, identification = struct.unpack_from("!BBHI", data, at)
                key = (source, destination, -1, identification)  # RFC 8200 s.4.5: without the next header
                data = self._join(key, offset & 0xFFF8, bool(offset & 1), data[at + 8 : end], now_ms)
                if not data:
                    return None
                at, end = 0, len(data)
            else:
                return protocol, source, destination, data[at:end]
        return None

    def _join(self, key: _Key, offset: int, more: bool, body: bytes, now_ms: int) -> bytes:
        """Return the datagram if this fragment completes it, else nothing."""
        if offset + len(body) > _MAX_DATAGRAM:  # the ping of death
            self._counts["limit"] += 1
            return b""
        datagram = self._waiting.get(key)
        if datagram is not None and now_ms - datagram.since_ms > _MAX_WAIT_MS:
            self._counts["fragments-incomplete"] += 1
            del self._waiting[key]  # identifications are used again
            datagram = None
        if datagram is None:
            self._make_room(now_ms)
            datagram = self._waiting[key] = _Datagram(now_ms)
        whole = datagram.add(offset, more, body)
        if whole is None:
            return b""
        del self._waiting[key]
        return whole

    def _make_room(self, now_ms: int) -> None:
        """Drop the oldest datagrams: those that waited too long, and one if there are too many."""
        while self._waiting:
            oldest = next(iter(self._waiting))
            age = now_ms - self._waiting[oldest].since_ms
            if age <= _MAX_WAIT_MS and len(self._waiting) < _MAX_DATAGRAMS:
                return
            del self._waiting[oldest]
            self._counts["fragments-incomplete"] += 1

    def close(self) -> None:
        """Count what never became whole."""
        if self._waiting:
            self._counts["fragments-incomplete"] += len(self._waiting)
            self._waiting.clear()


class _Datagram:
    """The fragments of one datagram, by offset; of a repeated one the first counts."""

    __slots__ = ("_have", "_parts", "_size", "since_ms")

    def __init__(self, since_ms: int) -> None:
        self.since_ms = since_ms
        self._parts: dict[int, bytes] = {}
        self._have = 0
        self._size = -1

    def add(self, offset: int, more: bool, body: bytes) -> bytes | None:
        """Take a fragment; return the whole once nothing is missing."""
        if not more:
            self._size = offset + len(body)
        if offset not in self._parts and len(self._parts) < _MAX_FRAGMENTS:
            self._parts[offset] = body
            self._have += len(body)
        if self._size < 0 or self._have < self._size:
            return None
        whole = b""
        for at in sorted(self._parts):
            if at > len(whole):
                return None
            whole += self._parts[at][len(whole) - at :]
        return whole[: self._size] if len(whole) >= self._size else None


def _gre(data: bytes) -> int:
    """Return where the IP header inside a GRE packet begins, or -1."""
    if len(data) < 4:
        return -1
    flags = data[0]
    at = 4 + 4 * (bool(flags & 0x80) + bool(flags & 0x20) + bool(flags & 0x10))  # checksum, key, sequence
    kind = data[2:4]
    if kind == b"\x65\x58":  # transparent Ethernet bridging
        return ethernet(data, at)
    if kind == b"\x88\xbe":  # ERSPAN: type I has no header of its own, and no GRE sequence number
        return ethernet(data, at + 8 if flags & 0x10 else at)
    if kind == b"\x22\xeb":  # ERSPAN type III: 12 bytes, and 8 more if its last bit says so
        more = len(data) > at + 11 and data[at + 11] & 1
        return ethernet(data, at + (20 if more else 12))
    return by_ethertype(data, 2, at)
