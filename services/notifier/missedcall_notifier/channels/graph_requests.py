"""The requests of Microsoft Graph that the channel makes, as values (Graph v1.0, resource `message`).

Rule 1: an item is complete when it is created: what makes it a received message can be set at no other time.
Rule 2: what a received message does not let anybody change (subject, text) is not asked to be changed.
Rule 3: `$batch` is not used: its parts have limits and answers of their own, and nothing would be won.
"""

from datetime import UTC, datetime
from urllib.parse import quote

import msgspec
from msgspec import Struct

from missedcall_notifier.settings import GraphSettings

from .item import CallItem

FACT_ID = "String {8f3d0d0a-5a3c-4a53-9c0e-6d1f2b7c9e41} Name MissedCallFactId"
"""Our named property, the same as over Exchange Web Services. Never to change: what was written under another
is not found again."""

MESSAGE_FLAGS = "Integer 0x0E07"
RECEIVED = "4"
"""PidTagMessageFlags (MS-OXCMSG 2.2.1.6) without mfUnsent, or the item is a draft. Not 0, which is taken for
unset, and not mfRead."""

FOUND_LIMIT = 8
"""Items of one fact that are looked at. There is one, or somebody copied it."""


class Ask(Struct, frozen=True):
    """One request."""

    step: str
    """`create`, `find`, `mark`, `remove`, `read`: what a failure is reported under."""
    method: str
    url: str
    """Quoted as it goes over the wire."""
    body: bytes = b""
    """JSON; b"" for none."""


class Message(Struct, frozen=True):
    """What is read of an item that was found."""

    id: str


class Found(Struct, frozen=True):
    """A collection, as OData answers it."""

    value: list[Message]


def create(settings: GraphSettings, mailbox: str, item: CallItem) -> Ask:
    """Put an item into the inbox."""
    at = datetime.fromtimestamp(item.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    caller = {"emailAddress": {"name": item.shown_caller, "address": settings.sender}}
    properties = {
        FACT_ID: item.fact_id,
        MESSAGE_FLAGS: RECEIVED,
        "SystemTime 0x0E06": at,  # PidTagMessageDeliveryTime: what the list of messages is sorted by
        "SystemTime 0x0039": at,  # PidTagClientSubmitTime
        "String 0x001A": settings.item_class,  # PidTagMessageClass
        "String 0x6802": item.number,  # PidTagSenderTelephoneNumber: what phones offer to call back
        "String 0x6803": item.name,  # PidTagVoiceMessageSenderName
        "String 0x6806": item.call_id,  # PidTagCallId
    }
    message = {
        "subject": item.subject,
        "body": {"contentType": "text", "content": item.text},
        "importance": "high" if item.urgent else "normal",
        "isRead": False,
        "from": caller,
        "sender": caller,
        "internetMessageId": item.message_id,
        "singleValueExtendedProperties": [
            {"id": id_, "value": value} for id_, value in properties.items() if value
        ],
    }
    return Ask(
        "create",
        "POST",
        f"{_user(settings, mailbox)}/mailFolders/inbox/messages",
        msgspec.json.encode(message),
    )


def find(settings: GraphSettings, mailbox: str, folder: str, fact_id: str) -> Ask:
    """Ask for the ids of a fact's items in `inbox` or `deleteditems`."""
    value = fact_id.replace("'", "''")
    where = f"singleValueExtendedProperties/any(ep: ep/id eq '{FACT_ID}' and ep/value eq '{value}')"
    query = f"$filter={quote(where, safe='')}&$select=id&$top={FOUND_LIMIT}"
    return Ask("find", "GET", f"{_user(settings, mailbox)}/mailFolders/{folder}/messages?{query}")


def mark(settings: GraphSettings, mailbox: str, found: Message) -> Ask:
    """Mark an item read and put it into the category of calls that were not missed after all."""
    change = {"isRead": True, "categories": [settings.category]}
    return Ask("mark", "PATCH", _message(settings, mailbox, found), msgspec.json.encode(change))


def remove(settings: GraphSettings, mailbox: str, found: Message) -> Ask:
    """Move an item to Deleted Items."""
    url = f"{_message(settings, mailbox, found)}/move"
    return Ask("remove", "POST", url, msgspec.json.encode({"destinationId": "deleteditems"}))


def read_inbox(settings: GraphSettings, mailbox: str) -> Ask:
    """Ask for what a mailbox's inbox is called: changes nothing, and needs the right to read it."""
    return Ask("read", "GET", f"{_user(settings, mailbox)}/mailFolders/inbox?$select=id")


def read_found(body: bytes) -> list[Message]:
    """Return the items that an answer to `find` lists.

    Raises:
        msgspec.DecodeError: the body is no such answer.
    """
    return msgspec.json.decode(body, type=Found).value


def _user(settings: GraphSettings, mailbox: str) -> str:
    return f"{settings.endpoint.rstrip('/')}/v1.0/users/{quote(mailbox, safe='@')}"


def _message(settings: GraphSettings, mailbox: str, found: Message) -> str:
    return f"{_user(settings, mailbox)}/messages/{quote(found.id, safe='')}"
