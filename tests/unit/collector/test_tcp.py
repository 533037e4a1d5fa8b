"""One direction of a connection, put in order."""

import pytest

from missedcall_collector.tcp import GAP, MAX_HELD, MAX_SEGMENTS, MAX_WAIT_MS, Direction

TEXT = bytes(range(256)) * 8


def receive(direction, *segments, now_ms=0):
    return [piece for at, data in segments for piece in direction.receive(at, data, now_ms)]


def test_segments_in_order_are_delivered_at_once():
    assert receive(Direction(), (100, b"abc"), (103, b"def")) == [b"abc", b"def"]


def test_segments_out_of_order_are_delivered_in_order():
    direction = Direction()

    assert receive(direction, (100, b"ab"), (104, b"ef"), (106, b"gh"), (102, b"cd")) == [
        b"ab",
        b"cd",
        b"ef",
        b"gh",
    ]
    assert direction.held_bytes == 0


def test_repeated_segments_are_delivered_once():
    assert receive(Direction(), (100, b"abc"), (100, b"abc"), (103, b"def"), (100, b"abcdef")) == [
        b"abc",
        b"def",
    ]


def test_an_overlap_delivers_only_what_is_new():
    assert receive(Direction(), (100, b"abc"), (102, b"cde"), (100, b"abcdef")) == [b"abc", b"de", b"f"]


def test_of_a_held_segment_repeated_the_longer_counts():
    assert receive(Direction(), (100, b"a"), (102, b"c"), (102, b"cde"), (102, b"cd"), (101, b"b")) == [
        b"a",
        b"b",
        b"cde",
    ]


def test_a_keep_alive_delivers_nothing():
    assert receive(Direction(), (100, b"abc"), (102, b"\0"), (102, b"")) == [b"abc"]


def test_the_sequence_number_wraps():
    assert receive(Direction(), (0xFFFF_FFFE, b"ab"), (2, b"ef"), (0, b"cd")) == [b"ab", b"cd", b"ef"]


def test_the_syn_is_one_byte_long():
    direction = Direction()

    assert direction.receive(99, b"", 0, syn=True) == []
    assert receive(direction, (102, b"cd"), (100, b"ab")) == [b"ab", b"cd"]


def test_a_repeated_syn_changes_nothing():
    direction = Direction()
    direction.receive(99, b"", 0, syn=True)
    receive(direction, (100, b"ab"))

    assert direction.receive(99, b"", 0, syn=True) == []
    assert receive(direction, (102, b"cd")) == [b"cd"]


@pytest.mark.parametrize("sequence", [5_000, 3_000_000_000])
def test_a_new_connection_on_the_same_ports_begins_anew(sequence):
    direction = Direction()
    direction.receive(99, b"", 0, syn=True)
    receive(direction, (100, b"ab"))

    assert direction.receive(sequence, b"", 0, syn=True) == [GAP]
    assert receive(direction, (sequence + 1, b"xy")) == [b"xy"]


def test_a_new_connection_whose_syn_is_missing_begins_anew():
    assert receive(Direction(), (100, b"ab"), (3_000_000_000, b"xy")) == [b"ab", GAP, b"xy"]


def test_a_gap_is_given_up_after_a_while():
    direction = Direction()
    receive(direction, (100, b"ab"), (104, b"ef"))

    assert direction.receive(106, b"gh", MAX_WAIT_MS, syn=False) == []
    assert direction.receive(108, b"ij", MAX_WAIT_MS + 1) == [GAP, b"ef", b"gh", b"ij"]


def test_a_gap_is_given_up_when_too_much_waits():
    direction = Direction()
    receive(direction, (0, b"a"))
    pieces = receive(direction, *((10 + n * 65_536, bytes(65_536)) for n in range(MAX_HELD // 65_536 + 1)))

    assert pieces[0] is GAP
    assert direction.held_bytes == 0


def test_a_gap_is_given_up_when_too_many_wait():
    direction = Direction()
    receive(direction, (0, b"a"))
    pieces = receive(direction, *((10 + 2 * n, b"x") for n in range(MAX_SEGMENTS + 1)))

    assert pieces == [GAP, b"x"]


def test_closing_delivers_what_waits_behind_its_gaps():
    direction = Direction()
    receive(direction, (0, b"a"), (5, b"f"), (10, b"k"))

    assert direction.close() == [GAP, b"f", GAP, b"k"]
