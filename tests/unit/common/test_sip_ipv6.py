"""IPv6 in SIP: the cases of RFC 5118 s.4, in messages of our own."""

import pytest
from support.sip_text import message

from missedcall_common.sip import headers as h
from missedcall_common.sip.message import SipHead, parse
from missedcall_common.sip.uri import address_of_record, parse_uri


def invite(target: str, *lines: str, body: bytes = b"") -> SipHead:
    return parse(message(f"INVITE {target} SIP/2.0", *lines, body=body))


def test_a_reference_in_the_request_uri_is_read():  # s.4.1
    head = invite("sip:bob@[2001:db8::10]", "Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111")

    assert address_of_record(head.request_uri) == "sip:bob@[2001:db8::10]"
    assert h.branches(head) == ("z9hG4bKas3-111", "", 1)


def test_an_address_without_brackets_gets_them():  # s.4.2: invalid, and one meaning all the same
    assert address_of_record("sip:bob@2001:db8::10") == "sip:bob@[2001:db8::10]"


def test_a_port_inside_the_brackets_is_part_of_the_address():  # s.4.3
    uri = parse_uri("sip:[2001:db8::10:5070]")

    assert (uri.host, uri.port, address_of_record(uri)) == (
        "[2001:db8::10:5070]",
        0,
        "sip:[2001:db8::10:5070]",
    )


def test_a_port_behind_the_brackets_is_a_port():  # s.4.4
    uri = parse_uri("sip:[2001:db8::10]:5070")

    assert (uri.host, uri.port, address_of_record(uri)) == ("[2001:db8::10]", 5070, "sip:[2001:db8::10]")


@pytest.mark.parametrize("received", ["[2001:db8::9:255]", "2001:db8::9:255"])
def test_received_stands_with_and_without_brackets(received):  # s.4.5
    head = invite("sip:b@c", f"Via: SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3")
    (via,) = h.parse_vias(head)

    assert (via.sent_by, via.params["received"], via.branch) == ("[2001:db8::9:1]", received, "z9hG4bKas3")


def test_a_session_description_with_ipv6_is_read():  # s.4.6
    body = b"v=0\r\no=a 1 1 IN IP6 2001:db8::20\r\ns=-\r\nc=IN IP6 2001:db8::20\r\nm=audio 42 RTP/AVP 0\r\n"

    assert h.media_types(invite("sip:b@c", body=body).body) == ("audio",)


def test_both_families_stand_in_one_message():  # s.4.7
    head = invite(
        "sip:bob@[2001:db8::10]",
        "Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111, SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKjhja8781",
        "Via: SIP/2.0/UDP [2001:db8::9:255];branch=z9hG4bK451jj",
        'From: "Alice" <sip:alice@192.0.2.7:5070>;tag=1',
    )

    assert [via.sent_by for via in h.parse_vias(head)] == [
        "[2001:db8::9:1]:6050",
        "192.0.2.1",
        "[2001:db8::9:255]",
    ]
    assert h.branches(head) == ("z9hG4bKas3-111", "z9hG4bKjhja8781", 3)
    assert h.caller_identity(head).uri == "sip:alice@192.0.2.7"


def test_each_media_line_may_have_its_own_family():  # s.4.8
    body = b"v=0\r\nm=audio 1 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\nm=video 2 RTP/AVP 31\r\nc=IN IP6 2001:db8::1\r\n"

    assert h.media_types(invite("sip:b@c", body=body).body) == ("audio", "video")


@pytest.mark.parametrize("spelling", ["::ffff:192.0.2.2", "::FFFF:c000:202", "0:0:0:0:0:ffff:192.0.2.2"])
def test_an_ipv4_mapped_address_is_an_address(spelling):  # s.4.9
    assert address_of_record(f"sip:bob@[{spelling}]") == "sip:bob@[::ffff:192.0.2.2]"


def test_three_colons_before_an_ipv4_part_mean_two():  # s.4.10: what RFC 3261's grammar makes some write
    assert address_of_record("sip:bob@[2001:db8:::192.0.2.1]") == address_of_record(
        "sip:bob@[2001:db8::192.0.2.1]"
    )


@pytest.mark.parametrize("spelling", ["2001:DB8::9:1", "2001:0db8:0:0:0:0:9:1", "2001:db8:0::0:9:1"])
def test_every_spelling_of_an_address_is_one_address_of_record(spelling):
    assert address_of_record(f"sip:bob@[{spelling}]") == "sip:bob@[2001:db8::9:1]"


def test_an_rfc_2543_hop_with_ipv6_is_told_apart_by_its_address():
    head = invite("sip:b@c", "Via: SIP/2.0/UDP [2001:DB8::9:1]:5060;branch=1")

    assert h.branches(head) == ("[2001:db8::9:1]:5060/1", "", 1)
