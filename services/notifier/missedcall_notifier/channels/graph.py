"""Missed calls as items in mailboxes of Exchange Online, over Microsoft Graph.

Rule 1: Graph knows no key that makes a repeated request harmless. So after an attempt that may have arrived,
        and only then, the item is searched for by our fact id and created if it is absent.
Rule 2: a correction changes or removes what is found; if twice nothing is, there is nothing to correct.
Rule 3: a notice that tells several calls is an item of its own, for a received item's text and time cannot be
        changed. It is there before what it replaces goes: whoever dies in between, a later attempt finds both.
Rule 4: what changes something is not repeated, but for what was refused for its token: once, with a new one.
Rule 5: a mailbox sees no more than PER_MAILBOX requests of ours at once, and none while it asks for a pause.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import aiohttp
import msgspec
from yarl import URL

from missedcall_notifier.clock import Clock
from missedcall_notifier.delivery import INTERRUPTED, Delivery
from missedcall_notifier.failure import Failed, Failure, Report, Sent
from missedcall_notifier.notices import Notices
from missedcall_notifier.settings import GraphSettings

from . import graph_requests as requests
from .exchange_answers import SETTLE_S
from .graph_answers import GONE, OF_ONE_MAILBOX, Answer, failed, read_codes, retry_after_s, succeeded
from .graph_tokens import TokenError, Tokens
from .holds import EVERYBODY, Holds
from .http import Progress, session
from .item import CallItem, key_of, keys_before, read, write
from .trust import Trust

SETTLING = "settling"
"""Detail of an attempt that leaves Exchange time to store what was asked for before."""

PER_MAILBOX = 4
"""Requests to one mailbox at once: Graph's limit ("Outlook service limits")."""

ANSWER_LIMIT = 1 << 18
"""Bytes read of an answer. An item that was created is answered whole, in some kB. Less: the ids that a search
found may be cut off. More: a stranger decides how much we hold."""

IDLE_S = 10.0
"""How long a connection may idle. Less: a handshake for every item. More: it may be closed under a request,
which is uncertain for nothing."""

Change = Callable[[GraphSettings, str, requests.Message], requests.Ask]
"""A request that changes one item of a mailbox."""


class GraphError(Exception):
    """A request failed; `answer` says how far it came, the text names the error and nothing else."""

    def __init__(self, step: str, answer: Answer, kind: str) -> None:
        super().__init__(kind)
        self.step = step
        self.answer = answer
        self.kind = kind


class GraphChannel:
    """Writes into mailboxes."""

    name = "graph"

    def __init__(self, settings: GraphSettings, notices: Notices, clock: Clock) -> None:
        self._settings = settings
        self._notices = notices
        self._clock = clock
        self.client = GraphClient(settings)
        self._mailboxes: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._holds = Holds()
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
        mailbox = delivery.recipient.lower()
        place = self._mailboxes.setdefault(mailbox, asyncio.Semaphore(PER_MAILBOX))
        async with place:
            if pause := self._pause(mailbox):
                return pause
            work = self._correct if delivery.corrects else self._deliver
            try:
                report = await work(delivery, read(content))
            except TokenError as error:
                report = Failed(Failure.CHANNEL_DOWN, f"token {error}")
            except GraphError as error:
                report = failed(error.step, error.answer, error.kind, welcome=self._welcome)
                self._heard_pause(mailbox, report, error.answer)
            except (OSError, ValueError) as error:
                report = Failed(Failure.CHANNEL_DOWN, f"settings {type(error).__name__}")
        self._welcome = self._welcome or isinstance(report, Sent)
        self.client.heard(report)
        return report

    async def close(self) -> None:
        """Close connections."""
        await self.client.close()

    def _pause(self, mailbox: str) -> Failed | None:
        """Return the report on an attempt that is not made, because we were asked for a pause."""
        now = self._clock.now()
        if left_s := self._holds.left_s(EVERYBODY, now):
            return Failed(Failure.THROTTLED, "pause", left_s)
        if left_s := self._holds.left_s(mailbox, now):
            return Failed(Failure.TRANSIENT, "pause", left_s)
        return None

    def _heard_pause(self, mailbox: str, report: Failed, answer: Answer) -> None:
        if not answer.asked_s:
            return
        if OF_ONE_MAILBOX.intersection(answer.codes):
            self._holds.ask(mailbox, answer.asked_s, self._clock.now())
        elif report.failure is Failure.THROTTLED or answer.status >= 500:
            self._holds.ask(EVERYBODY, answer.asked_s, self._clock.now())

    async def _deliver(self, delivery: Delivery, item: CallItem) -> Report:
        mailbox, done = delivery.recipient, "found"
        if not (delivery.maybe_made and await self._is_there(mailbox, key_of(delivery))):
            await self.client.ask(requests.create(self._settings, mailbox, item))
            done = "created"
        for key, sure in keys_before(delivery):
            found = await self._find(mailbox, key, "inbox")
            if not found and not sure and delivery.detail != SETTLING:
                return Failed(Failure.TRANSIENT, SETTLING, SETTLE_S)  # Exchange may be about to store it
            await self._change(mailbox, requests.remove, found)
        return Sent(done)

    async def _correct(self, delivery: Delivery, item: CallItem) -> Report:
        del item  # a received item does not let its text be changed
        mailbox = delivery.recipient
        found = [one for key, _ in keys_before(delivery) for one in await self._find(mailbox, key, "inbox")]
        if not found and delivery.detail != SETTLING:
            # the user deleted it, or the notice's last attempt was lost and Exchange is still about to store it
            return Failed(Failure.TRANSIENT, SETTLING, SETTLE_S)
        marks = self._settings.retracted == "mark"
        if not await self._change(mailbox, requests.mark if marks else requests.remove, found):
            return Sent("absent")
        return Sent("marked" if marks else "removed")

    async def _change(self, mailbox: str, change: Change, found: list[requests.Message]) -> int:
        """Change items one by one; return how many were still there."""
        changed = 0
        for message in found:
            try:
                await self.client.ask(change(self._settings, mailbox, message))
            except GraphError as error:
                if not GONE.intersection(error.answer.codes):
                    raise
            else:
                changed += 1
        return changed

    async def _is_there(self, mailbox: str, key: str) -> bool:
        """Whether an item is in the inbox or in Deleted Items: the user may have been quick."""
        return bool(await self._find(mailbox, key, "inbox") or await self._find(mailbox, key, "deleteditems"))

    async def _find(self, mailbox: str, key: str, folder: str) -> list[requests.Message]:
        body = await self.client.ask(requests.find(self._settings, mailbox, folder, key))
        try:
            return requests.read_found(body)
        except msgspec.DecodeError as error:
            raise GraphError("find", Answer(sent=True), "no list") from error


class GraphClient:
    """One application's way to Graph."""

    def __init__(self, settings: GraphSettings) -> None:
        self._settings = settings
        self._trust = Trust(settings.ca_file)
        self._session: aiohttp.ClientSession | None = None
        self.tokens = Tokens(settings)

    async def ask(self, ask: requests.Ask) -> bytes:
        """Make a request; once more with a new token if Graph does not believe the one that we had.

        Returns:
            The answer's body.

        Raises:
            GraphError: it was not carried out, or nobody knows.
            TokenError: there is no token.
            OSError, ValueError: a file that the settings name cannot be read.
        """
        trust = await self._trust.context()
        for last in (False, True):
            token = await self.tokens.get(trust)
            answer, body, kind = await self._request(ask, token, trust)
            if succeeded(ask.step, answer):
                return body
            if answer.status != 401:
                raise GraphError(ask.step, answer, kind)
            await self.tokens.refused(token)
            if last:
                raise GraphError(ask.step, answer, kind)
        raise AssertionError("not reached")

    def heard(self, report: Report) -> None:
        """Read credentials and authorities again if the channel was down."""
        self._trust.heard(report)
        if isinstance(report, Failed) and report.failure is Failure.CHANNEL_DOWN:
            self.tokens.forget()

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def trust(self) -> Any:
        """Return whose certificates are believed.

        Raises:
            OSError: the file cannot be read or holds no certificate.
        """
        return await self._trust.context()

    async def _request(self, ask: requests.Ask, token: str, trust: Any) -> tuple[Answer, bytes, str]:
        """Return the answer as far as there is one, its body, and the error's class if there is none."""
        progress = Progress()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if ask.body:
            headers["Content-Type"] = "application/json"
        answer, body = Answer(), b""
        try:
            async with self._open().request(
                ask.method,
                URL(ask.url, encoded=True),
                ssl=trust,
                data=ask.body or None,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as response:
                asked_s = retry_after_s(response.headers.get("Retry-After", ""))
                answer = Answer(True, response.status, (), asked_s)
                body = await _read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            kind = "certificate" if isinstance(error, aiohttp.ClientConnectorCertificateError) else ""
            if ask.method == "GET" and answer.status == 200:
                answer = Answer(sent=True)  # half a list is none
            elif not answer.status:
                answer = Answer(sent=progress.sent)
            return answer, b"", kind or type(error).__name__
        codes = () if answer.status < 400 else read_codes(body)
        return Answer(True, answer.status, codes, answer.asked_s), body, ""

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = session(
                aiohttp.TCPConnector(limit=self._settings.connections, keepalive_timeout=IDLE_S),
                aiohttp.ClientTimeout(total=self._settings.timeout_s),
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body.

    Raises:
        aiohttp.ClientError, OSError: it did not come whole.
        ValueError: it is longer than ANSWER_LIMIT.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise ValueError("longer than any answer to us")
    return bytes(body)
