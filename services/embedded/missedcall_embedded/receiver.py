"""The receiver: a process of its own that does nothing but empty sockets and fill batches.

Rule 1: nothing that decides, writes or delivers runs here, so none of it can keep a datagram waiting.
Rule 2: what the pipeline cannot keep up with waits here, up to `queue_mb`; see `collecting` for what is beyond.
Rule 3: it lives as long as the pipeline listens to it and no longer, however the pipeline ends.
"""

import asyncio
import signal
import socket
import sys
from contextlib import suppress

from msgspec import msgpack

from missedcall_collector.binding import ListenError
from missedcall_collector.collecting import Collecting
from missedcall_collector.correlation import CorrelationRules
from missedcall_common.runtime.events import configure
from missedcall_schemas import codec
from missedcall_schemas.records import CaptureBatch

from .link import BATCH, REPORT, LinkWriter, Order, Report, receive_order

REPORT_S = 1.0
"""Between two reports. Less: work for nothing. More: counters lag behind."""


class Receiver:
    """Sockets to the link, on the running event loop."""

    def __init__(self, order: Order, link: socket.socket) -> None:
        """Prepare.

        Raises:
            OSError, ValueError: the file of authenticate keys cannot be used.
        """
        self._link = link
        self._writer = LinkWriter(link)
        rules = CorrelationRules(order.correlation_headers, order.call_id_suffixes)
        self._collecting = Collecting(
            order.listen,
            rules,
            hand_on=self._hand_on,
            backlog=lambda: self._writer.backlog,
            not_before_ms=order.not_before_ms,
        )
        self._stopping = asyncio.Event()
        self._error: OSError | None = None

    async def run(self) -> None:
        """Receive until the pipeline closes its end; then say the rest.

        Raises:
            ListenError: a listener cannot start.
            OSError: the pipeline has gone.
        """
        loop = asyncio.get_running_loop()
        listening = await self._collecting.start()
        loop.add_reader(self._link, self._stopping.set)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stopping.set)
        named = tuple((where.transport, *where.address, where.receive_buffer) for where in listening)
        self._send(REPORT, msgpack.encode(Report(listening=named)))
        while not self._stopping.is_set():
            self._report()
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._stopping.wait()
        loop.remove_reader(self._link)
        self._report()  # fails if the pipeline did not ask us to stop but died: then its successor wants the ports
        await self._collecting.stop(at_once=self._error is not None)
        self._report()
        if self._error is not None:
            raise self._error
        await self._writer.drain()

    def _report(self) -> None:
        self._send(REPORT, msgpack.encode(Report(counts=self._collecting.counts)))

    def _hand_on(self, _: int, batch: CaptureBatch) -> None:
        self._send(BATCH, codec.encode_batch(batch))

    def _send(self, kind: int, payload: bytes) -> None:
        if self._error is None:
            try:
                self._writer.send(kind, payload)
            except OSError as error:
                self._error = error
                self._stopping.set()


async def _serve(link: socket.socket) -> int:
    order = receive_order(link)
    link.setblocking(False)
    try:
        await Receiver(order, link).run()
    except (ListenError, ValueError) as error:
        writer = LinkWriter(link)
        writer.send(REPORT, msgpack.encode(Report(refused=str(error))))
        await writer.drain()
        return 1
    return 0


def main(descriptor: str) -> int:
    """Serve the pipeline at the other end of an inherited socket; return the exit status."""
    # Control-C reaches every process of the terminal: the pipeline decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure()
    with (
        socket.socket(fileno=int(descriptor)) as link,
        suppress(BrokenPipeError, ConnectionResetError, EOFError),
    ):
        return asyncio.run(_serve(link))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
