"""Files in pieces."""

import gzip
import io
import tracemalloc

import pytest

from missedcall_collector import source as module
from missedcall_collector.capture_error import CaptureError
from missedcall_collector.source import Source

TEXT = bytes(range(256)) * 4096


def read_all(data, size=1000):
    source = Source(io.BytesIO(data))
    out = []
    while source.need(size):
        out.append(source.data[source.at : source.at + size])
        source.at += len(out[-1])
    return b"".join(out), source


class Drip(io.BytesIO):
    """A pipe that gives little at a time."""

    def read(self, size=-1):
        return super().read(min(size, 7))


def test_all_bytes_come_in_order():
    data, source = read_all(TEXT * 3)

    assert data == TEXT * 3
    assert source.bytes_read == source.offset == len(data)


def test_a_pipe_that_gives_little_is_read_all_the_same():
    source = Source(Drip(TEXT[:1000]))

    assert source.need(500) >= 500
    assert source.need(5000) == 1000


def test_gzip_is_opened_and_progress_counts_the_file():
    packed = gzip.compress(TEXT * 3)
    data, source = read_all(packed)

    assert data == TEXT * 3
    assert (source.bytes_read, source.offset) == (len(packed), len(data))


def test_gzip_members_follow_each_other():
    data, _ = read_all(gzip.compress(TEXT) + gzip.compress(b"more") + bytes(512))

    assert data == TEXT + b"more"


def test_gzip_from_a_pipe_is_opened():
    source = Source(Drip(gzip.compress(b"hello")))

    assert source.need(100) == 5
    assert source.take() == b"hello"


@pytest.mark.parametrize("cut", [11, 200, 900])
def test_what_precedes_the_end_of_a_cut_gzip_is_read(cut):
    packed = gzip.compress(TEXT)[:-cut]
    data, source = read_all(packed)

    assert TEXT.startswith(data)
    with pytest.raises(CaptureError, match="found damaged gzip data"):
        source.end("more")


def test_what_precedes_damage_in_gzip_is_read():
    packed = bytearray(gzip.compress(bytes(n * n % 251 for n in range(100_000)), 1))
    packed[len(packed) // 2] ^= 0xFF
    data, source = read_all(bytes(packed))

    assert len(data) > 100
    with pytest.raises(CaptureError, match="found damaged gzip data"):
        source.end("more")


def test_leftover_bytes_are_an_error_at_their_offset():
    source = Source(io.BytesIO(b"12345678"))
    source.need(8)
    source.at = 5

    with pytest.raises(CaptureError, match="offset 5: found the last 3 bytes of the file, expected a record"):
        source.end("a record")


def test_a_bomb_is_read_in_bounded_memory():
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    source = Source(io.BytesIO(bomb))
    total = 0
    while data := source.take():
        total += len(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert total == 64 << 20
    assert peak < 8 * module.PIECE
