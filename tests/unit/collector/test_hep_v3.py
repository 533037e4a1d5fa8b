"""HEP version 3, chunk by chunk."""

import struct
import zlib

import pytest
from msgspec.structs import replace
from support.captures import invite, zipped
from support.hep_senders import SECONDS, SENDERS, chunk, frame, kamailio_v3

from missedcall_collector import hep
from missedcall_collector.hep import HepError, HepLimitError, HepPacket

SIP = invite()


def test_a_chunk_of_a_vendor_has_no_generic_meaning():
    packet = hep.decode(
        frame(chunk(0x11, b"stolen", vendor=3), chunk(0x0F, SIP), chunk(0x0E, b"k", vendor=1))
    )

    assert (packet.correlation_id, packet.auth_key) == ("", b"")
    assert packet.others == {3 << 16 | 0x11: b"stolen", 1 << 16 | 0x0E: b"k"}


def test_chunks_may_come_in_any_order():
    sample = kamailio_v3(SIP)
    at, chunks = 6, []
    while at < len(sample):
        size = struct.unpack_from("!H", sample, at + 4)[0]
        chunks.append(sample[at : at + size])
        at += size

    assert hep.decode(frame(*reversed(chunks))) == hep.decode(sample)


@pytest.mark.parametrize("at", [6, 40, 56, None])
def test_of_a_repeated_chunk_the_last_counts_wherever_it_stands(at):
    sample = kamailio_v3(SIP)
    later = chunk(9, struct.pack("!I", 1_700_000_777))
    body = sample[6:] + later if at is None else sample[6:at] + chunk(9, bytes(4)) + sample[at:]
    packet = hep.decode(frame(body))

    assert packet.captured_ms == (1_700_000_777_123 if at is None else 1_700_000_000_123)
    assert packet.payload == SIP


@pytest.mark.parametrize(
    "name", ["kamailio_v3", "captagent", "asterisk_ipv6", "kamailio_v2", "kamailio_v1_ipv6"]
)
def test_frames_of_one_flow_have_payload_and_time_of_their_own(name):
    first = SENDERS[name](SIP)
    later = SENDERS[name](b"BYE " + SIP[4:])
    for order in (">", "<"):
        later = later.replace(struct.pack(order + "I", SECONDS), struct.pack(order + "I", SECONDS + 9))

    one, other = hep.decode(first), hep.decode(later)

    assert other.payload == b"BYE " + SIP[4:]
    assert other == replace(
        one, payload=other.payload, captured_ms=one.captured_ms and one.captured_ms + 9000
    )


def test_unknown_chunks_are_skipped_and_kept():
    packet = hep.decode(
        frame(chunk(0x12, b"\0\x64"), chunk(0x0F, SIP), chunk(0x29, b"group"), chunk(0x7777, b""))
    )

    assert packet.payload == SIP
    assert packet.others == {0x12: b"\0\x64", 0x29: b"group", 0x7777: b""}


@pytest.mark.parametrize(
    "compress",
    [
        zlib.compress,
        zipped,
        lambda data: zlib.compress(data, wbits=-15),
    ],
    ids=["zlib", "gzip", "raw-deflate"],
)
def test_a_compressed_payload_is_inflated(compress):
    assert hep.decode(frame(chunk(0x10, compress(SIP)))).payload == SIP


def test_a_compression_bomb_is_refused():
    bomb = zlib.compress(bytes(50_000_000))

    with pytest.raises(HepLimitError, match="chunk 0x0010 decompresses to more than 262144 bytes"):
        hep.decode(frame(chunk(0x10, bomb)))


def test_a_zipped_frame_that_is_a_bomb_is_refused():
    with pytest.raises(HepLimitError, match="gzipped frame"):
        hep.decode(zipped(bytes(50_000_000)))


@pytest.mark.parametrize("body", [b"garbage", zlib.compress(SIP)[:-5], zipped(SIP)[:20]])
def test_a_broken_compressed_payload_is_an_error(body):
    with pytest.raises(HepError, match="chunk 0x0010"):
        hep.decode(frame(chunk(0x10, body)))


@pytest.mark.parametrize(
    ("sample", "complaint"),
    [
        (b"", "found b'' at offset 0"),
        (b"\x01", "HEP1 frame of 1 bytes"),
        (b"\x02\x10", "HEP2 frame of 2 bytes"),
        (b"\x01\x10\x07\x11" + bytes(40), "address family 7 at offset 2"),
        (b"HEP3", "length field at offset 4"),
        (b"HEP3\0\x05", "length field at offset 4 says 5 bytes"),
        (b"HEP3\0\x20\0\0", "length field at offset 4 says 32 bytes, found 8"),
        (frame(b"\0\0\0\x0f\0\x05"), "chunk 0x000f at offset 6 claims 5 bytes"),
        (frame(b"\0\0\0\x0f\0\x50abc"), "chunk 0x000f at offset 6 claims 80 bytes, 9 are left"),
        (frame(b"\0\0\0"), "3 bytes at offset 6, expected a chunk header"),
        (frame(chunk(7, bytes(9))), "chunk 0x0007 has 9 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n", "expected HEP3, EEP3, version 1 or 2, or gzip"),
        (zipped(b"hello"), "gzipped frame holds b'hell'"),
    ],
)
def test_what_is_wrong_is_said(sample, complaint):
    with pytest.raises(HepError) as raised:
        hep.decode(sample)

    assert complaint in str(raised.value)


@pytest.mark.parametrize(
    ("seconds", "micros"),
    [(0, 0), (12_345, 0), (4_200_000_000, 0), (1_700_000_000, 1_000_000)],
    ids=["missing", "1970", "2103", "too-many-microseconds"],
)
def test_a_time_that_no_clock_shows_is_none(seconds, micros):
    packet = hep.decode(
        frame(chunk(9, struct.pack("!I", seconds)), chunk(10, struct.pack("!I", micros)), chunk(0x0F, SIP))
    )

    assert packet.captured_ms is None


def test_bytes_behind_the_frame_are_ignored():
    assert hep.decode(kamailio_v3(SIP) + b"\0\0\0") == hep.decode(kamailio_v3(SIP))


def test_a_packet_is_read_back_as_it_was_written():
    packet = HepPacket(
        payload=SIP,
        ip_protocol=6,
        src="[2001:db8::1]:5060",
        dst="[2001:db8::2]:5061",
        captured_ms=1_700_000_000_123,
        agent_id=2001,
        agent_name="edge-1",
        correlation_id="a@b",
        auth_key=b"secret",
        others={0x12: b"\0\x64", 3 << 16 | 0x11: b"x"},
    )

    assert hep.decode(hep.encode(packet)) == packet


def test_a_packet_without_time_and_addresses_is_read_back():
    packet = HepPacket(payload=SIP)

    assert hep.decode(hep.encode(packet)) == packet


def test_a_packet_too_large_for_a_frame_is_refused():
    with pytest.raises(HepLimitError, match="a HEP3 frame holds 65535"):
        hep.encode(HepPacket(payload=bytes(65_500)))
