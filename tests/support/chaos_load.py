"""Calls of mixed outcome at a steady pace, as capture agents send them: HEP over UDP and TCP to several collectors.

Every fifth call says nothing after its INVITE and perhaps a 180, so that only time ends it. Every tenth is captured
twice, for two collectors.
"""

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from support import hep_calls

from missedcall_collector import hep

SILENT = 5
MIRRORED = 10
UNSENT_BYTES = 4_194_304
"""What a TCP connection may hold for a collector that does not read; beyond it the agent drops, as agents do."""
REOPEN_S = 0.2


class Agent(NamedTuple):
    """Where a collector listens."""

    udp: int
    tcp: int
    udp_host: str = "127.0.0.1"
    tcp_host: str = "127.0.0.1"


def frames(calls: int, calls_per_s: float, first: int = 0) -> Iterator[tuple[float, int, bytes]]:
    """Yield (seconds after the first, number of the call, HEP frame) in order of time."""
    start_ms = 0
    for message in hep_calls.in_time(calls, calls_per_s, first=first):
        start_ms = start_ms or message.received_ms
        number = int(message.call_id[:16], 16)
        if number % SILENT == 0 and not message.head.startswith((b"INVITE", b"SIP/2.0 180")):
            continue
        packet = hep.HepPacket(
            payload=message.head, src=message.src, dst=message.dst, captured_ms=message.captured_ms
        )
        yield (message.received_ms - start_ms) / 1000, number, hep.encode(packet)


class Load:
    """Sends; what meets a dead collector is lost, as it is for a capture agent."""

    def __init__(self, agents: Sequence[Agent], calls: int, calls_per_s: float, first: int = 0) -> None:
        self.sent = 0
        """Frames."""
        self._agents = agents
        self._calls, self._pace, self._first = calls, calls_per_s, first
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._opened: dict[int, float] = {}
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.setblocking(False)

    async def run(self) -> None:
        """Send all."""
        start = time.monotonic()
        try:
            for due_s, number, undated in frames(self._calls, self._pace, self._first):
                wait_s = start + due_s - time.monotonic()
                if wait_s > 0 or self.sent % 50 == 0:
                    await asyncio.sleep(max(0.0, wait_s))
                frame = hep_calls.dated(undated, time.time_ns() // 1_000_000)
                self.sent += 1
                first = number % len(self._agents)
                await self._send(first, number, frame)
                if number % MIRRORED == 0:
                    await self._send((first + 1) % len(self._agents), number, frame)
        finally:
            self._datagrams.close()
            for writer in self._writers.values():
                writer.close()

    async def _send(self, to: int, number: int, frame: bytes) -> None:
        agent = self._agents[to]
        with suppress(OSError):
            if number // len(self._agents) % 2:
                self._datagrams.sendto(frame, (agent.udp_host, agent.udp))
                return
            writer = self._writers.get(to)
            if writer is None or writer.is_closing():
                now = time.monotonic()
                if now - self._opened.get(to, 0.0) < REOPEN_S:
                    return
                self._opened[to] = now
                _, writer = await asyncio.open_connection(agent.tcp_host, agent.tcp)
                self._writers[to] = writer
            if writer.transport.get_write_buffer_size() < UNSENT_BYTES:
                writer.write(frame)
