"""The notifier, embeddable: give it settings, facts, a journal and a clock, and run it.

Rule 1: it knows no signals, no files but those that its settings name, and no state of the process.
Rule 2: `run` returns after `stop`, or raises when the journal or the source fails. Whatever happened, a new
        notifier over the same journal and source goes on where this one stood.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from missedcall_common.runtime.sampling import NO_CALL, Sampler
from missedcall_common.runtime.settings import SettingsError

from . import wording_files
from .channels.port import Channel
from .channels.smtp import SmtpChannel
from .channels.webhook import WebhookChannel
from .clock import Clock, SystemClock
from .events import log_template
from .journal import Journal
from .lane import Lane, Observer, Way, say_nothing
from .notices import Notices, TemplateFailed
from .people.files import FilePeople
from .people.port import PeopleSource
from .routing import by_mail, everything_to
from .settings import NotifierSettings, defaults_of, problems
from .source import FactSource

FORGET_EVERY_S = 3600.0
"""How often the journal forgets. Less: deletes for nothing. More: it holds that much more than `keep_days`."""


class Notifier:
    """Delivers what the source says, once, over every channel that is on.

    `await run()` in a task; `stop()` ends it in an orderly way, cancelling it is a crash like any other.
    """

    def __init__(
        self,
        settings: NotifierSettings,
        source: FactSource,
        journal: Journal,
        clock: Clock | None = None,
        *,
        people: PeopleSource | None = None,
        observe: Observer = say_nothing,
        sampler: Sampler = NO_CALL,
        ways: Sequence[Way] | None = None,
        claim_s: float = math.inf,
    ) -> None:
        """Put the parts together; nothing is opened or read yet.

        Args:
            settings: what the operator says.
            source: the facts.
            journal: deliveries and positions; opened and closed by the caller.
            clock: the wall clock.
            people: who people are; None: what the files of the settings say, followed while we run.
            observe: told of every change of a delivery, after it is durable; must not block or raise.
            sampler: which calls are traced: the log names the trace.
            ways: channels other than those of the settings.
            claim_s: an attempt is not made so long after it was claimed: where another process could have it.

        Raises:
            SettingsError: the settings contradict themselves, or a file that they name is wrong.
        """
        self._clock = clock or SystemClock()
        self._settings = settings
        self._journal = journal
        self._stopping = asyncio.Event()
        ways = ways_of(settings, self._clock) if ways is None else ways
        if people is None and settings.people.topics:
            raise SettingsError(["notify.people.topics = true: expected false: there is no Kafka here"])
        self._files = FilePeople(settings.people) if people is None else None
        self._lanes = [
            Lane(
                way,
                source=source,
                journal=journal,
                clock=self._clock,
                people=people or self._files,
                defaults=defaults_of(settings),
                observe=observe,
                sampler=sampler,
                max_waiting=settings.max_waiting,
                stop_s=settings.stop_s,
                claim_s=claim_s,
            )
            for way in ways
        ]

    async def run(self) -> None:
        """Deliver until `stop`. Call once.

        Raises:
            ExceptionGroup: the journal or the source failed.
        """
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run())
            group.create_task(self._forget())
            if self._files is not None:
                group.create_task(self._files.follow(self._stopping))

    def stop(self) -> None:
        """Let what is on its way end, begin nothing further, and let `run` return."""
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()

    @property
    def counts(self) -> dict[str, Counter[str]]:
        """By channel: deliveries by the state they reached, and `unrouted:<reason>`, since the start."""
        return {lane.name: lane.counts for lane in self._lanes}

    @property
    def paused(self) -> list[str]:
        """Channels that are down: they try again by themselves, but somebody should look."""
        return [lane.name for lane in self._lanes if not lane.breaker.closed]

    async def _forget(self) -> None:
        while not self._stopping.is_set():
            now = self._clock.now()
            await self._journal.forget(before=now - self._settings.keep_days * 86400.0)
            await self._clock.wait(self._stopping, now + FORGET_EVERY_S)


def ways_of(
    settings: NotifierSettings, clock: Clock, template_failed: TemplateFailed = log_template
) -> list[Way]:
    """Return the channels that are on.

    Args:
        settings: what the operator says.
        clock: the wall clock.
        template_failed: told of each time that a template of the operator's was passed over.

    Raises:
        SettingsError: the settings contradict themselves, or a template or text that they name is wrong.
    """
    if wrong := problems(settings):
        raise SettingsError([f"notify.{key} = {value!r}: {right}" for key, value, right in wrong])
    notices = notices_of(settings, template_failed)
    repeats_s = settings.repeats_s
    ways = []
    if settings.smtp.host:
        mail = settings.smtp
        rule = by_mail(mail.recipients, mail.pattern, mail.hosts, mail.always)
        ways.append(Way(SmtpChannel(mail, notices), rule, mail.retry, mail.connections, repeats_s=repeats_s))
    if settings.ews.url:
        exchange = settings.ews
        rule = by_mail(exchange.recipients, exchange.pattern, exchange.hosts, exchange.always)
        channel: Channel = _ews_channel(settings, notices)
        ways.append(Way(channel, rule, exchange.retry, exchange.connections, repeats_s=repeats_s))
    if settings.graph.tenant:
        online = settings.graph
        rule = by_mail(online.recipients, online.pattern, online.hosts, online.always)
        channel = _graph_channel(settings, notices, clock)
        ways.append(Way(channel, rule, online.retry, online.connections, repeats_s=repeats_s))
    for name, hook in settings.endpoints.items():
        webhook = WebhookChannel(hook, clock, notices, name=name)
        ways.append(Way(webhook, everything_to(hook.name), hook.retry, hook.concurrency, webhook.gone))
    return ways


def notices_of(settings: NotifierSettings, failed: TemplateFailed = log_template) -> Notices:
    """Return the notices with the operator's templates and texts, each of which has been tried.

    Raises:
        SettingsError: one of them is wrong.
    """
    folder = settings.people.templates_folder
    try:
        theirs = wording_files.theirs(Path(folder)) if folder else {}
        return Notices(wording_files.ours(), defaults_of(settings), theirs, failed=failed)
    except OSError as error:
        right = f"{error.strerror}: expected a folder to read"
        raise SettingsError([f"notify.people.templates_folder = {folder!r}: {right}"]) from error
    except ValueError as error:
        key = "templates_folder" if folder else "language"
        raise SettingsError([f"notify.people.{key}: {line}" for line in str(error).splitlines()]) from error


def _ews_channel(settings: NotifierSettings, notices: Notices) -> Channel:
    """Return the channel to Exchange, whose library is an extra.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        from .channels.ews import EwsChannel  # noqa: PLC0415 who writes to no Exchange does without the library
    except ModuleNotFoundError as error:
        if error.name != "exchangelib":
            raise
        raise SettingsError(
            ["notify.ews.url is set: needs exchangelib, the extra `ews` of this package"]
        ) from error
    return EwsChannel(settings.ews, notices)


def _graph_channel(settings: NotifierSettings, notices: Notices, clock: Clock) -> Channel:
    """Return the channel to Exchange Online, whose library is an extra.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        from .channels.graph import GraphChannel  # noqa: PLC0415 as above
    except ModuleNotFoundError as error:
        if error.name != "msal":
            raise
        raise SettingsError(
            ["notify.graph.tenant is set: needs msal, the extra `graph` of this package"]
        ) from error
    return GraphChannel(settings.graph, notices, clock)
