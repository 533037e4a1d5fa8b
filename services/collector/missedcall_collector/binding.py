"""What listeners of every kind need: a bound socket, a TLS context, the allow list.

Rule 1: an error names the setting, what it says and what the system answered.
"""

import asyncio
import errno
import socket
import ssl
from ipaddress import ip_address, ip_network
from pathlib import Path

from .settings import Address, ListenSettings, address_of

BIND_PATIENCE_S = 5.0
"""How long an address may be in use at the start: a killed predecessor's sockets outlive it by a moment."""


class ListenError(Exception):
    """A listener cannot start; the text names the setting and says why."""


class Allowed:
    """Whether a sender's address is in the allow list."""

    REMEMBERED = 4096
    """Addresses whose answer is kept. More: memory that a forger of source addresses can fill."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        self.everybody = not networks
        self._networks = [ip_network(network) for network in networks]
        self._known: dict[str, bool] = {}

    def __call__(self, host: str) -> bool:
        """Return whether a sender at ``host`` (an address) is heard."""
        if self.everybody:
            return True
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= self.REMEMBERED:
                self._known.clear()
            known = self._known[host] = self._look_up(host)
        return known

    def _look_up(self, host: str) -> bool:
        address = ip_address(host.partition("%")[0])
        # A dual-stack socket shows an IPv4 sender as ::ffff:192.0.2.1.
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        return any(address.version == net.version and address in net for net in self._networks)


async def bound(
    endpoint: str, kind: socket.SocketKind, setting: str, *, shared: bool = False
) -> socket.socket:
    """Return a bound, non-blocking socket; ``shared`` with others of this user on the same address.

    Raises:
        ListenError: the address is not ours, is in use, or is no address.
    """
    deadline = asyncio.get_running_loop().time() + BIND_PATIENCE_S
    while True:
        try:
            return _bind(address_of(endpoint), kind, shared=shared)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            if not in_use or asyncio.get_running_loop().time() > deadline:
                raise ListenError(f"{setting}: {endpoint}: {error.strerror or error}") from error
        await asyncio.sleep(0.05)


def _bind(address: Address, kind: socket.SocketKind, *, shared: bool) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=kind, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        if kind == socket.SOCK_STREAM:
            # Only past connections are ignored by this; for UDP it would let a second process steal the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(where)
    except BaseException:
        sock.close()
        raise
    return sock


def name_of(sock: socket.socket) -> Address:
    """Return where a socket is bound."""
    host, port, *_ = sock.getsockname()
    return Address(host, port)


def tls_context(settings: ListenSettings) -> ssl.SSLContext:
    """Return what TLS listeners use.

    Raises:
        ListenError: a file cannot be read or does not hold what it should.
    """
    for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file"):
        if path := getattr(settings, name):
            _must_be_readable(f"listen.{name}", path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996 s.2
    key = "listen.tls_cert_file and listen.tls_key_file"
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, _no_password)
        if settings.tls_client_ca_file:
            key = "listen.tls_client_ca_file"
            context.load_verify_locations(settings.tls_client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise ListenError(f"{key}: expected a certificate and its key as PEM: {why}") from error
    return context


def _must_be_readable(setting: str, path: str) -> None:
    # The ssl module's own error for a missing file does not say which of the three it was.
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise ListenError(f"{setting} = {path!r}: {error.strerror}") from error


def _no_password() -> str:
    # Without this, OpenSSL would ask the terminal and the pipeline would wait for ever.
    raise ValueError("the key is encrypted; give one that is not, readable by this user only")
