import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from support.notify import NOW, make_fact, make_retraction

from missedcall_notifier.mail_address import by_pattern, is_mail_address
from missedcall_notifier.people.directory import Directory
from missedcall_notifier.people.port import People
from missedcall_notifier.people.preferences import Wishes
from missedcall_notifier.reader import Defaults, Reader
from missedcall_notifier.routing import by_mail, everything_to, route
from missedcall_schemas.records import Party, Person, Preferences

DAY = 86400.0
NOBODY = People()
BOB = {"sip:bob@example.com": "bob@mail.example.com"}


def routed(fact, recipients, now=NOW + 20, people=NOBODY):
    found = route(fact, "smtp", recipients, people, Defaults(), now=now, max_age_s=3 * DAY)
    return [delivery.recipient for delivery in found.intents] or ", ".join(found.unrouted)


def test_a_known_callee_is_told_at_his_address():
    assert routed(make_fact(), by_mail(BOB)) == ["bob@mail.example.com"]


def test_an_unknown_callee_is_not_told_and_that_has_a_name():
    assert routed(make_fact(callee="sip:eve@example.com"), by_mail(BOB)) == "unknown-callee"


def test_a_suppressed_fact_is_not_told_and_keeps_its_reason():
    fact = make_fact(suppressed="notified-by-exchange")

    assert routed(fact, by_mail(BOB)) == "suppressed:notified-by-exchange"


def test_a_fact_older_than_a_delivery_may_become_is_not_told():
    assert routed(make_fact(), by_mail(BOB), now=NOW + 4 * DAY) == "too-old"


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
    assert by_pattern(callee, "{user}@{host}", ("example.com",)) == address


def test_a_telephone_number_fits_a_pattern_with_a_host_of_ours():
    assert by_pattern("tel:+4930123", "{user}@fax.example.com", ()) == "+4930123@fax.example.com"


@given(st.text())
def test_whatever_a_pattern_makes_of_the_wire_is_a_plain_address(callee):
    address = by_pattern(f"sip:{callee}", "{user}@{host}", ())

    assert not address or (is_mail_address(address) and address.isascii() and address.count("@") == 1)


ALICE = Person(addresses=("sip:alice@example.net",), name="Alice Miller", mailbox="alice@mail.example.com")
BOB_HIMSELF = Person(
    addresses=("sip:bob@example.com",), name="Bob Berg", mailbox="b.berg@mail.example.com", locale="de-AT",
    time_zone="Europe/Vienna", groups=("sales",),
)  # fmt: skip


def people(bob=BOB_HIMSELF, **wishes):
    return People(Directory([bob, ALICE], "DE"), Wishes(**wishes))


def test_the_directory_comes_before_the_table_and_the_table_before_nobody():
    without = Person(addresses=("sip:bob@example.com",))

    assert routed(make_fact(), by_mail(BOB), people=people()) == ["b.berg@mail.example.com"]
    assert routed(make_fact(), by_mail(BOB), people=people(without)) == ["bob@mail.example.com"]


def test_the_intent_records_who_reads_and_what_the_directory_calls_people():
    (intent,) = route(
        make_fact(also_rang=("sip:alice@example.net", "sip:eve@example.com")),
        "smtp", by_mail({}), people(), Defaults(region="DE"), now=NOW, max_age_s=DAY,
    ).intents  # fmt: skip

    assert intent.reader == Reader(
        locale="de-AT",
        time_zone="Europe/Vienna",
        region="DE",
        caller_name="Alice Miller",
        caller_mailbox="alice@mail.example.com",
        names={"sip:alice@example.net": "Alice Miller", "sip:bob@example.com": "Bob Berg"},
    )
    assert intent.next_at == NOW


def test_of_an_anonymous_caller_the_directory_says_nothing():
    caller = Party(uri="sip:alice@example.net", number="+4930123", display_name="Alice", anonymous=True)
    found = route(make_fact(caller=caller), "smtp", by_mail({}), people(), Defaults(), now=NOW, max_age_s=DAY)

    assert "Alice" not in str(found.intents[0].reader)
    assert "alice" not in str(found.intents[0].reader)


def test_a_mailbox_that_the_channel_does_not_reach_is_not_told_over_it():
    bob = Person(addresses=("sip:bob@example.com",), mailbox="bob@mail.example.com", channels=("ews",))

    assert routed(make_fact(), by_mail({}), people=people(bob)) == "other-channel"


def test_who_wants_no_notices_gets_none_and_the_team_still_does():
    opted_out = {"users": {"sip:bob@example.com": Preferences(notices=False)}}
    rule = by_mail({}, always=("team@example.com",))

    assert routed(make_fact(), by_mail({}), people=people(**opted_out)) == "opted-out"
    assert routed(make_fact(), rule, people=people(**opted_out)) == ["team@example.com"]


def test_whoever_is_told_by_the_operator_is_told_whatever_the_callee_chose():
    opted_out = {"users": {"sip:bob@example.com": Preferences(notices=False)}}

    assert routed(make_fact(), everything_to("default"), people=people(**opted_out)) == ["default"]


def test_a_correction_of_what_was_sent_comes_whatever_was_chosen_since():
    quiet = {"everybody": Preferences(notices=False, quiet_hours="00:00-23:59")}
    found = route(
        make_retraction(make_fact()), "smtp", by_mail({}), people(**quiet), Defaults(), now=NOW, max_age_s=DAY
    )

    assert [intent.next_at for intent in found.intents] == [NOW]


def test_quiet_hours_make_the_notice_wait_and_its_age_begins_with_their_end():
    # 10:42 UTC is 11:42 in Vienna
    quiet = {"groups": {"sales": Preferences(quiet_hours="11:00-13:00")}}
    (intent,) = route(
        make_fact(), "smtp", by_mail({}), people(**quiet), Defaults(), now=NOW, max_age_s=DAY
    ).intents

    assert intent.next_at == intent.not_before == NOW + 18 * 60 - 7 + 3600
    assert intent.opened_at == NOW


@pytest.mark.parametrize(
    ("chosen", "repeats_s", "windows"),
    [
        ({}, 0.0, (None, None)),
        ({}, 600.0, (600.0, 600.0)),
        ({"everybody": Preferences(repeats_s=60.0)}, 600.0, (600.0, 60.0)),
        ({"users": {"sip:bob@example.com": Preferences(repeats_s=0.0)}}, 600.0, (600.0, None)),
        ({"groups": {"sales": Preferences(repeats_s=60.0)}}, 0.0, (None, 60.0)),
    ],
)
def test_whether_repeats_are_one_notice_is_the_callees_choice_for_his_own_mailbox(chosen, repeats_s, windows):
    found = route(
        make_fact(),
        "smtp",
        by_mail({}, always=("team@example.com",)),
        people(**chosen),
        Defaults(),
        now=NOW + 20,
        max_age_s=DAY,
        repeats_s=repeats_s,
    )

    series = [one.series for one in found.intents]
    assert tuple(None if one is UNSET else one.within_s for one in series) == windows


def test_a_notice_to_another_persons_mailbox_is_in_that_persons_language():
    found = route(
        make_fact(callee="sip:carol@example.com"), "smtp", by_mail({}, always=("B.Berg@mail.example.com",)),
        people(), Defaults(), now=NOW, max_age_s=DAY,
    )  # fmt: skip

    assert found.intents[0].reader.locale == "de-AT"
