import socket
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missedcall_notifier.channels.egress import BlockedAddressError, guard, is_allowed

PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"]
NOT_PUBLIC = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "192.88.99.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1", "fc00::1", "fd12:3456::1", "fec0::1",
    "ff02::1", "2002:7f00:1::", "2001:0:53aa:64c::1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2001:db8::1",
    "3fff::1", "5f00::1", "100::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_called(address):
    assert is_allowed(ip_address(address), [])


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_may_not(address):
    assert not is_allowed(ip_address(address), [])


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_private_address_may_be_called_if_it_is_listed(address):
    assert is_allowed(ip_address(address), [ip_network("10.1.2.0/24")])


def test_loopback_may_be_called_only_if_it_is_listed():
    assert is_allowed(ip_address("127.0.0.1"), [ip_network("127.0.0.1")])


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "::", "::ffff:169.254.169.254"),
        *("64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe:0:0:f5ff:fffe"),
    ],
)
def test_metadata_and_multicast_may_never_be_called(address):
    assert not is_allowed(ip_address(address), [ip_network("0.0.0.0/0"), ip_network("::/0")])


@given(st.ip_addresses(v=4))
def test_ipv6_clothes_change_nothing(address):
    assert is_allowed(ip_address(f"::ffff:{address}"), []) == is_allowed(address, [])


def test_the_guard_makes_no_socket_for_a_blocked_address():
    with pytest.raises(BlockedAddressError, match=r"webhook\.allow"):
        guard([])((socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%eth0", 80, 0, 2)))


def test_the_guard_makes_a_socket_for_an_allowed_one():
    with guard([ip_network("127.0.0.0/8")])(
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))
    ) as made:
        assert made.family is socket.AF_INET


def test_a_gateway_that_is_listed_may_be_called():
    assert is_allowed(ip_address("64:ff9b::a01:203"), [ip_network("64:ff9b::/96")])
