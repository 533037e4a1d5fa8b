"""From IP packets to UDP and TCP segments: fragments and tunnels."""

import random
from collections import Counter

import pytest
from support.captures import (
    DST,
    SRC,
    SRC6,
    TUNNELS,
    UDP,
    invite,
    ip_in_ip,
    ipv4_fragments,
    ipv6_fragments,
    udp4,
    udp6,
    udp_segment,
)

from missedcall_collector.ip import Reassembler

SIP = invite(body=bytes(4000))
SEGMENT = udp_segment(SIP)
FRAGMENTS = {"ipv4": ipv4_fragments(udp4(SIP), 1480), "ipv6": ipv6_fragments(udp6(SIP), 1448)}


def fresh():
    counts = Counter()
    return Reassembler(counts), counts


def same(segment, payload=SIP):
    """Whether it is a UDP segment with this payload; the checksum is the writer's."""
    return segment is not None and segment[0] == UDP and segment[3][8:] == payload


def test_a_udp_segment_comes_with_its_addresses():
    segment = fresh()[0].segment(udp4(SIP), 0, 0)

    assert segment[:3] == (UDP, SRC, DST)
    assert same(segment)


def test_padding_behind_the_packet_is_cut_off():
    assert same(fresh()[0].segment(udp4(b"x") + b"\0" * 17, 0, 0), b"x")


def test_a_packet_whose_length_the_network_card_fills_in_is_read_to_its_end():
    packet = bytearray(udp4(SIP))
    packet[2:4] = b"\0\0"

    assert same(fresh()[0].segment(bytes(packet), 0, 0))


def test_options_are_skipped():
    packet = udp4(SIP)
    with_options = (
        b"\x46"
        + packet[1:2]
        + (len(packet) + 4).to_bytes(2, "big")
        + packet[4:20]
        + b"\x94\x04\0\0"
        + packet[20:]
    )

    assert same(fresh()[0].segment(with_options, 0, 0))


@pytest.mark.parametrize(
    ("first", "headers"),
    [
        (0, b"\x11\0\0\0\0\0\0\0"),
        (60, b"\x2b\x01" + bytes(14) + b"\x11\0\0\0\0\0\0\0"),
        (51, b"\x11\x04" + bytes(22)),
    ],
    ids=["hop-by-hop", "destination-and-routing", "authentication"],
)
def test_extension_headers_of_ipv6_are_skipped(first, headers):
    packet = udp6(SIP)
    size = len(packet) - 40 + len(headers)
    extended = packet[:4] + size.to_bytes(2, "big") + bytes((first,)) + packet[7:40] + headers + packet[40:]

    segment = fresh()[0].segment(extended, 0, 0)

    assert segment[1] == SRC6
    assert same(segment)


@pytest.mark.parametrize("version", FRAGMENTS)
@pytest.mark.parametrize("seed", range(5))
def test_fragments_are_joined_in_any_order_and_with_repetitions(version, seed):
    ip, counts = fresh()
    fragments = FRAGMENTS[version] * 2
    random.Random(seed).shuffle(fragments)

    whole = [s for fragment in fragments if (s := ip.segment(fragment, 0, 0)) is not None]

    assert whole
    assert all(same(segment) for segment in whole)
    assert counts["limit"] == 0


def test_overlapping_fragments_are_joined_by_the_first():
    ip, _ = fresh()
    first = ipv4_fragments(udp4(SIP), 1480)
    second = ipv4_fragments(udp4(SIP), 1000)

    found = [ip.segment(fragment, 0, 0) for fragment in (first[0], second[1], first[1], first[2])]

    assert same(found[-1])


def test_fragments_of_two_datagrams_do_not_mix():
    ip, _ = fresh()
    other = [f[:4] + b"\0\x09" + f[6:] for f in ipv4_fragments(udp4(invite(body=bytes(5000))), 1480)]

    found = [ip.segment(f, 0, 0) for pair in zip(FRAGMENTS["ipv4"], other, strict=False) for f in pair]

    assert len([s for s in found if same(s)]) == 1


def test_a_fragment_waits_for_a_bounded_time():
    ip, counts = fresh()
    first, *rest = FRAGMENTS["ipv4"]
    ip.segment(first, 0, 0)

    assert all(ip.segment(fragment, 0, 31_000) is None for fragment in rest)
    assert counts["fragments-incomplete"] == 1


def test_incomplete_datagrams_are_kept_in_bounded_number_and_counted():
    ip, counts = fresh()
    first = FRAGMENTS["ipv4"][0]
    for n in range(3000):
        ip.segment(first[:4] + n.to_bytes(2, "big") + first[6:], 0, 0)
    ip.close()

    assert counts["fragments-incomplete"] == 3000
    assert len(ip._waiting) == 0


def test_a_fragment_beyond_64_kb_is_refused():
    ip, counts = fresh()
    fragment = FRAGMENTS["ipv4"][0]

    assert ip.segment(fragment[:6] + b"\x1f\xff" + fragment[8:], 0, 0) is None
    assert counts["limit"] == 1


@pytest.mark.parametrize("name", sorted(TUNNELS.keys() - {"vxlan"}))
@pytest.mark.parametrize("inner", [udp4(SIP), udp6(SIP)], ids=["ipv4", "ipv6"])
def test_tunnels_are_opened(name, inner):
    assert same(fresh()[0].segment(TUNNELS[name](inner), 0, 0))


def test_tunnels_in_tunnels_are_opened_to_a_bounded_depth():
    ip, counts = fresh()
    deep = udp4(b"x")
    for _ in range(5):
        deep = ip_in_ip(deep)

    assert same(ip.segment(deep, 0, 0), b"x")
    assert ip.segment(ip_in_ip(deep), 0, 0) is None
    assert counts["limit"] == 1


@pytest.mark.parametrize("name", ["ipv4", "ipv6", *sorted(TUNNELS)])
def test_a_packet_cut_short_is_no_error(name):
    packet = {"ipv4": udp4(b"abc"), "ipv6": udp6(b"abc")}.get(name) or TUNNELS[name](udp6(b"abc"))
    ip, _ = fresh()

    for size in range(len(packet)):
        ip.segment(packet[:size], 0, 0)
