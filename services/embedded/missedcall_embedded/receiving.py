"""The pipeline's hold on its receiver process: start it, take what it says, stop it.

Rule 1: the receiver's batches are handed on in the order received, one by one, on the event loop.
Rule 2: it is never left behind: it ends when the link closes, and is killed if it does not.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any

from msgspec import msgpack

from .link import BATCH, LinkReader, Order, Report, send_order

READ_BYTES = 262_144
"""Taken from the link at once. Less: more system calls. More: other work of the event loop waits longer."""
START_S = 30.0
"""How long the receiver may take to listen. Less: a machine that is busy booting fails to start."""
STOP_S = 25.0
"""How long it may take to say the rest. Less: what waited in its queue is lost at a stop. More: Kubernetes
kills all of us after 30 s."""
END_S = 5.0
"""How long it may take to end once nobody listens to it; then it is killed."""


class ReceiverError(Exception):
    """The receiver cannot start or has died; the text says why."""


class Receiving:
    """One receiver process."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        """Prepare.

        Args:
            take: gets each batch as bytes; what it raises ends the receiving and comes out of `ended`.
        """
        loop = asyncio.get_running_loop()
        self.counts: dict[str, int] = {}
        """What the receiver last said that it counted."""
        self.ended: asyncio.Future[None] = loop.create_future()
        """Done when the receiver has said everything, or with the exception that `take` raised."""
        self._take = take
        self._reader = LinkReader()
        self._listening: asyncio.Future[Report] = loop.create_future()
        self._link, self._other = socket.socketpair()
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, order: Order) -> Report:
        """Start the process; return what it listens on.

        Raises:
            ReceiverError: it cannot.
        """
        with self._other:
            self._process = await asyncio.create_subprocess_exec(
                # -P: a file in the current folder must not stand in for a module.
                *(sys.executable, "-P", "-m", "missedcall_embedded.receiver", str(self._other.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(self._other.fileno(),),
            )
        send_order(self._link, order)
        self._link.setblocking(False)
        asyncio.get_running_loop().add_reader(self._link, self._read)
        started: set[asyncio.Future[Any]] = {self._listening, self.ended}
        await asyncio.wait(started, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        if not self._listening.done():
            await self.close()
            raise ReceiverError("the receiver process did not start")
        report = self._listening.result()
        if report.refused:
            await self.close()
            raise ReceiverError(report.refused)
        return report

    async def rest(self) -> None:
        """Let it stop listening and take the rest, for as long as `STOP_S`; raises what `take` raises."""
        if self._link.fileno() >= 0:
            self._link.shutdown(socket.SHUT_WR)
        await asyncio.wait({self.ended}, timeout=STOP_S)
        if self.ended.done():
            self.ended.result()

    async def close(self) -> None:
        """End it; what it has not said by now is not heard."""
        self._forget_link()
        if self._process is not None:
            try:
                async with asyncio.timeout(END_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    def _read(self) -> None:
        try:
            data = self._link.recv(READ_BYTES)
            for kind, payload in self._reader.feed(data):
                if kind == BATCH:
                    self._take(payload)
                else:
                    self._hear(msgpack.decode(payload, type=Report))
        except BlockingIOError:
            return
        except Exception as error:  # noqa: BLE001 - it comes out of `ended`
            self._end(error)
            return
        if not data:
            self._end(None)

    def _hear(self, report: Report) -> None:
        if report.counts:
            self.counts = report.counts
        elif not self._listening.done():
            self._listening.set_result(report)

    def _end(self, error: Exception | None) -> None:
        self._forget_link()
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)

    def _forget_link(self) -> None:
        if self._link.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._link)
            self._link.close()
