"""One partition's classifier, without a broker: batches in, decisions and changed state rows out.

A shell does, per transaction: `feed` each batch, publish `facts` and `verdicts` of its decisions, write
`changes()` to `call-state`, and move its position; all of it or none of it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec import Struct

from missedcall_schemas.records import CaptureBatch, Evidence, MissedCall, Verdict

from .policy import Policy


class Decision(Struct, frozen=True):
    """What became of one call."""

    call_ids: tuple[str, ...]
    """All Call-IDs that were joined, upstream-most first."""
    verdicts: tuple[Verdict, ...]
    facts: tuple[MissedCall, ...]
    ladder: tuple[Evidence, ...] = ()
    """Every distinct message of the call in order of capture; filled only if the engine keeps ladders."""


class Engine:
    """All calls of one partition."""

    def __init__(self, policy: Policy, *, keep_ladders: bool = False) -> None:
        self.counts: Counter[str] = Counter()

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up the state that `changes` wrote before a restart. Call before the first `feed`."""
        raise NotImplementedError

    def feed(self, batch: CaptureBatch) -> list[Decision]:
        """Observe the batch's messages, then let its clock end what is due."""
        raise NotImplementedError

    def finish(self) -> list[Decision]:
        """Decide every open call as if the log went on for ever without another message."""
        raise NotImplementedError

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield the state rows changed since the last call of `changes`; None deletes the row."""
        raise NotImplementedError

    @property
    def open_calls(self) -> int:
        """Calls not yet decided."""
        raise NotImplementedError

    @property
    def clock_ms(self) -> int:
        """The watermark: up to here everything due has been decided; 0 before the first batch."""
        raise NotImplementedError
