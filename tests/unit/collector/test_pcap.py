"""Packets of pcap and pcapng files."""

import io
import struct

import pytest
from support import captures
from support.captures import CAPTURED_MS

from missedcall_collector import pcap, pcapng
from missedcall_collector.capture_error import CaptureError
from missedcall_collector.source import Source

FRAMES = [b"first", b"", b"third packet"]
EXPECTED = [(CAPTURED_MS + n, 1, frame) for n, frame in enumerate(FRAMES)]


def read(reader, data):
    return [packet for some in reader.packets(Source(io.BytesIO(data))) for packet in some]


def read_until_error(reader, data):
    found = []
    with pytest.raises(CaptureError) as raised:  # noqa: PT012 - what came before the error counts
        for some in reader.packets(Source(io.BytesIO(data))):
            found += some
    return found, raised.value


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanos", [False, True])
def test_pcap_in_both_byte_orders_and_resolutions(order, nanos):
    assert read(pcap, captures.pcap(*FRAMES, order=order, nanos=nanos)) == EXPECTED


def test_a_large_pcap_comes_whole_across_pieces():
    frames = [bytes([n % 256]) * (n * 37 % 3000) for n in range(3000)]

    assert [data for _, _, data in read(pcap, captures.pcap(*frames))] == frames


def test_the_length_of_a_check_sequence_is_not_part_of_the_link_type():
    data = bytearray(captures.pcap(*FRAMES))
    data[20:24] = struct.pack("<I", 1 | 0x4400_0000)

    assert read(pcap, bytes(data)) == EXPECTED


def test_a_pcap_cut_short_gives_what_is_whole_and_says_where():
    data = captures.pcap(*FRAMES)

    found, error = read_until_error(pcap, data[:-3])

    assert found == EXPECTED[:2]
    assert str(error) == "offset 61: found the last 25 bytes of the file, expected a packet of 12 bytes"


def test_an_absurd_length_is_named():
    data = captures.pcap(b"x") + struct.pack("<IIII", 1, 1, 0x7FFF_FFFF, 1) + b"abc"

    found, error = read_until_error(pcap, data)

    assert len(found) == 1
    assert (error.offset, error.found) == (24 + 17 + 8, "a packet of 2147483647 bytes")


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_in_both_byte_orders(order):
    assert read(pcapng, captures.pcapng(*FRAMES, order=order)) == EXPECTED


@pytest.mark.parametrize(
    ("resolution", "ticks"),
    [(b"\x06", 1_000), (b"\x09", 1_000_000), (b"\x03", 1), (b"\x8a", None)],
    ids=["micro", "nano", "milli", "2**-10"],
)
def test_the_resolution_of_times_is_an_option(resolution, ticks):
    options = struct.pack("<HH4s", 9, 1, resolution) + struct.pack("<HH", 0, 0)
    count = CAPTURED_MS * ticks if ticks else -(-CAPTURED_MS * 1024 // 1000)
    data = captures.section() + captures.interface(options=options) + captures.enhanced(b"x", count)

    assert read(pcapng, data) == [(CAPTURED_MS, 1, b"x")]


def test_an_offset_of_times_is_added():
    options = struct.pack("<HHq", 14, 8, 1_000_000_000) + struct.pack("<HH", 0, 0)
    ticks = (CAPTURED_MS - 1_000_000_000_000) * 1000
    data = captures.section() + captures.interface(options=options) + captures.enhanced(b"x", ticks)

    assert read(pcapng, data) == [(CAPTURED_MS, 1, b"x")]


@pytest.mark.parametrize(("offset_s", "ms"), [(1 << 62, (1 << 32) * 1000 - 1), (-(1 << 62), 0)])
def test_a_time_that_no_clock_shows_is_the_nearest_that_a_pcap_could_hold(offset_s, ms):
    options = struct.pack("<HHq", 14, 8, offset_s) + struct.pack("<HH", 0, 0)
    data = captures.section() + captures.interface(options=options) + captures.enhanced(b"x", 1)

    assert read(pcapng, data) == [(ms, 1, b"x")]


def test_each_interface_has_its_link_type_and_sections_start_anew():
    data = (
        captures.section()
        + captures.interface(1)
        + captures.interface(113)
        + captures.enhanced(b"a", 0, number=1)
        + captures.section(">")
        + captures.interface(101, ">")
        + captures.enhanced(b"b", 0, order=">")
    )

    assert [(link, frame) for _, link, frame in read(pcapng, data)] == [(113, b"a"), (101, b"b")]


def test_other_blocks_are_skipped():
    other = captures.block(5, bytes(40)) + captures.block(10, b"secrets!") + captures.block(0x0BAD, bytes(8))
    data = captures.section() + other + captures.interface() + other + captures.enhanced(b"x", 0) + other

    assert read(pcapng, data) == [(0, 1, b"x")]


def test_simple_and_old_packet_blocks_are_packets():
    old = struct.pack("<HHIIII", 0, 0, 0, 5_000, 1, 1) + b"o"
    data = (
        captures.section()
        + captures.interface()
        + captures.block(2, old)
        + captures.block(3, struct.pack("<I", 1) + b"s")
    )

    assert read(pcapng, data) == [(5, 1, b"o"), (5, 1, b"s")]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (captures.section() + captures.enhanced(b"x", 0), "a packet of interface 0, expected one of the 0"),
        (captures.section()[:8] + b"\0\0\0\0" + bytes(16), "expected the byte-order magic"),
        (captures.section() + struct.pack("<III", 6, 13, 0), "a block of 13 bytes"),
        (captures.section() + struct.pack("<III", 6, 0xFFFF_FFFC, 0), "a block of 4294967292 bytes"),
        (captures.pcapng(b"x")[:-1], "the last 35 bytes of the file, expected a block of 36 bytes"),
        (
            captures.pcapng(b"x") + b"abc",
            "the last 3 bytes of the file, expected a block of 12 bytes or more",
        ),
    ],
)
def test_what_is_wrong_with_a_pcapng_is_said(data, complaint):
    _, error = read_until_error(pcapng, data)

    assert complaint in str(error)
