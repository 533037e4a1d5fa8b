"""A fact as the body of a webhook, in the three forms that receivers read.

Rule 1: pure, and the same bytes on every attempt: the time in the body is the decision's.
Rule 2: `data` is the fact as it stands on `missed-calls`, in our own form and in CloudEvents. The card is for
        people and holds the notice and nothing else.
Rule 3: text in a card is `TextRun`, which knows no Markdown: in a `TextBlock` a caller's name could be a link.
"""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from missedcall_notifier.delivery import Delivery
from missedcall_notifier.notice import moment
from missedcall_notifier.notices import Notices
from missedcall_schemas import cloudevents, codec

from .port import UnrenderableError

Format = Literal["standard", "cloudevents", "adaptive-card"]

CONTENT_TYPES: dict[Format, str] = {
    "standard": "application/json",
    "cloudevents": "application/cloudevents+json",  # CloudEvents JSON Format s.3
    "adaptive-card": "application/json",
}

TYPES = {"missed": "missed_call.missed", "retracted": "missed_call.retracted"}
"""Event types, of the characters that Standard Webhooks allows."""

TEST_TYPE = "missed_call.test"
TEST_TEXT = "This is a test of missedcall. Nobody called."

CARD_SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"
CARD_VERSION = "1.4"
"""What Teams shows everywhere; RichTextBlock is of 1.2."""


def body(delivery: Delivery, form: Format, notices: Notices) -> bytes:
    """Return what is posted.

    Args:
        delivery: what happened.
        form: how the receiver reads it.
        notices: the words of a card.

    Raises:
        UnrenderableError: the fact cannot be put into JSON, or has no plausible time.
    """
    fact = delivery.fact
    try:
        match form:
            case "standard":
                at = moment((fact.decided_at, fact.ended_at), UTC)
                return _standard(TYPES[fact.state], at, msgspec.Raw(codec.encode_missed_call(fact)))
            case "cloudevents":
                data = msgspec.Raw(codec.encode_missed_call(fact))
                return msgspec.json.encode(cloudevents.attributes(fact) | {"data": data})
            case "adaptive-card":
                notice = notices.render(delivery, html=False)
                return _card(notice.subject, notice.text.strip().splitlines())
    except ValueError as error:
        raise UnrenderableError(str(error)) from error


def ping_body(form: Format, test_id: str, at: datetime) -> bytes:
    """Return what a test posts: no fact, and a type of its own, so that nothing can take it for a call."""
    match form:
        case "standard":
            return _standard(TEST_TYPE, at, {"text": TEST_TEXT})
        case "cloudevents":
            named = {
                "specversion": "1.0",
                "id": test_id,
                "source": cloudevents.DEFAULT_SOURCE,
                "type": "missedcall.test.v1",
                "datacontenttype": "application/json",
                "time": _rfc3339(at),
            }
            return msgspec.json.encode(named | {"data": {"text": TEST_TEXT}})
        case "adaptive-card":
            return _card(TEST_TEXT, [])


def _standard(kind: str, at: datetime, data: object) -> bytes:
    return msgspec.json.encode({"type": kind, "timestamp": _rfc3339(at), "data": data})


def _card(title: str, lines: list[str]) -> bytes:
    """Return a message of one card, as Teams' Workflows take it."""
    card = {
        "$schema": CARD_SCHEMA,
        "type": "AdaptiveCard",
        "version": CARD_VERSION,
        "fallbackText": title,
        "body": [_text(title, weight="Bolder", size="Medium"), *(_text(line) for line in lines if line)],
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return msgspec.json.encode({"type": "message", "attachments": [attachment]})


def _text(text: str, **look: str) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text} | look]}


def _rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
