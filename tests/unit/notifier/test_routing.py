import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.notify import NOW, make_fact, make_retraction

from missedcall_notifier.routing import (
    Unrouted,
    address_by_pattern,
    by_mail,
    everything_to,
    is_mail_address,
    route,
)

DAY = 86400.0
BOB = {"sip:bob@example.com": "bob@mail.example.com"}


def routed(fact, recipients, now=NOW + 20):
    found = route(fact, "smtp", recipients, now=now, max_age_s=3 * DAY)
    return found if isinstance(found, Unrouted) else [delivery.recipient for delivery in found]


def test_a_known_callee_is_told_at_his_address():
    assert routed(make_fact(), by_mail(BOB)) == ["bob@mail.example.com"]


def test_an_unknown_callee_is_not_told_and_that_has_a_name():
    assert routed(make_fact(callee="sip:eve@example.com"), by_mail(BOB)) == Unrouted("unknown-callee")


def test_a_suppressed_fact_is_not_told_and_keeps_its_reason():
    fact = make_fact(suppressed="notified-by-exchange")

    assert routed(fact, by_mail(BOB)) == Unrouted("suppressed:notified-by-exchange")


def test_a_fact_older_than_a_delivery_may_become_is_not_told():
    assert routed(make_fact(), by_mail(BOB), now=NOW + 4 * DAY) == Unrouted("too-old")


def test_a_call_of_an_old_capture_that_was_decided_now_is_told():
    assert routed(make_fact(rang_at=1.0, ended_at=2.0), by_mail(BOB)) == ["bob@mail.example.com"]


def test_a_retraction_is_routed_like_its_fact():
    assert routed(make_retraction(make_fact()), by_mail(BOB)) == ["bob@mail.example.com"]


def test_the_table_comes_before_the_pattern():
    assert routed(make_fact(), by_mail(BOB, "{user}@example.org")) == ["bob@mail.example.com"]


def test_the_team_is_told_of_everybody_and_nobody_twice():
    rule = by_mail(BOB, always=("team@example.com", "bob@mail.example.com"))

    assert routed(make_fact(), rule) == ["team@example.com", "bob@mail.example.com"]


def test_an_endpoint_gets_every_fact():
    assert routed(make_fact(callee="tel:+4930123"), everything_to("default")) == ["default"]


@pytest.mark.parametrize(
    ("callee", "address"),
    [
        ("sip:bob@example.com", "bob@example.com"),
        ("sip:bob.o'neil+x@example.com", "bob.o'neil+x@example.com"),
        ("sip:+4930123@example.com", "+4930123@example.com"),
        ("sip:bob@example.net", ""),  # not one of the hosts
        ("sip:bob%evil.net@example.com", ""),  # a relay would read a route into it
        ("sip:evil.net!bob@example.com", ""),
        ("sip:@example.com", ""),
        ("sip:example.com", ""),
        ("sip:.bob@example.com", ""),
        ('sip:"bob"@example.com', ""),
        ("sip:bob@example.com>\r\nRCPT TO:<eve@evil.net", ""),
        ("sip:b{host}b@example.com", ""),
        (f"sip:{'b' * 65}@example.com", ""),
        ("tel:+4930123", ""),
        ("mailto:bob@example.com", ""),
        ("", ""),
    ],
)
def test_a_pattern_makes_addresses_of_harmless_callees_only(callee, address):
    assert address_by_pattern(callee, "{user}@{host}", ("example.com",)) == address


def test_a_telephone_number_fits_a_pattern_with_a_host_of_ours():
    assert address_by_pattern("tel:+4930123", "{user}@fax.example.com", ()) == "+4930123@fax.example.com"


@given(st.text())
def test_whatever_a_pattern_makes_of_the_wire_is_a_plain_address(callee):
    address = address_by_pattern(f"sip:{callee}", "{user}@{host}", ())

    assert not address or (is_mail_address(address) and address.isascii() and address.count("@") == 1)
