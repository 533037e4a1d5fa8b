"""The wall clock, as a port: the only place of the notifier that knows what time it is."""

import asyncio
import time
from typing import Protocol

LONGEST_WAIT_S = 30.0
"""Longest wait on the loop's clock before the wall clock is read again. Less: idle wake-ups. More: after a
suspend, or a wall clock that was set forward, due work waits up to this long."""


class Clock(Protocol):
    """POSIX seconds, and waiting for them."""

    def now(self) -> float:
        """Return POSIX seconds."""

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        """Return when the event is set or it is `until`; maybe earlier, never later."""


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> float:
        """Return POSIX seconds."""
        return time.time()

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        """Return when the event is set, it is `until`, or LONGEST_WAIT_S have passed."""
        delay_s = LONGEST_WAIT_S if until is None else min(max(until - self.now(), 0.0), LONGEST_WAIT_S)
        try:
            async with asyncio.timeout(delay_s):
                await event.wait()
        except TimeoutError:
            return
