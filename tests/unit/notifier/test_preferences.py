from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.notify import NOW, make_fact, make_retraction

from missedcall_notifier.people.checks import DAYS, wrong_with_choice
from missedcall_notifier.people.preferences import (
    DEFAULTS,
    ROWS,
    Situation,
    Wish,
    Wishes,
    not_before,
    unwanted,
)
from missedcall_schemas.records import Party, Person, Preferences

BERLIN = ZoneInfo("Europe/Berlin")
ANONYMOUS = make_fact(caller=Party(anonymous=True))
BOB = Person(addresses=("sip:bob@example.com", "sip:613@example.com"), groups=("sales", "berlin"))


def why(wish, fact=None, channel="smtp", known=False):
    return unwanted(wish, Situation(fact or make_fact(), channel, known))


def test_who_has_chosen_nothing_gets_everything_at_once():
    assert why(DEFAULTS, ANONYMOUS, known=True) == ""
    assert not_before(DEFAULTS, make_fact(), BERLIN, NOW) == NOW


@pytest.mark.parametrize(
    ("wish", "situation", "reason"),
    [
        (Wish(notices=False), {}, "opted-out"),
        (Wish(channels=("ews",)), {}, "other-channel"),
        (Wish(channels=("ews", "smtp")), {}, ""),
        (Wish(anonymous=False), {}, ""),
        (Wish(anonymous=False), {"fact": ANONYMOUS}, "caller-anonymous"),
        (Wish(internal=False), {}, ""),
        (Wish(internal=False), {"known": True}, "caller-internal"),
        (Wish(min_ring_s=9.0), {}, ""),
        (Wish(min_ring_s=10.0), {}, "rang-too-short"),
        (Wish(min_ring_s=10.0), {"fact": make_fact(ring_s=0.0, detail="unrung")}, "rang-too-short"),
        (Wish(min_ring_s=10.0), {"fact": make_fact(ring_s=0.0, cause="unreachable")}, ""),
        (Wish(min_ring_s=10.0), {"fact": make_fact(ring_s=0.0, cause="busy")}, ""),
        (Wish(min_ring_s=10.0), {"fact": make_fact(ring_s=0.0, detail="voicemail-hangup")}, ""),
        (Wish(notices=False, anonymous=False), {"fact": ANONYMOUS}, "opted-out"),
    ],
)
def test_a_notice_is_not_wanted_for_a_reason_with_a_name(wish, situation, reason):
    assert why(wish, **situation) == reason


def test_every_reason_has_a_name_of_its_own():
    assert len({row.reason for row in ROWS}) == len(ROWS)
    assert all(row.text for row in ROWS)


@pytest.mark.parametrize("fact", [make_fact(urgent=True), make_retraction(make_fact())])
def test_an_emergency_callback_and_a_correction_are_neither_filtered_nor_held_back(fact):
    wish = Wish(notices=False, quiet_hours="00:00-23:59")

    assert why(wish, fact) == ""
    assert not_before(wish, fact, BERLIN, NOW) == NOW


def test_the_users_choice_comes_first_then_the_first_group_then_everybodys():
    wishes = Wishes(
        everybody=Preferences(min_ring_s=1.0, anonymous=False, internal=False),
        groups={
            "sales": Preferences(min_ring_s=2.0, quiet_hours="20:00-06:00"),
            "berlin": Preferences(quiet_hours="22:00-07:00", anonymous=True),
        },
        users={"sip:613@example.com": Preferences(min_ring_s=3.0)},
    )

    assert wishes.of("sip:bob@example.com", BOB) == Wish(
        min_ring_s=3.0, quiet_hours="20:00-06:00", anonymous=True, internal=False
    )
    assert wishes.of("sip:eve@example.com", None) == Wish(min_ring_s=1.0, anonymous=False, internal=False)


def test_a_user_whom_the_directory_does_not_know_can_choose_too():
    wishes = Wishes(users={"sip:eve@example.com": Preferences(notices=False)})

    assert not wishes.of("sip:EVE@example.com", None).notices
    assert wishes.of("sip:bob@example.com", BOB) is DEFAULTS


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("wish", "now", "until"),
    [
        (Wish(quiet_hours="22:00-07:00"), "2026-11-23T21:59:59", "2026-11-23T21:59:59"),
        (Wish(quiet_hours="22:00-07:00"), "2026-11-23T22:00:00", "2026-11-24T07:00:00"),
        (Wish(quiet_hours="22:00-07:00"), "2026-11-24T03:12:00", "2026-11-24T07:00:00"),
        (Wish(quiet_hours="22:00-07:00"), "2026-11-24T07:00:00", "2026-11-24T07:00:00"),
        (Wish(quiet_hours="12:00-13:00"), "2026-11-24T12:30:00", "2026-11-24T13:00:00"),
        (Wish(quiet_hours="12:00-13:00"), "2026-11-24T13:30:00", "2026-11-24T13:30:00"),
        (Wish(quiet_hours="22:00-00:00"), "2026-11-24T23:30:00", "2026-11-25T00:00:00"),
        (Wish(quiet_hours="00:00-07:00"), "2026-11-24T00:00:00", "2026-11-24T07:00:00"),
        # Saturday to Monday, and the night before Monday
        (
            Wish(quiet_hours="22:00-07:00", quiet_days=("sat", "sun")),
            "2026-11-27T23:00:00",
            "2026-11-30T07:00:00",
        ),
        (Wish(quiet_days=("sun",)), "2026-11-29T10:00:00", "2026-11-30T00:00:00"),
        # the nights in which the clocks change
        (Wish(quiet_hours="22:00-07:00"), "2026-10-25T01:00:00", "2026-10-25T07:00:00"),
        (Wish(quiet_hours="22:00-07:00"), "2027-03-28T01:00:00", "2027-03-28T07:00:00"),
        (Wish(quiet_hours="01:00-02:30"), "2027-03-28T01:30:00", "2027-03-28T03:30:00"),
    ],
)
def test_a_notice_waits_for_the_end_of_the_quiet_time_by_the_readers_clock(wish, now, until):
    assert not_before(wish, make_fact(), BERLIN, at(now)) == at(until)


HOURS = st.builds("{:02}:{:02}-{:02}:{:02}".format, *[st.integers(0, 23), st.integers(0, 59)] * 2)


@given(
    hours=st.one_of(st.just(""), HOURS),
    days=st.sets(st.sampled_from(DAYS), max_size=6).map(tuple),
    now=st.floats(NOW - 4e8, NOW + 4e8),
)
def test_whatever_is_quiet_the_wait_is_over_within_days_and_ends_outside(hours, days, now):
    chosen = Preferences(quiet_hours=hours, quiet_days=days)
    if list(wrong_with_choice(chosen)):
        return
    wish = Wish(quiet_hours=hours, quiet_days=days)

    due = not_before(wish, make_fact(), BERLIN, now)

    assert now <= due <= now + 8 * 86400
    again = not_before(wish, make_fact(), BERLIN, due)
    assert again - due < 3601  # a clock that is put back may bring some of the quiet time a second time
