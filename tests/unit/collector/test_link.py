"""From every link layer to the IP packet."""

import pytest
from support.captures import LINKS as WRAPPED
from support.captures import invite, udp4, udp6

from missedcall_collector.link import LINKS, by_ethertype

PACKETS = {"ipv4": udp4(invite()), "ipv6": udp6(invite())}


@pytest.mark.parametrize("version", PACKETS)
@pytest.mark.parametrize("name", WRAPPED)
def test_the_ip_packet_is_found(name, version):
    link, wrap = WRAPPED[name]
    packet = PACKETS[version]
    data = wrap(packet)

    assert data[LINKS[link](data) :] == packet


@pytest.mark.parametrize("name", WRAPPED)
def test_a_frame_cut_short_is_no_error(name):
    link, wrap = WRAPPED[name]
    data = wrap(PACKETS["ipv4"])

    for size in range(len(data)):
        assert LINKS[link](data[:size]) >= -1


def test_arp_is_not_ip():
    assert LINKS[1](bytes(12) + b"\x08\x06" + bytes(28)) == -1


def test_tags_without_end_are_given_up():
    assert by_ethertype(b"\x81\0\0\0" * 100, 0, 2) == -1


def test_labels_without_end_are_given_up():
    assert LINKS[1](bytes(12) + b"\x88\x47" + bytes(400)) == -1
