"""Missed calls as items in the mailboxes of an Exchange server on premises.

Rule 1: Exchange knows no key that makes a repeated CreateItem harmless. So after an attempt that may have
        arrived, and only then, the item is searched for by our fact id and created if it is absent.
Rule 2: a correction changes or removes what is found; if twice nothing is, there is nothing to correct.
Rule 3: a notice that tells several calls is an item of its own, for an item's time cannot be changed. It is there
        before what it replaces goes: whoever dies in between, a later attempt finds both.
Rule 4: the library blocks: its calls run in as many threads as there may be requests, and no others. They are
        daemons: a process that is told to end at once does not wait for Exchange.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from missedcall_notifier.delivery import INTERRUPTED, Delivery
from missedcall_notifier.failure import Failed, Failure, Report, Sent
from missedcall_notifier.notices import Notices
from missedcall_notifier.settings import EwsSettings

from .exchange import Connection, RequestError, UnwritableError
from .exchange_answers import SETTLE_S, failed
from .item import CallItem, key_of, keys_before, read, write
from .secret_file import SecretFile
from .threads import NoThreadError, in_daemon
from .trust import Trust

SETTLING = "settling"
"""Detail of an attempt that leaves Exchange time to store what was asked for before."""

GONE = "ErrorItemNotFound"
"""The user was faster: between our search and our change the item went away."""


class EwsChannel:
    """Writes into mailboxes."""

    name = "ews"

    def __init__(self, settings: EwsSettings, notices: Notices) -> None:
        self._settings = settings
        self._notices = notices
        self._trust = Trust(settings.ca_file)
        self._free = asyncio.Semaphore(settings.connections)
        self._connection: Connection | None = None
        self._secrets = SecretFile(settings.password_file, "ews.password_file")
        self._secret = ""
        self._welcome = False

    def render(self, delivery: Delivery) -> bytes:
        """Return the item, or what a correction puts in its place.

        Raises:
            UnrenderableError: the fact cannot be put into an item.
        """
        return write(delivery, self._settings, self._notices)

    async def send(self, delivery: Delivery, content: bytes) -> Report:
        """Make one attempt: one request; after an uncertain attempt, for a correction or a repeat some more.

        The first attempt after our own death makes none: what we asked for then may still be stored.
        """
        if delivery.detail == INTERRUPTED:
            return Failed(Failure.UNCERTAIN, SETTLING, SETTLE_S)
        try:
            connection = await self._connect()
        except (OSError, ValueError) as error:
            return Failed(Failure.CHANNEL_DOWN, f"settings {type(error).__name__}")
        work = _correct if delivery.corrects else _deliver
        report = await self._in_thread(partial(self._run, work, connection, delivery, read(content)))
        if isinstance(report, Sent):
            self._welcome = True
        elif report.failure is Failure.CHANNEL_DOWN and self._connection is connection:
            self._connection = None  # other certificates and another token the next time
            connection.close()
        self._trust.heard(report)
        self._secrets.heard(report)
        return report

    async def close(self) -> None:
        """Close connections. A request that was given up ends by its own time limit."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connect(self) -> Connection:
        settings = self._settings
        secret = await self._secrets.read()
        trust = await self._trust.context()
        if self._connection is not None and secret != self._secret:
            self._connection.close()
            self._connection = None
        if self._connection is None:
            self._connection, self._secret = Connection(settings, secret, trust), secret
        return self._connection

    async def _in_thread(self, call: Callable[[], Report]) -> Report:
        """Return what `call` returns in a thread of its own. Who is cancelled leaves the thread behind."""
        await self._free.acquire()
        try:
            return await in_daemon("notify-ews", call, self._free.release)
        except NoThreadError:
            self._free.release()
            return Failed(Failure.CHANNEL_DOWN, "no thread")

    def _run(
        self,
        work: "Callable[[_Mailbox, Delivery, CallItem, EwsSettings], Report]",
        connection: Connection,
        delivery: Delivery,
        item: CallItem,
    ) -> Report:
        """Do the work in a thread, and say what came of it."""
        mailbox = _Mailbox(connection, delivery.recipient)
        try:
            return work(mailbox, delivery, item, self._settings)
        except RequestError as error:
            return failed(mailbox.step, error.answer, error.kind, welcome=self._welcome)
        except UnwritableError as error:
            return Failed(Failure.PERMANENT_ITEM, f"{mailbox.step} {error}")


class _Mailbox:
    """One mailbox, and which step of the work there is under way."""

    def __init__(self, connection: Connection, address: str) -> None:
        self._connection = connection
        self._address = address
        self.step = ""

    def find(self, key: str, *, deleted: bool = False) -> list[Any]:
        self.step = "find"
        return self._connection.find(self._address, key, deleted=deleted)

    def create(self, item: CallItem) -> None:
        self.step = "create"
        self._connection.create(self._address, item)

    def mark(self, found: list[Any], item: CallItem) -> None:
        self.step = "mark"
        self._connection.mark(self._address, found, item)

    def remove(self, found: list[Any]) -> bool:
        """Return whether there was anything left to remove."""
        self.step = "remove"
        try:
            self._connection.remove(self._address, found)
        except RequestError as error:
            if error.answer.code != GONE:
                raise
            return False
        return True


def _deliver(mailbox: _Mailbox, delivery: Delivery, item: CallItem, _: EwsSettings) -> Report:
    done = "found"
    # in Deleted Items, too: the user may have been quick
    if not (delivery.maybe_made and mailbox.find(key_of(delivery), deleted=True)):
        mailbox.create(item)
        done = "created"
    for key, sure in keys_before(delivery):
        if found := mailbox.find(key):
            mailbox.remove(found)
        elif not sure and delivery.detail != SETTLING:
            return Failed(Failure.TRANSIENT, SETTLING, SETTLE_S)  # Exchange may be about to store it
    return Sent(done)


def _correct(mailbox: _Mailbox, delivery: Delivery, item: CallItem, settings: EwsSettings) -> Report:
    found = [id_ for key, _ in keys_before(delivery) for id_ in mailbox.find(key)]
    if not found and delivery.detail != SETTLING:
        # the user deleted it, or the notice's last attempt was lost and Exchange is still about to store it
        return Failed(Failure.TRANSIENT, SETTLING, SETTLE_S)
    if not found:
        return Sent("absent")
    if settings.retracted == "remove":
        return Sent("removed" if mailbox.remove(found) else "absent")
    try:
        mailbox.mark(found, item)
    except RequestError as error:
        if error.answer.code == GONE:
            return Sent("absent")
        raise
    return Sent("marked")
