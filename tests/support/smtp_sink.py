"""A mail relay that does as it is told, in this process and on this event loop; on loopback, or as told."""

import asyncio
import ssl
import warnings
from collections import deque
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import Enum

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Act(Enum):
    """What a sink does instead of answering."""

    DROP = "drop"
    SILENCE = "silence"


DROP = Act.DROP
"""Close the connection instead of answering; after the last dot: with the message in hand."""
SILENCE = Act.SILENCE
"""Never answer."""


class SmtpSink:
    """Use as an async context manager. `answers` holds, by command, what the next ones get."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        implicit_tls=False,
        login=None,
        host="127.0.0.1",
        port=0,
    ):
        self.mails: list[EmailMessage] = []
        """Those that the relay has, whatever it answered."""
        self.raw: list[bytes] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.answers: dict[str, deque] = {
            name: deque() for name in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA")
        }
        self.ehlo_names: list[str] = []
        self.encrypted: list[bool] = []
        self.logins = 0
        self.quits = 0
        self.port = port
        self._host = host
        self._tls = tls
        self._implicit_tls = implicit_tls
        self._login = login
        self._server: asyncio.Server | None = None
        self.open: set[asyncio.Transport] = set()

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        context = self._tls if self._implicit_tls else None
        self._server = await loop.create_server(self._protocol, self._host, self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.close_all()
        await self._server.wait_closed()

    def close_all(self):
        """Close every connection."""
        for transport in list(self.open):
            transport.abort()

    def _protocol(self):
        sink = self

        class Session(SMTP):
            def connection_made(self, transport):
                super().connection_made(transport)
                sink.open.add(self.transport)

            def connection_lost(self, error):
                sink.open.discard(self.transport)
                super().connection_lost(error)

            async def push(self, status):
                if isinstance(status, str) and status.startswith("220 localhost") and sink.answers["CONNECT"]:
                    status = sink.answers["CONNECT"].popleft()
                await super().push(status)

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")
            return self._session(Session)

    def _session(self, kind):
        return kind(
            self,
            hostname="localhost",
            ident="ready",
            tls_context=None if self._implicit_tls else self._tls,
            require_starttls=bool(self._tls) and not self._implicit_tls,
            authenticator=self._check if self._login else None,
            auth_required=bool(self._login),
            auth_require_tls=not self._login,
        )

    def _check(self, _server, _session, _envelope, mechanism, data):
        assert isinstance(data, LoginPassword), mechanism
        self.logins += 1
        found = (data.login.decode(), data.password.decode()) == self._login
        return AuthResult(success=found, handled=False)

    async def _scripted(self, command, server, otherwise):
        answer = self.answers[command].popleft() if self.answers[command] else otherwise
        if answer is DROP:
            server.transport.abort()
            return otherwise
        if answer is SILENCE:
            await asyncio.Event().wait()
        return answer

    async def handle_EHLO(self, server, session, _envelope, hostname, responses):  # noqa: N802 aiosmtpd's name
        self.ehlo_names.append(hostname)
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        session.host_name = hostname
        await self._scripted("EHLO", server, "250 ok")
        return responses

    async def handle_MAIL(self, server, _session, envelope, address, _options):  # noqa: N802
        envelope.mail_from = address
        return await self._scripted("MAIL", server, "250 2.1.0 ok")

    async def handle_QUIT(self, _server, _session, _envelope):  # noqa: N802
        self.quits += 1
        return "221 bye"

    async def handle_RCPT(self, server, _session, envelope, address, _options):  # noqa: N802
        envelope.rcpt_tos.append(address)
        return await self._scripted("RCPT", server, "250 2.1.5 ok")

    async def handle_DATA(self, server, _session, envelope):  # noqa: N802
        answer = self.answers["DATA"][0] if self.answers["DATA"] else "250"
        if not isinstance(answer, str) or answer.startswith("2"):
            self.raw.append(envelope.content)
            self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
            self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        return await self._scripted("DATA", server, "250 2.0.0 Ok: queued as 4XyZ12")
