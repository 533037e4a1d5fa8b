"""The link between the receiver and the pipeline: one stream socket, messages with a length before them.

Rule 1: the writer never blocks and never drops; it says how much waits, and its user decides what to do.
Rule 2: the end of the stream is the only command from the pipeline to the receiver: stop, and say the rest.
        A pipeline that was killed gives the same order by dying.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Iterator

from msgspec import Struct, msgpack

from missedcall_collector.settings import ListenSettings

BATCH = 0
"""Kind of a message: a CaptureBatch as on the topic; it is stored as it is."""
REPORT = 1
"""Kind of a message: a Report."""

GATHERED = 64
"""Messages handed to the kernel at once; IOV_MAX is 1024."""

_HEADER = struct.Struct("!IB")


class Order(Struct, frozen=True, kw_only=True):
    """What the receiver is to do; the first and only message to it."""

    listen: ListenSettings
    correlation_headers: tuple[str, ...]
    call_id_suffixes: tuple[str, ...]
    not_before_ms: int
    """The log's clock: no batch may be older."""


class Report(Struct, frozen=True, kw_only=True):
    """What the receiver says beside batches."""

    listening: tuple[tuple[str, str, int, int], ...] = ()
    """Once, at the start: transport, host, port, kernel buffer in bytes."""
    refused: str = ""
    """Why it could not start."""
    counts: dict[str, int] = {}
    """Totals since its start."""


class LinkWriter:
    """The receiver's end."""

    def __init__(self, sock: socket.socket) -> None:
        """Take a connected, non-blocking socket."""
        self.backlog = 0
        """Bytes that wait for the pipeline."""
        self._socket = sock
        self._waiting: deque[bytes | memoryview] = deque()
        self._watched = False

    def send(self, kind: int, payload: bytes) -> None:
        """Queue a message and hand on what the kernel takes.

        Raises:
            OSError: nobody listens any more.
        """
        self._waiting.append(_HEADER.pack(len(payload), kind) + payload)
        self.backlog += _HEADER.size + len(payload)
        if not self._watched:
            self._write()

    async def drain(self) -> None:
        """Return when nothing waits.

        Raises:
            OSError: nobody listens any more.
        """
        while self._waiting:
            await asyncio.sleep(0.001)
            self._write()

    def _write(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                gathered = [waiting[at] for at in range(min(len(waiting), GATHERED))]
                sent = self._socket.sendmsg(gathered)
                self.backlog -= sent
                while sent:
                    size = len(waiting[0])
                    if sent < size:
                        waiting[0] = memoryview(waiting[0])[sent:]
                        break
                    waiting.popleft()
                    sent -= size
        except BlockingIOError:
            pass
        self._watch(on=bool(waiting))

    def _watch(self, *, on: bool) -> None:
        if on != self._watched:
            loop = asyncio.get_running_loop()
            if on:
                loop.add_writer(self._socket, self._write)
            else:
                loop.remove_writer(self._socket)
            self._watched = on


class LinkReader:
    """The pipeline's end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield kind and payload of each message that ``data`` completes; exhaust it before the next call."""
        data = self._rest + data
        at, end = 0, len(data)
        while end - at >= _HEADER.size:
            length, kind = _HEADER.unpack_from(data, at)
            stop = at + _HEADER.size + length
            if stop > end:
                break
            yield kind, data[at + _HEADER.size : stop]
            at = stop
        self._rest = data[at:]


def send_order(sock: socket.socket, order: Order) -> None:
    """Tell the receiver what to do; blocks until the kernel has it."""
    payload = msgpack.encode(order)
    sock.sendall(len(payload).to_bytes(4, "big") + payload)


def receive_order(sock: socket.socket) -> Order:
    """Wait for the order.

    Raises:
        EOFError: the pipeline has gone.
    """
    length = int.from_bytes(_exactly(sock, 4), "big")
    return msgpack.decode(_exactly(sock, length), type=Order)


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = sock.recv(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
