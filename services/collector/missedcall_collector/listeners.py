"""HEP listeners: sockets in, lists of frames out. Nothing here looks into a frame.

Rule 1: what is lost is counted by cause: by the kernel, by the allow list, and connections turned away.
Rule 2: either all listeners start or none: half a collector would look healthy.
"""

import asyncio
import socket
import ssl
from collections import Counter
from typing import NamedTuple

from .binding import Allowed, bound, name_of, tls_context
from .connections import Connection, Server
from .datagrams import Datagrams, Receive
from .inbox import Inbox
from .settings import Address, ListenSettings
from .shares import Shares

SWEEP_S = 1.0
"""Between two looks at overdue connections and at the kernel's drop counters."""
LAST_WORDS_S = 2.0
"""How long connections are still read after `stop`, so that what the kernel has already acknowledged is not
thrown away. Less: a busy sender loses it. More: a sender that never pauses delays the stop by as much."""
SILENCE_S = 0.1
"""A silence this long ends that earlier."""


class Listening(NamedTuple):
    """One listener as it is bound."""

    transport: str
    address: Address
    receive_buffer: int
    """Bytes that the kernel holds for a UDP socket; 0 for the others."""


class Listeners:
    """All listeners of one collector, on the running event loop."""

    def __init__(self, settings: ListenSettings, receive: Receive, counts: Counter[str]) -> None:
        """Prepare; nothing is bound before `start`.

        Args:
            settings: where, whom, how much.
            receive: where frames go.
            counts: gets `received` frames and `dropped.<cause>`, `connections.<what>`.
        """
        self._settings = settings
        self._receive = receive
        self._counts = counts
        self._allowed = Allowed(settings.allow)
        self._shares = Shares(settings.per_source) if settings.per_source else None
        self._inbox = Inbox()
        self._datagrams: list[Datagrams] = []
        self._servers: list[Server] = []
        self._connections: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._heard = 0
        self.paused = False
        """Whether TCP and TLS senders have to wait."""

    async def start(self) -> list[Listening]:
        """Bind every listener and begin to receive.

        Raises:
            ListenError: one cannot be bound, or a certificate cannot be used. None is left behind.
        """
        try:
            for endpoint in self._settings.udp:
                await self._bind_udp(endpoint)
            for endpoint in self._settings.tcp:
                await self._bind_tcp(endpoint, "tcp", None)
            tls = tls_context(self._settings) if self._settings.tls else None
            for endpoint in self._settings.tls:
                await self._bind_tcp(endpoint, "tls", tls)
        except BaseException:
            self._close()
            raise
        for datagrams in self._datagrams:
            datagrams.start()
        for server in self._servers:
            server.start()
        self._sweep()
        return [
            *(Listening("udp", datagrams.address, datagrams.buffer) for datagrams in self._datagrams),
            *(Listening(server.transport, server.address, 0) for server in self._servers),
        ]

    def pause(self) -> None:
        """Let TCP and TLS senders wait."""
        self.paused = True
        for connection in self._connections:
            connection.pause()

    def resume(self) -> None:
        """Read from TCP and TLS senders again."""
        self.paused = False
        for connection in self._connections:
            connection.resume()

    def count_kernel_drops(self) -> None:
        """Bring `dropped.kernel` up to date: datagrams that found a socket's buffer full."""
        for datagrams in self._datagrams:
            datagrams.count_kernel_drops()

    async def stop(self, *, at_once: bool = False) -> None:
        """Hand on what the kernel has already taken, unless that is of no use, then close everything."""
        for server in self._servers:
            server.close()
        if not at_once:
            for datagrams in self._datagrams:
                datagrams.drain_all()
            self.count_kernel_drops()
            await self._hear_out()
        self._close()
        await asyncio.sleep(0)  # lets the transports run their close callbacks

    def admit(self, sock: socket.socket, host: str, context: ssl.SSLContext | None) -> None:
        """Take an accepted connection, or close it if it may not be or is one too many."""
        if not self._allowed(host):
            cause = "not-allowed"
        elif len(self._connections) >= self._settings.max_connections:
            cause = "too-many"
        else:
            connection = Connection(self, host)
            self._connections.add(connection)
            connection.begin(sock, context)
            self._counts["connections.opened"] += 1
            return
        sock.close()
        self._counts[f"connections.{cause}"] += 1

    def frames(self, frames: list[bytes], host: str) -> float:
        """Take what a connection received; return for how many seconds it has to wait."""
        self._counts["received"] += len(frames)
        self._heard += len(frames)
        self._receive(frames)
        if self._shares is None:
            return 0.0
        return self._shares.owe(host, len(frames), asyncio.get_running_loop().time())

    def ended(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if connection.skipped:
            self._counts["connections.skipped-bytes"] += connection.skipped

    async def _hear_out(self) -> None:
        """Read from connections until they are silent."""
        deadline = asyncio.get_running_loop().time() + LAST_WORDS_S
        before = -1
        while self._connections and before != self._heard and asyncio.get_running_loop().time() < deadline:
            before = self._heard
            await asyncio.sleep(SILENCE_S)

    async def _bind_udp(self, endpoint: str) -> None:
        count, size = self._settings.udp_sockets, self._settings.receive_buffer_kb * 1024
        for _ in range(count):
            sock = await bound(endpoint, socket.SOCK_DGRAM, "listen.udp", shared=count > 1)
            endpoint = str(name_of(sock))  # the others need the port that the first was given
            self._datagrams.append(
                Datagrams(sock, size, self._receive, self._allowed, self._counts, self._shares, self._inbox)
            )

    async def _bind_tcp(self, endpoint: str, transport: str, context: ssl.SSLContext | None) -> None:
        sock = await bound(endpoint, socket.SOCK_STREAM, f"listen.{transport}")
        self._servers.append(Server(self, sock, transport, context))

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._connections):
            if not self.paused and connection.overdue(now, self._settings.idle_s):
                self._counts["connections.timed-out"] += 1
                connection.abort()
        self.count_kernel_drops()
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)

    def _close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for datagrams in self._datagrams:
            datagrams.close()
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()
        self._datagrams.clear()
        self._servers.clear()
