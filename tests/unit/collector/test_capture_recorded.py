"""What real programs wrote (tests/data/captures): each file holds one call that the caller gave up."""

from pathlib import Path

import pytest

from missedcall_collector.capture import open_capture
from missedcall_common.sip.message import parse

DATA = Path(__file__).resolve().parents[2] / "data" / "captures"
CALL = [("INVITE", 0), ("INVITE", 180), ("CANCEL", 0), ("CANCEL", 200), ("INVITE", 487), ("ACK", 0)]


def signalled(name, **options):
    """Return method and status of each message, and the messages."""
    opened = open_capture(DATA / name, **options)
    messages = list(opened)
    heads = [parse(message.head) for message in messages]
    return [(head.method, head.status) for head in heads], messages, opened


def test_sip_over_websocket_is_read():
    found, messages, opened = signalled("websocket.pcap")

    assert found == CALL
    assert {message.transport for message in messages} == {"ws"}
    assert messages[0].head.endswith(b"\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n")
    assert opened.counts == {}


def test_of_tls_nothing_is_read():
    found, _, opened = signalled("tls.pcap")

    assert found == []
    assert opened.counts == {"tls": 2}


def test_what_wireshark_decrypted_and_exported_is_read():
    found, messages, opened = signalled("tls-exported.pcapng")

    assert found == [step for step in CALL if step[1] != 200 for _ in range(2)]
    assert {message.dst for message in messages} == {"127.0.0.1:15061", messages[0].src}
    assert messages[0].src.startswith("127.0.0.1:")
    assert opened.counts == {}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
def test_a_message_log_of_sipp_is_read(zone):
    found, messages, opened = signalled("sipp-caller.msg", zone=zone)

    assert found == CALL
    assert opened.kind == "sipp"
    assert [(m.src, m.dst) for m in messages[:2]] == [("sipp", "peer"), ("peer", "sipp")]
    assert messages[0].captured_ms == 1_795_411_858_549 + (3_600_000 if zone == "UTC" else 0)
