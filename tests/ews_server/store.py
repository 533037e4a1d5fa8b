"""Mailboxes, their folders and items, in memory."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from lxml import etree

from .soap import T

# fmt: off
FIELDS = (
    "MimeContent", "ItemId", "ParentFolderId", "ItemClass", "Subject", "Sensitivity", "Body", "Attachments",
    "DateTimeReceived", "Size", "Categories", "Importance", "InReplyTo", "IsSubmitted", "IsDraft", "IsFromMe",
    "IsResend", "IsUnmodified", "InternetMessageHeaders", "DateTimeSent", "DateTimeCreated", "ResponseObjects",
    "ReminderDueBy", "ReminderIsSet", "ReminderNextTime", "ReminderMinutesBeforeStart", "DisplayCc", "DisplayTo",
    "HasAttachments", "ExtendedProperty", "Culture", "EffectiveRights", "LastModifiedName", "LastModifiedTime",
    "IsAssociated", "WebClientReadFormQueryString", "WebClientEditFormQueryString", "ConversationId", "UniqueBody",
    "Sender", "ToRecipients", "CcRecipients", "BccRecipients", "IsReadReceiptRequested",
    "IsDeliveryReceiptRequested", "ConversationIndex", "ConversationTopic", "From", "InternetMessageId", "IsRead",
    "IsResponseRequested", "References", "ReplyTo", "ReceivedBy", "ReceivedRepresenting",
)
# fmt: on
"""Elements of t:Message in the order of the schema, as far as we keep them."""

READ_ONLY = frozenset(
    {
        *("ItemId", "ParentFolderId", "DateTimeReceived", "Size", "IsSubmitted", "IsDraft", "IsFromMe"),
        *("IsResend", "IsUnmodified", "InternetMessageHeaders", "DateTimeSent", "DateTimeCreated"),
        *("DisplayCc", "DisplayTo", "HasAttachments", "EffectiveRights", "LastModifiedName"),
        *("LastModifiedTime", "ConversationId", "ConversationIndex", "ConversationTopic", "ReceivedBy"),
        "ReceivedRepresenting",
    }
)
"""Exchange computes them: ErrorInvalidPropertySet for who sets them."""

MESSAGE_FLAGS = ("0xe07", "Integer")
DELIVERY_TIME = ("0xe06", "SystemTime")
SUBMIT_TIME = ("0x39", "SystemTime")
UNSENT = 0x8
"""mfUnsent (MS-OXCMSG 2.2.1.6): the item is a draft."""

PropertyKey = tuple[str, ...]
"""(tag, type), or (property set, name or id, type)."""


@dataclass
class Item:
    """One message."""

    id: str
    folder: str
    version: int = 0
    fields: dict[str, etree._Element] = field(default_factory=dict)
    """By the element's name, without those that are computed."""
    properties: dict[PropertyKey, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a field's text; "" if it has none."""
        element = self.fields.get(name)
        return "" if element is None else element.text or ""

    def mailbox(self, name: str) -> tuple[str, str]:
        """Return name and address of a field with one recipient."""
        element = self.fields[name]
        return (element.findtext(f".//{{{T}}}Name") or "", element.findtext(f".//{{{T}}}EmailAddress") or "")

    @property
    def change_key(self) -> str:
        return f"CQ{self.version:06}"

    @property
    def is_read(self) -> bool:
        return self.text("IsRead") in {"1", "true"}

    @property
    def is_draft(self) -> bool:
        flags = self.properties.get(MESSAGE_FLAGS)
        return flags is None or bool(int(flags) & UNSENT)

    @property
    def received(self) -> datetime | None:
        value = self.properties.get(DELIVERY_TIME)
        return None if value is None else datetime.fromisoformat(value)


class Mailbox:
    """One user's folders."""

    FOLDERS = ("inbox", "deleteditems", "drafts", "sentitems", "msgfolderroot", "junkemail")

    def __init__(self, address: str) -> None:
        self.address = address
        self.items: dict[str, Item] = {}
        self.quota_exceeded = False

    def in_folder(self, folder: str) -> list[Item]:
        """Return a folder's items, the newest first, as Exchange lists them."""
        return [item for item in reversed(self.items.values()) if item.folder == folder]

    def folder_id(self, folder: str) -> str:
        return f"folder/{self.address}/{folder}"


class Store:
    """All mailboxes."""

    def __init__(self, *addresses: str) -> None:
        self.mailboxes = {address.lower(): Mailbox(address) for address in addresses}
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[Item]:
        return (item for mailbox in self.mailboxes.values() for item in mailbox.items.values())

    def new_id(self, mailbox: Mailbox) -> str:
        return f"AAMk{next(self._numbers):08}/{mailbox.address}"

    def owner(self, item_id: str) -> tuple[Mailbox, Item] | None:
        """Return an item and whose it is."""
        for mailbox in self.mailboxes.values():
            if item_id in mailbox.items:
                return mailbox, mailbox.items[item_id]
        return None
