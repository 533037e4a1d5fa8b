"""Which partition of `sip-transactions` decides about a message: part of the data format.

Rule 1: a key is one user, or two with `BETWEEN` between them; a user's partition is crc32(user) % n.
Rule 2: partitions are made more by a multiple only. Then what is on partition p of n belongs on p, p + n, p + 2n
        and so on of the others and nowhere else: each of these goes on where p has stopped.
"""

from typing import Final
from zlib import crc32

BETWEEN: Final = " "
"""Stands between the two users of a key; in a user part it would be escaped."""


def partitions_of(key: str, partitions: int) -> list[int]:
    """Return the partitions that decide about a key: one, or two for two users."""
    first, between, second = key.partition(BETWEEN)
    found = [_partition(first, partitions)]
    if between:
        other = _partition(second, partitions)
        if other != found[0]:
            found.append(other)
    return found


def heirs(partition: int, before: int, after: int) -> range:
    """Return the partitions of ``after`` that go on with one of ``before``.

    Raises:
        ValueError: ``after`` is no multiple of ``before``.
    """
    if after % before:
        raise ValueError(f"{after} partitions are no multiple of {before}")
    return range(partition, after, before)


def _partition(user: str, partitions: int) -> int:
    return crc32(user.encode("utf-8", "surrogatepass")) % partitions
