"""Whether a worker gets on with what there is: the one thing that a restart can mend and no error tells.

Rule 1: a partition stands still if Kafka has more of it, we know that, and nothing of it was decided for long. With
        Kafka away nothing more is known to be there, and nobody is restarted for it.
"""

from collections.abc import Mapping
from typing import NamedTuple

STALL_S = 120.0
"""Less: a worker on a machine without a free core is restarted. More: calls wait for longer until one that hangs is
replaced."""


class Position(NamedTuple):
    """Of one partition."""

    next: int
    """The first offset that is not decided."""
    end: int
    """Behind the last that Kafka was heard to have."""


class Progress:
    """Of all partitions of a worker, by a clock that never goes back."""

    def __init__(self) -> None:
        self._moved: dict[int, tuple[int, float]] = {}

    def stalled(self, now_s: float, positions: Mapping[int, Position]) -> list[int]:
        """Return the partitions that have stood still for `STALL_S`, as far as the calls of this show.

        Args:
            now_s: now, seconds.
            positions: of each partition that is ours and loaded.
        """
        found = []
        moved = {}
        for partition, position in positions.items():
            before, since_s = self._moved.get(partition, (-1, now_s))
            if position.next != before or position.next >= position.end:
                since_s = now_s
            moved[partition] = (position.next, since_s)
            if now_s - since_s >= STALL_S:
                found.append(partition)
        self._moved = moved
        return found
