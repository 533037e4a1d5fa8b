"""All connections of a capture."""

from collections import Counter

import pytest
from support.captures import FIN, HANDSHAKE_RESPONSE, RST, SYN, invite, ringing, ws_frame
from support.hep_senders import kamailio_v3

from missedcall_collector import streams as module
from missedcall_collector.streams import Streams

A, B = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))


class Wire:
    """Writes segments and keeps what comes out."""

    def __init__(self):
        self.counts = Counter()
        self.streams = Streams(self.counts)
        self.messages = []

    def send(self, data, sequence, flags=24, port=5060, now_ms=0):
        header = port.to_bytes(2, "big") + b"\x13\xc4" + sequence.to_bytes(4, "big") + bytes(4)
        tcp = header + bytes((0x50, flags)) + bytes(6) + data
        self.messages += [message for *_, message in self.streams.segment(A, B, tcp, now_ms)]

    def close(self):
        self.messages += [message for *_, message in self.streams.close()]


@pytest.fixture
def wire():
    return Wire()


def test_messages_belong_to_their_connection():
    streams = Streams(Counter())
    tcp = b"\x13\xc4\x13\xc5" + bytes(8) + b"\x50\x18" + bytes(6) + invite()

    assert streams.segment(A, B, tcp, 0) == [("192.0.2.1:5060", "192.0.2.2:5061", "tcp", invite())]


def test_connections_do_not_mix(wire):
    for at in range(0, 200, 50):
        wire.send(invite("a")[at : at + 50], 1 + at, port=1)
        wire.send(invite("b")[at : at + 50], 1 + at, port=2)
    wire.close()

    assert wire.messages == [invite("a"), invite("b")]


@pytest.mark.parametrize(
    "large",
    [
        invite("large").replace(b"Content-Length: ", b"Content-Length: 300000\r\nX-Was: ") + b"x" * 300_000,
        invite("large").replace(b"\r\n\r\n", b"\r\nX-Padding: " + b"x" * 100_000 + b"\r\n\r\n"),
    ],
    ids=["body", "head"],
)
def test_a_message_over_the_limit_costs_nothing_that_follows(wire, large):
    data = invite("a") + large + invite("b") + ringing()
    for at in range(0, len(data), 1000):
        wire.send(data[at : at + 1000], 1 + at)
    wire.close()

    assert [wire.messages[0], *wire.messages[-2:]] == [invite("a"), invite("b"), ringing()]


def test_a_lost_segment_costs_the_message_it_belonged_to(wire):
    data = invite("a") + invite("b") + invite("c")
    third = len(invite("a"))
    wire.send(data[:10], 1)
    wire.send(data[third : third + 100], 1 + third)
    wire.send(data[third + 100 :], 1 + third + 100, now_ms=10_000)

    assert wire.messages == [invite("b"), invite("c")]
    assert wire.counts == {"tcp-gap": 1}


@pytest.mark.parametrize("flag", [FIN, RST])
def test_the_end_of_a_connection_frees_it(wire, flag):
    wire.send(invite()[:100], 1)
    wire.send(b"", 101, flag)

    assert not wire.streams._streams
    assert wire.streams._bytes == 0


def test_a_fin_before_its_data_waits_for_it(wire):
    data = invite()
    wire.send(data[:50], 1)
    wire.send(data[100:], 101, FIN)
    wire.send(data[50:100], 51)

    assert wire.messages == [data]


def test_hep_is_told_by_its_magic_also_in_the_middle(wire):
    frames = kamailio_v3(invite("a")) + kamailio_v3(invite("b"))
    wire.send(frames[200:], 201)

    assert wire.messages == [kamailio_v3(invite("b"))]


def test_an_encrypted_stream_is_given_up_and_counted_once(wire):
    for n in range(10):
        wire.send(b"\x17\x03\x03\x04\x00" + bytes(1024), 1 + n * 1029)

    assert wire.counts == {"tls": 1}
    assert wire.streams._bytes == 0


def test_a_stream_of_something_else_is_given_up_and_counted_once(wire):
    for n in range(200):
        wire.send(b"x" * 1000, 1 + n * 1000)

    assert wire.counts == {"not-sip": 1}
    assert wire.streams._bytes == 0


def test_sip_that_begins_late_is_found(wire):
    wire.send(b"some preamble\r\n" + ringing(), 1)

    assert wire.messages == [ringing()]


def test_connections_are_kept_in_bounded_number(wire, monkeypatch):
    monkeypatch.setattr(module, "MAX_STREAMS", 100)
    for port in range(1, 1000):
        wire.send(invite()[:-10], 1, port=port)

    assert len(wire.streams._streams) == 100
    assert wire.counts["limit"] == 899


def test_incomplete_messages_are_kept_in_bounded_memory(wire, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    for port in range(1, 1000):
        wire.send(b"INVITE sip:x SIP/2.0\r\nX: " + b"y" * 1000, 1, port=port)
        wire.send(b"z" * 1000, 3000, port=port)

    held = sum(stream.pending for stream in wire.streams._streams.values())
    assert held == wire.streams._bytes <= 100_000


def test_what_gives_way_yields_its_readable_message(wire, monkeypatch):
    monkeypatch.setattr(module, "MAX_STREAMS", 1)
    wire.send(invite("a", body=b"x" * 100)[:-50], 1, port=1)
    wire.send(b"", 0, SYN, port=2)

    assert wire.messages == [invite("a", body=b"x" * 100)[:-50]]


@pytest.mark.parametrize("tcp", [b"", bytes(19), bytes(20), bytes(12) + b"\xf0\x18" + bytes(10)])
def test_a_header_cut_short_is_no_error(tcp):
    assert Streams(Counter()).segment(A, B, tcp, 0) == []


def test_sip_over_websocket_is_told_by_its_content(wire):
    data = HANDSHAKE_RESPONSE + ws_frame(ringing("a")) + ws_frame(ringing("b"))
    for at in range(0, len(data), 100):
        wire.send(data[at : at + 100], 1 + at)

    assert wire.messages == [ringing("a"), ringing("b")]
    assert not wire.counts


def test_http_is_given_up_at_its_first_message_and_counted_once(wire):
    for n in range(3):
        wire.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", 1 + n * 39)

    assert wire.messages == []
    assert wire.counts == {"not-sip": 1}


def test_bytes_between_messages_are_counted(wire):
    wire.send(invite("a") + b"what is this\r\n\r\n" + invite("b"), 1)
    wire.send(b"BAD sip SIP/1\r\n\r\n" + invite("c"), 1 + 2 * len(invite("a")) + 16)

    assert wire.messages == [invite("a"), invite("b"), invite("c")]
    assert wire.counts == {"malformed-sip": 1}


def test_bytes_between_hep_frames_are_counted(wire):
    frame = kamailio_v3(invite())
    wire.send(frame, 1)
    wire.send(b"what is this" + frame, 1 + len(frame))

    assert wire.messages == [frame, frame]
    assert wire.counts == {"malformed-hep": 1}


def test_a_stream_that_begins_in_the_middle_has_lost_nothing(wire):
    wire.send(b"z: the end of a message\r\n\r\n" + invite("a"), 1)

    assert wire.messages == [invite("a")]
    assert not wire.counts


def test_what_a_gap_costs_is_counted_as_a_gap(wire):
    data = invite("a") + invite("b") + invite("c")
    size = len(invite("a"))
    wire.send(data[:size], 1)
    wire.send(data[size + 50 :], 1 + size + 50)
    wire.close()

    assert wire.messages == [invite("a"), invite("c")]
    assert wire.counts == {"tcp-gap": 1}


def test_compressed_messages_over_websocket_are_counted(wire):
    wire.send(HANDSHAKE_RESPONSE + ws_frame(b"deflated", first=0xC1), 1)
    wire.send(ws_frame(b"deflated", first=0xC1), 1 + len(HANDSHAKE_RESPONSE) + 10)

    assert wire.messages == []
    assert wire.counts == {"compressed": 2}
