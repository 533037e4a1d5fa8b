"""Where the collector listens, whom it believes and how much it takes.

Rule 1: every limit on what a sender controls is here, with what breaks below and above it.
Rule 2: no secret is a setting; a setting names the file that holds it.
"""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

HEP_PORT = 9060
"""What Homer's agents send to by default."""

_PORT = r"(?:\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
Endpoint = Annotated[
    str,
    Meta(
        pattern=rf"^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):{_PORT}$",
        description="HOST:PORT, IPv6 in brackets, port 0 for any free one",
    ),
]
Network = Annotated[
    str,
    Meta(pattern=r"^[0-9A-Fa-f:.]+(?:/\d{1,3})?$", description="an address or a network: 192.0.2.0/24"),
]


class Address(NamedTuple):
    """Where to bind."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ListenSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HEP listeners. Durations are seconds."""

    udp: tuple[Endpoint, ...] = (f"127.0.0.1:{HEP_PORT}",)
    tcp: tuple[Endpoint, ...] = (f"127.0.0.1:{HEP_PORT}",)
    tls: tuple[Endpoint, ...] = ()
    """Needs `tls_cert_file` and `tls_key_file`."""
    tls_cert_file: str = ""
    """PEM: the certificate, then those that lead to its issuer."""
    tls_key_file: str = ""
    """PEM, not encrypted."""
    tls_client_ca_file: str = ""
    """PEM: if given, a sender must show a certificate of one of these issuers."""

    allow: tuple[Network, ...] = ()
    """Senders that are heard; empty: all. A UDP source can be forged: this is no proof of who sends."""
    per_source: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Frames a second of one sender's address, 0: no limit. Beyond it UDP is dropped and TCP has to wait: one agent
    in a loop must not cost the others their messages. Its own calls may be decided without what was dropped."""
    auth_key_file: str = ""
    """One HEP authenticate key (chunk 0x0e) per line, several while they change; empty: none is asked for.
    The key crosses the network in clear unless the listener is TLS."""

    collector: Annotated[str, Meta(min_length=1, max_length=64)] = "missedcall"
    """Name in every batch: one clock, one sequence."""

    receive_buffer_kb: Annotated[int, Meta(ge=64, le=1 << 20)] = 8192
    """SO_RCVBUF of each UDP socket; about 1.3 kB of it per datagram. Less: bursts are lost in the kernel
    (counted as `kernel`). More than net.core.rmem_max needs that sysctl raised, or CAP_NET_ADMIN."""
    udp_sockets: Annotated[int, Meta(ge=1, le=64)] = 1
    """Sockets on each UDP endpoint; the kernel spreads senders over them. More than 1: room for `receive_buffer_kb`
    each where the kernel grants little. Another process of this user could then take the port, too."""
    queue_mb: Annotated[int, Meta(ge=1, le=65536)] = 64
    """What may wait for the decision. Less: a slow disk costs messages sooner (counted as `queue-full`).
    More: memory, and after a stall decisions lag behind for longer."""
    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 512
    """TCP and TLS together. Less: agents are turned away. More: each may hold a frame of 64 kB."""
    idle_s: Annotated[float, Meta(ge=1, le=31_536_000)] = 7200.0
    """Silence after which a connection is closed. Less: an agent that had nothing to say finds out by losing
    what it sends next. More: dead peers stay until TCP keep-alive finds them."""

    def __post_init__(self) -> None:
        if not (self.udp or self.tcp or self.tls):
            raise ValueError("listen: udp, tcp and tls are all empty: expected an endpoint in one of them")
        if self.tls and not (self.tls_cert_file and self.tls_key_file):
            raise ValueError("listen.tls needs tls_cert_file and tls_key_file")
        for network in self.allow:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"listen.allow = {network!r}: {error}: expected 192.0.2.0/24") from error


def address_of(endpoint: str) -> Address:
    """Split an `Endpoint`."""
    host, _, port = endpoint.rpartition(":")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def read_auth_keys(path: Path) -> tuple[bytes, ...]:
    """Read one key per line; empty lines do not count.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no key.
    """
    keys = tuple(line.strip() for line in path.read_bytes().splitlines() if line.strip())
    if not keys:
        raise ValueError(f"{path} holds no key: expected one per line")
    return keys
