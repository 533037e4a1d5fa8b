"""Four requests of Exchange Web Services, by way of exchangelib: blocking calls.

Rule 1: a call is one request and is never repeated here: `exchange_wire` sees to it.
Rule 2: an item is complete when it is created: what makes it a received message can be set at no other time.
"""

import copy
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from exchangelib import UTC as EWS_UTC
from exchangelib import Account, Body, EWSDateTime, ExtendedProperty, Mailbox, Message, Q
from exchangelib.folders import DeletedItems, Inbox, Root
from exchangelib.items import (
    ALL_OCCURRENCES,
    ALWAYS_OVERWRITE,
    ID_ONLY,
    MOVE_TO_DELETED_ITEMS,
    SAVE_ONLY,
    SEND_TO_NONE,
    SHALLOW,
)
from exchangelib.properties import DistinguishedFolderId, Fields
from exchangelib.restriction import Restriction
from oauthlib.oauth2 import TokenExpiredError

from missedcall_notifier.settings import EwsSettings

from .exchange_answers import Answer
from .exchange_wire import (
    ATTEMPT,
    CreateItemOnce,
    DeleteItemOnce,
    FindItemOnce,
    UpdateItemOnce,
    open_protocol,
)
from .item import CallItem

PROPERTY_SET = "8f3d0d0a-5a3c-4a53-9c0e-6d1f2b7c9e41"
"""Of our named property. Never to change: what was written under another is not found again."""

FOUND_LIMIT = 8
"""Items of one fact that are looked at. There is one, or somebody copied it."""


_MISTAKES = (ValueError, TypeError, AttributeError, KeyError)
"""Before anything was sent: the library refuses what it was given. OSErrors among them are the network's."""


class RequestError(Exception):
    """A request failed; `answer` says how far it came, the text names the error's class and nothing else."""

    def __init__(self, answer: Answer, kind: str) -> None:
        super().__init__(kind)
        self.answer = answer
        self.kind = kind


class UnwritableError(ValueError):
    """The library refuses to build the request: a mistake of ours, nothing was sent."""


class FactId(ExtendedProperty):
    """The key that we find our item by."""

    property_set_id = PROPERTY_SET
    property_name = "MissedCallFactId"
    property_type = "String"


class MessageFlags(ExtendedProperty):
    """PidTagMessageFlags (MS-OXCMSG 2.2.1.6): without mfUnsent, or the item is a draft. Settable at creation."""

    property_tag = 0x0E07
    property_type = "Integer"


class DeliveryTime(ExtendedProperty):
    """PidTagMessageDeliveryTime: what the list of messages is sorted by."""

    property_tag = 0x0E06
    property_type = "SystemTime"


class SubmitTime(ExtendedProperty):
    """PidTagClientSubmitTime."""

    property_tag = 0x0039
    property_type = "SystemTime"


class SenderTelephoneNumber(ExtendedProperty):
    """PidTagSenderTelephoneNumber (MS-OXOUM 2.2.5): what phones offer to call back."""

    property_tag = 0x6802
    property_type = "String"


class SenderName(ExtendedProperty):
    """PidTagVoiceMessageSenderName (MS-OXOUM 2.2.5)."""

    property_tag = 0x6803
    property_type = "String"


class CallId(ExtendedProperty):
    """PidTagCallId (MS-OXOUM 2.2.5)."""

    property_tag = 0x6806
    property_type = "String"


Message.register("missedcall_fact_id", FactId)  # on Message itself: searches look fields up there


def _writable_fields() -> Any:
    """Return Message's fields, those two writable that the library drops without a word and EWS takes."""
    fields = Fields()
    for field in Message.FIELDS:
        writable = field
        if field.name in {"item_class", "sender"}:
            writable = copy.copy(field)
            writable.is_read_only = False
        fields.append(writable)
    return fields


class _MissedCall(Message):
    ELEMENT_NAME = "Message"
    FIELDS = _writable_fields()


for _name, _property in (
    ("flags", MessageFlags),
    ("delivery_time", DeliveryTime),
    ("submit_time", SubmitTime),
    ("telephone_number", SenderTelephoneNumber),
    ("voice_sender_name", SenderName),
    ("call_id", CallId),
):
    _MissedCall.register(_name, _property)


class Connection:
    """One way into an Exchange organisation, for up to `connections` threads at once."""

    def __init__(self, settings: EwsSettings, secret: str, trust: ssl.SSLContext) -> None:
        """Open nothing yet.

        Args:
            settings: where, and who we are.
            secret: the account's password or client secret.
            trust: whose certificates are believed.
        """
        self._settings = settings
        self._protocol = open_protocol(settings, secret, trust)

    def close(self) -> None:
        """Close what is idle."""
        self._protocol.close()

    def create(self, address: str, item: CallItem) -> None:
        """Put an item into the inbox of a mailbox.

        Raises:
            RequestError: Exchange did not say that it did.
            UnwritableError: the request could not be built.
        """
        account = self._account(address)
        service = CreateItemOnce(account=account)
        self._ask(
            lambda: service.call(
                items=[_item(item, self._settings)],
                folder=_folder(Inbox, "inbox", account),
                message_disposition=SAVE_ONLY,
                send_meeting_invitations=SEND_TO_NONE,
            ),
            results=1,
        )

    def find(self, address: str, fact_id: str, *, deleted: bool) -> list[Any]:
        """Return the ids of a fact's items in the inbox and, with `deleted`, in Deleted Items.

        Raises:
            RequestError: Exchange did not answer.
        """
        account = self._account(address)
        folders = [_folder(Inbox, "inbox", account)]
        if deleted:
            folders.append(_folder(DeletedItems, "deleteditems", account))
        restriction = Restriction(Q(missedcall_fact_id=fact_id), folders, Restriction.ITEMS)
        service = FindItemOnce(account=account, page_size=FOUND_LIMIT)
        return self._ask(
            lambda: service.call(
                folders=folders,
                additional_fields=None,
                restriction=restriction,
                order_fields=None,
                shape=ID_ONLY,
                query_string=None,
                depth=SHALLOW,
                calendar_view=None,
                max_items=FOUND_LIMIT,
                offset=0,
            )
        )

    def mark(self, address: str, found: Sequence[Any], item: CallItem) -> None:
        """Give items another subject and text, and mark them read.

        Raises:
            RequestError: Exchange did not say that it did.
        """
        fields = ["subject", "body", "is_read"]
        changed = [
            Message(id=id_, changekey=key, subject=item.subject, body=Body(item.text), is_read=True)
            for id_, key in found
        ]
        service = UpdateItemOnce(account=self._account(address))
        self._ask(
            lambda: service.call(
                items=[(message, fields) for message in changed],
                conflict_resolution=ALWAYS_OVERWRITE,
                message_disposition=SAVE_ONLY,
                send_meeting_invitations_or_cancellations=SEND_TO_NONE,
                suppress_read_receipts=True,
            ),
            results=len(found),
        )

    def remove(self, address: str, found: Sequence[Any]) -> None:
        """Move items to Deleted Items.

        Raises:
            RequestError: Exchange did not say that it did.
        """
        service = DeleteItemOnce(account=self._account(address))
        self._ask(
            lambda: service.call(
                items=found,
                delete_type=MOVE_TO_DELETED_ITEMS,
                send_meeting_cancellations=SEND_TO_NONE,
                affected_task_occurrences=ALL_OCCURRENCES,
                suppress_read_receipts=True,
            ),
            results=len(found),
        )

    def _account(self, address: str) -> Any:
        account = Account(
            address,
            access_type=self._settings.access,
            config=self._protocol.config,
            default_timezone=EWS_UTC,
            locale="en_US",
        )
        account.protocol = self._protocol  # the one that it made is never used and holds no connection
        return account

    def _ask(self, call: Callable[[], Any], results: int | None = None) -> list[Any]:
        """Make a call; fail unless it brings as many results, any number for None, and no error."""
        attempt = ATTEMPT.begin(self._settings.timeout_s)
        try:
            try:
                found = list(call())
            except TokenExpiredError:  # said by our own clock, nothing was sent; the session is fresh now
                found = list(call())
        except Exception as error:
            # whatever the library or those below it raise: the note of the attempt says what it means
            if isinstance(error, _MISTAKES) and not isinstance(error, OSError) and not attempt.begun:
                raise UnwritableError(type(error).__name__) from error
            raise RequestError(attempt.answer, attempt.kind or type(error).__name__) from error
        for result in found:
            if isinstance(result, Exception):
                raise RequestError(attempt.answer, type(result).__name__) from result
        if results is not None and len(found) != results:
            raise RequestError(attempt.answer, "no result")
        return found


def _folder(kind: Any, name: str, account: Any) -> Any:
    """Return a well-known folder without asking the server for its id."""
    mailbox = Mailbox(email_address=account.primary_smtp_address)
    return kind(root=Root(account=account), _distinguished_id=DistinguishedFolderId(id=name, mailbox=mailbox))


def _item(item: CallItem, settings: EwsSettings) -> Any:
    at = EWSDateTime.from_datetime(datetime.fromtimestamp(item.at, UTC).replace(tzinfo=EWS_UTC))
    caller = Mailbox(name=item.shown_caller, email_address=settings.sender)
    return _MissedCall(
        item_class=settings.item_class,
        subject=item.subject,
        body=Body(item.text),
        importance="High" if item.urgent else "Normal",
        sender=caller,
        author=caller,
        message_id=item.message_id,
        is_read=False,
        missedcall_fact_id=item.fact_id,
        flags=0,
        delivery_time=at,
        submit_time=at,
        telephone_number=item.number or None,
        voice_sender_name=item.name or None,
        call_id=item.call_id or None,
    )
