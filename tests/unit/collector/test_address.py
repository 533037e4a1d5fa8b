"""Endpoints have one spelling."""

import pytest

from missedcall_collector.address import endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (bytes((192, 0, 2, 1)), "192.0.2.1:5060"),
        (bytes.fromhex("20010db8000000000000000000000001"), "[2001:db8::1]:5060"),
        (bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 1)), "192.0.2.1:5060"),
        (b"", ""),
        (b"abc", ""),
    ],
)
def test_an_address_is_spelled_in_one_way(packed, text):
    assert endpoint(packed, 5060) == text


@pytest.mark.parametrize("text", ["192.0.2.1:5060", "[2001:db8::1]:5061"])
def test_a_spelling_is_read_back(text):
    assert endpoint(*parse_endpoint(text)) == text


@pytest.mark.parametrize(
    "text", ["", "host", "host:x", "fe01.example.com:5061", ":::", "[::1", "1.2.3.4:99999999999"]
)
def test_what_is_no_address_has_none_or_no_port(text):
    packed, port = parse_endpoint(text)

    assert packed == b"" or port == 0
    assert 0 <= port <= 0xFFFF


def test_a_scope_is_left_out():
    assert parse_endpoint("[fe80::1%eth0]:5060") == (bytes.fromhex("fe80" + "0" * 27 + "1"), 5060)
