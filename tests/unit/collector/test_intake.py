"""What becomes a SipMessage, and what is counted instead."""

import struct

import pytest
from support.captures import invite, ringing
from support.hep_senders import CAPTURED_MS, chunk, frame, kamailio_v1, kamailio_v3

from missedcall_collector.correlation import CorrelationRules
from missedcall_collector.hep import HepPacket, encode
from missedcall_collector.intake import AHEAD_MS, CAUSES, MAX_CALL_ID, Intake
from missedcall_common.runtime.counters import meaning
from missedcall_common.runtime.sampling import Sampler

NOW = CAPTURED_MS + 250


def from_sip(payload, **more):
    intake = Intake()
    message = intake.from_sip(payload, "192.0.2.1:5060", "192.0.2.2:5060", "udp", CAPTURED_MS, NOW, **more)
    assert not (message and intake.counts)
    return message, dict(intake.counts)


def test_each_invite_of_a_call_that_is_traced_is_to_be_taken_away():
    every, none = Intake(sampler=Sampler(1.0)), Intake()

    for intake in (every, none):
        messages = intake.from_frames(
            [kamailio_v3(one) for one in (invite(), ringing(), invite())], NOW, print
        )

    assert every.traced == [(message, Sampler(1.0).trace(message.call_id)) for message in messages[::2]]
    assert none.traced == []


def test_an_invite_becomes_a_record():
    body = b"v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\nm=audio 5004 RTP/AVP 0\r\n"
    payload = invite("call-1", "Content-Type: application/sdp", body=body)

    message, _ = from_sip(payload, agent="7", correlation_id="corr")

    assert (message.key, message.correlation_id) == ("alice", "corr")
    assert (message.call_id, message.captured_ms, message.received_ms) == ("call-1", CAPTURED_MS, NOW)
    assert (message.src, message.dst, message.transport, message.agent) == (
        "192.0.2.1:5060",
        "192.0.2.2:5060",
        "udp",
        "7",
    )
    assert message.head == payload[: -len(body)] + b"m=audio 5004 RTP/AVP 0\r\n"


@pytest.mark.parametrize("method", ["INVITE", "ACK", "CANCEL", "BYE", "REFER", "INFO"])
def test_methods_that_say_something_about_a_call_are_kept(method):
    request = invite(method=method)
    response = request.replace(f"{method} sip:bob@example.com SIP/2.0".encode(), b"SIP/2.0 200 OK")

    assert from_sip(request)[0] is not None
    assert from_sip(response)[0] is not None


@pytest.mark.parametrize(
    "method",
    [
        "OPTIONS",
        "REGISTER",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "MESSAGE",
        "PRACK",
        "UPDATE",
        "SERVICE",
        "BENOTIFY",
        "X",
    ],
)
def test_other_methods_are_noise_as_request_and_as_response(method):
    request = invite(method=method)
    response = request.replace(f"{method} sip:bob@example.com SIP/2.0".encode(), b"SIP/2.0 200 OK")

    assert from_sip(request) == (None, {"noise-method": 1})
    assert from_sip(response) == (None, {"noise-method": 1})


@pytest.mark.parametrize(
    "payload", [b"", b"\r\n\r\n", b"\x80\0\0\0", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"hello"]
)
def test_what_is_not_sip_is_counted(payload):
    assert from_sip(payload) == (None, {"not-sip": 1})


def test_without_a_call_id_it_is_malformed():
    assert from_sip(invite().replace(b"Call-ID", b"X-Gone")) == (None, {"malformed-sip": 1})


def test_a_response_without_cseq_is_malformed():
    assert from_sip(ringing().replace(b"CSeq", b"X-Gone")) == (None, {"malformed-sip": 1})


def test_an_endless_call_id_is_over_the_limit():
    assert from_sip(invite("x" * (MAX_CALL_ID + 1))) == (None, {"limit": 1})


def test_a_correlation_id_equal_to_the_call_id_is_left_out():
    assert from_sip(invite("call-1"), correlation_id="call-1")[0].correlation_id == ""


def test_the_rules_make_the_key():
    intake = Intake(CorrelationRules(("x-cid",), (r"_b2b-\d+",)))

    first = intake.from_sip(invite("a"), "", "", "", 0, 0)
    other = intake.from_sip(invite("b", "X-CID: a").replace(b"alice@", b"company@"), "", "", "", 0, 0)

    assert [first.key, other.key] == ["alice", "alice"]


def test_a_hep_frame_becomes_a_record():
    (message,) = Intake().from_frame(kamailio_v3(invite()), NOW)

    assert (message.captured_ms, message.received_ms, message.transport) == (CAPTURED_MS, NOW, "udp")
    assert (message.src, message.agent, message.correlation_id) == ("192.0.2.1:5060", "2001", "corr@1")


def test_a_frame_that_is_no_hep_is_counted():
    intake = Intake()

    assert intake.from_frame(b"\x01", NOW) == []
    assert intake.counts == {"malformed-hep": 1}


def test_hep_without_time_was_captured_when_it_was_received():
    intake = Intake()

    (message,) = intake.from_frame(kamailio_v1(invite()), NOW)

    assert message.captured_ms == NOW
    assert intake.counts == {"time-replaced": 1}


@pytest.mark.parametrize(
    ("ahead", "captured"), [(AHEAD_MS, CAPTURED_MS), (AHEAD_MS + 1, CAPTURED_MS - AHEAD_MS - 1)]
)
def test_an_agent_ahead_of_us_is_believed_up_to_a_bound(ahead, captured):
    (message,) = Intake().from_frame(kamailio_v3(invite()), CAPTURED_MS - ahead)

    assert message.captured_ms == captured


def test_old_messages_from_an_agents_buffer_keep_their_time():
    (message,) = Intake().from_frame(kamailio_v3(invite()), CAPTURED_MS + 86_400_000)

    assert message.captured_ms == CAPTURED_MS


@pytest.mark.parametrize("key", [b"old", b"new"])
def test_each_of_several_keys_opens(key):
    intake = Intake(auth_keys=[b"old", b"new"])

    assert len(intake.from_frame(encode(HepPacket(payload=invite(), auth_key=key)), NOW)) == 1


@pytest.mark.parametrize("key", [b"", b"wrong", b"newer"])
def test_a_wrong_key_is_counted(key):
    intake = Intake(auth_keys=[b"old", b"new"])

    assert intake.from_frame(encode(HepPacket(payload=invite(), auth_key=key)), NOW) == []
    assert intake.counts == {"auth": 1}


def test_other_protocols_in_hep_are_not_sip():
    intake = Intake()

    assert intake.from_frame(encode(HepPacket(payload=b"{}", protocol_type=5)), NOW) == []
    assert intake.counts == {"not-sip": 1}


def test_several_messages_in_one_frame_are_all_read():
    body = b"v=0\r\nm=audio 1 RTP/AVP 0\r\n"
    joined = invite("a", body=body) + ringing("a") + invite("b")

    messages = Intake().from_frame(encode(HepPacket(payload=joined, ip_protocol=6)), NOW)

    assert [m.call_id for m in messages] == ["a", "a", "b"]
    assert [m.head.split(b" ", 1)[0] for m in messages] == [b"INVITE", b"SIP/2.0", b"INVITE"]


def test_a_message_that_quotes_another_is_one():
    quoted = invite("a", "Content-Type: message/sipfrag", body=b"SIP/2.0 200 OK\r\n", method="INFO")

    (message,) = Intake().from_frame(encode(HepPacket(payload=quoted)), NOW)

    assert message.call_id == "a"


def test_zeros_behind_the_message_are_no_message():
    (message,) = Intake().from_frame(encode(HepPacket(payload=invite() + b"\0" * 8)), NOW)

    assert message.head == invite()


def test_whatever_is_counted_has_an_explanation():
    intake = Intake(auth_keys=[b"k"])
    for payload in (
        invite(),
        invite(method="OPTIONS"),
        b"",
        ringing().replace(b"CSeq", b"X"),
        invite("x" * 999),
    ):
        intake.from_frame(frame(chunk(0x0F, payload), chunk(0x0E, b"k")), NOW)
        intake.from_frame(frame(chunk(0x0F, payload)), NOW)
    intake.from_frame(frame(chunk(0x10, b"x")), NOW)
    intake.from_frame(b"HEP3" + struct.pack("!H", 3), NOW)

    assert intake.counts.keys() <= CAUSES.keys()


def test_every_cause_is_explained_to_operators():
    assert [cause for cause in CAUSES if not meaning(cause)] == []
