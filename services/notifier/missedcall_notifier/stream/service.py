"""The notifier service: facts of the partitions that are ours, to one channel, until a signal.

Rule 1: it waits for Kafka however long it is away, at the start too; only what a person has to mend ends it.
Rule 2: SIGTERM ends it in order: begin nothing, let what is under way end and be recorded, give the partitions up.
"""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from typing import Any

from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.kafka.plan import name_of, plan, refusals
from missedcall_common.kafka.rights import lacking
from missedcall_common.kafka.topics import connected
from missedcall_common.runtime.events import Event, emit
from missedcall_common.runtime.health import Health
from missedcall_common.runtime.telemetry import Reading, Telemetry
from missedcall_notifier.app import Notifier, ways_of
from missedcall_notifier.clock import SystemClock
from missedcall_notifier.delivery import Delivery, State
from missedcall_notifier.events import log_template
from missedcall_notifier.people.log import DIRECTORY, PREFERENCES

from .partitions import KafkaPartitions
from .people import TopicPeople
from .settings import ServiceSettings

LOOK_S = 0.2
"""Between two looks whether the membership has failed."""
WAIT_S = 2.0
"""Between two attempts to find the topics."""
TELL_S = 1.0
"""Between two states of what is told by telemetry."""
COUNTED = ("notices.sent", "notices.retry", "notices.uncertain", "notices.dead", "notices.suppressed")
"""Told from the start, so that the first of a kind is seen to be one more than none."""
HANGS_S = 60.0
"""Without a sign of the membership's thread, besides the time that it may wait for deliveries to end."""
LEAVE_S = 5.0
"""To leave the group, besides that time. More: Kubernetes kills us, 30 s after it asked."""
OURS = frozenset({"missed-calls", "notify-journal-{channel}", "notify-redrive", "dead-letters"})


class TopicsRefusedError(KafkaUnusableError):
    """The topics are cut into another number of partitions than ours."""


class Service:
    """One notifier from its start to its end."""

    def __init__(self, settings: ServiceSettings, telemetry: Telemetry) -> None:
        """Prepare.

        Raises:
            KafkaUnusableError: the compiled checksum is missing.
            SettingsError: the settings contradict themselves, or a file cannot be used.
        """
        self._settings = settings
        self._telemetry = telemetry
        clock = SystemClock()
        self._partitions = KafkaPartitions(settings, clock, telemetry)
        ways = [
            way
            for way in ways_of(settings.notify, clock, self._template_failed)
            if way.channel.name == settings.channel
        ]
        self._people = _people_of(settings)
        self._notifier = Notifier(
            settings.notify,
            self._partitions,
            self._partitions,
            clock,
            observe=self._observe,
            sampler=telemetry.sampler,
            people=self._people,
            ways=ways,
            claim_s=settings.session_s / 2,
        )
        self._health = Health(
            settings.health, live=self._live, ready=self._ready, metrics=telemetry.exposition
        )
        self._stopping = asyncio.Event()
        self._working = False

    async def until_stopped(self) -> None:
        """Work until a signal, then end in order.

        Raises:
            HealthError: the port for probes cannot be had.
            KafkaUnusableError: the topics must not be used as they are.
            Exception: what cannot go on; a restart resumes.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        began = time.monotonic()
        await self._health.start()
        await self._find_topics()
        if self._people is not None:
            await self._people.load(self._stopping)
        if not self._stopping.is_set():
            await self._partitions.start()
            emit(
                Event.SERVICE_STARTED,
                version=metadata.version("missedcall-notifier"),
                channel=self._settings.channel,
                detail=f"reads {self._settings.kafka.partitions} partitions with others of its group",
            )
            await self._work()
        await self._health.stop()
        await asyncio.to_thread(self._telemetry.close)
        emit(Event.SERVICE_STOPPED, uptime_s=round(time.monotonic() - began, 1))

    async def _work(self) -> None:
        delivering = asyncio.ensure_future(self._notifier.run())
        stopping = asyncio.ensure_future(self._stopping.wait())
        following = asyncio.ensure_future(self._people.follow(self._stopping)) if self._people else None
        say_at = time.monotonic() + self._settings.report_s
        tell_at = 0.0
        self._working = True
        ends: set[asyncio.Future[Any]] = {delivering, stopping, self._partitions.failed}
        while self._partitions.membership.failed is None:
            done, _ = await asyncio.wait(ends, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if done:
                break
            if time.monotonic() >= tell_at:
                tell_at = time.monotonic() + TELL_S
                self._telemetry.tell(self._readings())
            if time.monotonic() >= say_at:
                say_at = time.monotonic() + self._settings.report_s
                self._say()
        self._working = False
        stopping.cancel()
        if following is not None:
            following.cancel()
        if (error := self._error(delivering)) is not None:
            raise error
        self._notifier.stop()
        await delivering
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.notify.stop_s + LEAVE_S):
                await self._partitions.stop()
        self._say()

    def _error(self, delivering: "asyncio.Future[None]") -> BaseException | None:
        if self._partitions.membership.failed is not None:
            return self._partitions.membership.failed
        for part in (delivering, self._partitions.failed):
            if part.done() and (error := part.exception()) is not None:
                return error
        return None

    async def _find_topics(self) -> None:
        said = False
        while not self._stopping.is_set():
            try:
                missing = await asyncio.to_thread(self._missing)
            except TopicsRefusedError:
                raise
            except KafkaUnusableError as error:
                missing, why = "", error
                detail = "the brokers cannot be reached"
            else:
                if not missing:
                    return
                why, detail = KafkaUnusableError(missing), missing
            if not said:
                said = True
                emit(Event.KAFKA_LOST, why, detail=detail)
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    await self._stopping.wait()

    def _missing(self) -> str:
        """Return which topic is missing, or which right to one; "" if none is."""
        kafka = self._settings.kafka
        ours = OURS | ({DIRECTORY, PREFERENCES} if self._people is not None else set())
        wanted = [topic for topic in plan(kafka) if topic.topic in ours]
        with connected(kafka, f"missedcall-{self._settings.channel}") as topics:
            found = topics.find(topic.name for topic in wanted)
        if problems := list(map(str, lacking("notifier", kafka, found))):
            return "; ".join(problems)
        for sentence in refusals(wanted, found):
            raise TopicsRefusedError(sentence)
        return next(
            (
                f"topic {topic.name} is missing: create it with `python -m missedcall_common.kafka`"
                for topic in wanted
                if topic.name not in found
            ),
            "",
        )

    def _live(self) -> str:
        limit = HANGS_S + 2 * self._settings.notify.stop_s
        hangs = self._working and time.monotonic() > self._partitions.membership.alive_at + limit
        return "the thread that reads Kafka hangs" if hangs else ""

    def _ready(self) -> str:
        if not self._working:
            return "not begun"
        return "" if self._partitions.ready else "partitions are not loaded"

    @property
    def _counts(self) -> Counter[str]:
        counts: Counter[str] = Counter(self._partitions.counts)
        for lane in self._notifier.counts.values():
            for name, count in lane.items():
                unrouted = ":" in name
                counts[name if unrouted else f"notices.{name}"] += count
        return counts

    def _template_failed(self, template: str, where: str, error: str) -> None:
        self._partitions.counts["template-failed"] += 1
        log_template(template, where, error)

    def _readings(self) -> Iterator[Reading]:
        counts, channel = self._counts, {"channel": self._settings.channel}
        for name in COUNTED:
            counts.setdefault(name, 0)
        yield from (Reading(name, total, channel) for name, total in counts.items())
        yield Reading("missedcall.undelivered", self._partitions.open_deliveries, channel)
        since = self._partitions.waits_since
        yield Reading("missedcall.undelivered.age", max(0.0, time.time() - since) if since else 0.0, channel)
        yield Reading("missedcall.channel.paused", len(self._notifier.paused), channel)

    def _observe(self, delivery: Delivery) -> None:
        """Tell of a delivery that has ended."""
        if delivery.state not in (State.SENT, State.DEAD):
            return
        began = max(delivery.opened_at, delivery.not_before)
        if delivery.state is State.SENT:
            took_s = delivery.changed_at - began
            self._telemetry.record("missedcall.delivery.duration", max(0.0, took_s), channel=delivery.channel)
        call = self._telemetry.sampler.trace(delivery.fact.call_id)
        if call is not None:
            said: dict[str, str | int | float] = {
                "missedcall.channel": delivery.channel,
                "missedcall.state": str(delivery.state),
                "missedcall.attempts": delivery.attempts,
                "missedcall.failure": str(delivery.failure or ""),
            }
            self._telemetry.span(call, "process missed-calls", began, delivery.changed_at, said)

    def _say(self) -> None:
        emit(
            Event.COUNTERS_REPORTED,
            channel=self._settings.channel,
            counts=dict(self._counts),
            waiting=self._partitions.open_deliveries,
        )


def _people_of(settings: ServiceSettings) -> TopicPeople | None:
    """Return the people of the topics; None if the settings say that they are in files.

    Raises:
        KafkaUnusableError: the compiled checksum is missing.
        SettingsError: a file cannot be used.
    """
    if not settings.notify.people.topics:
        return None
    kafka = settings.kafka
    names = {name_of(topic, kafka): topic for topic in (DIRECTORY, PREFERENCES)}
    return TopicPeople(
        settings.notify.people, connection(kafka, f"missedcall-{settings.channel}-people"), names
    )
