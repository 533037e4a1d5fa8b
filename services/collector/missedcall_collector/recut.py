"""A batch that was made for fewer partitions, for those that there are now.

Rule 1: the batches of the heirs have its number, each: they go on with the numbers of the partition that they come
        of, and a hole in them stays one.
Rule 2: an heir for which nothing is in the batch gets it without messages: its clock counts there too.
"""

from typing import NamedTuple

from msgspec.structs import replace

from missedcall_common.placing import heirs, partitions_of
from missedcall_schemas.codec import decode_batch, encode_batch


class Part(NamedTuple):
    """What one heir gets."""

    partition: int
    value: bytes
    messages: int


def recut(partition: int, value: bytes, before: int, after: int) -> list[Part]:
    """Return the records that take the place of one.

    Args:
        partition: of the record.
        value: its own.
        before: for how many partitions it was made.
        after: how many there are.

    Raises:
        CodecError: the value is no batch.
        ValueError: ``after`` is no multiple of ``before``.
    """
    batch = decode_batch(value)
    found = []
    for heir in heirs(partition, before, after):
        messages = tuple(one for one in batch.messages if heir in partitions_of(one.key, after))
        found.append(Part(heir, encode_batch(replace(batch, messages=messages)), len(messages)))
    return found
