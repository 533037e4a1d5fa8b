"""What one sender may send: a token bucket per address.

Rule 1: no more than `REMEMBERED` addresses are kept, however many a forger of source addresses invents.
Rule 2: a sender that was silent for `BURST_S` may send that much at once.
"""

BURST_S = 2.0
"""Less: an honest agent that catches up after a pause is cut. More: a flood costs more before it is."""
REMEMBERED = 4096
"""More: memory that a forger can fill. Less: he resets the buckets of all by inventing addresses sooner."""


class Shares:
    """The buckets of one collector."""

    def __init__(self, per_s: float) -> None:
        """Allow every address ``per_s`` frames a second."""
        self._per_s = per_s
        self._most = per_s * BURST_S
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when

    def take(self, host: str, now: float) -> bool:
        """Return whether one more frame of ``host`` is within its share at ``now`` (seconds, never going back)."""
        tokens = self._tokens(host, now)
        if tokens < 1.0:
            return False
        self._buckets[host] = (tokens - 1.0, now)
        return True

    def owe(self, host: str, frames: int, now: float) -> float:
        """Take frames that are here already; return for how many seconds ``host`` has to wait now."""
        tokens = self._tokens(host, now) - frames
        self._buckets[host] = (tokens, now)
        return max(0.0, -tokens / self._per_s)

    def _tokens(self, host: str, now: float) -> float:
        found = self._buckets.get(host)
        if found is None:
            if len(self._buckets) >= REMEMBERED:
                self._buckets.clear()
            return self._most
        tokens, since = found
        return min(self._most, tokens + (now - since) * self._per_s)
