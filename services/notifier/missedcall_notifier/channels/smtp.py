"""Mail over a relay (RFC 5321), one recipient per message.

Rule 1: each command is its own phase, so that a failure is known to be before or after the last dot. Before:
        the relay has nothing. After, without an answer: nobody knows.
Rule 2: STARTTLS and TLS are what the settings say; nothing is upgraded or downgraded by opportunity.
Rule 3: what an answer means is a row of ROWS; the first that matches wins, the last of a phase matches all.
Rule 4: a connection that took a mail is kept for the next. Until that is begun, its end is no failure: nothing was
        handed over, and a new connection is made. One that refused anything is not kept: relays slow down for
        those that err (Postfix: smtpd_soft_error_limit).
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

import aiohttp
import aiosmtplib

from missedcall_common.runtime.settings import read_secret
from missedcall_notifier.delivery import Delivery
from missedcall_notifier.failure import Failed, Failure, Report, Sent
from missedcall_notifier.notices import Notices
from missedcall_notifier.settings import SmtpSettings

from .mail import write
from .oauth import ClientCredentials, TokenError, oauthbearer, xoauth2
from .trust import Trust

KEPT_S = 5.0
"""How long a connection waits for the next mail. Less: a login for every mail of a slow stream. More: it takes one
of the places that a relay has for everybody. RFC 5321 s.4.5.3.2.7 has relays wait 5 minutes; busy ones do not."""
MAILS = 100
"""Over one connection. Less: logins. More: relays that count end it, and one that is chosen by DNS is never chosen
anew while mails come."""
CLOSING = 421
"""RFC 5321 s.3.8: the relay closes the connection, whatever was asked."""

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\b")  # RFC 3463
_QUEUED_AS = re.compile(r"queued as ([A-Za-z0-9.-]{1,64})|\bid[= ]([A-Za-z0-9.-]{1,64})", re.ASCII)


class Phase(StrEnum):
    """How far an attempt came."""

    CONNECT = "connect"
    HELLO = "ehlo"
    STARTTLS = "starttls"
    LOGIN = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """Up to the 354 answer; the message is not yet sent."""
    BODY = "body"
    """From the first byte of the message on."""


F = Failure
# fmt: off
ROWS: tuple[tuple[tuple[Phase, ...], str, str, Failure], ...] = (
    # phases                    code     enhanced           means
    ((Phase.MAIL,),             "552",   "",                F.PERMANENT_ITEM),       # RFC 1870 s.6.1: too large
    ((Phase.MAIL,),             "5..",   r"5\.[23]\.",      F.PERMANENT_ITEM),
    ((Phase.MAIL,),             "5..",   "",                F.CHANNEL_DOWN),         # our sender: every mail
    ((Phase.RCPT, Phase.DATA, Phase.BODY), "53[045]", "",   F.CHANNEL_DOWN),         # RFC 4954 s.6: log in
    ((Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY), "4..", r"4\.2\.2", F.SLOW),   # mailbox full
    ((Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY), "4..", r"4\.7\.",  F.THROTTLED),
    ((Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY), "4..", "",         F.TRANSIENT),
    ((Phase.RCPT, Phase.BODY),  "552",   r"(5\.2\.2|$)",    F.SLOW),                 # mailbox full
    ((Phase.RCPT, Phase.BODY),  "5..",   r"5\.2\.2",        F.SLOW),
    ((Phase.RCPT, Phase.BODY),  "5..",   r"5\.7\.",         F.SLOW),                 # a policy: a person changes it
    ((Phase.RCPT,),             "5..",   "",                F.PERMANENT_RECIPIENT),
    ((Phase.DATA,),             "5..",   "",                F.TRANSIENT),            # s.3.3: nothing judged yet
    ((Phase.BODY,),             "5..",   "",                F.PERMANENT_ITEM),
    ((Phase.MAIL, Phase.RCPT, Phase.DATA), "...", "",       F.TRANSIENT),            # no code of SMTP
    ((Phase.BODY,),             "...",   "",                F.UNCERTAIN),            # answered, but what?
)
# fmt: on
"""Before MAIL every failure is the channel's: nothing of any notice has been shown to the relay."""


def classify(phase: Phase, code: int, text: str) -> Failure:
    """Return what a refusal means. `text` is the relay's; of it only the enhanced code is read (RFC 3463)."""
    found = _ENHANCED.match(text)
    enhanced = found[1] if found else ""
    for phases, code_pattern, enhanced_pattern, failure in ROWS:
        if (
            phase in phases
            and re.fullmatch(code_pattern, f"{code:03d}"[:3])
            and re.match(enhanced_pattern, enhanced)
        ):
            return failure
    return Failure.CHANNEL_DOWN


class SmtpChannel:
    """Delivers to mail addresses."""

    name = "smtp"

    def __init__(self, settings: SmtpSettings, notices: Notices) -> None:
        self._settings = settings
        self._notices = notices
        self._helo_name = settings.helo_name or None
        self._trust = Trust(settings.ca_file)
        self._kept: list[_Session] = []
        self._tokens = ClientCredentials(
            settings.token_url,
            settings.client_id,
            settings.password_file,
            settings.scope,
            settings.timeout_s,
        )

    def render(self, delivery: Delivery) -> bytes:
        """Return the Internet message.

        Raises:
            UnrenderableError: the fact cannot be put into a message.
        """
        return write(delivery, self._settings, self._notices)

    async def send(self, delivery: Delivery, content: bytes) -> Report:
        """Make one attempt, over a connection that nobody else uses meanwhile."""
        report = await self._attempt(delivery, content)
        self._trust.heard(report)
        return report

    async def probe(self, recipient: str) -> Report:
        """Go as far as a mail does before its content, and take it back; nothing is sent.

        Args:
            recipient: "" to go as far as the sender.
        """
        session = _Session()
        try:
            with _told_apart(session):
                client = await self._connect(session)
                session.phase = Phase.MAIL
                await client.mail(self._settings.sender)
                if recipient:
                    session.phase = Phase.RCPT
                    await client.rcpt(recipient)
                await client.rset()
                return Sent()
        except _AttemptError as error:
            return error.report
        finally:
            session.part()

    async def close(self) -> None:
        """Close what is kept."""
        while self._kept:
            self._kept.pop().part()

    async def _attempt(self, delivery: Delivery, content: bytes) -> Report:
        while True:
            session = self._kept.pop() if self._kept else _Session()
            try:
                return await self._over(session, delivery, content)
            except _AttemptError as error:
                ended = session.phase is Phase.MAIL and error.code in {0, CLOSING}
                if not (ended and session.mails):
                    return error.report

    async def _over(self, session: "_Session", delivery: Delivery, content: bytes) -> Sent:
        """Make an attempt over a connection, new or kept, and keep it if it took the mail.

        No RSET between two mails: the last dot has ended the one before (RFC 5321 s.4.1.1.4).
        """
        kept = False
        try:
            with _told_apart(session):
                client = session.taken() or await self._connect(session)
                sent = await self._transfer(client, session, delivery, content)
            session.mails += 1
            if kept := session.mails < MAILS and client.is_connected:
                self._kept.append(session)
                session.wait(KEPT_S, self._kept.remove)
            return sent
        finally:
            if not kept:
                session.part()

    async def _connect(self, session: "_Session") -> aiosmtplib.SMTP:
        """Return the session's connection, greeted and logged in."""
        settings = self._settings
        if self._helo_name is None:
            self._helo_name = await asyncio.to_thread(socket.getfqdn)
        client = session.client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.actual_port,
            timeout=settings.timeout_s,
            use_tls=settings.security == "tls",
            start_tls=False,  # below, as a phase of its own
            local_hostname=self._helo_name,
            tls_context=None if settings.security == "none" else await self._trust.context(),
        )
        await client.connect()
        session.phase = Phase.HELLO
        await client.ehlo()
        if settings.security == "starttls":
            session.phase = Phase.STARTTLS
            await client.starttls()
            session.phase = Phase.HELLO
            await client.ehlo()
        if settings.username:
            session.phase = Phase.LOGIN
            await self._log_in(client)
        return client

    async def _log_in(self, client: aiosmtplib.SMTP) -> None:
        settings = self._settings
        if settings.auth == "oauth":
            token = await self._tokens.get(await self._trust.context())
            try:
                await _show_token(client, settings.username, token)
            except aiosmtplib.SMTPAuthenticationError:
                self._tokens.refused()
                raise
        else:
            file = Path(settings.password_file)
            password = await asyncio.to_thread(read_secret, file, "smtp.password_file")
            await _log_in(client, settings.username, password)

    async def _transfer(
        self, client: aiosmtplib.SMTP, session: "_Session", delivery: Delivery, content: bytes
    ) -> Sent:
        mail_options, rcpt_options = _dsn(client, delivery.delivery_id)
        session.phase = Phase.MAIL
        await client.mail(self._settings.sender, options=mail_options)
        session.phase = Phase.RCPT
        await client.rcpt(delivery.recipient, options=rcpt_options)
        session.phase = Phase.DATA
        answer = await client.execute_command(b"DATA")
        if answer.code != 354:
            raise aiosmtplib.SMTPDataError(answer.code, answer.message)
        protocol = client.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        session.phase = Phase.BODY
        protocol.write(_dot_stuffed(content))
        answer = await protocol.read_response(timeout=self._settings.timeout_s)
        if answer.code != 250:
            raise aiosmtplib.SMTPDataError(answer.code, answer.message)
        queued = _QUEUED_AS.search(answer.message)
        return Sent(ref=(queued[1] or queued[2]) if queued else "")


async def _log_in(client: aiosmtplib.SMTP, username: str, password: str) -> None:
    """Try one mechanism, once: a wrong password tried with each of them locks the account that much sooner."""
    mechanisms = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
    for name, log_in in mechanisms.items():
        if name in client.server_auth_methods:
            await log_in(username, password)
            return
    raise aiosmtplib.SMTPNotSupported("none of the relay's mechanisms is one of ours")


async def _show_token(client: aiosmtplib.SMTP, username: str, token: str) -> None:
    """Try one mechanism, once; the standard's before Google's."""
    ways = {"oauthbearer": (oauthbearer, b"AQ=="), "xoauth2": (xoauth2, b"")}
    for name, (argument, after_refusal) in ways.items():
        if name in client.server_auth_methods:
            answer = await client.execute_command(b"AUTH", name.upper().encode(), argument(username, token))
            if answer.code == 334:  # why not, in JSON; the refusal itself comes after our answer (s.3.2.3)
                answer = await client.execute_command(after_refusal)
            if answer.code != 235:
                raise aiosmtplib.SMTPAuthenticationError(answer.code, answer.message)
            return
    raise aiosmtplib.SMTPNotSupported("the relay takes no tokens")


def _dsn(client: aiosmtplib.SMTP, delivery_id: str) -> tuple[list[str], list[str]]:
    """Return what is said to a relay that knows delivery status notifications (RFC 3461).

    A failure is told to `sender` (s.4.1), under our id (s.4.4), with the headers and not the call (s.4.3). A delay
    is not told: the notice has lost its use by then, and an outage would fill the mailbox.
    """
    if not client.supports_extension("dsn"):
        return [], []
    return ["RET=HDRS", f"ENVID={delivery_id}"], ["NOTIFY=FAILURE"]


class _Session:
    """A connection, and how far the attempt that uses it has come."""

    def __init__(self) -> None:
        self.phase = Phase.CONNECT
        self.mails = 0
        """That it took; 0 for one that is new."""
        self.client: aiosmtplib.SMTP | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, seconds: float, forget: "Callable[[_Session], None]") -> None:
        """Wait so long for the next mail, then be forgotten and part."""

        def part() -> None:
            forget(self)
            self.part()

        self._timer = asyncio.get_running_loop().call_later(seconds, part)

    def taken(self) -> aiosmtplib.SMTP | None:
        """Wait no longer; return the connection, None if it is still to be made."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self.client

    def part(self) -> None:
        """Say QUIT and close, without waiting for the answer.

        RFC 5321 s.4.1.1.10 would have us wait; but the relay has said what became of the mail, and until that is
        recorded every moment is one in which a crash means a second mail.
        """
        client = self.taken()
        if client is None:
            return
        if client.protocol is not None:
            with suppress(aiosmtplib.SMTPServerDisconnected):
                client.protocol.write(b"QUIT\r\n")
        client.close()


class _AttemptError(Exception):
    """An attempt that failed, in our words; `code` is the relay's, 0 if it gave none."""

    def __init__(self, failure: Failure, detail: str, code: int = 0) -> None:
        super().__init__(detail)
        self.report = Failed(failure, detail)
        self.code = code


@contextmanager
def _told_apart(session: _Session) -> Iterator[None]:
    """Translate what the library and the operating system raise into one of ours."""
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        found = _ENHANCED.match(error.message)
        detail = f"{session.phase} {error.code} {found[1] if found else ''}".rstrip()
        raise _AttemptError(classify(session.phase, error.code, error.message), detail, error.code) from error
    except TokenError as error:
        raise _AttemptError(Failure.CHANNEL_DOWN, f"{session.phase} {error}") from error
    except (aiosmtplib.SMTPException, aiohttp.ClientError, OSError, ValueError) as error:
        # ClientError: the authority that gives tokens cannot be reached
        # ValueError: the password file is not there or empty, or the library does not take a setting
        raise _AttemptError(_without_answer(session.phase), f"{session.phase} {_kind(error)}") from error


def _without_answer(phase: Phase) -> Failure:
    """Return what a lost connection or a missing answer means."""
    if phase is Phase.BODY:
        return Failure.UNCERTAIN
    return Failure.TRANSIENT if phase in {Phase.MAIL, Phase.RCPT, Phase.DATA} else Failure.CHANNEL_DOWN


def _kind(error: Exception) -> str:
    """Return the error's name, never its text: that may hold addresses or what a stranger's server said."""
    wrong = isinstance(error, ssl.SSLCertVerificationError) or isinstance(
        error.__cause__, ssl.SSLCertVerificationError
    )
    return "certificate" if wrong else type(error).__name__


def _dot_stuffed(content: bytes) -> bytes:
    """Return the message as it crosses the wire, with the last dot (RFC 5321 s.4.5.2)."""
    if content.startswith(b"."):
        content = b"." + content
    return content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
