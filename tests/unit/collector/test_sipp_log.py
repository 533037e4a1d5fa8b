"""Message logs of SIPp, old and new."""

from collections import Counter
from datetime import UTC

import pytest
from support.captures import invite, ringing
from support.traces import as_sipp_log

from missedcall_collector import sipp_log

DASHES = "-" * 47


def read(text, zone=UTC):
    counts = Counter()
    lines = [line.removesuffix("\r").encode() for line in text.removesuffix("\n").split("\n")]
    return list(sipp_log.messages(lines, zone, counts)), counts


def test_messages_come_as_they_were_sent():
    (first, second), counts = read(as_sipp_log(invite(body=b"v=0\r\n\r\nx\r\n"), ringing()))

    assert first == (1_700_000_000_123, invite(body=b"v=0\r\n\r\nx\r\n"), "sipp", "peer", "udp")
    assert second == (1_700_000_000_123, ringing(), "peer", "sipp", "udp")
    assert not counts


@pytest.mark.parametrize(
    "time",
    [
        "2023-11-14 22:13:20.123456",
        "2023-11-14T22:13:20.123456",
        "2023-11-14\t22:13:20:123\t1700000000.123456",
        "2023-11-14\t01:01:01.000000\t1700000000.123456",
    ],
)
def test_the_times_of_all_versions_are_read(time):
    ((at, *_),), _ = read(f"{DASHES} {time}\nTCP message received [9] bytes :\n\nACK a SIP/2.0\r\n\r\n")

    assert at == 1_700_000_000_123


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("UDP message sent (514 bytes):", ("sipp", "peer", "udp")),
        ("TLS message sent [514] bytes:", ("sipp", "peer", "tls")),
        ("TCP message received [514] bytes :", ("peer", "sipp", "tcp")),
        ("SCTP message received [514] bytes:", ("peer", "sipp", "sctp")),
    ],
)
def test_the_ways_of_all_versions_are_read(way, expected):
    (message,), _ = read(f"{DASHES} 2023-11-14 22:13:20.123456\n{way}\n\nACK a SIP/2.0\r\n\r\n")

    assert message[2:] == expected


@pytest.mark.parametrize("what", ["UDP control message sent (9 bytes):", "Unexpected message:", ""])
def test_what_is_no_sip_message_is_counted(what):
    found, counts = read(f"{DASHES} 2023-11-14 22:13:20.123456\n{what}\n\nhello\n")

    assert (found, counts) == ([], {"diagnostic": 1})


def test_a_record_without_time_or_message_is_counted():
    found, counts = read(
        f"{DASHES} 2023-13-14 22:13:20.123456\nUDP message sent (9 bytes):\n\nACK a SIP/2.0\n"
        f"{DASHES} 2023-11-14 22:13:20.123456\nUDP message sent (0 bytes):"
    )

    assert (found, counts) == ([], {"malformed-sip": 2})


def test_an_endless_record_is_cut_and_counted(monkeypatch):
    monkeypatch.setattr(sipp_log, "MAX_RECORD", 2000)
    ((_, message, *_),), counts = read(as_sipp_log(invite(body=b"x\r\n" * 2000)))

    assert message.startswith(b"INVITE ")
    assert len(message) <= 2000
    assert counts == {"limit": 1}


def test_dashes_in_a_body_are_a_body():
    body = f"{DASHES}\r\n{DASHES} today\r\n".encode()
    ((_, message, *_),), _ = read(as_sipp_log(invite(body=body)))

    assert message == invite(body=body)
