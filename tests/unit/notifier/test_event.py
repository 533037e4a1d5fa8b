"""The bodies of webhooks, read by other people's readers."""

import json
from datetime import UTC, datetime

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from support.notify import NOW, make_fact, make_notices, make_retraction

from missedcall_notifier.channels import event
from missedcall_notifier.channels.event import TEST_TEXT, ping_body
from missedcall_notifier.channels.port import UnrenderableError
from missedcall_notifier.delivery import intent
from missedcall_schemas import codec
from missedcall_schemas.records import Party

FORMATS = ["standard", "cloudevents", "adaptive-card"]
AT = datetime.fromtimestamp(NOW, UTC)
NOTICES = make_notices()


def body(fact, form):
    return event.body(intent(fact, "webhook", "default", NOW), form, NOTICES)


def read_event(raw):
    """Read as the CloudEvents SDK does, which checks what the specification demands."""
    return JSONFormat().read(CloudEvent, raw)


def card_of(raw):
    message = json.loads(raw)
    [attachment] = message["attachments"]
    assert message["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    return attachment["content"]


def runs(card):
    return [run for block in card["body"] for run in block["inlines"]]


def test_the_sdk_reads_a_cloudevent_with_the_fact_in_it():
    event = read_event(body(make_fact(), "cloudevents"))

    assert event.get_id() == "fact-1:1"
    assert event.get_type() == "missedcall.missed-call.v1"
    assert event.get_subject() == "sip:bob@example.com"
    assert event.get_data() == json.loads(codec.encode_missed_call(make_fact()))


def test_a_retraction_is_another_cloudevent_of_the_same_type():
    retraction = read_event(body(make_retraction(make_fact()), "cloudevents"))

    assert retraction.get_id() == "fact-1:2"
    assert retraction.get_data()["state"] == "retracted"


def test_the_sdk_reads_a_test_event():
    event = read_event(ping_body("cloudevents", "id-1", AT))

    assert (event.get_id(), event.get_type()) == ("id-1", "missedcall.test.v1")


def test_a_card_says_what_the_notice_says():
    card = card_of(body(make_fact(), "adaptive-card"))

    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert card["fallbackText"] == runs(card)[0]["text"] == "Missed call from +49 30 123 (“Alice”)"
    assert any("hung up after 9 s" in run["text"] for run in runs(card))


@given(name=st.text(max_size=100))
def test_a_callers_name_is_text_in_a_card_and_never_markdown(name):
    caller = Party(uri="sip:a@example.net", number="+4930123", display_name=name)

    card = card_of(body(make_fact(caller=caller), "adaptive-card"))

    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert {run["type"] for run in runs(card)} == {"TextRun"}
    assert all(set(run) <= {"type", "text", "weight", "size"} for run in runs(card))
    assert all(isinstance(run["text"], str) and run["text"] for run in runs(card))


@pytest.mark.parametrize("form", FORMATS)
def test_a_body_is_the_same_on_every_attempt_and_small(form):
    text = "ü" * 255
    fact = make_fact(caller=Party(uri=text, number=text, display_name=text), also_rang=(text,) * 20)

    assert body(fact, form) == body(fact, form)
    assert len(body(fact, form)) < 20_000


@pytest.mark.parametrize("form", FORMATS)
def test_a_ping_says_that_nobody_called(form):
    assert TEST_TEXT.encode() in ping_body(form, "id-1", AT)


@pytest.mark.parametrize("form", ["standard", "cloudevents"])
def test_what_json_cannot_hold_is_refused(form):
    with pytest.raises(UnrenderableError):
        body(make_fact(call_id="\ud800"), form)


@pytest.mark.parametrize("form", ["standard", "adaptive-card"])
def test_a_fact_without_a_time_is_refused(form):
    with pytest.raises(UnrenderableError):
        body(make_fact(rang_at=0.0, ended_at=0.0, decided_at=0.0), form)
