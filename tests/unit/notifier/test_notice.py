import math
from datetime import UTC
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.notify import NOW, make_fact, make_notices, make_retraction

from missedcall_classifier.rules import RULES
from missedcall_notifier.delivery import intent
from missedcall_notifier.notice import ImplausibleTimeError
from missedcall_notifier.notice import reason as reason_in
from missedcall_notifier.reader import Reader
from missedcall_schemas.records import Cause, Party

BERLIN = ZoneInfo("Europe/Berlin")


def render(fact, zone=UTC, **reader):
    delivery = intent(fact, "smtp", "bob@example.com", NOW, reader=Reader(**reader))
    return make_notices(zone=zone).render(delivery)


def reason(fact, tag="en-GB"):
    return reason_in(fact, make_notices().language(tag))


def sentence(fact, zone=UTC):
    return render(fact, zone).text.splitlines()[0]


def test_a_missed_call_reads_like_this():
    assert render(make_fact(), BERLIN).text == (
        "Missed call from +49 30 123 (“Alice”, as the caller's system names them) at 11:42, "
        "hung up after 9 s of ringing on 2 devices.\n"
        "\n"
        "When:    Monday, 23 November 2026, 11:42:07 (CET)\n"
        "Caller:  +49 30 123 (“Alice”)\n"
        "Address: sip:alice@example.net\n"
        "Called:  sip:bob@example.com\n"
    )


def test_the_subject_has_the_number_first():
    assert render(make_fact()).subject == "Missed call from +49 30 123 (“Alice”)"


def test_a_name_that_the_network_vouches_for_says_so():
    caller = Party(number="+4930123", display_name="Alice", source="p-asserted-identity")

    assert "as the telephone network names them" in sentence(make_fact(caller=caller))


def test_a_caller_without_a_number_is_shown_by_his_address():
    caller = Party(uri="sip:alice@example.net", display_name="Alice", source="from")

    assert sentence(make_fact(caller=caller)).startswith("Missed call from sip:alice@example.net (“Alice”,")


def test_a_caller_with_nothing_but_a_name_is_shown_by_it():
    caller = Party(display_name="Alice", source="from")

    assert render(make_fact(caller=caller)).subject == (
        "Missed call from “Alice” (as the caller's system names them)"
    )


def test_a_caller_of_whom_nothing_is_known_is_unknown():
    assert render(make_fact(caller=Party())).subject == "Missed call from an unknown caller"


def test_an_anonymous_caller_stays_anonymous_whatever_the_record_holds():
    caller = Party(uri="sip:alice@example.net", number="+4930123", display_name="Alice", anonymous=True)

    notice = render(make_fact(caller=caller))

    assert notice.subject == "Missed call from an anonymous caller"
    assert not any(secret in notice.text for secret in ("alice", "Alice", "+4930123"))


def test_an_anonymous_caller_stays_anonymous_in_a_correction():
    caller = Party(uri="sip:alice@example.net", number="+4930123", display_name="Alice", anonymous=True)

    notice = render(make_retraction(make_fact(caller=caller)))

    assert not any(secret in notice.subject + notice.text for secret in ("alice", "Alice", "+4930123"))


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (make_fact(ring_s=9.2, devices_rung=1), "hung up after 9 s of ringing"),
        (make_fact(ring_s=0.0), "hung up before a phone rang"),
        (make_fact(ring_s=0.2, devices_rung=0), "hung up after 1 s of ringing"),
        (make_fact(detail="voicemail-hangup"), "hung up during the voicemail greeting"),
        (
            make_fact(cause="no-answer", ring_s=180.4, devices_rung=3),
            "nobody answered within 3 min 0 s of ringing on 3 devices",
        ),
        (make_fact(cause="no-answer", ring_s=0), "nobody answered"),
        (make_fact(cause="unreachable"), "no phone could be reached"),
        (make_fact(cause="busy"), "the line was busy"),
        (make_fact(cause="busy", detail="dnd"), "do not disturb was on"),
        (make_fact(cause="declined", ring_s=4), "the call was declined after 4 s of ringing on 2 devices"),
        (make_fact(cause="blocked"), "the call was blocked"),
        (make_fact(ring_s=math.inf), "hung up before a phone rang"),
    ],
)
def test_the_reason_is_in_plain_words(fact, words):
    assert reason(fact) == words


LANGUAGES = ("en", "de")
DETAILS = {rule.detail for rule in RULES} - {""} | {"voicemail", "forwarded-answered"}


@pytest.mark.parametrize("tag", LANGUAGES)
def test_every_cause_has_words_whether_phones_rang_or_not(tag):
    for cause in get_args(Cause):
        assert reason(make_fact(cause=cause, detail=""), tag)
        assert reason(make_fact(cause=cause, detail="", ring_s=0.0), tag)


@pytest.mark.parametrize("tag", LANGUAGES)
@pytest.mark.parametrize("detail", sorted(DETAILS))
def test_whatever_detail_the_classifier_gives_has_words_of_its_own(tag, detail):
    given = "error-503" if detail == "error" else detail

    assert reason(make_fact(cause="no-answer", detail=given), tag) != reason(
        make_fact(cause="no-answer"), tag
    )


def test_a_detail_of_a_newer_release_leaves_the_cause():
    assert reason(make_fact(cause="busy", detail="line-on-fire")) == "the line was busy"


def test_a_ring_group_does_not_fill_the_screen():
    text = render(make_fact(also_rang=tuple(f"sip:u{n}@example.com" for n in range(40)))).text

    assert "sip:u4@example.com and 35 more\n" in text


def test_a_correction_says_that_the_earlier_notice_was_wrong():
    notice = render(make_retraction(make_fact()))

    assert notice.subject == "Not missed after all: call from +49 30 123 (“Alice”)"
    assert notice.text.startswith(
        "The call from +49 30 123 (“Alice”) at 10:42 was taken after all. The earlier notice"
    )


def test_a_capture_without_times_is_dated_by_the_decision():
    assert "11:42" in sentence(make_fact(rang_at=0.0, ended_at=0.0, decided_at=NOW + 3600))


def test_a_fact_without_any_plausible_time_is_one_error():
    with pytest.raises(ImplausibleTimeError, match="1970"):
        render(make_fact(rang_at=-1.0, ended_at=math.inf, decided_at=1e20))


@settings(deadline=None)  # the first one reads a locale
@given(st.text(), st.text(), st.text(), st.text())
def test_whatever_the_wire_says_the_subject_is_one_line(number, uri, name, callee):
    fact = make_fact(caller=Party(uri=uri, number=number, display_name=name), callee=callee)

    notice = render(fact)

    assert notice.subject == " ".join(notice.subject.splitlines())
    assert len(notice.subject) < 300
    assert len(notice.text.splitlines()) <= 10
