"""What the server can do, by the rules that the schema cannot express.

Sources: the EWS reference, MS-OXWSCORE, MS-OXWSMSG, MS-OXWSSRCH, MS-OXWSXPROP, MS-OXWSFOLD.
"""

import copy
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from lxml import etree

from .soap import FaultError, M, Request, T, make
from .store import DELIVERY_TIME, FIELDS, READ_ONLY, SUBMIT_TIME, Item, Mailbox, PropertyKey, Store

DEFAULT_SHAPE = frozenset(
    {
        *("ItemId", "Subject", "Sensitivity", "DateTimeReceived", "Size", "DateTimeSent", "HasAttachments"),
        *("IsDraft", "Importance", "ItemClass", "From", "IsRead", "ToRecipients"),
    }
)
SUBJECT_LIMIT = 255


class ItemError(Exception):
    """One item's response message says so; the others are not touched."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text or code


class Caller:
    """Whose rights a request has."""

    def __init__(self, store: Store, mailbox: Mailbox | None, reach: frozenset[str]) -> None:
        """Name the mailbox acted as, and the addresses that may be opened besides."""
        self.store = store
        self.mailbox = mailbox
        self._reach = reach

    def open(self, address: str) -> Mailbox:
        """Return the mailbox of an address; the caller's own for "".

        Raises:
            ItemError: there is none, or it may not be opened.
        """
        if not address:
            if self.mailbox is None:
                raise ItemError("ErrorMissingEmailAddress", "the account has no mailbox")
            return self.mailbox
        found = self.store.mailboxes.get(address.lower())
        if found is None:
            raise ItemError("ErrorNonExistentMailbox", "no mailbox with such an address")
        if found is not self.mailbox and found.address.lower() not in self._reach:
            raise ItemError("ErrorAccessDenied", "no right to open this mailbox")
        return found

    def item(self, element: etree._Element) -> tuple[Mailbox, Item]:
        """Return the item that a t:ItemId names."""
        owned = self.store.owner(element.get("Id", ""))
        if owned is None:
            raise ItemError("ErrorItemNotFound")
        self.open(owned[0].address)
        return owned


def perform(request: Request, caller: Caller) -> etree._Element:
    """Carry a request out and return the answer's m:...Response.

    Raises:
        FaultError: the operation is not known.
    """
    handler = OPERATIONS.get(request.operation)
    if handler is None:
        raise FaultError("ErrorInvalidRequest", f"no operation {request.operation}")
    messages = make("m:ResponseMessages")
    for message in handler(request.body, caller):
        messages.append(message)
    return make(f"m:{request.operation}Response", None, messages)


def success(name: str, *children: etree._Element) -> etree._Element:
    return make(
        f"m:{name}ResponseMessage",
        None,
        make("m:ResponseCode", "NoError"),
        *children,
        ResponseClass="Success",
    )


def failure(name: str, code: str, text: str) -> etree._Element:
    """Return an error's response message, with the empty parts that the schema wants."""
    children = [make("m:MessageText", text), make("m:ResponseCode", code), make("m:DescriptiveLinkKey", "0")]
    if name in {"CreateItem", "GetItem", "UpdateItem"}:
        children.append(make("m:Items"))
    return make(f"m:{name}ResponseMessage", None, *children, ResponseClass="Error")


def one_by_one(
    name: str, parts: list[etree._Element], act: Callable[[etree._Element], etree._Element]
) -> Iterator[etree._Element]:
    for part in parts:
        try:
            yield act(part)
        except ItemError as error:
            yield failure(name, error.code, error.text)


def create_item(body: etree._Element, caller: Caller) -> Iterator[etree._Element]:
    disposition = body.get("MessageDisposition")
    if disposition is None:
        raise FaultError("ErrorMessageDispositionRequired")
    if disposition != "SaveOnly":
        raise FaultError("ErrorInvalidOperation", "this server sends nothing")

    def create(element: etree._Element) -> etree._Element:
        mailbox, folder = _folder(body.find(f"{{{M}}}SavedItemFolderId/*"), caller) or (
            caller.open(""),
            "drafts",
        )
        if etree.QName(element).localname != "Message":
            raise ItemError("ErrorInvalidOperation", "only messages")
        if mailbox.quota_exceeded:
            raise ItemError("ErrorQuotaExceeded")
        item = Item(caller.store.new_id(mailbox), folder)
        for child in element:
            _set(item, child, creating=True)
        if not item.text("ItemClass"):
            item.fields["ItemClass"] = make("t:ItemClass", "IPM.Note")
        mailbox.items[item.id] = item
        return success("CreateItem", make("m:Items", None, make("t:Message", None, _item_id(item))))

    return one_by_one("CreateItem", list(body.find(f"{{{M}}}Items")), create)


def get_item(body: etree._Element, caller: Caller) -> Iterator[etree._Element]:
    def get(element: etree._Element) -> etree._Element:
        mailbox, item = caller.item(element)
        return success(
            "GetItem", make("m:Items", None, _shown(mailbox, item, body.find(f"{{{M}}}ItemShape")))
        )

    return one_by_one("GetItem", list(body.find(f"{{{M}}}ItemIds")), get)


def find_item(body: etree._Element, caller: Caller) -> Iterator[etree._Element]:
    if body.get("Traversal") != "Shallow":
        raise FaultError("ErrorInvalidOperation", "only shallow searches")
    view = body.find(f"{{{M}}}IndexedPageItemView")
    offset = int(view.get("Offset", "0")) if view is not None else 0
    most = int(view.get("MaxEntriesReturned", "1000")) if view is not None else 1000
    restriction = body.find(f"{{{M}}}Restriction/*")

    def find(element: etree._Element) -> etree._Element:
        mailbox, folder = _folder(element, caller) or (caller.open(""), "inbox")
        hits = [
            item for item in mailbox.in_folder(folder) if restriction is None or _matches(item, restriction)
        ]
        page = hits[offset : offset + most]
        last = offset + len(page) >= len(hits)
        shape = body.find(f"{{{M}}}ItemShape")
        root = make(
            "m:RootFolder",
            None,
            make("t:Items", None, *(_shown(mailbox, item, shape) for item in page)),
            IndexedPagingOffset=str(offset + len(page)),
            TotalItemsInView=str(len(hits)),
            IncludesLastItemInRange="true" if last else "false",
        )
        return success("FindItem", root)

    return one_by_one("FindItem", list(body.find(f"{{{M}}}ParentFolderIds")), find)


def update_item(body: etree._Element, caller: Caller) -> Iterator[etree._Element]:
    if body.get("MessageDisposition") is None:
        raise FaultError("ErrorMessageDispositionRequired")

    def update(change: etree._Element) -> etree._Element:
        identity = change.find(f"{{{T}}}ItemId")
        _, item = caller.item(identity)
        if (
            body.get("ConflictResolution") != "AlwaysOverwrite"
            and identity.get("ChangeKey") != item.change_key
        ):
            code = "ErrorIrresolvableConflict" if identity.get("ChangeKey") else "ErrorChangeKeyRequired"
            raise ItemError(code)
        changed = copy.copy(item)
        changed.fields, changed.properties = dict(item.fields), dict(item.properties)
        for part in change.find(f"{{{T}}}Updates"):
            path, kind = part[0], etree.QName(part).localname
            if kind == "DeleteItemField":
                _unset(changed, path)
            elif kind == "SetItemField":
                if len(part[1]) != 1:
                    raise ItemError("ErrorIncorrectUpdatePropertyCount")
                _set(changed, part[1][0], creating=False)
            else:
                raise ItemError("ErrorInvalidOperation", kind)
        item.fields, item.properties, item.version = changed.fields, changed.properties, item.version + 1
        done = success("UpdateItem", make("m:Items", None, make("t:Message", None, _item_id(item))))
        done.append(make("m:ConflictResults", None, make("t:Count", "0")))
        return done

    return one_by_one("UpdateItem", list(body.find(f"{{{M}}}ItemChanges")), update)


def delete_item(body: etree._Element, caller: Caller) -> Iterator[etree._Element]:
    def delete(element: etree._Element) -> etree._Element:
        mailbox, item = caller.item(element)
        del mailbox.items[item.id]
        if body.get("DeleteType") == "MoveToDeletedItems":  # a move gives another id
            item.id, item.folder = caller.store.new_id(mailbox), "deleteditems"
            mailbox.items[item.id] = item
        return success("DeleteItem")

    return one_by_one("DeleteItem", list(body.find(f"{{{M}}}ItemIds")), delete)


def get_folder(body: etree._Element, caller: Caller) -> Iterator[etree._Element]:
    def get(element: etree._Element) -> etree._Element:
        mailbox, folder = _folder(element, caller)
        items = mailbox.in_folder(folder)
        shown = make(
            "t:Folder",
            None,
            make("t:FolderId", Id=mailbox.folder_id(folder), ChangeKey="AQ"),
            make("t:DisplayName", folder),
            make("t:TotalCount", str(len(items))),
            make("t:ChildFolderCount", "0"),
            make("t:UnreadCount", str(sum(not item.is_read for item in items))),
        )
        return success("GetFolder", make("m:Folders", None, shown))

    return one_by_one("GetFolder", list(body.find(f"{{{M}}}FolderIds")), get)


OPERATIONS: dict[str, Callable[[etree._Element, Caller], Iterator[etree._Element]]] = {
    "CreateItem": create_item,
    "GetItem": get_item,
    "FindItem": find_item,
    "UpdateItem": update_item,
    "DeleteItem": delete_item,
    "GetFolder": get_folder,
}


def _folder(element: etree._Element | None, caller: Caller) -> tuple[Mailbox, str] | None:
    if element is None:
        return None
    if etree.QName(element).localname == "DistinguishedFolderId":
        mailbox = caller.open(element.findtext(f"{{{T}}}Mailbox/{{{T}}}EmailAddress") or "")
        if element.get("Id") not in Mailbox.FOLDERS:
            raise ItemError("ErrorFolderNotFound")
        return mailbox, element.get("Id")
    for mailbox in caller.store.mailboxes.values():
        for folder in Mailbox.FOLDERS:
            if mailbox.folder_id(folder) == element.get("Id"):
                return caller.open(mailbox.address), folder
    raise ItemError("ErrorFolderNotFound")


def _set(item: Item, element: etree._Element, *, creating: bool) -> None:
    """Set one field or property; raise what Exchange says where it may not be."""
    name = etree.QName(element).localname
    if name == "ExtendedProperty":
        key = property_key(element[0])
        if len(element[1]) or etree.QName(element[1]).localname != "Value":
            raise ItemError("ErrorUnsupportedMapiPropertyType", "one value")
        value = element[1].text or ""
        if not creating and key[0] in {"0xe07", "0xe06", "0x39"}:
            raise ItemError("ErrorItemSavePropertyError", f"{key[0]} is settable at creation only")
        _check_value(key[-1], value)
        item.properties[key] = value
        return
    if name in READ_ONLY or name not in FIELDS:
        raise ItemError("ErrorInvalidPropertySet", name)
    text = element.text or ""
    if name == "ItemClass" and text.upper() != "IPM.NOTE" and not text.upper().startswith("IPM.NOTE."):
        raise ItemError("ErrorItemSavePropertyError", "no class of a t:Message")
    if name == "Subject" and len(text) > SUBJECT_LIMIT:
        raise ItemError("ErrorItemSavePropertyError", "subject too long")
    if name == "InternetMessageId" and not creating:
        raise ItemError("ErrorInvalidPropertySet", name)
    item.fields[name] = copy.deepcopy(element)


def _unset(item: Item, path: etree._Element) -> None:
    if etree.QName(path).localname == "ExtendedFieldURI":
        item.properties.pop(property_key(path), None)
    else:
        item.fields.pop(path.get("FieldURI", "").partition(":")[2], None)


def property_key(path: etree._Element) -> PropertyKey:
    """Return what a t:ExtendedFieldURI names (MS-OXWSXPROP 2.2.4.2)."""
    tag, kind = path.get("PropertyTag"), path.get("PropertyType", "")
    group = path.get("PropertySetId") or path.get("DistinguishedPropertySetId")
    name = path.get("PropertyName") or path.get("PropertyId")
    if tag is not None:
        if group or name:
            raise ItemError("ErrorInvalidExtendedProperty", "a tag stands alone")
        number = int(tag, 0)
        if number >= 0x8000:
            raise ItemError("ErrorInvalidExtendedProperty", "a tag of a named property")
        return (hex(number), kind)
    if not group or not name or (path.get("PropertySetId") and path.get("DistinguishedPropertySetId")):
        raise ItemError("ErrorInvalidExtendedProperty", "one set, and a name or an id")
    return (group.lower(), name, kind)


def _check_value(kind: str, value: str) -> None:
    possible = VALUES.get(kind)
    if possible is None:
        raise ItemError("ErrorUnsupportedMapiPropertyType", kind)
    if not possible(value):
        raise ItemError("ErrorInvalidExtendedPropertyValue", kind)


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
"""MS-OXWSXPROP, MapiPropertyTypeType: what a value of a type looks like, as far as we take them."""


def _matches(item: Item, expression: etree._Element) -> bool:
    match etree.QName(expression).localname:
        case "And":
            return all(_matches(item, part) for part in expression)
        case "Or":
            return any(_matches(item, part) for part in expression)
        case "Not":
            return not _matches(item, expression[0])
        case "Exists":
            return _value(item, expression[0]) is not None
        case "IsEqualTo":
            constant = expression.find(f"{{{T}}}FieldURIOrConstant/{{{T}}}Constant")
            if constant is None:
                raise ItemError("ErrorUnsupportedQueryFilter")
            return _value(item, expression[0]) == constant.get("Value")
    raise ItemError("ErrorUnsupportedQueryFilter")


def _value(item: Item, path: etree._Element) -> str | None:
    if etree.QName(path).localname == "ExtendedFieldURI":
        return item.properties.get(property_key(path))
    name = path.get("FieldURI", "").partition(":")[2]
    element = item.fields.get(name)
    return None if element is None else element.text or ""


def _item_id(item: Item) -> etree._Element:
    return make("t:ItemId", Id=item.id, ChangeKey=item.change_key)


def _shown(mailbox: Mailbox, item: Item, shape: etree._Element) -> etree._Element:
    """Return the item in the shape that was asked for."""
    base = shape.findtext(f"{{{T}}}BaseShape")
    names = {"IdOnly": {"ItemId"}, "Default": set(DEFAULT_SHAPE)}.get(
        base or "", set(FIELDS) - {"Body", "MimeContent"}
    )
    more = shape.find(f"{{{T}}}AdditionalProperties")
    wanted: list[PropertyKey] = []
    for path in more if more is not None else ():
        if etree.QName(path).localname == "ExtendedFieldURI":
            wanted.append(property_key(path))
        else:
            names.add(path.get("FieldURI", "").partition(":")[2])
    shown = make("t:Message")
    for name in FIELDS:
        if name == "ExtendedProperty":
            shown.extend(_property(key, item.properties[key]) for key in wanted if key in item.properties)
        elif name in names:
            element = _field(mailbox, item, name)
            if element is not None:
                shown.append(element)
    return shown


def _field(mailbox: Mailbox, item: Item, name: str) -> etree._Element | None:
    match name:
        case "ItemId":
            return _item_id(item)
        case "ParentFolderId":
            return make("t:ParentFolderId", Id=mailbox.folder_id(item.folder), ChangeKey="AQ")
        case "IsDraft":
            return make("t:IsDraft", "true" if item.is_draft else "false")
        case "HasAttachments":
            return make("t:HasAttachments", "false")
        case "DateTimeReceived" | "DateTimeSent":
            at = item.properties.get(DELIVERY_TIME if name == "DateTimeReceived" else SUBMIT_TIME)
            return None if at is None else make(f"t:{name}", _utc(at))
        case _:
            element = item.fields.get(name)
            return None if element is None else copy.deepcopy(element)


def _property(key: PropertyKey, value: str) -> etree._Element:
    if len(key) == 2:
        uri = make("t:ExtendedFieldURI", PropertyTag=key[0], PropertyType=key[1])
    else:
        group = "PropertySetId" if "-" in key[0] else "DistinguishedPropertySetId"
        uri = make("t:ExtendedFieldURI", PropertyName=key[1], PropertyType=key[2], **{group: key[0]})
    return make("t:ExtendedProperty", None, uri, make("t:Value", value))


def _utc(value: str) -> str:
    return datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
