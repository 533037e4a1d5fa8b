"""SIP over WebSocket in one direction of a connection."""

import pytest
from support.captures import HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, invite, ringing, ws_frame

from missedcall_collector import websocket
from missedcall_collector.websocket import WebSocketError, WebSocketStream, opens

MESSAGES = [invite("a"), ringing("a"), invite("b", body=b"x" * 200), invite("c", body=b"x" * 70_000)]
MASK = b"\x12\x34\x56\x78"


def stream(mask=b""):
    handshake = HANDSHAKE_REQUEST if mask else HANDSHAKE_RESPONSE
    return handshake + b"".join(ws_frame(message, mask=mask) for message in MESSAGES)


def cut(data, size):
    assert opens(data)
    reader = WebSocketStream(data)
    return [m for at in range(0, len(data), size) for m in reader.feed(data[at : at + size])], reader


@pytest.mark.parametrize("mask", [b"", MASK])
@pytest.mark.parametrize("size", [1, 7, 1000, 1_000_000])
def test_messages_come_out_however_the_bytes_come_in(mask, size):
    found, reader = cut(stream(mask), size)

    assert found == MESSAGES
    assert reader.pending == 0


@pytest.mark.parametrize("mask", [b"", MASK])
def test_a_capture_may_begin_in_the_middle(mask):
    found, _ = cut(ws_frame(invite(), mask=mask) + ws_frame(ringing(), mask=mask), 1_000_000)

    assert found == [invite(), ringing()]


def test_a_message_in_several_frames_is_one_also_with_a_ping_between():
    sip = invite()
    data = (
        ws_frame(sip[:9], first=0x01)
        + ws_frame(b"are you there", first=0x89)
        + ws_frame(sip[9:40], first=0x00)
        + ws_frame(sip[40:], first=0x80)
    )
    reader = WebSocketStream(b"")

    assert reader.feed(data) == [sip]


def test_compressed_messages_are_skipped():
    reader = WebSocketStream(b"")

    assert reader.feed(ws_frame(b"deflated", first=0xC1) + ws_frame(invite())) == [invite()]


def test_after_a_gap_reading_goes_on_where_a_frame_begins():
    reader = WebSocketStream(b"")
    reader.feed(ws_frame(invite("a"))[:50])

    assert reader.gap() == []
    assert reader.feed(invite("a")[50:]) == []
    assert reader.feed(ws_frame(invite("b"))) == [invite("b")]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x" * 20_000,
        HANDSHAKE_RESPONSE + b"\x83\x00",
        HANDSHAKE_RESPONSE + b"\xb1\x00",
        HANDSHAKE_RESPONSE + b"\x81\x7f" + b"\xff" * 8,
        HANDSHAKE_RESPONSE + b"\x01\x00" + b"\x00\x01x" * 2000,
    ],
)
def test_what_is_no_websocket_is_given_up(data):
    with pytest.raises(WebSocketError):
        cut(data, 1_000_000)


@pytest.mark.parametrize(
    "data", [b"", b"\x81", b"\x81\x05hello", invite(), b"\x16\x03\x01", b"HTTP/1.1 200 OK\r\n"]
)
def test_other_streams_do_not_open_one(data):
    assert not opens(data)


def test_memory_is_bounded_over_frames(monkeypatch):
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 1000)
    reader = WebSocketStream(b"")
    with pytest.raises(WebSocketError, match="a message without end"):
        reader.feed(ws_frame(b"x" * 600, first=0x01) + ws_frame(b"x" * 600, first=0x00))
