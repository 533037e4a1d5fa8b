"""Where the demo's notices arrive: a mail server and a webhook receiver on loopback.

Rule 1: real protocols on real sockets, port chosen by the kernel; nothing leaves the machine.
Rule 2: the webhook receiver checks signatures by itself, as a customer's would (Standard Webhooks 1.0).
"""

import asyncio
import base64
import hashlib
import hmac
from email import message_from_bytes, policy
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from aiohttp import web
from aiosmtpd.smtp import SMTP

from missedcall_schemas import codec
from missedcall_schemas.records import MissedCall

LOOPBACK = "127.0.0.1"


class Mail(NamedTuple):
    """One mail that arrived."""

    recipient: str
    subject: str


class Event(NamedTuple):
    """One webhook call that arrived."""

    type: str
    fact: MissedCall
    signed: bool
    """Whether the signature is right."""


class Sinks:
    """Both receivers; use as an async context manager.

    `mails` and `events` grow as notices arrive.
    """

    def __init__(self, secret: bytes) -> None:
        """Take the webhook secret, 24 bytes or more."""
        self.mails: list[Mail] = []
        self.events: list[Event] = []
        self.smtp_port = 0
        self.webhook_port = 0
        self._secret = secret
        self._smtp: asyncio.Server | None = None
        self._web: web.AppRunner | None = None

    @property
    def secret_line(self) -> str:
        """The secret as the pipeline's `secret_file` holds it."""
        return f"whsec_{base64.b64encode(self._secret).decode()}\n"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._smtp = await loop.create_server(
            lambda: SMTP(self, hostname="localhost", enable_SMTPUTF8=True), LOOPBACK, 0
        )
        self.smtp_port = self._smtp.sockets[0].getsockname()[1]
        app = web.Application()
        app.router.add_post("/missed-calls", self._called)
        self._web = web.AppRunner(app)
        await self._web.setup()
        await web.TCPSite(self._web, LOOPBACK, 0).start()
        self.webhook_port = self._web.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._smtp is not None:
            self._smtp.close()
        if self._web is not None:
            await self._web.cleanup()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take one mail; aiosmtpd calls this after the last dot."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.extend(Mail(recipient, str(mail["Subject"])) for recipient in envelope.rcpt_tos)
        return "250 2.0.0 taken"

    async def _called(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = request.headers
        # Standard Webhooks 1.0: HMAC-SHA256 over id, timestamp and body.
        signed = f"{headers.get('webhook-id', '')}.{headers.get('webhook-timestamp', '')}.".encode() + body
        digest = base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256)).decode()
        valid = f"v1,{digest}" in headers.get("webhook-signature", "").split(" ")
        try:
            event: dict[str, Any] = msgspec.json.decode(body)
            fact = codec.decode_missed_call(msgspec.json.encode(event["data"]))
        except (msgspec.MsgspecError, codec.CodecError, KeyError, TypeError):
            return web.Response(status=400)
        self.events.append(Event(str(event.get("type", "")), fact, valid))
        return web.Response(status=204)
