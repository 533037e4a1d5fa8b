"""What was received, sent on unchanged to another HEP receiver.

Rule 1: the relay never keeps a socket waiting: what its target does not take is counted and forgotten.
Rule 2: frames go on as they came, also those that are noise to us or that we cannot publish.

Versions 1 and 2 of HEP do not say where they end: a target that reads TCP understands version 3 only.
"""

import asyncio
import socket
from collections import Counter
from contextlib import suppress

from .settings import address_of

BUFFER = 8 << 20
"""Bytes that wait for a target over TCP. Less: its pauses cost frames. More: memory."""
RECONNECT_S = 1.0
CONNECT_S = 5.0


class Relay:
    """One target, `udp://HOST:PORT` or `tcp://HOST:PORT`."""

    def __init__(self, target: str, counts: Counter[str]) -> None:
        """Prepare; nothing is sent before `start`.

        Args:
            target: where to.
            counts: gets `relayed` and `relay-lost` frames.
        """
        self._kind, _, endpoint = target.partition("://")
        self._where = address_of(endpoint)
        self._counts = counts
        self._socket: socket.socket | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._connecting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, now and whenever the connection is lost."""
        self._connecting = asyncio.get_running_loop().create_task(self._stay_connected())

    def send(self, frames: list[bytes]) -> None:
        """Send frames on; never waits."""
        sent = 0
        if self._socket is not None:
            sent = self._send_datagrams(self._socket, frames)
        elif self._writer is not None and self._writer.transport.get_write_buffer_size() < BUFFER:
            self._writer.write(b"".join(frames))
            sent = len(frames)
        self._counts["relayed"] += sent
        if sent < len(frames):
            self._counts["relay-lost"] += len(frames) - sent

    async def close(self) -> None:
        """Let what was written go out, and end."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._socket is not None:
            self._socket.close()
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    await self._writer.wait_closed()

    def _send_datagrams(self, sock: socket.socket, frames: list[bytes]) -> int:
        sent = 0
        for frame in frames:
            try:
                sock.send(frame)
            except (
                OSError
            ):  # its buffer is full, nobody listens there, or the frame came over TCP and is too long
                continue
            sent += 1
        return sent

    async def _stay_connected(self) -> None:
        while True:
            with suppress(OSError, TimeoutError):
                if self._kind == "udp":
                    self._socket = await self._datagrams()
                    return
                await self._stream()
            await asyncio.sleep(RECONNECT_S)

    async def _datagrams(self) -> socket.socket:
        found = await asyncio.get_running_loop().getaddrinfo(*self._where, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        sock.connect(address)
        return sock

    async def _stream(self) -> None:
        """Connect and stay until the other side ends it."""
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(*self._where)
        self._writer = writer
        try:
            while await reader.read(65_536):
                pass  # a receiver of HEP has nothing to say
        finally:
            if not asyncio.current_task().cancelling():  # type: ignore[union-attr] # we run in a task
                self._writer = None
                writer.close()
