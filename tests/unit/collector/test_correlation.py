"""The key of a message."""

import pytest
from support.captures import invite

from missedcall_collector.correlation import CorrelationRules, LegKeys, leg_joiner, partition

RULES = CorrelationRules(("X-CID", "x-call-id"), (r"_b2b-\d+", r"_pbx-\d+"))


def key(*headers, call_id="leg-b", joiner=""):
    return LegKeys(RULES).key(invite(call_id, *headers), call_id, joiner)


def test_without_anything_else_it_is_the_call_id():
    assert key() == "leg-b"


def test_the_agents_correlation_id_comes_first():
    assert key("X-CID: leg-a", joiner="corr") == "corr"


@pytest.mark.parametrize("header", ["X-CID: leg-a", "x-cid:leg-a", "X-Cid \t:  leg-a  ", "X-CALL-ID: leg-a"])
def test_a_configured_header_comes_before_the_call_id(header):
    assert key(header) == "leg-a"


def test_a_header_that_only_begins_like_a_configured_one_is_another():
    assert key("X-CID-Other: x", "X-CID: leg-a") == "leg-a"


def test_an_empty_header_is_none():
    assert key("X-CID: ", "X-Call-ID: leg-a") == "leg-a"


def test_headers_need_have_nothing_in_common():
    rules = CorrelationRules(("X-CID", "Session-ID"))

    assert LegKeys(rules).key(invite("b", "SESSION-ID: a"), "b") == "a"
    assert LegKeys(rules).key(invite("b"), "b") == "b"


@pytest.mark.parametrize("call_id", ["leg-a_b2b-1", "leg-a_pbx-12", "leg-a_b2b-1_pbx-1"])
def test_a_vendors_suffix_is_taken_off(call_id):
    assert key(call_id=call_id) == "leg-a"


def test_a_suffix_inside_stays():
    assert key(call_id="x_b2b-1@host") == "x_b2b-1@host"


def test_what_is_nothing_but_suffix_stays():
    assert key(call_id="_b2b-1") == "_b2b-1"


def test_without_configuration_nothing_is_taken_off():
    assert LegKeys(CorrelationRules()).key(invite(), "leg-a_b2b-1") == "leg-a_b2b-1"


def test_a_key_has_a_largest_length():
    assert len(key(call_id="x" * 1000)) == 256


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
    assert [partition(name, 48) for name in ("", "a", "call-1@example.com", "ü")] == [0, 3, 22, 37]


def test_a_leg_keeps_the_key_that_its_invite_named():
    keys = LegKeys(RULES)

    named = keys.key(invite("leg-b", "X-CID: leg-a"), "leg-b")
    later = [keys.key(invite("leg-b"), "leg-b"), keys.key(invite("leg-b", "X-CID: leg-c"), "leg-b")]
    others = [keys.key(invite(name), name) for name in ("leg-a", "leg-c")]

    assert [named, *later] == ["leg-a"] * 3
    assert others == ["leg-a", "leg-c"]


def test_a_leg_keeps_the_key_that_its_agent_named():
    keys = LegKeys(RULES)

    assert [keys.key(invite("leg-b"), "leg-b", joiner) for joiner in ("corr", "")] == ["corr", "corr"]


def test_of_too_many_legs_the_oldest_are_forgotten():
    keys = LegKeys(RULES, most=2)
    for leg in ("b", "c", "d"):
        keys.key(invite(leg, "X-CID: a"), leg)

    assert [keys.key(invite(leg), leg) for leg in ("b", "c", "d")] == ["b", "a", "a"]
