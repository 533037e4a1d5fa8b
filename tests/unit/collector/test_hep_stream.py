"""HEP over TCP, cut into frames."""

import gzip

import pytest
from support.captures import invite
from support.hep_senders import chunk, frame, heplify, heplify_zipped, kamailio_v3

from missedcall_collector.hep_stream import HepStream

FRAMES = [kamailio_v3(invite(f"call-{n}")) for n in range(3)]
LARGE = frame(chunk(0x0F, bytes(60_000)))


@pytest.mark.parametrize("size", [1, 2, 5, 100, 4096])
def test_frames_come_out_however_the_bytes_come_in(size):
    data = b"".join((FRAMES[0], LARGE, *FRAMES[1:]))
    stream = HepStream()

    cut = [f for at in range(0, len(data), size) for f in stream.feed(data[at : at + size])]

    assert cut == [FRAMES[0], LARGE, *FRAMES[1:]]
    assert (stream.skipped, stream.pending) == (0, 0)


def test_eep3_frames_are_cut_too():
    sample = b"EEP3" + FRAMES[0][4:]

    assert HepStream().feed(sample + sample) == [sample, sample]


def test_garbage_before_a_frame_is_skipped_and_counted():
    stream = HepStream()

    assert stream.feed(b"GET / HTTP/1.1\r\n" + FRAMES[0] + b"!!" + FRAMES[1]) == FRAMES[:2]
    assert (stream.skipped, stream.resyncs) == (18, 2)


def test_a_magic_torn_apart_by_garbage_is_found():
    stream = HepStream()

    frames = stream.feed(b"x" * 10 + b"HE") + stream.feed(b"P3" + FRAMES[0][4:])

    assert frames == [FRAMES[0]]
    assert stream.skipped == 10


def test_a_length_too_small_costs_one_frame():
    stream = HepStream()

    assert stream.feed(b"HEP3\0\x03abc" + FRAMES[0]) == [FRAMES[0]]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_gzipped_frames_are_inflated(size):
    data = heplify_zipped(invite("a")) + FRAMES[0] + heplify_zipped(invite("b"))
    stream = HepStream()

    cut = [f for at in range(0, len(data), size) for f in stream.feed(data[at : at + size])]

    assert cut == [heplify(invite("a")), FRAMES[0], heplify(invite("b"))]


def test_a_gzip_bomb_is_skipped():
    stream = HepStream()

    assert stream.feed(gzip.compress(bytes(1_000_000))) == []
    assert stream.skipped > 0
    assert stream.feed(FRAMES[0]) == [FRAMES[0]]


def test_broken_gzip_is_skipped():
    stream = HepStream()

    assert stream.feed(b"\x1f\x8b\x08" + b"\xff" * 100) == []
    assert stream.feed(FRAMES[0]) == [FRAMES[0]]


def test_pending_says_what_waits():
    stream = HepStream()
    stream.feed(FRAMES[0] + FRAMES[1][:50])

    assert stream.pending == 50


def test_after_a_gap_the_unfinished_frame_is_dropped():
    stream = HepStream()
    stream.feed(FRAMES[0][:50])

    assert stream.gap() == []
    assert stream.feed(FRAMES[1]) == [FRAMES[1]]
    assert stream.skipped == 50
