"""The server: HTTP around the operations, faults on demand, and a journal of what was asked.

Every request and every answer is held against the official schemas, where this machine has them. A request that
is wrong is answered as Exchange does; an answer that is wrong is a mistake of this server and is kept in
`mistakes`.
"""

import asyncio
import ssl
from collections import defaultdict, deque
from contextlib import suppress
from typing import NamedTuple, Self

from aiohttp import web
from lxml import etree

from . import soap
from .auth import Authenticator
from .faults import SERVED, Fault
from .operations import Caller, failure, perform
from .schema import InvalidError, Schemas
from .store import Store

DRIP_S = 0.05
"""Between two bytes of an answer that drips."""

COOKIES = {"exchangecookie": "0123", "X-BackEndCookie": "carol"}
"""Exchange sets such; the second routes to the server of the mailbox that was asked for last."""

PATH = "/EWS/Exchange.asmx"


class Asked(NamedTuple):
    """One authenticated request."""

    operation: str
    account: str
    mailbox: str
    """Whom it impersonated; "" for nobody."""
    version: str
    """RequestServerVersion."""
    body: etree._Element
    connection: int
    """Which connection it came over."""


class EwsServer:
    """Use as an async context manager; loopback only.

    `plan(operation, fault...)`: the fates of its next requests, in order.
    """

    def __init__(
        self,
        *mailboxes: str,
        accounts: dict[str, str] | None = None,
        schemes: tuple[str, ...] = (),
        impersonation: bool = True,
        delegates: tuple[str, ...] = (),
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        """Name its users.

        Args:
            mailboxes: addresses.
            accounts: account and password; a token is good for the first.
            schemes: basic, ntlm, bearer; without any, everybody is let in.
            impersonation: whether accounts may impersonate.
            delegates: mailboxes that accounts may open in their own name.
            tls: speak TLS.
            port: 0 takes any free one.
        """
        self.store = Store(*mailboxes)
        self.auth = Authenticator(accounts or {}, schemes)
        self.schemas = Schemas.find()
        self.asked: list[Asked] = []
        self.http_requests = 0
        """All of them, those that were not let in included."""
        self.cookies: dict[str, str] = {}
        """Sent back by clients."""
        self.mistakes: list[str] = []
        self.violations: list[str] = []
        """What was wrong with requests."""
        self.commits = 0
        """Items created, whatever became of the answers."""
        self.port = port
        self.impersonation = impersonation
        self.under_way = 0
        self.most_under_way = 0
        self._delegates = frozenset(address.lower() for address in delegates)
        self._plans: dict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Fault] = {}
        self._tls = tls
        self._closing = asyncio.Event()
        self._connections: dict[object, int] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 << 20)
        app.router.add_post(PATH, self._serve)
        app.router.add_post("/token", self._token)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        scheme, host = ("https", "localhost") if self._tls else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.port}{PATH}"

    def plan(self, operation: str, *faults: Fault) -> None:
        """Say what becomes of the next requests of an operation."""
        self._plans[operation].extend(faults)

    def always(self, operation: str, fault: Fault | None) -> None:
        """Say what becomes of all of them; None: they are served again."""
        if fault is None:
            self._always.pop(operation, None)
        else:
            self._always[operation] = fault

    def hang_up(self) -> None:
        """Close all connections, as a server does when they idle."""
        for transport in self._connections:
            transport.close()

    def count(self, operation: str) -> int:
        """Return how many requests of an operation were let in."""
        return sum(asked.operation == operation for asked in self.asked)

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        client, secret = str(form.get("client_id", "")), str(form.get("client_secret", ""))
        return self.auth.issue(client, secret, str(form.get("grant_type", "")))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.http_requests += 1
        self.cookies.update(request.cookies)
        data = await request.read()
        who = self.auth.who(request)
        if isinstance(who, web.Response):
            return who
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._answer(request, data, who)
        finally:
            self.under_way -= 1

    async def _answer(self, request: web.Request, data: bytes, account: str) -> web.StreamResponse:
        try:
            answer, fate = self._carry_out(request, data, account)
        except soap.FaultError as error:
            return web.Response(status=500, body=soap.fault(error), content_type="text/xml", charset="utf-8")
        return await self._deliver(request, answer, fate)

    def _carry_out(self, request: web.Request, data: bytes, account: str) -> tuple[bytes, Fault]:
        """Do what is asked, or what was planned instead; return the answer and how it is to be delivered."""
        if not request.content_type.startswith("text/xml"):
            raise soap.FaultError("ErrorInvalidRequest", "expected text/xml")
        asked = soap.parse(data)
        self._check_request(asked)
        impersonated = asked.header("t:ExchangeImpersonation/t:ConnectingSID/t:PrimarySmtpAddress")
        connection = self._connections.setdefault(request.transport, len(self._connections))
        version = next(
            (h.get("Version", "") for h in asked.headers if h.tag.endswith("}RequestServerVersion")), ""
        )
        self.asked.append(Asked(asked.operation, account, impersonated, version, asked.body, connection))
        plan = self._plans[asked.operation]
        fate = plan.popleft() if plan else self._always.get(asked.operation, SERVED)
        if fate.after_commit or fate == SERVED:
            caller = self._caller(account, impersonated, request.headers.get("X-AnchorMailbox", ""))
            return self._checked(self._perform(asked, caller)), fate
        if fate.in_message:
            messages = soap.make(
                "m:ResponseMessages", None, failure(asked.operation, fate.code, "as planned")
            )
            return self._checked(soap.make(f"m:{asked.operation}Response", None, messages)), fate
        if fate.code:
            raise soap.FaultError(fate.code, "as planned", back_off_ms=fate.back_off_ms)
        return b"", fate

    async def _deliver(self, request: web.Request, answer: bytes, fate: Fault) -> web.StreamResponse:
        if fate.silence:
            await self._closing.wait()
        if fate.drop or fate.silence:
            if request.transport is not None:  # else the client has gone first
                request.transport.abort()
            return web.Response()
        if fate.status:
            headers = dict(fate.headers)
            response = web.Response(
                status=fate.status, text=fate.page, content_type="text/html", headers=headers
            )
            if headers.get("Connection") == "close":
                response.force_close()
            return response
        if fate.drip:
            slow = web.StreamResponse(headers={"Content-Type": "text/xml; charset=utf-8"})
            await slow.prepare(request)
            with suppress(ConnectionError):
                for byte in answer:
                    await slow.write(bytes([byte]))
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), DRIP_S)
            return slow
        if fate.cut:
            half = web.StreamResponse(
                headers={"Content-Type": "text/xml; charset=utf-8", "Content-Length": str(len(answer))}
            )
            await half.prepare(request)
            await half.write(answer[: len(answer) // 2])
            request.transport.close()
            return half
        response = web.Response(body=fate.garbage or answer, content_type="text/xml", charset="utf-8")
        if len(self.asked) % 2:  # Exchange does either
            response.enable_chunked_encoding()
        for name, value in COOKIES.items():
            response.set_cookie(name, value, path="/")
        return response

    def _perform(self, asked: soap.Request, caller: Caller) -> etree._Element:
        before = {item.id for item in self.store}
        answer = perform(asked, caller)
        if asked.operation == "CreateItem":
            self.commits += len({item.id for item in self.store} - before)
        return answer

    def _caller(self, account: str, impersonated: str, anchor: str) -> Caller:
        """Return whose rights the request has (the EWS reference, ExchangeImpersonation)."""
        if not impersonated:
            return Caller(self.store, None, self._delegates)
        if not self.impersonation:
            raise soap.FaultError("ErrorImpersonateUserDenied")
        mailbox = self.store.mailboxes.get(impersonated.lower())
        if mailbox is None:
            raise soap.FaultError("ErrorNonExistentMailbox")
        if anchor.lower() != impersonated.lower():
            raise soap.FaultError("ErrorInvalidRequest", "X-AnchorMailbox names another mailbox, or none")
        return Caller(self.store, mailbox, frozenset())

    def _check_request(self, asked: soap.Request) -> None:
        if self.schemas is None:
            return
        try:
            self.schemas.check_message(asked.body)
            for header in asked.headers:
                self.schemas.check_header(header)
        except InvalidError as error:
            self.violations.append(str(error))
            raise soap.FaultError(
                "ErrorSchemaValidation", "The request failed schema validation: " + str(error)
            ) from error

    def _checked(self, answer: etree._Element) -> bytes:
        if self.schemas is not None:
            try:
                self.schemas.check_message(answer)
                self.schemas.check_header(soap.server_version())
            except InvalidError as error:
                self.mistakes.append(str(error))
        return soap.envelope(answer)
