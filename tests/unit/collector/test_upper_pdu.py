"""What Wireshark exports."""

import pytest
from support import captures
from support.captures import CAPTURED_MS, DST6, SRC6, exported, invite, ringing
from support.hep_senders import kamailio_v3

from missedcall_collector.intake import Intake
from missedcall_collector.upper_pdu import LINK, upper_pdu
from missedcall_collector.wire import Wire


@pytest.fixture
def wire():
    return Wire(Intake())


@pytest.mark.parametrize(("number", "name"), [(1, "sctp"), (2, "tcp"), (3, "udp"), (9, "")])
def test_a_message_comes_with_its_addresses(wire, number, name):
    (message,) = wire.packet(CAPTURED_MS, LINK, exported(invite(), transport=number))

    assert (message.src, message.dst, message.transport) == ("192.0.2.1:5060", "198.51.100.2:5080", name)
    assert (message.head, message.captured_ms) == (invite(), CAPTURED_MS)


def test_ipv6_is_read():
    pdu = upper_pdu(exported(b"x", source=SRC6, destination=DST6))

    assert (pdu.source, pdu.destination, pdu.payload) == (SRC6, DST6, b"x")


def test_messages_of_one_piece_of_a_stream_are_told_apart(wire):
    found = wire.packet(CAPTURED_MS, LINK, exported(invite("a") + ringing("b"), transport=2))

    assert [message.call_id for message in found] == ["a", "b"]


def test_hep_is_opened(wire):
    (message,) = wire.packet(CAPTURED_MS, LINK, exported(kamailio_v3(invite())))

    assert message.agent == "2001"


def test_without_tags_a_message_is_still_one(wire):
    (message,) = wire.packet(CAPTURED_MS, LINK, bytes(4) + invite())

    assert (message.src, message.dst, message.transport) == ("", "", "")


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0", b"\0\x0c\0\x04sip\0", b"\0\x0c\xff\xffsip", b"\0\x0c\0\0" * 99 + bytes(4)]
)
def test_tags_without_end_carry_nothing(wire, data):
    assert wire.packet(CAPTURED_MS, LINK, data) == []
    assert wire._intake.counts == {"not-ip": 1}


def test_a_file_of_them_is_a_capture(tmp_path):
    from missedcall_collector.capture import open_capture

    path = tmp_path / "exported"
    path.write_bytes(captures.pcapng(exported(invite()), link=LINK))

    assert [message.call_id for message in open_capture(path)] == ["call-1"]
