"""The state of one partition, for those that go on with it when there are more.

Rule 1: a call goes where the messages of its key go from now on; nothing in its row changes.
Rule 2: clocks and sequences go to each heir as they are: collectors go on with their numbers there, so that a hole
        and a collector that lags are seen as before.
Rule 3: the position begins anew. Whoever calls has seen that everything before it is in the state.
Rule 4: a state that is not to be moved is refused as a whole.
"""

import hashlib
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from missedcall_classifier.engine import META
from missedcall_classifier.rows import StateError, decode_row
from missedcall_common.placing import BETWEEN, heirs, partitions_of

from .unit import FORMAT, HASH, NEXT, POISON, Format

Rows = dict[str, bytes]


class Sum(Struct, frozen=True):
    """What two sets of rows have in common if they are the same, in whatever order they come."""

    rows: int
    digest: int
    """Sum of the rows' hashes, modulo 2^128."""


def moved(partition: int, rows: Rows, before: int, after: int) -> dict[int, Rows]:
    """Return the rows of each heir.

    Args:
        partition: whose state it is.
        rows: the state, one row per key.
        before: how many partitions there are.
        after: how many there will be, a multiple.

    Raises:
        StateError: a row cannot be read, does not belong here, or was begun by a release that did not note its key.
    """
    found: dict[int, Rows] = {number: {} for number in heirs(partition, before, after)}
    for key, row in rows.items():
        if key == NEXT:
            continue
        if key == POISON:
            raise StateError("a record that a worker failed on is not decided yet")
        if key == FORMAT:
            row = _format(row, before, after)  # noqa: PLW2901 - it is the same row
        if key in (META, FORMAT):
            for heir in found.values():
                heir[key] = row
        else:
            found[_heir(decode_row(row).home, partition, before, after)][key] = row
    return found


def unplaced(rows: Rows) -> int:
    """Return how many calls do not know their key: begun by a release that did not note it."""
    own = (NEXT, POISON, FORMAT, META)
    return sum(key not in own and decode_row(row).home == BETWEEN for key, row in rows.items())


def sum_of(rows: Iterable[tuple[str, bytes]]) -> Sum:
    """Return the sum of rows."""
    count = total = 0
    for key, row in rows:
        name = key.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(b"%d:%b%b" % (len(name), name, row), digest_size=16).digest()
        count += 1
        total += int.from_bytes(digest, "big")
    return Sum(count, total % 2**128)


def _heir(home: str, partition: int, before: int, after: int) -> int:
    if home == BETWEEN:
        raise StateError("a call was begun by a release that did not note its key")
    for user in home.split(BETWEEN):
        if partitions_of(user, before) == [partition]:
            return partitions_of(user, after)[0]
    raise StateError(f"a call on partition {partition} does not belong there")


def _format(row: bytes, before: int, after: int) -> bytes:
    try:
        there = msgspec.msgpack.decode(row, type=Format)
    except msgspec.DecodeError as error:
        raise StateError(f"row {FORMAT} of call-state is no format: {error}") from error
    if (there.partitions, there.hash) != (before, HASH):
        raise StateError(
            f"the state is of {there.partitions} partitions by {there.hash}, expected {before} by {HASH}"
        )
    return msgspec.msgpack.encode(msgspec.structs.replace(there, partitions=after))
