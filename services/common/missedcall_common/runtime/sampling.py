"""Which calls are traced, and under which name: the same answer in every service, without a word between them.

Rule 1: both follow from the Call-ID that facts and verdicts of a call carry: one call is one trace. The name does
        by a one-way function: no trace names a call.
Rule 2: most calls are not traced, and to find that out costs a third of a microsecond.
"""

from hashlib import blake2b
from typing import Final, NamedTuple
from zlib import crc32

_PERSON: Final = b"missedcall.trace"  # 16 bytes: no other hash of ours gives these names


TRACEPARENT: Final = "traceparent"
"""Header of a Kafka record that names the trace."""


class CallTrace(NamedTuple):
    """Of one call."""

    trace_id: int
    """128 bits, W3C Trace Context s.3.2.2.3."""
    span_id: int
    """64 bits: of the span that stands for the call as a whole, the parent of all others."""

    @property
    def name(self) -> str:
        """Return the trace's id as W3C Trace Context writes it."""
        return f"{self.trace_id:032x}"

    @property
    def traceparent(self) -> str:
        """Return the header of W3C Trace Context s.3.2."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"


class Sampler:
    """Chooses calls.

    Args:
        ratio: share of calls that are traced, 0 to 1.
    """

    def __init__(self, ratio: float) -> None:
        self.ratio: Final = max(0.0, min(1.0, ratio))
        self._below = int(self.ratio * 2**32)

    def trace(self, call_id: str) -> CallTrace | None:
        """Return the call's trace; None if it has none."""
        if not self._below:
            return None
        name = call_id.encode("utf-8", "surrogatepass")
        if crc32(name) >= self._below:
            return None
        digest = blake2b(name, digest_size=24, person=_PERSON).digest()
        return CallTrace(int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:]) or 1)


NO_CALL: Final = Sampler(0.0)
"""Chooses none."""
