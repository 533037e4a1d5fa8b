"""What the writer writes is what the reader reads."""

import pytest
from support.captures import invite, ringing

from missedcall_collector.capture import open_capture
from missedcall_collector.pcap_writer import framed, ip_packet, write_pcap
from missedcall_schemas.records import SipMessage


def sip(head, transport="udp", src="192.0.2.1:5060", dst="192.0.2.2:5061", captured_ms=1_700_000_000_123):
    return SipMessage("alice", "call-1", captured_ms, captured_ms, src, dst, transport, head)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    "ends", [("192.0.2.1:5060", "192.0.2.2:5061"), ("[2001:db8::1]:5060", "[2001:db8::2]:5061")]
)
def test_messages_are_read_back(tmp_path, transport, ends):
    messages = [
        sip(invite(), transport, *ends),
        sip(ringing(), transport, *ends[::-1], captured_ms=1_700_000_000_500),
        sip(invite(method="CANCEL"), transport, *ends, captured_ms=1_700_000_009_000),
    ]
    write_pcap(tmp_path / "x.pcap", messages)

    assert list(open_capture(tmp_path / "x.pcap")) == messages


def test_long_messages_are_several_tcp_segments(tmp_path):
    message = sip(invite("call-1", "X-Long: " + "x" * 5000), "tcp")

    assert write_pcap(tmp_path / "x.pcap", [message], segment=500) == 12
    assert list(open_capture(tmp_path / "x.pcap")) == [message]


def test_over_tcp_the_length_of_a_cut_body_is_made_true():
    cut = invite(body=b"x" * 300)[:-300] + b"m=audio 1 RTP/AVP 0\r\n"

    assert b"Content-Length: 21\r\n" in framed(cut)
    assert framed(b"ACK sip:x SIP/2.0\r\nCall-ID: x\r\n").endswith(b"\r\nContent-Length: 0\r\n\r\n")


def test_named_ends_become_documentation_addresses(tmp_path):
    write_pcap(tmp_path / "x.pcap", [sip(invite(), src="fe01:5061", dst="")])

    (message,) = open_capture(tmp_path / "x.pcap")

    assert message.src.startswith("192.0.2.")
    assert message.src.endswith(":5061")


def test_the_same_messages_give_the_same_file(tmp_path):
    for name in ("a", "b"):
        write_pcap(tmp_path / name, [sip(invite(), "tcp"), sip(ringing())])

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_checksums_add_up():
    packet = ip_packet(17, bytes(4), bytes(4), b"\x13\xc4\x13\xc4\0\x0c\0\0abcd")
    words = [int.from_bytes(packet[at : at + 2], "big") for at in range(0, 20, 2)]

    assert sum(words) % 0xFFFF == 0


@pytest.mark.parametrize("address", [bytes(4), bytes(16)])
def test_a_packet_too_large_for_ip_is_refused(address):
    with pytest.raises(ValueError, match="IP carries 65535"):
        ip_packet(6, address, address, bytes(70_000))
