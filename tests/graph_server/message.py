"""The resource `message` of Graph v1.0: what may be written, of which type, and how an item is shown.

Sources: "message resource type", "Create message", "Update message", "singleValueLegacyExtendedProperty".
"""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

SUBJECT_LIMIT = 255
UNSENT = 0x8
"""mfUnsent (MS-OXCMSG 2.2.1.6): the item is a draft."""

FLAGS, DELIVERED, SUBMITTED, CLASS = (
    "Integer 0x0e07",
    "SystemTime 0x0e06",
    "SystemTime 0x0039",
    "String 0x001a",
)


class GraphError(Exception):
    """What is answered instead."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(code, text)
        self.status = status
        self.code = code
        self.text = text


def wrong_body(text: str) -> GraphError:
    return GraphError(400, "RequestBodyRead", text)


@dataclass
class Item:
    """One message."""

    id: str
    folder: str
    version: int = 0
    fields: dict[str, Any] = field(default_factory=dict)
    """By the name of the property, as written."""
    properties: dict[str, str] = field(default_factory=dict)
    """Extended ones, by their id in one spelling."""

    @property
    def is_draft(self) -> bool:
        return FLAGS not in self.properties or bool(int(self.properties[FLAGS]) & UNSENT)

    @property
    def received(self) -> str:
        return self.properties.get(DELIVERED, self.fields["createdDateTime"])

    @property
    def item_class(self) -> str:
        return self.properties.get(CLASS, "IPM.Note")

    @property
    def is_read(self) -> bool:
        return self.fields.get("isRead", False)


class Mailbox:
    """One user's folders."""

    FOLDERS = ("inbox", "deleteditems", "drafts", "sentitems", "archive", "junkemail")

    def __init__(self, address: str) -> None:
        self.address = address
        self.items: dict[str, Item] = {}

    def folder_id(self, folder: str) -> str:
        return f"AQMk_{folder}_{self.address.partition('@')[0]}=="

    def folder(self, name: str) -> str:
        """Return a folder by its well-known name or its id."""
        for folder in self.FOLDERS:
            if name in {folder, self.folder_id(folder)}:
                return folder
        raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")


class Store:
    """All mailboxes."""

    def __init__(self, *addresses: str) -> None:
        self.mailboxes = {address.lower(): Mailbox(address) for address in addresses}
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[Item]:
        return (item for mailbox in self.mailboxes.values() for item in mailbox.items.values())

    def new_id(self) -> str:
        return f"AAMkAG/{next(self._numbers):08}+A=="  # what base64 has, and a URL has to quote


# -- types


def _string(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise wrong_body(f"Cannot convert a value to 'Edm.String' for {name}.")


def _boolean(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise wrong_body(f"Cannot convert a value to 'Edm.Boolean' for {name}.")


def _enum(*members: str) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if value not in members:
            raise wrong_body(f"Requested value for {name} was not found: one of {members}.")

    return check


def _record(required: dict[str, Any], optional: dict[str, Any]) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if not isinstance(value, dict):
            raise wrong_body(f"{name} is no object.")
        for key in value.keys() - required.keys() - optional.keys():
            raise wrong_body(f"The property '{key}' does not exist on the type of {name}.")
        for key in required.keys() - value.keys():
            raise wrong_body(f"{name} has no '{key}'.")
        for key, inner in value.items():
            (required | optional)[key](f"{name}/{key}", inner)

    return check


def _list(member: Callable[[str, object], None]) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if not isinstance(value, list):
            raise wrong_body(f"{name} is no collection.")
        for inner in value:
            member(name, inner)

    return check


def _address(name: str, value: object) -> None:
    _string(name, value)
    if not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", str(value)):
        raise GraphError(400, "ErrorInvalidRecipients", f"At least one recipient isn't valid: {name}.")


def _message_id(name: str, value: object) -> None:
    _string(name, value)
    if not re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", str(value)):
        raise GraphError(400, "ErrorInvalidProperty", f"{name} is no RFC 2822 message id.")


_RECIPIENT = _record({"emailAddress": _record({"address": _address}, {"name": _string})}, {})
_PROPERTY = _record({"id": _string, "value": _string}, {})
_HEADER = _record({"name": _string, "value": _string}, {})

WRITABLE: dict[str, Callable[[str, object], None]] = {
    "subject": _string,
    "body": _record({"contentType": _enum("text", "html"), "content": _string}, {}),
    "importance": _enum("low", "normal", "high"),
    "isRead": _boolean,
    "from": _RECIPIENT,
    "sender": _RECIPIENT,
    "toRecipients": _list(_RECIPIENT),
    "ccRecipients": _list(_RECIPIENT),
    "bccRecipients": _list(_RECIPIENT),
    "replyTo": _list(_RECIPIENT),
    "categories": _list(_string),
    "internetMessageId": _message_id,
    "internetMessageHeaders": _list(_HEADER),
    "inferenceClassification": _enum("focused", "other"),
    "isDeliveryReceiptRequested": _boolean,
    "isReadReceiptRequested": _boolean,
    "singleValueExtendedProperties": _list(_PROPERTY),
}
READ_ONLY = frozenset(
    {
        *("id", "changeKey", "createdDateTime", "lastModifiedDateTime", "receivedDateTime", "sentDateTime"),
        *("isDraft", "parentFolderId", "conversationId", "conversationIndex", "bodyPreview", "uniqueBody"),
        *("webLink", "hasAttachments"),
    }
)
DRAFTS_ONLY = frozenset({"subject", "body", "replyTo", "internetMessageId"})
""""Updatable only if isDraft = true"."""
CREATION_ONLY = frozenset({FLAGS, DELIVERED, SUBMITTED})

SHOWN = frozenset(WRITABLE) - {"singleValueExtendedProperties", "internetMessageHeaders"} | READ_ONLY

_ID = re.compile(
    r"(?P<type>[A-Za-z]+) "
    r"(?:0x(?P<tag>[0-9A-Fa-f]{1,4})"
    r"|\{(?P<set>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})\} "
    r"(?:Name (?P<name>\S.*)|Id 0x(?P<number>[0-9A-Fa-f]{4,8})))"
)


def property_id(text: str) -> str:
    """Return the id of an extended property in one spelling."""
    found = _ID.fullmatch(text)
    if found is None or found["type"] not in VALUES:
        raise GraphError(400, "ErrorPropertyValidationFailure", "no id of an extended property")
    if found["tag"]:
        tag = int(found["tag"], 16)
        if tag >= 0x8000:
            raise GraphError(400, "ErrorPropertyValidationFailure", "the tag of a named property")
        return f"{found['type']} 0x{tag:04x}"
    which = f"Name {found['name']}" if found["name"] else f"Id 0x{int(found['number'], 16):x}"
    return f"{found['type']} {{{found['set'].lower()}}} {which}"


def _is_integer(value: str) -> bool:
    return re.fullmatch(r"-?\d{1,10}", value) is not None and -(2**31) <= int(value) < 2**31


def _is_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


VALUES: dict[str, Callable[[str], bool]] = {
    "Integer": _is_integer,
    "SystemTime": _is_time,
    "Boolean": {"true", "false"}.__contains__,
    "String": lambda _: True,
}


def write(item: Item, body: object, *, creating: bool) -> None:
    """Set what the body says; raise what Graph says where it may not be, and change nothing then."""
    if not isinstance(body, dict):
        raise wrong_body("expected an object")
    properties = {}
    for name, value in body.items():
        if name in READ_ONLY:
            raise GraphError(400, "ErrorInvalidPropertySet", f"'{name}' is read-only.")
        if name not in WRITABLE:
            raise wrong_body(f"The property '{name}' does not exist on type 'microsoft.graph.message'.")
        WRITABLE[name](name, value)
        if not creating and not item.is_draft and name in DRAFTS_ONLY:
            raise GraphError(400, "ErrorInvalidPropertySet", f"'{name}' of a received message.")
        if name == "subject" and len(value) > SUBJECT_LIMIT:
            raise GraphError(400, "ErrorInvalidProperty", "subject too long")
    for given in body.get("singleValueExtendedProperties", []):
        id_ = property_id(given["id"])
        if id_ in properties:
            raise wrong_body(f"{id_} twice")
        if not VALUES[id_.partition(" ")[0]](given["value"]):
            raise GraphError(400, "ErrorPropertyValidationFailure", f"no value of {id_}")
        if not creating and id_ in CREATION_ONLY:
            raise GraphError(400, "ErrorItemSavePropertyError", f"{id_} is settable at creation only")
        properties[id_] = given["value"]
    item_class = properties.get(CLASS, "IPM.Note").upper()
    if item_class != "IPM.NOTE" and not item_class.startswith("IPM.NOTE."):
        raise GraphError(400, "ErrorItemSavePropertyError", "no class of a message")
    if creating:
        item.fields["createdDateTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    item.fields |= {name: value for name, value in body.items() if name != "singleValueExtendedProperties"}
    item.properties |= properties
    item.version += 1


def show(mailbox: Mailbox, item: Item, select: frozenset[str], expand: frozenset[str]) -> dict[str, Any]:
    """Return the item as JSON; `select` empty: all that is shown without being asked for."""
    every = {
        "subject": "",
        "importance": "normal",
        "isRead": False,
        "categories": [],
        "toRecipients": [],
        "hasAttachments": False,
        **{name: value for name, value in item.fields.items() if name in SHOWN},
        "isDraft": item.is_draft,
        "receivedDateTime": item.received,
        "sentDateTime": item.properties.get(SUBMITTED, item.received),
        "parentFolderId": mailbox.folder_id(item.folder),
        "changeKey": f"CQ{item.version:06}",
    }
    shown = {name: value for name, value in every.items() if not select or name in select}
    shown = {"@odata.etag": f'W/"CQ{item.version:06}"', "id": item.id, **shown}
    held = [{"id": id_, "value": value} for id_, value in item.properties.items() if id_ in expand]
    if held:
        shown["singleValueExtendedProperties"] = held
    return shown
