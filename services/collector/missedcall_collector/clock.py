"""The collector's clock: the only one that the decision knows.

Rule 1: it never goes back and never stands still, whatever is done to the machine's clock.
"""

import time


class Clock:
    """Milliseconds since the epoch that never go back and never stand still.

    It follows the wall clock forward, and goes on at its own pace when that is set back.
    """

    def __init__(self, not_before_ms: int) -> None:
        self._base_ms = not_before_ms
        self._base_s = time.monotonic()

    def now_ms(self) -> int:
        """Return the time."""
        wall_ms = time.time_ns() // 1_000_000
        now_ms = self._base_ms + int((time.monotonic() - self._base_s) * 1000)
        if wall_ms > now_ms:
            self._base_ms, self._base_s = wall_ms, time.monotonic()
            return wall_ms
        return now_ms
