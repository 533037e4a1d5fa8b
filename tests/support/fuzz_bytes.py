"""The raw mutator: changes of bytes that know nothing of what the bytes mean.

Rule 1: the same generator state and the same input give the same output.
Rule 2: no output is longer than `MAX_INPUT`.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

MAX_INPUT = 300_000
"""Bytes of one input. Less: limits of 64 kB and 256 kB are not reached. More: fewer inputs per second."""

TELLING = b'\0\1\2\t\n\r "%&,/:;<=>?@[\\]{|}~\x1f\x7f\x80\x8b\xc3\xff'
"""Bytes that mean something to some parser."""

_EDGES = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    20,
    40,
    127,
    128,
    255,
    256,
    1500,
    32_767,
    32_768,
    65_535,
    1 << 24,
    1 << 31,
)
_EDGES += ((1 << 32) - 1, (1 << 64) - 1)

Mutator: TypeAlias = Callable[[Random, bytes, Sequence[bytes]], bytes]
"""Makes an input of a sample; the samples are there to take pieces from."""

_Change: TypeAlias = Callable[[Random, bytearray, Sequence[bytes]], None]


def raw(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return `data` with one to a dozen changes."""
    changed = bytearray(data)
    for _ in range(few(rng)):
        rng.choice(_CHANGES)(rng, changed, others)
        del changed[MAX_INPUT:]
    return bytes(changed)


def few(rng: Random) -> int:
    """Return a small number, mostly 1."""
    n = 1
    while n < 12 and rng.random() < 0.45:
        n += 1
    return n


def piece(rng: Random, data: bytes | bytearray, most: int = 64) -> tuple[int, int]:
    """Return begin and end of a piece of `data`."""
    begin = rng.randrange(len(data) + 1)
    return begin, min(len(data), begin + rng.randrange(most))


def number(rng: Random, size: int) -> int:
    """Return a number of `size` bytes, at an edge as a rule."""
    most = (1 << 8 * size) - 1
    return (rng.choice(_EDGES) + rng.randrange(-2, 3)) & most if rng.random() < 0.7 else rng.randint(0, most)


def _flip(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        byte = rng.choice(TELLING) if rng.random() < 0.7 else rng.randrange(256)
        data[rng.randrange(len(data))] = byte


def _set_number(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 2, 4, 4, 8))
    if len(data) >= size:
        at = rng.randrange(len(data) - size + 1)
        data[at : at + size] = number(rng, size).to_bytes(size, rng.choice(("big", "little")))


def _insert(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.randrange(1, 9)) if rng.random() < 0.5 else bytes((rng.choice(TELLING),))


def _remove(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    begin, end = piece(rng, data)
    del data[begin:end]


def _repeat(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    begin, end = piece(rng, data, rng.choice((4, 64, 2048)))
    times = rng.choice((2, 2, 2, 3, 10, 300, 20_000))
    data[begin:begin] = bytes(data[begin:end]) * min(times, MAX_INPUT // max(1, end - begin))


def _move(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    begin, end = piece(rng, data, 256)
    moved = data[begin:end]
    del data[begin:end]
    at = rng.randrange(len(data) + 1)
    data[at:at] = moved


def _splice(rng: Random, data: bytearray, others: Sequence[bytes]) -> None:
    other = rng.choice(others)
    begin, end = piece(rng, other, 4096)
    at, until = piece(rng, data, rng.choice((1, 64, 4096)))
    data[at:until] = other[begin:end]


def _cut(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


_CHANGES: tuple[_Change, ...] = (
    _flip, _flip, _set, _set, _set, _set_number, _set_number,
    _insert, _insert, _remove, _remove, _repeat, _move, _splice, _splice, _cut,
)  # fmt: skip
