"""Which addresses a webhook may reach: a guard on the socket, not on the name.

Rule 1: the guard sees the address of every single connection, after all name resolution. So a name that
        changes its answer, a literal, `0x7f.1` or an IPv4 address in IPv6 clothes gains nothing.
Rule 2: public addresses are allowed; of the others those that the operator lists; link-local addresses (cloud
        metadata) and multicast never, not even behind a gateway (NAT64, 6to4, Teredo) that he lists.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052 s.2.1: its last 32 bits are the IPv4 address that is reached."""

NOT_PUBLIC: tuple[Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.88.99.0/24",  # RFC 7526: 6to4 relays; Python 3.11 calls it global
            "2002::/16",  # RFC 3056: 6to4 carries an IPv4 address of anybody's choice
            "2001::/32",  # RFC 4380: Teredo, the same
            "64:ff9b::/96",  # RFC 6052: NAT64, the same
            "64:ff9b:1::/48",  # RFC 8215
            "3fff::/20",  # RFC 9637: documentation
            "5f00::/16",  # RFC 9602: segment routing
            "fec0::/10",  # RFC 3879: site-local, deprecated but routed by some
        ),
    )
)
"""Beside what `ipaddress` itself says is not global."""


class BlockedAddressError(OSError):
    """The address may not be called. An OSError, so that it fails like a connection that was refused."""


def is_allowed(address: Address, allow: Sequence[Network]) -> bool:
    """Whether a webhook may be sent to this address."""
    address = getattr(address, "ipv4_mapped", None) or address  # ::ffff:127.0.0.1 reaches 127.0.0.1
    if any(inner.is_link_local or inner.is_multicast or inner.is_unspecified for inner in _carried(address)):
        return False
    if any(address in network for network in allow):
        return True
    return address.is_global and not any(address in network for network in NOT_PUBLIC)


def _carried(address: Address) -> Iterator[Address]:
    """Yield the address, and the IPv4 addresses that a gateway would make of it."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if address in NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def guard(allow: Sequence[Network]) -> Callable[[Any], socket.socket]:
    """Return the socket factory of a connector that reaches allowed addresses only."""

    def create(addr_info: Any) -> socket.socket:
        family, kind, protocol, _, where = addr_info
        if not is_allowed(ipaddress.ip_address(str(where[0]).partition("%")[0]), allow):
            raise BlockedAddressError("address is not public and not listed in webhook.allow")
        return socket.socket(family, kind, protocol)

    return create
