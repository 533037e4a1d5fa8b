"""What the engine gives, and the row of its own: msgspec Structs.

Not compiled (tools/compile.py): mypyc leaves out what a Struct's class line says.
"""

from msgspec import Struct

from missedcall_schemas.records import Evidence, MissedCall, Verdict


class Decision(Struct, frozen=True):
    """What became of one call."""

    call_ids: tuple[str, ...]
    """All Call-IDs that were joined, upstream-most first."""
    verdicts: tuple[Verdict, ...]
    facts: tuple[MissedCall, ...]
    ladder: tuple[Evidence, ...] = ()
    """Every distinct message of the call in order of capture; filled only if the engine keeps ladders."""


class Meta(Struct, array_like=True):
    """The engine's own state row."""

    clocks: dict[str, int] = {}
    """Collector -> its clock in milliseconds."""
    sequences: dict[str, tuple[int, int]] = {}
    """Collector -> incarnation and the sequence number expected next."""
    gaps: list[int] = []
    """Collector times at which batches were found to be missing, the latest `MAX_GAPS`."""
    watermark_ms: int = 0
    heard_ms: list[int] = []
    """For each of `gaps`, up to when its collector had been heard before: what it missed came between the two."""
