"""From packets to messages; what `test_capture` shows of whole files is not repeated here."""

import struct

import pytest
from support.captures import invite, tcp4, udp4, udp_segment, vxlan
from support.hep_senders import CAPTURED_MS, chunk, frame, kamailio_v3

from missedcall_collector.intake import Intake
from missedcall_collector.pcap_writer import ethernet, ip_packet
from missedcall_collector.wire import Wire

RAW = 101


@pytest.fixture
def intake():
    return Intake()


@pytest.fixture
def wire(intake):
    return Wire(intake)


def test_sip_is_found_on_any_port(wire):
    (message,) = wire.packet(1000, RAW, udp4(invite(), source_port=1, destination_port=53))

    assert (message.src, message.dst, message.captured_ms) == ("192.0.2.1:1", "198.51.100.2:53", 1000)


def test_bytes_behind_the_udp_length_are_padding(wire):
    segment = udp_segment(invite()) + b"\0\0"

    (message,) = wire.packet(1, RAW, ip_packet(17, bytes(4), bytes(4), segment))

    assert message.head == invite()


def test_a_udp_length_of_zero_reaches_to_the_end(wire):
    segment = bytearray(udp_segment(invite()))
    segment[4:6] = b"\0\0"

    assert len(wire.packet(1, RAW, ip_packet(17, bytes(4), bytes(4), bytes(segment)))) == 1


@pytest.mark.parametrize(
    "payload", [b"", b"\r\n\r\n", b"\0", b"\x80\x08" + bytes(160), b"\x00\x01\x00\x00\x21\x12\xa4\x42"]
)
def test_keep_alives_rtp_and_stun_are_not_sip(wire, intake, payload):
    assert wire.packet(1, RAW, udp4(payload)) == []
    assert intake.counts == {"not-sip": 1}


def test_vxlan_in_vxlan_is_opened_to_a_bounded_depth(wire, intake):
    packet = udp4(invite())
    for _ in range(3):
        packet = vxlan(packet)

    assert len(wire.packet(1, RAW, packet)) == 1
    assert wire.packet(1, RAW, vxlan(packet)) == []
    assert intake.counts == {"not-sip": 1}


def test_the_time_of_hep_is_its_own_and_the_clock_the_captures(wire):
    (message,) = wire.packet(CAPTURED_MS + 400, RAW, udp4(kamailio_v3(invite())))

    assert (message.captured_ms, message.received_ms) == (CAPTURED_MS, CAPTURED_MS + 400)


def test_hep_of_another_protocol_is_not_sip(wire, intake):
    rtcp = frame(chunk(11, struct.pack("!B", 5)), chunk(0x0F, b"{}"))

    assert wire.packet(1, RAW, udp4(rtcp)) == []
    assert intake.counts == {"not-sip": 1}


def test_the_end_of_the_capture_yields_what_is_readable(wire):
    assert wire.packet(7, RAW, tcp4(invite(body=b"x" * 10)[:-3], 1)) == []

    (message,) = wire.close()

    assert (message.call_id, message.captured_ms) == ("call-1", 7)


def test_a_first_line_shorter_than_a_version_is_not_sip(wire, intake):
    assert wire.packet(1, RAW, udp4(b"X\n" + bytes(30))) == []
    assert intake.counts == {"not-sip": 1}


@pytest.mark.parametrize(
    "payload", [invite(), invite(method="OPTIONS"), kamailio_v3(invite()), b"\x80" + bytes(99), b"", b"x"]
)
@pytest.mark.parametrize("total", [0, 19, 20, 27, 28, 29, 200, None])
@pytest.mark.parametrize("length", [0, 8, 9, 100, None])
def test_packets_together_are_opened_as_one_by_one(payload, total, length):
    packet = bytearray(udp4(payload))
    packet[2:4] = packet[2:4] if total is None else total.to_bytes(2, "big")
    packet[24:26] = packet[24:26] if length is None else length.to_bytes(2, "big")
    packets = [(5, RAW, bytes(packet)), (6, 1, ethernet(bytes(packet))), (4, RAW, bytes(packet[:27]))]
    one_by_one, together = Intake(), Intake()
    first = Wire(one_by_one)

    expected = [message for packet in packets for message in first.packet(*packet)]

    assert Wire(together).packets(packets) == expected
    assert together.counts == one_by_one.counts


def test_a_frame_without_ip_is_counted(wire, intake):
    assert wire.packet(1, 1, ethernet(udp4(b"x"))[:13]) == []
    assert intake.counts == {"not-ip": 1}
