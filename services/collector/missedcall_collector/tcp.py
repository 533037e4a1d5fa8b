"""One direction of a TCP connection, put in order again (RFC 9293 s.3.4).

Rule 1: a byte is delivered once and in order, however its segments come: split, joined, repeated, reordered.
Rule 2: what the capture has lost never comes: after `MAX_WAIT_MS`, or when too much waits for it, the gap is
        given up and reported, and the stream goes on behind it.
Rule 3: time is the capture's own.
"""

from typing import Final

MAX_HELD: Final = 262_144
"""Bytes that wait for an earlier segment. Below: fast links reorder more. Above: memory per connection."""

MAX_SEGMENTS: Final = 256
"""Segments that wait: a quarter of a megabyte in full ones. A segment of one byte costs a hundred."""

MAX_WAIT_MS: Final = 3_000
"""Wait for a missing segment. A sender repeats it after 1 s at first (RFC 6298 s.2.1). Below: a retransmission
comes after its gap was given up. Above: a call is decided without a message that was captured."""

# a jump of the sequence number that no window allows: a new connection on the same ports
_WINDOW: Final = 1 << 24
_HALF: Final = 1 << 31
_MASK: Final = (1 << 32) - 1

GAP: Final = None
"""Among the deliveries: bytes are missing here."""


class Direction:
    """The receiver's view of one sender."""

    __slots__ = ("_held", "_next", "_since_ms", "held_bytes")

    def __init__(self) -> None:
        self.held_bytes = 0
        """Bytes that wait for an earlier segment."""
        self._held: dict[int, bytes] = {}
        self._next: int | None = None
        self._since_ms = 0

    def receive(self, sequence: int, data: bytes, now_ms: int, syn: bool = False) -> list[bytes | None]:
        """Return what can be delivered now: bytes, and `GAP` where some are missing."""
        out: list[bytes | None] = []
        if syn:
            sequence = (sequence + 1) & _MASK
        if self._next is None:  # the beginning, or as near to it as the capture comes
            self._next = sequence
        distance = self._distance(sequence)
        if not -_WINDOW < distance < _WINDOW or (syn and distance > 0):
            out += self.close()
            out.append(GAP)
            self._next = sequence
            distance = 0
        if distance > 0:
            self._hold(sequence, data, now_ms)
        elif len(data) > -distance:
            data = data[-distance:] if distance else data
            self._next = (sequence - distance + len(data)) & _MASK
            out.append(data)
            if self._held:
                self._drain(out)
        if self._held and (
            self.held_bytes > MAX_HELD
            or len(self._held) > MAX_SEGMENTS
            or now_ms - self._since_ms > MAX_WAIT_MS
        ):
            self._skip(out)
            self._since_ms = now_ms
        return out

    def close(self) -> list[bytes | None]:
        """Return what still waits, each piece after the gap it waits for."""
        out: list[bytes | None] = []
        while self._held:
            self._skip(out)
        return out

    def _distance(self, sequence: int) -> int:
        """Return how far `sequence` is beyond the next byte expected, modulo 2**32."""
        return ((sequence - (self._next or 0) + _HALF) & _MASK) - _HALF

    def _hold(self, sequence: int, data: bytes, now_ms: int) -> None:
        known = self._held.get(sequence, b"")
        if len(data) > len(known):
            if not self._held:
                self._since_ms = now_ms
            self._held[sequence] = data
            self.held_bytes += len(data) - len(known)

    def _skip(self, out: list[bytes | None]) -> None:
        """Give up the gap: go on at the earliest segment held."""
        out.append(GAP)
        self._next = min(self._held, key=self._distance)
        self._drain(out)

    def _drain(self, out: list[bytes | None]) -> None:
        """Deliver what no longer waits."""
        for sequence in sorted(self._held, key=self._distance):
            distance = self._distance(sequence)
            if distance > 0:
                break
            data = self._held.pop(sequence)
            self.held_bytes -= len(data)
            if len(data) > -distance:
                fresh = data[-distance:] if distance else data
                out.append(fresh)
                self._next = (sequence + len(data)) & _MASK
