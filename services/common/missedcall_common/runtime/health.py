"""What others ask over HTTP: an orchestrator `GET /livez` and `GET /readyz`, Prometheus `GET /metrics`.

livez: if not, restart me. readyz: if not, send me no work.

Rule 1: a process whose event loop stands still does not answer, which is an answer.
Rule 2: neither asks whether Kafka, or anything else outside, is there: its absence must not restart every service.
Rule 3: whoever can reach the port learns one word and may hold a few connections for a few seconds, no more.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from .events import Event, emit

REQUEST_BYTES = 4_096
"""Of a request's head; a probe sends 100."""
REQUEST_S = 5.0
"""For a request to come. More: idle connections are kept."""
CONNECTIONS = 32
"""At once; the next is closed."""

EXPOSED = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""

Trouble = Callable[[], str]
"""Returns "" if all is well, else what is not, in a few words without anybody's data."""


class HealthError(Exception):
    """The port cannot be had; the text says which and why."""


class Health:
    """Answers probes on the event loop that it is started on."""

    def __init__(
        self, address: str, *, live: Trouble, ready: Trouble, metrics: Callable[[], bytes] = lambda: b""
    ) -> None:
        """Prepare.

        Args:
            address: `HOST:PORT`; "" for no endpoint at all.
            live: what only a restart can mend.
            ready: why no work should be sent here now.
            metrics: in Prometheus' text format; empty: there are none.
        """
        self._address = address
        self._answers = {b"/livez": live, b"/readyz": ready}
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            HealthError: the port cannot be had.
        """
        if not self._address:
            return
        host, _, port = self._address.rpartition(":")
        try:
            self._server = await asyncio.start_server(
                self._serve, host.strip("[]"), int(port), limit=REQUEST_BYTES
            )
        except OSError as error:
            raise HealthError(f"health {self._address}: {error.strerror or error}") from error
        emit(Event.HEALTH_OPENED, port=self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS:
                with suppress(TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    async with asyncio.timeout(REQUEST_S):
                        head = await reader.readuntil(b"\r\n\r\n")
                        writer.write(self._answer(head))
                        await writer.drain()
        finally:
            self._open -= 1
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        trouble = self._answers.get(path)
        exposed = self._metrics() if path == b"/metrics" else b""
        if trouble is None and not exposed:
            status, text = "404 Not Found", "not here: /livez, /readyz or /metrics"
        elif method not in (b"GET", b"HEAD"):
            status, text = "405 Method Not Allowed", "GET or HEAD"
        else:
            said = trouble() if trouble is not None else ""
            status, text = ("503 Service Unavailable", said) if said else ("200 OK", "ok")
        body = exposed or f"{text}\n".encode()
        lines = (
            f"HTTP/1.1 {status}",
            f"Content-Type: {EXPOSED if exposed else 'text/plain; charset=utf-8'}",
            "Cache-Control: no-store",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "\r\n",
        )
        return "\r\n".join(lines).encode() + (b"" if method == b"HEAD" else body)
