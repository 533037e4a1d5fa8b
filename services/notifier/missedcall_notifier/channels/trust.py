"""Whose certificates a channel believes, read from the file once and again whenever the channel was down.

Rule 1: reading the system's authorities takes 30 ms of processor time: not for every notice.
Rule 2: an authority that was renewed is seen without a restart: its old copy makes the channel fail, and a
        failed channel reads again.
"""

import asyncio
import ssl

from missedcall_notifier.failure import Failed, Failure, Report


class Trust:
    """One channel's authorities."""

    def __init__(self, ca_file: str) -> None:
        """Name the PEM file; "" for the system's authorities. Nothing is read yet."""
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None

    async def context(self) -> ssl.SSLContext:
        """Return the context of a client that checks certificates and names.

        Raises:
            OSError: the file cannot be read or holds no certificate.
        """
        if self._context is None:
            self._context = await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_file or None)
        return self._context

    def heard(self, report: Report) -> None:
        """Forget what was read if the attempt found the channel down."""
        if isinstance(report, Failed) and report.failure is Failure.CHANNEL_DOWN:
            self._context = None
