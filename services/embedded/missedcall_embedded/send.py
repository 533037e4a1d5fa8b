"""`missedcall send`: plays captures as HEP v3 to a collector.

Rule 1: every message has a deadline counted from the start, so that lateness does not add up; whatever is
        due within `SLACK_S` goes out at once, because a sleep per message cannot keep 30,000 a second.
Rule 2: TCP and TLS wait for the receiver (back-pressure); UDP cannot, and counts what was refused.
Rule 3: a target that is not there is one clear line and exit 1, never a trace back.
"""

import argparse
import asyncio
import errno
import os
import socket
import ssl
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from missedcall_collector import hep
from missedcall_collector.hep_packet import PROTOCOLS
from missedcall_schemas.records import SipMessage

from .progress import Progress
from .replay import complain
from .source import Sources
from .target import Target

SLACK_S = 0.002
"""What is due this soon goes out now. Less: a sleep per message, which the event loop cannot keep up with.
More: bursts that a real network does not have."""
CHUNK_BYTES = 65_536
"""Frames written to a stream at once. Less: a system call per message. More: the receiver sees bursts."""
MAX_CLOCK_MS = (1 << 32) * 1000
"""The chunk of seconds has 32 bits."""
CONNECT_S = 10.0
"""For the TCP and TLS handshakes together."""
REFUSED_AT_FIRST = 5
"""UDP: so many refusals and nothing else mean that nobody listens. Later ones may be a restart: go on."""


class UnreachableError(Exception):
    """The target does not take the frames; the text says which and why."""


class Pace:
    """When each message is due, in seconds after the start."""

    def __init__(self, *, speed: float = 1.0, rate: float | None = None) -> None:
        """Take one of the two.

        Args:
            speed: times the recorded speed.
            rate: messages per second; overrides `speed`.
        """
        self._speed = speed
        self._rate = rate
        self._first_ms: int | None = None
        self._count = 0

    def due_s(self, message: SipMessage) -> float:
        """Return when ``message`` is due; call once per message, in order."""
        if self._rate is not None:
            due = self._count / self._rate
            self._count += 1
            return due
        if self._first_ms is None:
            self._first_ms = message.received_ms
        return (message.received_ms - self._first_ms) / 1000 / self._speed


class Summary(NamedTuple):
    """What became of a play."""

    sent: int
    seconds: float
    refused: int
    """UDP: datagrams that the target's host sent back."""
    too_long: int
    """Messages that do not fit into one frame or datagram."""


def frame(message: SipMessage) -> bytes:
    """Return a captured message as the HEP v3 frame that a capture agent would have sent.

    Raises:
        hep.HepLimitError: it does not fit into one.
    """
    numbered = message.agent.isascii() and message.agent.isdigit() and len(message.agent) < 10
    return hep.encode(
        hep.HepPacket(
            payload=message.head,
            ip_protocol=PROTOCOLS.get(message.transport, 0),
            src=message.src,
            dst=message.dst,
            captured_ms=message.captured_ms if 0 <= message.captured_ms < MAX_CLOCK_MS else None,
            agent_id=int(message.agent) if numbered else 0,
            agent_name="" if numbered else message.agent,
            correlation_id=message.correlation_id,
        )
    )


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    sources = Sources(args.files, args.zone)
    pace = Pace(speed=args.speed, rate=args.rate)
    try:
        with Progress() as progress:
            summary = asyncio.run(play(sources.messages(), args.to, pace, progress))
    except UnreachableError as error:
        print(error, file=sys.stderr)
        return 1
    rate = summary.sent / summary.seconds if summary.seconds else 0.0
    print(f"sent {summary.sent} messages in {summary.seconds:.1f} s ({rate:.0f}/s) to {args.to}")
    if summary.too_long:
        print(f"{summary.too_long} messages were too long for a HEP frame and were left out", file=sys.stderr)
    if summary.refused:
        print(
            f"{args.to}: {summary.refused} datagrams came back: nothing listened there then", file=sys.stderr
        )
    return complain(sources) or int(summary.refused > 0)


async def play(
    messages: Iterable[SipMessage], where: Target, pace: Pace, progress: Progress | None = None
) -> Summary:
    """Send ``messages`` to ``where``, each when ``pace`` says so.

    Raises:
        UnreachableError: the target cannot be reached or went away.
    """
    loop = asyncio.get_running_loop()
    sent = too_long = 0
    async with await _open(where) as link:
        start = loop.time()
        for message in messages:
            ahead = start + pace.due_s(message) - loop.time()
            if ahead > SLACK_S:
                await link.flush()
                await asyncio.sleep(ahead)
            try:
                await link.send(frame(message))
            except hep.HepLimitError:
                too_long += 1
                continue
            sent += 1
            if progress is not None and progress.due:
                progress.show(f"{sent:,} messages sent, {sent / (loop.time() - start):,.0f}/s to {where}")
        await link.flush()
        seconds = loop.time() - start
    return Summary(sent, seconds, link.refused, too_long)


class Link(Protocol):
    """One way to a target."""

    refused: int

    async def send(self, frame: bytes) -> None:
        """Take one frame; it may wait for the next `flush`."""

    async def flush(self) -> None:
        """Let everything taken so far go out, and the event loop run."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


async def _open(where: Target) -> Link:
    try:
        async with asyncio.timeout(CONNECT_S):
            if where.scheme == "udp":
                return await _Datagrams.open(where)
            tls = ssl.create_default_context() if where.scheme == "tls" else None
            _, writer = await asyncio.open_connection(where.host, where.port, ssl=tls)
            return _Stream(where, writer)
    except TimeoutError:
        raise UnreachableError(f"{where}: no answer within {CONNECT_S:.0f} s") from None
    except OSError as error:
        raise UnreachableError(f"{where}: {_why(error)}") from error


def _why(error: OSError) -> str:
    """Return what an operator can act on."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message} (SSL_CERT_FILE names further issuers)"
    # asyncio: an address of several families fails with one OSError that quotes the others.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "connection refused: nothing listens there"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}; does a TLS listener answer there?"
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error)


class _Datagrams:
    """A connected UDP socket, so that the kernel tells us when nobody listens."""

    def __init__(self, where: Target, sock: socket.socket) -> None:
        self.refused = 0
        self._where = where
        self._socket = sock
        self._sent = 0

    @classmethod
    async def open(cls, where: Target) -> Self:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(where.host, where.port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        sock.connect(address)
        return cls(where, sock)

    async def send(self, frame: bytes) -> None:
        self._sent += 1
        try:
            await self._try(frame)
        except ConnectionRefusedError as error:
            # The refusal is of an earlier datagram; this one has not been sent yet.
            self.refused += 1
            if self.refused >= REFUSED_AT_FIRST and self.refused >= self._sent - 1:
                raise UnreachableError(f"{self._where}: {_why(error)}") from error
            await self._try(frame)

    async def _try(self, frame: bytes) -> None:
        try:
            self._socket.send(frame)
        except BlockingIOError:
            await asyncio.get_running_loop().sock_sendall(self._socket, frame)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise hep.HepLimitError(f"{len(frame)} bytes do not fit into a datagram") from error
            if isinstance(error, ConnectionRefusedError):
                raise
            raise UnreachableError(f"{self._where}: {_why(error)}") from error

    async def flush(self) -> None:
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()


class _Stream:
    """A TCP or TLS connection."""

    def __init__(self, where: Target, writer: asyncio.StreamWriter) -> None:
        self.refused = 0
        self._where = where
        self._writer = writer
        self._held = bytearray()

    async def send(self, frame: bytes) -> None:
        self._held += frame
        if len(self._held) >= CHUNK_BYTES:
            await self.flush()

    async def flush(self) -> None:
        try:
            self._writer.write(bytes(self._held))
            self._held.clear()
            await self._writer.drain()
            # drain() returns at once while the buffer is low; a lost connection shows only in the loop.
            await asyncio.sleep(0)
        except OSError as error:
            raise UnreachableError(f"{self._where}: went away: {_why(error)}") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError as error:
            if kind is None:
                raise UnreachableError(f"{self._where}: went away: {_why(error)}") from error
