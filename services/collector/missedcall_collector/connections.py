"""HEP over TCP and TLS: one listening socket, and the connections that it accepts.

Rule 1: whoever a sender is, it gets a bounded share: of connections, of memory, of time without a whole frame.
Rule 2: a connection counts from its acceptance, before its TLS handshake.
Rule 3: a sender that we cannot keep up with has to wait (`pause`); nothing of it is lost by us.
"""

import asyncio
import errno
import socket
import ssl
from typing import Protocol

from .binding import name_of
from .hep_stream import HepStream
from .settings import Address

ACCEPTS = 64
"""Connections taken per wake-up. More: a flood of connections keeps datagrams waiting."""
BACKLOG = 128
FRAME_S = 60.0
"""How long a frame may be under way on a connection. Less: a sender behind a bad line is cut off. More:
`max_connections` such senders hold their memory for longer."""
HANDSHAKE_S = 10.0
"""For a TLS handshake. More: a silent connection counts against `max_connections` for longer."""
KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""A peer that vanished is found in two minutes."""

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Owner(Protocol):
    """Who has the connections."""

    paused: bool

    def admit(self, sock: socket.socket, host: str, context: ssl.SSLContext | None) -> None:
        """Take an accepted connection or close it."""

    def frames(self, frames: list[bytes], host: str) -> float:
        """Take what a connection received; return for how many seconds it has to wait."""

    def ended(self, connection: "Connection") -> None:
        """Forget a connection."""


class Server:
    """One listening TCP socket. It accepts by itself: a connection counts before its TLS handshake."""

    def __init__(
        self, owner: Owner, sock: socket.socket, transport: str, context: ssl.SSLContext | None
    ) -> None:
        """Take a bound socket.

        Args:
            owner: who has the connections.
            sock: bound, not blocking.
            transport: `tcp` or `tls`.
            context: for TLS.
        """
        self.transport = transport
        self._owner = owner
        self._socket = sock
        self._context = context
        sock.listen(BACKLOG)

    def start(self) -> None:
        """Accept from now on."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    @property
    def address(self) -> Address:
        """Where it is bound."""
        return name_of(self._socket)

    def close(self) -> None:
        """Give the port back; connections stay."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(ACCEPTS):
            try:
                sock, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    # The connection stays in the backlog and would wake us at once, again and again.
                    loop.remove_reader(self._socket)
                    loop.call_later(1.0, self.start)
                    return
                continue  # the peer had gone before it was accepted
            self._owner.admit(sock, peer[0], self._context)


class Connection(asyncio.Protocol):
    """One TCP or TLS connection, from its acceptance to its end."""

    def __init__(self, owner: Owner, host: str) -> None:
        self._owner = owner
        self._host = host
        self._held: asyncio.TimerHandle | None = None
        self._stream = HepStream()
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._heard_at = self._whole_at = asyncio.get_running_loop().time()

    def begin(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        """Shake hands if this is TLS, then receive."""
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE:
            if (option := getattr(socket, name, None)) is not None:  # not every system has all three
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self._opening = asyncio.get_running_loop().create_task(self._open(sock, context))

    @property
    def skipped(self) -> int:
        """Bytes that belonged to no frame."""
        return self._stream.skipped

    def pause(self) -> None:
        """Let the sender wait."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again; the time it waited for us is not held against it."""
        self._heard_at = self._whole_at = asyncio.get_running_loop().time()
        if self._transport is not None and self._held is None:
            self._transport.resume_reading()

    def overdue(self, now: float, idle_s: float) -> bool:
        """Whether nothing came for ``idle_s``, or no end of a frame that began long ago."""
        stuck = self._stream.pending > 0 and now - self._whole_at > FRAME_S
        return stuck or now - self._heard_at > idle_s

    def abort(self) -> None:
        """Close at once."""
        if self._opening is not None:
            self._opening.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to receive."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a stream protocol is given
        self._transport = transport
        if self._owner.paused:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Hand on the frames that ``data`` completes."""
        self._heard_at = asyncio.get_running_loop().time()
        if frames := self._stream.feed(data):
            self._whole_at = self._heard_at
            wait_s = self._owner.frames(frames, self._host)
            if wait_s > 0 and self._held is None:
                self.pause()
                self._held = asyncio.get_running_loop().call_later(wait_s, self._release)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended, it did
        """Leave."""
        if self._held is not None:
            self._held.cancel()
        self._owner.ended(self)

    def _release(self) -> None:
        """Read on after the sender has waited for its share."""
        self._held = None
        if not self._owner.paused:
            self.resume()

    async def _open(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        timeout = None if context is None else HANDSHAKE_S
        try:
            await loop.connect_accepted_socket(lambda: self, sock, ssl=context, ssl_handshake_timeout=timeout)
        except (OSError, asyncio.CancelledError):  # SSLError and the timeouts are OSErrors
            sock.close()
            self._owner.ended(self)
        finally:
            self._opening = None
