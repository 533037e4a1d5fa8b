"""The checks of the channels, over the channels' own code: what they can do in a check, they can do at work.

Rule 1: without `write` nothing is changed and nothing is sent: no mail, no item, no call.
Rule 2: to read a mailbox, a correction of a notice that never was is delivered: one search, which finds nothing.
Rule 3: what is written is taken away again. If that fails, it is said.
"""

import asyncio
import base64
import ipaddress
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from missedcall_common.runtime.settings import SettingsError, read_secret
from missedcall_notifier.app import notices_of, ways_of
from missedcall_notifier.channels.egress import is_allowed
from missedcall_notifier.channels.port import Channel
from missedcall_notifier.channels.signature import read_secrets
from missedcall_notifier.channels.trust import Trust
from missedcall_notifier.clock import Clock, SystemClock
from missedcall_notifier.delivery import Delivery, begin, intent
from missedcall_notifier.failure import Report, Sent
from missedcall_notifier.people.files import FilePeople
from missedcall_notifier.settings import (
    EwsSettings,
    GraphSettings,
    NotifierSettings,
    SmtpSettings,
    WebhookSettings,
)
from missedcall_schemas.records import MissedCall, Party

from .findings import STEPS, Finding, State, explain, tell, untested

ASK_WRITE = "give --write to write a test item and take it away again"
ASK_PING = "give --write to send a signed test event"
ASK_MAILBOX = "nobody is named in recipients or always: give --mailbox"
RIGHT = "Mail.ReadWrite"


class Wish(NamedTuple):
    """What the operator wants checked."""

    mailbox: str = ""
    """For mail and items; "": the first that the settings name."""
    write: bool = False


async def check_channels(settings: NotifierSettings, wish: Wish) -> AsyncIterator[Finding]:
    """Check every channel that is on, one after another."""
    for finding in _files(settings):
        yield finding
    clock = SystemClock()
    for name in settings.channels:
        kind = "webhook" if name in settings.endpoints else name
        try:
            [way] = ways_of(_only(settings, name), clock)
        except SettingsError as error:
            words = str(error).replace("\n", "; ")
            yield Finding(name, STEPS[kind][0], State.FAILS, words, "install it, or mend the setting")
            continue
        try:
            async for finding in CHECKS[kind](way.channel, settings, wish, clock):
                yield finding
        finally:
            await way.channel.close()


async def _smtp(channel: Any, settings: NotifierSettings, wish: Wish, _: Clock) -> AsyncIterator[Finding]:
    mailbox = wish.mailbox or _first(settings.smtp)
    steps = STEPS["smtp"]
    report = await channel.probe(mailbox)
    if settings.smtp.security == "none":
        steps = tuple(step for step in steps if step != "tls")
    cause = _cause(report)
    if not settings.smtp.username and not (cause and explain("smtp", cause).step == "login"):
        steps = tuple(step for step in steps if step != "login")
    if not mailbox:
        steps = steps[:-1]
    for finding in tell("smtp", steps, cause):
        yield finding
    if not mailbox:
        for finding in untested("smtp", ("recipient",), ASK_MAILBOX):
            yield finding


async def _ews(channel: Any, settings: NotifierSettings, wish: Wish, clock: Clock) -> AsyncIterator[Finding]:
    mailbox = wish.mailbox or _first(settings.ews)
    async for finding in _items(channel, "ews", ("reach", "login", "mailbox"), mailbox, wish, clock):
        yield finding


async def _graph(
    channel: Any, settings: NotifierSettings, wish: Wish, clock: Clock
) -> AsyncIterator[Finding]:
    cause, roles = await _token(channel)
    for finding in tell("graph", ("token",), cause):
        yield finding
    if cause:
        for finding in untested("graph", STEPS["graph"][1:], "token comes first"):
            yield finding
        return
    if RIGHT in roles:
        yield Finding("graph", "permission", State.OK, f"{RIGHT}, granted in Entra ID")
    else:
        words = (
            f"the token has no {RIGHT}: right if Exchange grants it (RBAC for Applications); mailbox tells"
        )
        yield Finding("graph", "permission", State.UNTESTED, words)
    mailbox = wish.mailbox or _first(settings.graph)
    async for finding in _items(channel, "graph", ("reach", "mailbox"), mailbox, wish, clock):
        yield finding


async def _token(channel: Any) -> tuple[str, tuple[str, ...]]:
    """Return the cause if there is no token, and the permissions in it if there is one."""
    from missedcall_notifier.channels.graph_tokens import TokenError  # noqa: PLC0415 an extra

    try:
        token = await channel.client.tokens.get(await channel.client.trust())
    except TokenError as error:
        return f"token {error}", ()
    except (OSError, ValueError) as error:
        return f"settings {type(error).__name__}", ()
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        roles = tuple(role for role in claims.get("roles", ()) if isinstance(role, str))
    except (ValueError, LookupError, AttributeError, TypeError):
        roles = ()  # Graph's tokens are for Graph to read; it may change them
    return "", roles


async def _items(
    channel: Channel, name: str, steps: tuple[str, ...], mailbox: str, wish: Wish, clock: Clock
) -> AsyncIterator[Finding]:
    """Check a channel that writes items: `steps`, and whether it can write."""
    write = "write"
    if not mailbox:
        for finding in untested(name, (*steps, write), ASK_MAILBOX):
            yield finding
        return
    notice, correction = _test_deliveries(name, mailbox, clock.now())
    report = await channel.send(correction, channel.render(correction))
    cause = "" if _is_readable(report) else _cause(report)
    for finding in tell(name, steps, cause):
        yield finding
    if cause or not wish.write:
        why = "mailbox comes first" if cause else ASK_WRITE
        for finding in untested(name, (write,), why):
            yield finding
        return
    report = await channel.send(notice, channel.render(notice))
    cause = _cause(report)
    if not cause:
        report = await channel.send(correction, channel.render(correction))
        cause = _cause(report)
        if cause or report != Sent("removed"):
            words = f"a test item was written and could not be taken away ({cause or 'not found'})"
            yield Finding(name, write, State.FAILS, words, "delete it by hand")
            return
    for finding in tell(name, (write,), cause):
        yield finding


async def _webhook(channel: Any, settings: NotifierSettings, wish: Wish, _: Clock) -> AsyncIterator[Finding]:
    hook, name = settings.endpoints[channel.name], channel.name
    steps = STEPS["webhook"][:-1]
    if urlsplit(hook.url).scheme == "http":
        steps = tuple(step for step in steps if step != "tls")
    cause = await _reach(hook)
    for finding in tell("webhook", steps, cause, name):
        yield finding
    if cause or not wish.write:
        for finding in untested(name, ("ping",), "connect comes first" if cause else ASK_PING):
            yield finding
        return
    cause = _cause(await channel.ping())
    for finding in tell("webhook", ("ping",), f"ping {cause}" if cause else "", name):
        yield finding


async def _reach(hook: WebhookSettings) -> str:
    """Return why a connection to the endpoint cannot be made, as one would be; "" if it can."""
    parts = urlsplit(hook.url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    try:
        read_secrets(await asyncio.to_thread(read_secret, Path(hook.secret_file), "webhook.secret_file"))
        trust = await Trust(hook.ca_file).context()
    except (OSError, ValueError) as error:
        return f"secret {type(error).__name__}"
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"name {type(error).__name__}"
    networks = [ipaddress.ip_network(network) for network in hook.allow]
    addresses = [str(where[0]).partition("%")[0] for *_, where in found]
    callable_ = [a for a in addresses if is_allowed(ipaddress.ip_address(a), networks)]
    if not callable_:
        return "address blocked"
    try:
        async with asyncio.timeout(hook.connect_timeout_s):
            _, writer = await asyncio.open_connection(
                callable_[0], port, ssl=trust if secure else None, server_hostname=host if secure else None
            )
    except ssl.SSLCertVerificationError:
        return "tls certificate"
    except ssl.SSLError as error:
        return f"tls {type(error).__name__}"
    except OSError as error:
        return f"connect {type(error).__name__}"
    writer.close()
    return ""


def _files(settings: NotifierSettings) -> Iterator[Finding]:
    """Check the files about people, by reading them as the notifier does."""
    people = settings.people
    named = {"directory": people.directory_file, "preferences": people.preferences_file}
    for step, file in named.items():
        if not file:
            continue
        alone = replace(people, directory_file="", preferences_file="")
        try:
            FilePeople(replace(alone, **{f"{step}_file": file}))
        except SettingsError as error:
            yield Finding("people", step, State.FAILS, str(error).replace("\n", "; "), "mend the file")
        else:
            yield Finding("people", step, State.OK)
    if people.templates_folder:
        try:
            notices_of(settings)
        except SettingsError as error:
            words = str(error).replace("\n", "; ")
            yield Finding("people", "templates", State.FAILS, words, "mend the templates")
        else:
            yield Finding("people", "templates", State.OK)


CHECKS = {"smtp": _smtp, "ews": _ews, "graph": _graph, "webhook": _webhook}


def _only(settings: NotifierSettings, name: str) -> NotifierSettings:
    """Return the settings with one channel on, which takes away what it has written."""
    hook = settings.endpoints.get(name, WebhookSettings())
    return replace(
        settings,
        smtp=settings.smtp if name == "smtp" else SmtpSettings(),
        ews=replace(settings.ews, retracted="remove") if name == "ews" else EwsSettings(),
        graph=replace(settings.graph, retracted="remove") if name == "graph" else GraphSettings(),
        webhook=hook,
        webhooks={},
    )


def _first(channel: SmtpSettings | EwsSettings | GraphSettings) -> str:
    """Return the first mailbox that the settings name; "" if they name none."""
    return next(iter((*channel.recipients.values(), *channel.always)), "")


def _test_deliveries(channel: str, mailbox: str, now: float) -> tuple[Delivery, Delivery]:
    """Return a notice of a call that never was, and its correction."""
    fact = MissedCall(
        fact_id=f"missedcall-check-{uuid.uuid4()}",
        call_id="",
        callee="sip:missedcall-check@invalid",
        caller=Party(uri="", display_name="missedcall check", source=""),
        cause="no-answer",
        rang_at=now,
        ring_s=0.0,
        ended_at=now,
        devices_rung=0,
        rule="",
        decided_at=now,
    )
    taken = replace(fact, revision=fact.revision + 1, state="retracted")
    return (
        begin(intent(fact, channel, mailbox, now), now),
        begin(intent(taken, channel, mailbox, now), now),
    )


def _cause(report: Report) -> str:
    return "" if isinstance(report, Sent) else report.detail


def _is_readable(report: Report) -> bool:
    """Whether a correction found nothing to correct: the mailbox was searched."""
    return isinstance(report, Sent) or report.detail == "settling"
