"""Endpoints as the records write them: `host:port`, IPv6 in brackets (RFC 3986 s.3.2.2).

Rule 1: one endpoint has one spelling, so that "the box that received A sent B" is a comparison of strings.
"""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

_CACHED: Final = 65_536
"""Endpoints whose spelling is remembered. Fewer: a capture of many phones formats each packet anew (2 us).
More: memory (100 bytes each) that a spoofed source address can fill."""


@lru_cache(maxsize=_CACHED)
def endpoint(packed: bytes, port: int) -> str:
    """Return the spelling of a packed address (4 or 16 bytes) and a port; "" if the address is neither."""
    if len(packed) == 4:
        return f"{packed[0]}.{packed[1]}.{packed[2]}.{packed[3]}:{port}"
    if len(packed) != 16:
        return ""
    if packed[:12] == b"\0\0\0\0\0\0\0\0\0\0\xff\xff":  # a dual-stack socket's view of an IPv4 peer
        return endpoint(packed[12:], port)
    return f"[{IPv6Address(packed).compressed}]:{port}"


@lru_cache(maxsize=_CACHED)
def ends(packed: bytes) -> tuple[str, str]:
    """Return the spellings of sender and receiver, as an IPv4 packet has them: both addresses, then both ports."""
    source_port, destination_port = packed[8] << 8 | packed[9], packed[10] << 8 | packed[11]
    return endpoint(packed[:4], source_port), endpoint(packed[4:8], destination_port)


@lru_cache(maxsize=_CACHED)
def parse_endpoint(text: str) -> tuple[bytes, int]:
    """Return the packed address and the port of `host:port`; no address if the host is a name or empty.

    An unbracketed IPv6 address keeps its last group as the port, as everything that writes it so means it.
    """
    host, _, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else 0
    try:
        packed = ip_address(host.strip("[]").partition("%")[0]).packed
    except ValueError:
        packed = b""
    return packed, number if number <= 0xFFFF else 0
