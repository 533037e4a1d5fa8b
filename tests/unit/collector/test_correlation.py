"""The key of a message: whose partition decides it."""

from collections import Counter

import pytest
from support.captures import invite

from missedcall_collector.correlation import (
    CorrelationRules,
    LegKeys,
    both,
    leg_joiner,
    user_key,
)
from missedcall_common.placing import BETWEEN, partitions_of

RULES = CorrelationRules(("X-CID", "x-call-id"), (r"_b2b-\d+", r"_pbx-\d+"))
A_LEG = "leg-a"


def message(caller, *headers, start="INVITE sip:bob@example.com SIP/2.0", to="<sip:bob@example.com>"):
    lines = [start, f"From: <sip:{caller}@example.com>;tag=1", f"To: {to}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def request(method, sender, to, *headers):
    start = f"{method} sip:x@example.com SIP/2.0"
    return message(sender, *headers, start=start, to=f"<sip:{to}@example.com>;tag=2")


@pytest.fixture
def keys():
    """Return the keys of a collector that has seen alice call."""
    keys = LegKeys(RULES)
    assert keys.key(message("alice"), A_LEG, "INVITE", 0) == "alice"
    return keys


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("<sip:alice@example.com>;tag=1", "alice"),
        ('"sip:eve@x" <sips:Alice@example.com:5061;transport=tcp>', "alice"),
        ("sip:alice@example.com;tag=1", "alice"),
        ("<sip:+49301234567@example.com>", "4567"),
        ("<sip:01234567;phone-context=+49@example.com;user=phone>", "4567"),
        ("<tel:+49-30-123-4567>", "4567"),
        ("<sip:+4930123;ext=4567@example.com>", "0123"),
        ("<sip:17@example.com>", "17"),
        ("<sip:Anonymous@anonymous.invalid>", "anonymous"),
        ("<sip:example.com>", ""),
        ("<sip:a b@example.com>", "ab"),
        (f"<sip:{'x' * 1000}@example.com>", "x" * 64),
        ("<sip:", ""),
        ("", ""),
    ],
)
def test_it_is_the_callers_user_part_or_the_end_of_his_number(value, key):
    assert user_key(value) == key


@pytest.mark.parametrize("line", ["From: <sip:alice@x>", "f : <sip:alice@x>", "FROM:\r\n <sip:alice@x>"])
def test_however_the_header_is_spelled(line):
    head = f"INVITE sip:bob@x SIP/2.0\r\n{line}\r\n\r\n".encode()

    assert LegKeys(RULES).key(head, "c", "INVITE", 0) == "alice"


def test_all_that_the_caller_sends_and_is_sent_has_it_whoever_sees_it(keys):
    for one in (keys, LegKeys(RULES)):
        assert one.key(message("alice"), A_LEG, "INVITE", 0) == "alice"
        assert one.key(message("alice", start="SIP/2.0 180 R"), A_LEG, "INVITE", 180) == "alice"
        assert one.key(message("alice", start="CANCEL x SIP/2.0"), A_LEG, "CANCEL", 0) == "alice"
        assert one.key(request("ACK", "alice", "bob"), A_LEG, "ACK", 0) == "alice"


@pytest.mark.parametrize("method", ["BYE", "INVITE"])
def test_a_request_of_the_other_side_follows_the_leg_or_goes_to_both(keys, method):
    head = request(method, "bob", "alice")

    assert keys.key(head, A_LEG, method, 0) == "alice"
    assert LegKeys(RULES).key(head, A_LEG, method, 0) == f"bob{BETWEEN}alice"


def test_what_goes_to_both_is_not_remembered(keys):
    keys.key(request("BYE", "bob", "alice"), "unknown", "BYE", 0)

    assert keys.key(message("carol"), "unknown", "INVITE", 0) == "carol"


def test_a_refer_also_goes_to_whom_it_is_from(keys):
    assert keys.key(request("REFER", "bob", "alice"), A_LEG, "REFER", 0) == both("alice", "bob")
    assert keys.key(request("REFER", "alice", "bob"), A_LEG, "REFER", 0) == "alice"


@pytest.mark.parametrize(
    "header",
    ["X-CID: leg-a", "x-cid:leg-a", "X-Cid \t:  leg-a  ", "X-CALL-ID: leg-a", "X-CID: \r\nX-Call-ID: leg-a"],
)
def test_a_leg_that_names_another_in_a_configured_header_follows_it(keys, header):
    head = message("company", header)

    assert keys.key(head, "leg-b", "INVITE", 0) == "alice"
    assert keys.key(message("company", start="SIP/2.0 180 R"), "leg-b", "INVITE", 180) == "alice"


@pytest.mark.parametrize("header", ["X-CID-Other: leg-a", "X-CID: ", "X-CID: leg-z"])
def test_one_that_names_no_known_leg_has_its_own_caller(keys, header):
    assert keys.key(message("company", header), "leg-b", "INVITE", 0) == "company"


def test_headers_need_have_nothing_in_common():
    keys = LegKeys(CorrelationRules(("X-CID", "Session-ID")))
    keys.key(message("alice"), "a", "INVITE", 0)

    assert keys.key(message("company", "SESSION-ID: a"), "b", "INVITE", 0) == "alice"


@pytest.mark.parametrize("call_id", ["leg-a_b2b-1", "leg-a_pbx-12", "leg-a_b2b-1_pbx-1"])
def test_a_leg_that_adds_a_vendors_suffix_follows_the_other(keys, call_id):
    assert keys.key(message("company"), call_id, "INVITE", 0) == "alice"


@pytest.mark.parametrize("call_id", ["leg-a_b2b-1@host", "_b2b-1", "leg-a_other-1"])
def test_what_is_no_suffix_is_none(keys, call_id):
    assert keys.key(message("company"), call_id, "INVITE", 0) == "company"


def test_a_leg_follows_its_agents_correlation_id():
    keys = LegKeys(RULES)

    assert keys.key(message("alice"), "a", "INVITE", 0, "corr") == "alice"
    assert keys.key(message("company", start="SIP/2.0 180 R"), "b", "INVITE", 180, "corr") == "alice"


def test_the_leg_that_is_named_may_come_later(keys):
    keys.key(message("company", "X-CID: first"), "second", "INVITE", 0)

    assert keys.key(message("dave"), "first", "INVITE", 0) == "company"


def test_a_leg_that_replaces_another_follows_it(keys):
    replaces = "Replaces: leg-a;to-tag=2;from-tag=1"

    assert keys.key(message("carol", replaces), "pickup", "INVITE", 0) == "alice"
    assert keys.key(message("carol", start="SIP/2.0 200 OK"), "pickup", "INVITE", 200) == "alice"


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        (["Replaces: gone;to-tag=2;from-tag=1"], "alice"),
        (["Replaces: gone;to-tag=2;from-tag=1", "Referred-By: <sip:bob@example.com>"], "bob"),
        (["Replaces: nothing"], "carol"),
        (["Referred-By: <sip:bob@example.com>"], "carol"),
    ],
)
def test_one_that_replaces_an_unknown_leg_has_the_key_that_this_most_likely_has(headers, key):
    head = message("carol", *headers, to="<sip:alice@example.com>")

    assert LegKeys(RULES).key(head, "new", "INVITE", 0) == key


def test_what_lync_tells_exchange_goes_where_the_call_is(keys):
    def told(call_id, caller=""):
        body = f"<CallId>{call_id}</CallId>{caller}"
        head = request("INFO", "fe", "um", "Content-Type: application/ms-rtc-usernotification+xml")
        return keys.key(head + body.encode(), "session", "INFO", 0)

    keys.key(message("fe"), "session", "INVITE", 0)

    assert told(A_LEG) == "alice"
    assert told("unseen", "<From>sip:dave@contoso.com</From>") == "dave"
    assert told("unseen") == "fe"
    assert keys.key(request("INFO", "fe", "um"), "session", "INFO", 0) == "fe"
    assert keys.key(request("INFO", "fe", "um"), "other", "INFO", 0) == both("fe", "um")


def test_a_call_id_used_again_keeps_its_key(keys):
    assert keys.key(message("mallory"), A_LEG, "INVITE", 0) == "alice"


def test_of_too_many_legs_the_oldest_are_forgotten():
    keys = LegKeys(CorrelationRules(), most=2)
    for leg in ("a", "b", "c", "d", "e"):
        keys.key(message(f"of-{leg}"), leg, "INVITE", 0)

    found = [keys.key(request("BYE", "bob", "alice"), leg, "BYE", 0) for leg in ("e", "d", "c", "a")]

    assert found == ["of-e", "of-d", "of-c", both("bob", "alice")]


def test_a_leg_that_is_asked_for_is_kept():
    keys = LegKeys(CorrelationRules(), most=2)
    for leg in ("a", "b", "c", "a", "d", "e", "a", "f", "g"):
        keys.key(message(f"of-{leg}"), leg, "INVITE", 0)

    assert keys.key(request("BYE", "bob", "alice"), "a", "BYE", 0) == "of-a"


def test_a_correlation_id_equal_to_the_call_id_joins_nothing():
    assert leg_joiner("leg-a", "leg-a") == ""


@pytest.mark.parametrize(
    "name", ["PJSIP/alice-0000002a", "Local/100@from-queue-000000ff;2", "SIP/trunk-1-00000001"]
)
def test_an_asterisk_channel_name_joins_nothing(name):
    assert leg_joiner(name, "leg-a") == ""


def test_another_correlation_id_joins():
    assert leg_joiner("leg-a", "leg-b") == "leg-a"


def test_partitions_are_those_of_zlibs_crc32():
    assert [partitions_of(name, 48) for name in ("", "a", "call-1@example.com", "ü")] == [
        [0],
        [3],
        [22],
        [37],
    ]


def test_two_users_have_two_partitions_or_the_same_one():
    assert partitions_of(both("a", "ü"), 48) == [3, 37]
    assert partitions_of(both("a", "ü"), 1) == [0]
    assert partitions_of(both("a", ""), 48) == [3, 0]


@pytest.mark.parametrize("partitions", [12, 48])
def test_numbers_fill_the_partitions_evenly(partitions):
    found = Counter(partitions_of(f"{number:04d}", partitions)[0] for number in range(10_000))

    assert len(found) == partitions
    assert max(found.values()) < 1.2 * 10_000 / partitions


def test_an_invite_as_phones_write_it():
    assert LegKeys(RULES).key(invite("c"), "c", "INVITE", 0) == "alice"
