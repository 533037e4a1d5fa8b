"""How transactions ended, as the files of the brokers tell.

The end of a transaction is a batch of its own on each partition that it touched (Kafka's record format 2, "Control
Batches"). A compacted topic loses records, but keeps such batches for `delete.retention.ms`, a day: they can be
counted where records cannot.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kafka_nodes import Cluster

_FRAME = struct.Struct(">qi")
"""Base offset, bytes that follow."""
_HEAD = struct.Struct(">ibIhiqqqhii")
"""Leader epoch, magic, checksum, attributes, last offset, two times, producer, its epoch, sequence, records."""
_CONTROL = 0x20
_KEY = struct.Struct(">hh")
"""Version, type."""
_KEY_AT = 5
"""In the record, behind length, attributes, time, offset and length of the key, each a varint of one byte here."""
_COMMIT = 1


class End(NamedTuple):
    """The end of one transaction on one partition."""

    offset: int
    producer: int
    epoch: int
    """Who is fenced or crashes leaves one aborted transaction at most behind under one epoch."""
    committed: bool


def ends(segment: bytes) -> Iterator[End]:
    """Yield each end of a transaction in a segment; what is not yet written whole is left out."""
    at = 0
    while at + _FRAME.size + _HEAD.size <= len(segment):
        offset, size = _FRAME.unpack_from(segment, at)
        body = at + _FRAME.size
        at = body + size
        if size < _HEAD.size or at > len(segment):
            return
        _, _, _, attributes, _, _, _, producer, epoch, _, records = _HEAD.unpack_from(segment, body)
        if attributes & _CONTROL and records:
            _, kind = _KEY.unpack_from(segment, body + _HEAD.size + _KEY_AT)
            yield End(offset, producer, epoch, kind == _COMMIT)


def ended(cluster: Cluster, topics: Iterable[str]) -> set[tuple[str, End]]:
    """Return topic and partition, and each end of a transaction there; of every copy, whichever node has it."""
    found = set()
    for topic in topics:
        for folder in cluster.folder.glob(f"data-*/{topic}-*"):
            if re.fullmatch(rf"{re.escape(topic)}-\d+", folder.name):
                for segment in folder.glob("*.log"):
                    found |= {(folder.name, end) for end in ends(segment.read_bytes())}
    return found
