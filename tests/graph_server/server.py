"""The server: HTTP around the store, faults on demand, and a journal of what was asked.

What is not documented, or not of the documented type, is refused as Graph refuses it.
"""

import asyncio
import json
import ssl
from collections import Counter, defaultdict, deque
from contextlib import suppress
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

from aiohttp import web

from .entra import Entra
from .faults import SERVED, Fault
from .message import GraphError, Item, Mailbox, Store, show, write
from .query import read_query

DRIP_S = 0.05
"""Between two bytes of an answer that drips."""

PER_MAILBOX = 4
""""4 concurrent requests" for one application and mailbox."""


class Asked(NamedTuple):
    """One request that was let in."""

    operation: str
    """`create`, `find`, `get`, `update`, `move`, `delete`, `folder`."""
    mailbox: str
    connection: int


class GraphServer:
    """Use as an async context manager; loopback only, TLS only.

    `plan(operation, fault...)`: the fates of its next requests, in order; `token` is an operation too.
    """

    def __init__(
        self,
        *mailboxes: str,
        tls: ssl.SSLContext,
        tenant: str = "contoso.example",
        client_id: str = "6731de76-14a6-49ae-97bc-6eba6914391e",
        secret: str = "",
        certificate: str = "",
        roles: tuple[str, ...] = ("Mail.ReadWrite",),
        port: int = 0,
    ) -> None:
        """Name its users and its application.

        Args:
            mailboxes: user principal names.
            tls: certificate for `localhost`.
            tenant: a domain.
            client_id: of the application.
            secret: its secret; "" for none.
            certificate: PEM of its certificate; "" for none.
            roles: its application permissions.
            port: 0 takes any free one.
        """
        self.store = Store(*mailboxes)
        self.entra = Entra(tenant, client_id, secret, certificate, roles)
        self.asked: list[Asked] = []
        self.http_requests = 0
        """All of them, those for tokens and those that were not let in included."""
        self.refused: list[str] = []
        """Why requests were refused that the protocol does not allow: mistakes of the client."""
        self.out_of_scope: set[str] = set()
        """Mailboxes that the application may not open."""
        self.commits = 0
        """Items created, whatever became of the answers."""
        self.most_under_way: Counter[str] = Counter()
        """By mailbox."""
        self.port = port
        self._tls = tls
        self._under_way: Counter[str] = Counter()
        self._plans: dict[str, deque[Fault]] = defaultdict(deque)
        self._connections: dict[object, int] = {}
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
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
        """Both the authority and the endpoint of Graph."""
        return f"https://localhost:{self.port}"

    def plan(self, operation: str, *faults: Fault) -> None:
        """Say what becomes of the next requests of an operation."""
        self._plans[operation].extend(faults)

    def hang_up(self) -> None:
        """Close all connections, as a server does when they idle."""
        for transport in self._connections:
            transport.abort()

    def count(self, operation: str) -> int:
        """Return how many requests of an operation were let in."""
        return sum(asked.operation == operation for asked in self.asked)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.http_requests += 1
        path = request.raw_path.partition("?")[0].strip("/").split("/")
        parts = [unquote(part) for part in path]
        try:
            if len(parts) > 1 and parts[1] in {"v2.0", "oauth2"}:
                return await self._token(request, parts)
            return await self._graph(request, parts)
        except GraphError as error:
            if error.status in {400, 405, 415}:
                self.refused.append(f"{error.code}: {error.text}")
            return _error(error.status, error.code, error.text)

    async def _token(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        if parts[0] != self.entra.tenant:
            return self.entra.refuse_tenant()
        match request.method, parts[1:]:
            case "GET", ["v2.0", ".well-known", "openid-configuration"]:
                return self.entra.discover(self.url)
            case "POST", ["oauth2", "v2.0", "token"]:
                if (plan := self._plans["token"]) and (fate := plan.popleft()) != SERVED:
                    self.entra.requests += 1
                    return await self._deliver(request, None, fate)
                form = await request.post()
                return self.entra.issue(self.url, {name: str(value) for name, value in form.items()})
        return web.Response(status=404)

    async def _graph(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        roles = self.entra.roles_of(self.url, token) if scheme == "Bearer" else None
        if roles is None:
            raise GraphError(
                401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."
            )
        if parts[:2] != ["v1.0", "users"] or len(parts) < 4:
            raise GraphError(400, "BadRequest", "Resource not found for the segment.")
        name = parts[2].lower()
        data = await request.read()
        self._under_way[name] += 1
        self.most_under_way[name] = max(self.most_under_way[name], self._under_way[name])
        try:
            if self._under_way[name] > PER_MAILBOX:
                text = "Application is over its MailboxConcurrency limit."
                raise GraphError(429, "ApplicationThrottled", text)
            operation = _operation(request.method, parts[3:])
            connection = self._connections.setdefault(request.transport, len(self._connections))
            self.asked.append(Asked(operation, name, connection))
            plan = self._plans[operation]
            fate = plan.popleft() if plan else SERVED
            answer = None
            if fate.after_commit or fate == SERVED or fate.slow_s:
                mailbox = self._open(name, roles, reading=request.method == "GET")
                answer = self._perform(operation, mailbox, parts[3:], request, data)
            return await self._deliver(request, answer, fate)
        finally:
            self._under_way[name] -= 1

    def _open(self, name: str, roles: frozenset[str], *, reading: bool) -> Mailbox:
        if "Mail.ReadWrite" not in roles and not (reading and "Mail.Read" in roles):
            raise GraphError(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
        mailbox = self.store.mailboxes.get(name)
        if mailbox is None:
            raise GraphError(404, "ErrorInvalidUser", "The requested user is invalid.")
        if name in self.out_of_scope:
            raise GraphError(403, "ErrorAccessDenied", "Access to OData is disabled.")
        return mailbox

    def _perform(
        self, operation: str, mailbox: Mailbox, rest: list[str], request: web.Request, data: bytes
    ) -> tuple[int, Any]:
        """Carry a request out and return status and JSON of the answer; None for no body."""
        options = dict(request.query)
        match operation:
            case "folder":
                folder = mailbox.folder(rest[1])
                return 200, {"id": mailbox.folder_id(folder), "displayName": folder}
            case "find":
                folder = mailbox.folder(rest[1]) if rest[0] == "mailFolders" else ""
                query = read_query(options)
                hits = [
                    item
                    for item in reversed(mailbox.items.values())
                    if item.folder == (folder or item.folder) and query.matches(item)
                ]
                value = [show(mailbox, item, query.select, query.expand) for item in hits[: query.top]]
                return 200, {"@odata.context": f"{self.url}/v1.0/$metadata#messages", "value": value}
            case "create":
                folder = mailbox.folder(rest[1]) if rest[0] == "mailFolders" else "drafts"
                item = Item(self.store.new_id(), folder)
                write(item, _json(request, data), creating=True)
                mailbox.items[item.id] = item
                self.commits += 1
                return 201, show(mailbox, item, frozenset(), frozenset())
        item = mailbox.items.get(rest[1])
        if item is None:
            raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")
        match operation:
            case "get":
                query = read_query(options)
                return 200, show(mailbox, item, query.select, query.expand)
            case "update":
                write(item, _json(request, data), creating=False)
                return 200, show(mailbox, item, frozenset(), frozenset())
            case "delete":
                self._move(mailbox, item, "deleteditems")
                return 204, None
            case _:
                body = _json(request, data)
                if not isinstance(body, dict) or body.keys() != {"destinationId"}:
                    raise GraphError(400, "RequestBodyRead", "expected destinationId")
                self._move(mailbox, item, mailbox.folder(body["destinationId"]))
                return 201, show(mailbox, item, frozenset(), frozenset())

    def _move(self, mailbox: Mailbox, item: Item, folder: str) -> None:
        """Move an item: that gives another id."""
        del mailbox.items[item.id]
        item.id, item.folder = self.store.new_id(), folder
        mailbox.items[item.id] = item

    async def _deliver(
        self, request: web.Request, answer: tuple[int, Any] | None, fate: Fault
    ) -> web.StreamResponse:
        if fate.silence:
            await self._closing.wait()
        if fate.slow_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), fate.slow_s)
        if fate.drop or fate.silence:
            if request.transport is not None:  # else the client has gone first
                request.transport.abort()
            return web.Response()
        if fate.status:
            return _planned(fate)
        status, value = answer or (200, None)
        body = fate.garbage or (b"" if value is None else json.dumps(value).encode())
        if fate.garbage:
            return web.Response(status=200, body=body, content_type="text/html")
        kind = {"Content-Type": "application/json; odata.metadata=minimal"}
        if fate.drip:
            slow = web.StreamResponse(status=status, headers=kind)
            await slow.prepare(request)
            with suppress(ConnectionError):
                for byte in body:
                    await slow.write(bytes([byte]))
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), DRIP_S)
            return slow
        if fate.cut:
            half = web.StreamResponse(status=status, headers=kind | {"Content-Length": str(len(body))})
            await half.prepare(request)
            await half.write(body[: len(body) // 2])
            request.transport.close()
            return half
        return web.Response(status=status, body=body or None, headers=kind if body else {})


def _operation(method: str, rest: list[str]) -> str:
    match method, rest:
        case "GET", ["mailFolders", _]:
            return "folder"
        case "GET", ["mailFolders", _, "messages"] | ["messages"]:
            return "find"
        case "POST", ["mailFolders", _, "messages"] | ["messages"]:
            return "create"
        case "GET", ["messages", _]:
            return "get"
        case "PATCH", ["messages", _]:
            return "update"
        case "DELETE", ["messages", _]:
            return "delete"
        case "POST", ["messages", _, "move"]:
            return "move"
    raise GraphError(405, "BadRequest", "not served here")


def _json(request: web.Request, data: bytes) -> object:
    if request.content_type != "application/json":
        raise GraphError(415, "RequestBodyRead", "expected application/json")
    try:
        return json.loads(data)
    except ValueError as error:
        raise GraphError(400, "BadRequest", "Unable to read JSON request payload.") from error


def _error(status: int, code: str, text: str, inner: str = "", headers: Any = None) -> web.Response:
    inside = {"date": "2026-11-27T12:00:00", "request-id": "00000000-0000-0000-0000-000000000000"}
    body = {
        "error": {"code": code, "message": text, "innerError": inside | ({"code": inner} if inner else {})}
    }
    return web.json_response(body, status=status, headers=headers)


def _planned(fate: Fault) -> web.Response:
    headers = dict(fate.headers)
    if fate.code:
        response = _error(fate.status, fate.code, "as planned", fate.inner, headers)
    else:
        page = "<html><body>An error</body></html>"
        response = web.Response(status=fate.status, text=page, content_type="text/html", headers=headers)
    if headers.get("Connection") == "close":
        response.force_close()
    return response
