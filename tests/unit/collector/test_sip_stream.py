"""SIP over a stream, cut into messages."""

import time

import pytest
from support.captures import invite, ringing

from missedcall_collector.sip_stream import MAX_BODY, SipStream, split

A = invite("a", body=b"v=0\r\nm=audio 1 RTP/AVP 0\r\n")
B = ringing("b")
C = invite("c", method="BYE")


def feed(data, size=None):
    stream = SipStream()
    pieces = [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]
    return [m for piece in pieces for m in stream.feed(piece)], stream


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, None])
def test_messages_come_out_however_the_bytes_come_in(size):
    messages, stream = feed(A + B + C, size)

    assert messages == [A, B, C]
    assert (stream.pending, stream.resyncs) == (0, 0)


@pytest.mark.parametrize(
    "was", [b"INVITE sip", b" SIP/2.0\r\n", b"Content-Length: ", b"\r\n\r\n", b"CSeq: 1"]
)
@pytest.mark.parametrize("becomes", [b"", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\n\n", b"7", b"\0", b":"])
def test_what_comes_as_one_piece_is_cut_as_what_comes_in_two(was, becomes):
    data = A.replace(was, was[:1] + becomes + was[1:]) + C

    found = []
    for cut in (len(data), len(A) // 2, 1):
        stream = SipStream()
        found.append((stream.feed(data[:cut]) + stream.feed(data[cut:]) + stream.gap(), stream.resyncs))

    assert found[1:] == found[:1] * 2


@pytest.mark.parametrize("between", [b"\r\n\r\n", b"\r\n", b"\0\0", b"\n"])
@pytest.mark.parametrize("size", [1, None])
def test_keep_alives_between_messages_are_skipped(between, size):
    messages, stream = feed(between + A + between + B + between, size)

    assert messages == [A, B]
    assert stream.resyncs == 0


@pytest.mark.parametrize("name", ["l", "L", "CONTENT-LENGTH", "Content-length  "])
def test_every_spelling_of_content_length_counts(name):
    message = A.replace(b"Content-Length", name.encode())

    assert feed(message + B)[0] == [message, B]


def test_bare_line_feeds_are_line_ends():
    message = A.replace(b"\r\n", b"\n").replace(b"Content-Length: 26", b"Content-Length: 24")

    assert feed(message + B)[0] == [message, B]


def test_a_start_in_the_middle_finds_the_next_message():
    messages, stream = feed(A[100:] + B)

    assert messages == [B]
    assert stream.resyncs == 1


def test_a_message_without_content_length_ends_at_the_next():
    message = A.replace(b"Content-Length: 26\r\n", b"")

    assert feed(message + B)[0] == [message, B]


@pytest.mark.parametrize("length", [b"20", b"0", b"999999999"])
def test_a_content_length_that_is_wrong_costs_at_most_its_body(length):
    message = A.replace(b"Content-Length: 26", b"Content-Length: " + length)

    messages, _ = feed(message + B + C)

    assert messages[0].startswith(b"INVITE")
    assert messages[-2:] == [B, C]


def test_a_gap_yields_the_message_whose_head_is_whole():
    stream = SipStream()
    stream.feed(A[:-10])

    assert stream.gap() == [A[:-10]]
    assert stream.feed(B) == [B]


def test_a_gap_in_a_head_costs_the_message():
    stream = SipStream()
    stream.feed(A[:50])

    assert stream.gap() == []
    assert stream.feed(A[80:] + B) == [B]


def test_a_head_without_end_is_given_up():
    stream = SipStream()
    for _ in range(100):
        stream.feed(b"INVITE sip:x SIP/2.0\r\n" + b"X-Filler: y\r\n" * 80)

    assert stream.pending < 70_000
    assert stream.feed(b"\r\n" + A)[-1] == A


def test_something_else_shows_by_its_fruitless_bytes():
    stream = SipStream()
    for _ in range(100):
        stream.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)

    assert stream.fruitless > 65_536
    assert stream.pending < 10_000


@pytest.mark.parametrize(
    "piece",
    [
        b"A",
        b"\r\n",
        b"INVITE ",
        b"INVITE a SIP/2.0\r\n",
        b"SIP/2.0 200",
        b"SIP/2.0 200 " + b"x" * 70_000,
        b"INVITE a SIP/2.0\r\nl: 0\r\n",
        b"a b SIP/2.0",
        b"\nl: 1",
        b"INVITE x SIP/2.0\r\n\r\n",
        b"INVITE " + b"x " * 4000,
    ],
    ids=range(11),
)
def test_work_is_bounded_by_the_input(piece):
    stream = SipStream()
    data = piece * (1_000_000 // len(piece))
    begin = time.process_time()
    for at in range(0, len(data), 1400):
        stream.feed(data[at : at + 1400])
    stream.gap()

    assert time.process_time() - begin < 5
    assert stream.pending <= MAX_BODY


def test_a_single_message_is_not_split():
    assert split(A) == [A]
    assert split(b"") == [b""]
    assert split(B[:-4]) == [B[:-4]]


def test_joined_messages_are_split():
    assert split(A + B + C) == [A, B, C]
