"""The receiver: a process of its own that does nothing but empty sockets and fill batches.

Rule 1: nothing that decides, writes or delivers runs here, so none of it can keep a datagram waiting.
Rule 2: what the pipeline cannot keep up with waits here, up to `queue_mb`. Beyond it TCP and TLS senders wait,
        and what comes over UDP is dropped, counted, and leaves a hole in the sequence of batches, so that the
        calls around it are decided as calls of which messages are missing.
Rule 3: it lives as long as the pipeline listens to it and no longer, however the pipeline ends.
"""

import asyncio
import signal
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from msgspec import msgpack
from msgspec.structs import replace

from missedcall_collector.batching import LINGER_MS, Batcher
from missedcall_collector.binding import ListenError
from missedcall_collector.clock import Clock
from missedcall_collector.correlation import CorrelationRules
from missedcall_collector.intake import Intake
from missedcall_collector.listeners import Listeners
from missedcall_collector.settings import read_auth_keys
from missedcall_common.runtime.events import Event, configure, emit
from missedcall_schemas import codec
from missedcall_schemas.records import CaptureBatch

from .link import BATCH, REPORT, LinkWriter, Order, Report, receive_order

REPORT_S = 1.0
"""Between two reports. Less: work for nothing. More: counters lag behind."""
REFUSALS_SAID = 10
"""Frames that a mistake of ours cost and that are named in the log; all are counted. More: a sender fills it."""
RESUME_SHARE = 0.25
"""Share of the queue below which waiting senders are read again; they are stopped at half of it."""


class Receiver:
    """Sockets to batches, on the running event loop."""

    def __init__(self, order: Order, link: socket.socket) -> None:
        """Prepare.

        Raises:
            OSError, ValueError: the file of authenticate keys cannot be used.
        """
        listen = order.listen
        keys = read_auth_keys(Path(listen.auth_key_file)) if listen.auth_key_file else ()
        self.counts: Counter[str] = Counter()
        self._link = link
        self._writer = LinkWriter(link)
        self._listeners = Listeners(listen, self._receive, self.counts)
        self._intake = Intake(CorrelationRules(order.correlation_headers, order.call_id_suffixes), keys)
        self._clock = Clock(order.not_before_ms)
        # Incarnations grow: the log's clock is past the one before.
        self._batcher = Batcher(listen.collector, self._clock.now_ms())
        self._queue = listen.queue_mb * 1_000_000
        self._holes = 0
        self._kernel_drops = 0
        self._full = False
        self._stopping = asyncio.Event()
        self._error: OSError | None = None

    async def run(self) -> None:
        """Receive until the pipeline closes its end; then say the rest.

        Raises:
            ListenError: a listener cannot start.
            OSError: the pipeline has gone.
        """
        loop = asyncio.get_running_loop()
        listening = await self._listeners.start()
        loop.add_reader(self._link, self._stopping.set)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stopping.set)
        named = tuple((where.transport, *where.address, where.receive_buffer) for where in listening)
        self._writer.send(REPORT, msgpack.encode(Report(listening=named)))
        await self._tick_until_stopped()
        loop.remove_reader(self._link)
        self._report()  # fails if the pipeline did not ask us to stop but died: then its successor wants the ports
        await self._listeners.stop(at_once=self._error is not None)
        if self._error is not None:
            raise self._error
        self._send_all(self._batcher.flush(self._clock.now_ms()))
        self._report()
        await self._writer.drain()

    def _receive(self, frames: list[bytes]) -> None:
        if self._writer.backlog >= self._queue:
            self.counts["dropped.queue-full"] += len(frames)
            self._full = True
            return
        if self._full:
            self._full = False
            self._holes += 1
        now_ms = self._clock.now_ms()
        from_frame, add = self._intake.from_frame, self._batcher.add
        for frame in frames:
            try:
                for message in from_frame(frame, now_ms):
                    if closed := add(message, now_ms):
                        self._send_all(closed)
            except Exception as error:  # noqa: BLE001 - a mistake of ours costs the frame that found it
                self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self.counts["dropped.refused"] += 1
        if self.counts["dropped.refused"] <= REFUSALS_SAID:
            emit(Event.RECORD_REFUSED, error, record="SipMessage")

    async def _tick_until_stopped(self) -> None:
        report_at = 0.0
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_MS / 1000):
                    await self._stopping.wait()
            self._send_all(self._batcher.due(self._clock.now_ms()))
            if self._listeners.paused and self._writer.backlog < self._queue * RESUME_SHARE:
                self._listeners.resume()
            if (now := time.monotonic()) >= report_at:
                report_at = now + REPORT_S
                self._report()

    def _report(self) -> None:
        self._listeners.count_kernel_drops()
        if self.counts["dropped.kernel"] > self._kernel_drops:
            self._kernel_drops = self.counts["dropped.kernel"]
            self._holes += 1
        self._send(REPORT, msgpack.encode(Report(counts=self.counts + self._intake.counts)))

    def _send_all(self, closed: list[tuple[int, CaptureBatch]]) -> None:
        for _, batch in closed:
            numbered = replace(batch, sequence=batch.sequence + self._holes) if self._holes else batch
            self._send(BATCH, codec.encode_batch(numbered))
        if not self._listeners.paused and self._writer.backlog > self._queue / 2:
            self._listeners.pause()

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
