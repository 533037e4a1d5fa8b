"""A webhook receiver on loopback that does as it is told."""

import asyncio
import base64
import hashlib
import hmac
from collections import deque
from enum import Enum
from typing import NamedTuple

import msgspec
from aiohttp import web

SECRET = b"0123456789abcdef0123456789abcdef"
SECRET_LINE = f"whsec_{base64.b64encode(SECRET).decode()}\n"


class Act(Enum):
    """What a sink does instead of answering."""

    CUT = "cut"
    DROP = "drop"
    SILENCE = "silence"


CUT = Act.CUT
"""Close the connection before the request is taken."""
DROP = Act.DROP
"""Close the connection with the request in hand."""
SILENCE = Act.SILENCE
"""Never answer."""


class Call(NamedTuple):
    """One request that arrived."""

    id: str
    timestamp: int
    body: bytes
    signed: bool
    """Whether the signature is right, by our own reading of Standard Webhooks 1.0."""
    headers: dict[str, str]

    @property
    def event(self) -> dict:
        return msgspec.json.decode(self.body)


class WebhookSink:
    """Use as an async context manager.

    `answers`: a status, (status, headers), CUT, DROP, SILENCE, or a handler that takes the sink and the request.
    """

    def __init__(self, *answers, tls=None, host="127.0.0.1", port=0):
        self.calls: list[Call] = []
        self.answers = deque(answers)
        self.elsewhere = 0
        """Requests that followed a redirect."""
        self.port = port
        self._host = host
        self.closing = asyncio.Event()
        """Set at the end: whoever holds an answer back waits for it."""
        self._tls = tls
        self._runner: web.AppRunner | None = None

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/hook", self._called)
        app.router.add_route("*", "/elsewhere", self._strayed)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_):
        self.closing.set()
        await self._runner.cleanup()

    async def _called(self, request: web.Request) -> web.StreamResponse:
        answer = self.answers.popleft() if self.answers else 204
        if answer is CUT:
            request.transport.abort()
            return web.Response()
        body = await request.read()
        name, stamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        mac = hmac.new(SECRET, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
        wanted = f"v1,{base64.b64encode(mac).decode()}"
        signed = wanted in request.headers["webhook-signature"].split(" ")
        self.calls.append(Call(name, int(stamp), body, signed, dict(request.headers)))
        if answer is DROP:
            request.transport.abort()
            return web.Response()
        if answer is SILENCE:
            await self.closing.wait()
            return web.Response()
        if callable(answer):
            return await answer(self, request)
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        return web.Response(status=status, headers=headers)

    async def _strayed(self, _request: web.Request) -> web.Response:
        self.elsewhere += 1
        return web.Response(status=204)
