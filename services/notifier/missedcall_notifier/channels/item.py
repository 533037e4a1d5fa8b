"""A notice as an item of a mailbox (MS-OXOUM 2.2): what Exchange's own voice system wrote for a missed call.

Rule 1: pure, and the same for the same fact on every attempt.
Rule 2: an anonymous caller leaves no number and no name in any property (RFC 3323).
"""

import msgspec
from msgspec import Struct

from missedcall_notifier.delivery import Delivery
from missedcall_notifier.notice import when
from missedcall_notifier.notices import Notices
from missedcall_notifier.sanitise import clean
from missedcall_notifier.settings import EwsSettings, GraphSettings

from .mail import message_id
from .port import UnrenderableError

CALL_ID_LIMIT = 255
"""Characters of a Call-ID. More: a peer decides how much the mailbox keeps."""


class CallItem(Struct, frozen=True, kw_only=True):
    """What is written into the item, whatever library writes it."""

    subject: str
    text: str
    shown_caller: str
    """The caller as the list of messages shows the sender."""
    number: str
    """PidTagSenderTelephoneNumber; "" if unknown or anonymous."""
    name: str
    """PidTagVoiceMessageSenderName; "" if unknown or anonymous."""
    call_id: str
    """PidTagCallId."""
    fact_id: str
    """Our property: `key_of` the notice."""
    message_id: str
    """PidTagInternetMessageId, with its angle brackets: that of the mail about the same fact."""
    at: float
    """When the call, of several the last, began, POSIX seconds: the item's delivery and submit time."""
    urgent: bool


def write(delivery: Delivery, settings: EwsSettings | GraphSettings, notices: Notices) -> bytes:
    """Return the item, encoded.

    Raises:
        UnrenderableError: the fact cannot be put into an item.
    """
    fact = delivery.calls[-1]
    try:
        notice, caller = notices.render(delivery, html=False), notices.caller(delivery)
        item = CallItem(
            subject=notice.subject,
            text=notice.text,
            shown_caller=caller.shown,
            number=caller.e164 or caller.number,
            name=caller.name,
            call_id=clean(fact.call_id, CALL_ID_LIMIT),
            fact_id=key_of(delivery),
            message_id=message_id(delivery.fact, settings.sender.rpartition("@")[2]),
            at=when(fact).timestamp(),
            urgent=fact.urgent,
        )
        return msgspec.json.encode(item)
    except ValueError as error:
        raise UnrenderableError(str(error)) from error


def read(content: bytes) -> CallItem:
    """Return what `write` encoded."""
    return msgspec.json.decode(content, type=CallItem)


def key_of(delivery: Delivery) -> str:
    """Return what the item of a notice is found by again.

    A correction has that of the notice that it corrects; a retraction that leaves other calls has its own item.
    """
    return item_key(delivery.fact.fact_id, 1 if delivery.corrects else delivery.fact.revision)


def keys_before(delivery: Delivery) -> list[tuple[str, bool]]:
    """Return what the items are found by that a notice replaces or corrects; and whether each is surely there."""
    if delivery.replaces:
        return [(item_key(one.fact_id, one.revision), one.sure) for one in delivery.replaces]
    return [(key_of(delivery), False)] if delivery.corrects else []


def item_key(fact_id: str, revision: int) -> str:
    """Return what the item about a fact's revision is found by."""
    return clean(fact_id, 128) + ("" if revision == 1 else f"/{revision}")
