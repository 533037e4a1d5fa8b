"""No bytes break the input: every cut and every changed byte of every sample ends in messages or one error."""

import io
import time
from collections import Counter
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import captures, traces
from support.captures import LINKS, TUNNELS, invite, ringing, tcp4, udp4, udp6
from support.hep_senders import SENDERS

from missedcall_collector import capture, hep
from missedcall_collector.capture_error import CaptureError
from missedcall_collector.correlation import CorrelationRules
from missedcall_collector.hep_stream import HepStream
from missedcall_collector.intake import CAUSES, Intake
from missedcall_collector.pcap_writer import ethernet
from missedcall_collector.sip_stream import SipStream
from missedcall_collector.source import Source
from missedcall_collector.wire import Wire

SIP = b"ACK sip:b@x SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 ACK\r\nl: 0\r\n\r\n"
FRAGMENTS = [
    *map(ethernet, captures.ipv4_fragments(udp4(SIP), 32)),
    *map(ethernet, captures.ipv6_fragments(udp6(SIP), 32)),
]
SEGMENTS = [ethernet(tcp4(SIP[at : at + 40], 1 + at)) for at in (0, 40, 40)]

FILES = {
    "pcap": captures.pcap(ethernet(udp4(SIP)), ethernet(udp6(SIP))),
    "pcap-big-endian": captures.pcap(ethernet(udp4(SIP)), order=">", nanos=True),
    "pcap-fragments": captures.pcap(*FRAGMENTS),
    "pcap-tcp": captures.pcap(*SEGMENTS),
    "pcapng": captures.pcapng(ethernet(udp4(SIP)), captures.vlan(udp6(SIP))),
    "pcap-gzip": captures.zipped(captures.pcap(ethernet(udp4(SIP)))),
    "hep": b"".join(SENDERS[name](SIP) for name in ("kamailio_v3", "opensips_v3_compressed")),
    **{f"lync-{name}": traces.as_file(text)[:1400] for name, text in traces.DIALECTS.items()},
    **{f"link-{name}": captures.pcap(wrap(udp4(SIP)), link=link) for name, (link, wrap) in LINKS.items()},
    **{f"tunnel-{name}": captures.pcap(ethernet(wrap(udp4(SIP)))) for name, wrap in TUNNELS.items()},
}
FRAMES = {name: sender(SIP) for name, sender in SENDERS.items()}


def changed(data):
    """Yield `data` cut at each place, and with each byte changed in two ways."""
    for at in range(len(data)):
        yield data[:at]
        yield data[:at] + bytes((data[at] ^ 1 << at % 8,)) + data[at + 1 :]
        yield data[:at] + (b"\xff" if data[at] != 0xFF else b"\0") + data[at + 1 :]


def read_file(data):
    """Read a file as `capture.Capture` does, without the file."""
    reader = capture.Capture("sample", Intake(), UTC)
    failed = None
    try:
        for message in reader._messages(Source(io.BytesIO(data))):
            assert message.call_id
    except CaptureError as error:
        failed = error

    assert failed is None or (failed.offset >= 0 and failed.found and failed.expected)
    assert reader.counts.keys() <= CAUSES.keys()


def read_frame(intake, data):
    for message in intake.from_frame(data, captures.CAPTURED_MS):
        assert message.call_id
        assert message.captured_ms > 0


@pytest.mark.parametrize("name", FILES)
def test_every_cut_and_changed_byte_of_a_file_is_survived(name):
    for data in changed(FILES[name]):
        read_file(data)


@pytest.mark.parametrize("name", FRAMES)
def test_every_cut_and_changed_byte_of_a_hep_frame_is_survived(name):
    intake = Intake(CorrelationRules(("x-cid",), (r"_b2b-\d+",)))
    for data in changed(FRAMES[name]):
        begin = time.process_time()
        read_frame(intake, data)
        assert time.process_time() - begin < 1


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_a_hep_error(data):
    for sample in (data, b"HEP3" + data, b"\x01" + data, b"\x02\x10\x02\x11" + data, b"\x1f\x8b\x08" + data):
        try:
            packet = hep.decode(sample)
        except hep.HepError:
            continue
        assert isinstance(packet.payload, bytes)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0x30), st.binary(max_size=40)), max_size=12))
def test_any_chunks_are_a_packet_or_a_hep_error(chunks):
    body = b"".join(
        vendor.to_bytes(2, "big") + kind.to_bytes(2, "big") + (6 + len(b)).to_bytes(2, "big") + b
        for vendor, kind, b in chunks
    )
    frame = b"HEP3" + (6 + len(body)).to_bytes(2, "big") + body
    read_frame(Intake(), frame)


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from([*FRAMES.values(), SIP, invite(), ringing(), b"HEP3", b"\r\n", b"\0"]),
    ),
    max_size=12,
)


@given(PIECES)
def test_no_stream_breaks_hep_over_tcp(pieces):
    stream = HepStream()
    for piece in pieces:
        for frame in stream.feed(piece):
            read_frame(Intake(), frame)

    assert stream.pending <= sum(map(len, pieces))


@given(PIECES)
def test_no_stream_breaks_sip_over_tcp(pieces):
    stream = SipStream()
    messages = [message for piece in pieces for message in stream.feed(piece)] + stream.gap()

    assert sum(map(len, messages)) <= sum(map(len, pieces))
    assert stream.pending == 0


@given(st.lists(st.tuples(st.sampled_from(sorted(LINKS)), st.binary(max_size=120)), max_size=8))
def test_no_packet_breaks_the_wire(packets):
    wire = Wire(Intake())
    for n, (name, data) in enumerate(packets):
        wire.packet(n, LINKS[name][0], data)
        wire.packet(n, LINKS[name][0], LINKS[name][1](b"E" + data))
    wire.close()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_file_or_a_capture_error(data):
    for begin in (
        b"",
        *capture.pcap.MAGIC,
        captures.section(),
        b"HEP3",
        b"\x1f\x8b\x08\0",
        b"TL_INFO(TF_PROTOCOL) [",
    ):
        read_file(begin + data)


@given(st.text(max_size=300))
def test_any_text_is_a_trace_of_some_messages(text):
    from missedcall_collector import lync

    lines = (traces.CLS[:600] + text + traces.UCCAPI[:300] + text).encode("utf-8", "replace").split(b"\n")
    for message in lync.messages(lines, UTC, Counter()):
        assert message[0] > 0
