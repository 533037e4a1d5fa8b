"""Where the collector listens, whom it believes and how much it takes.

Rule 1: every limit on what a sender controls is here, with what breaks below and above it.
Rule 2: no secret is a setting; a setting names the file that holds it.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

HEP_PORT = 9060
"""What Homer's agents send to by default."""

Endpoint = Annotated[str, Meta(description="HOST:PORT, IPv6 in brackets, port 0 for any free one")]
Network = Annotated[str, Meta(description="an address or a network such as 192.0.2.0/24")]


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
    auth_key_file: str = ""
    """One HEP authenticate key (chunk 0x0e) per line, several while they change; empty: none is asked for.
    The key crosses the network in clear unless the listener is TLS."""

    collector: Annotated[str, Meta(min_length=1, max_length=64, description="1 to 64 characters")] = (
        "missedcall"
    )
    """Name in every batch: one clock, one sequence."""

    receive_buffer_kb: Annotated[int, Meta(ge=64, le=1 << 20, description="64 to 1048576 kB")] = 8192
    """SO_RCVBUF of each UDP socket; about 1.3 kB of it per datagram. Less: bursts are lost in the kernel
    (counted as `kernel`). More than net.core.rmem_max needs that sysctl raised, or CAP_NET_ADMIN."""
    queue_mb: Annotated[int, Meta(ge=1, le=65536, description="1 to 65536 MB")] = 64
    """What may wait for the decision. Less: a slow disk costs messages sooner (counted as `queue-full`).
    More: memory, and after a stall decisions lag behind for longer."""
    max_connections: Annotated[int, Meta(ge=1, le=100_000, description="1 to 100000")] = 512
    """TCP and TLS together. Less: agents are turned away. More: each may hold a frame of 64 kB."""
    idle_s: Annotated[float, Meta(ge=1, le=31_536_000, description="1 to 31536000 s")] = 7200.0
    """Silence after which a connection is closed. Less: an agent that had nothing to say finds out by losing
    what it sends next. More: dead peers stay until TCP keep-alive finds them."""


def address_of(endpoint: str) -> Address:
    """Split `HOST:PORT`.

    Raises:
        ValueError: it is not one; the text says what would be.
    """
    host, colon, port = endpoint.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError("expected HOST:PORT, IPv6 in brackets: 0.0.0.0:9060 or [::]:9060")
    # isascii: str.isdigit also takes digits of other scripts.
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"expected a port of 0 to 65535 after the last colon, found {port!r}")
    return Address(host[1:-1] if bracketed else host, int(port))


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
