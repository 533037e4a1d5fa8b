"""A target is a scheme, a host and a port, and nothing else."""

import argparse

import pytest

from missedcall_embedded.target import Target, target


@pytest.mark.parametrize(
    "text", ["udp://127.0.0.1:9060", "tcp://homer.example.com:9060", "tls://[2001:db8::1]:9061"]
)
def test_a_target_reads_as_it_is_written(text):
    assert str(target(text)) == text


def test_ipv6_loses_its_brackets_for_the_socket():
    assert target("udp://[::1]:9060") == Target("udp", "::1", 9060)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:9060",
        "udp://127.0.0.1",
        "udp://:9060",
        "udp://127.0.0.1:0",
        "udp://127.0.0.1:65536",
        "udp://127.0.0.1:sip",
        "http://127.0.0.1:9060",
        "udp://127.0.0.1:9060/path",
        "udp://127.0.0.1:9060?x=1",
        "udp://user@127.0.0.1:9060",
        "tls://[2001:db8::1:9061",
    ],
)
def test_anything_else_says_what_is_expected(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected udp://HOST:PORT"):
        target(text)
