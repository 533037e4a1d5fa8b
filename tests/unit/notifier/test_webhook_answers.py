import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.notify import NOW, ManualClock, make_delivery, make_fact, make_notices, make_retraction

from missedcall_notifier.channels.port import UnrenderableError
from missedcall_notifier.channels.webhook import WebhookChannel, classify, retry_after_s
from missedcall_notifier.delivery import intent
from missedcall_notifier.failure import Failure
from missedcall_notifier.settings import WebhookSettings
from missedcall_schemas import codec
from missedcall_schemas.records import Party

F = Failure


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (200, None), (201, None), (202, None), (204, None), (299, None),
        (100, F.TRANSIENT), (301, F.CHANNEL_DOWN), (302, F.CHANNEL_DOWN), (308, F.CHANNEL_DOWN),
        (400, F.TRANSIENT), (401, F.CHANNEL_DOWN), (403, F.CHANNEL_DOWN), (404, F.TRANSIENT),
        (407, F.CHANNEL_DOWN), (410, F.GONE), (413, F.TRANSIENT), (422, F.TRANSIENT),
        (429, F.THROTTLED), (500, F.TRANSIENT), (502, F.THROTTLED), (503, F.TRANSIENT), (504, F.THROTTLED),
        (599, F.TRANSIENT), (999, F.TRANSIENT),
    ],
)  # fmt: skip
def test_a_status_means(status, failure):
    assert classify(status) is failure


@given(st.integers(0, 999))
def test_only_2xx_is_success(status):
    assert (classify(status) is None) == (200 <= status <= 299)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("Mon, 23 Nov 2026 10:43:07 GMT", 60.0),
        ("Mon, 23 Nov 2020 10:43:07 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert retry_after_s(value, NOW) == seconds


@given(st.text())
def test_any_retry_after_is_seconds_or_nothing(value):
    seconds = retry_after_s(value, NOW)

    assert seconds is None or (seconds >= 0 and not math.isnan(seconds))


CHANNEL = WebhookChannel(WebhookSettings(url="https://hooks.example.com/"), ManualClock(), make_notices())


def body(fact):
    return msgspec.json.decode(CHANNEL.render(intent(fact, "webhook", "default", NOW)))


def test_the_body_is_type_timestamp_and_the_fact_as_on_the_topic():
    fact = make_fact()

    assert body(fact) == {
        "type": "missed_call.missed",
        "timestamp": "2026-11-23T10:42:19.400Z",
        "data": msgspec.json.decode(codec.encode_missed_call(fact)),
    }


def test_a_retraction_is_an_event_of_its_own_type():
    assert body(make_retraction(make_fact()))["type"] == "missed_call.retracted"


def test_the_body_is_the_same_on_every_attempt():
    assert CHANNEL.render(make_delivery()) == CHANNEL.render(make_delivery(now=NOW + 99))


def test_the_largest_fact_stays_below_twenty_kilobytes():
    text = "ü" * 255
    fact = make_fact(caller=Party(uri=text, number=text, display_name=text), also_rang=(text,) * 20)

    assert len(CHANNEL.render(intent(fact, "webhook", "default", NOW))) < 20_000


@pytest.mark.parametrize("bad", [{"call_id": "\ud800"}, {"ring_s": math.nan}])
def test_what_json_cannot_hold_is_refused(bad):
    with pytest.raises(UnrenderableError):
        CHANNEL.render(make_delivery(**bad))
