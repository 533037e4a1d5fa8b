"""How the log is cut into partitions, and what is known of a change of that.

    running -> creating -> moving -> running, with another cut
                  |           |
                  |           +----> aborting -> running, with the same one
                  +-------------------------> running, with the same one

Rule 1: a cut is a generation and a partition count. The first is that of the settings; the others are on the topic
        `partitioning`, and the last of them is in use.
Rule 2: only topics whose partition follows from a message's key are of a cut: `sip-transactions` and `call-state`.
        The others keep their names and counts.
Rule 3: a generation's number is given once, also if nothing came of it.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from .settings import KafkaSettings

KEY = b"log"
"""Of the record."""


class Cut(Struct, frozen=True):
    """How a stretch of the log is cut."""

    generation: Annotated[int, Meta(ge=1)]
    partitions: Annotated[int, Meta(ge=1)]


class Partitioning(Struct, frozen=True, kw_only=True):
    """The record."""

    cuts: Annotated[tuple[Cut, ...], Meta(min_length=1)]
    phase: Literal["running", "creating", "moving", "aborting"] = "running"
    """creating: topics of the next cut are made, nobody else notices. moving: what is in use takes nothing more, or
    is about to; what was written to it is decided and its state moved. aborting: it is about to take more again."""
    next: Cut | None = None
    """Where to, unless `running`."""
    given: int = 0
    """The highest generation that was ever given."""
    since_ms: int = 0
    """When this phase began, POSIX milliseconds."""
    limit: str = ""
    """`max.message.bytes` that the operator had set for the log in use; empty: none."""

    @property
    def held(self) -> bool:
        """Whether the log in use takes nothing, or may not."""
        return self.phase in ("moving", "aborting")

    @property
    def cut(self) -> Cut:
        """The one in use."""
        return self.cuts[-1]


def first_cut(settings: KafkaSettings) -> Cut:
    """Return the cut of a log that was never scaled."""
    return Cut(settings.generation, settings.partitions)


def unscaled(settings: KafkaSettings) -> Partitioning:
    """Return what holds where no record is."""
    first = first_cut(settings)
    return Partitioning(cuts=(first,), given=first.generation)


def encode(record: Partitioning) -> bytes:
    """Return the record's value."""
    return msgspec.json.encode(record)


def decode(value: bytes, settings: KafkaSettings) -> Partitioning:
    """Read a record's value.

    Raises:
        ValueError: it is none, or another deployment's; the text says why.
    """
    try:
        record = msgspec.json.decode(value, type=Partitioning)
    except msgspec.DecodeError as error:
        raise ValueError(f"the record of {len(value)} bytes cannot be read: {error}") from error
    first = record.cuts[0]
    if first != first_cut(settings):
        raise ValueError(
            f"the log began with {first.partitions} partitions in generation {first.generation}: "
            f"MISSEDCALL_KAFKA_PARTITIONS={first.partitions} and MISSEDCALL_KAFKA_GENERATION={first.generation} "
            "stay as they were, also after scale-partitions"
        )
    return record
