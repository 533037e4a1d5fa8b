"""The journal on a real Kafka, with one partition that is ours without a group."""

import asyncio
import uuid
from contextlib import asynccontextmanager

from support.notify import ManualClock

from missedcall_common.kafka.plan import plan
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.kafka.topics import connected
from missedcall_notifier.settings import NotifierSettings
from missedcall_notifier.stream.partitions import KafkaPartitions
from missedcall_notifier.stream.settings import ServiceSettings

PARTITIONS = 2


def make_settings(kafka, **changes) -> ServiceSettings:
    """Return settings for topics of their own, which are made."""
    prefix = f"j{uuid.uuid4().hex[:8]}."
    cluster = KafkaSettings(
        bootstrap=tuple(kafka.bootstrap.split(",")),
        prefix=prefix,
        partitions=PARTITIONS,
        replicas=1,
        channels=("fake",),
    )
    with connected(cluster, "test") as topics:
        topics.create(
            one for one in plan(cluster) if one.topic in {"notify-journal-{channel}", "dead-letters"}
        )
    given = {"kafka": cluster, "notify": NotifierSettings(stop_s=2.0), "channel": "fake"}
    return ServiceSettings(**(given | {"application": f"{prefix}app", "session_s": 3.0} | changes))


class Alone(KafkaPartitions):
    """Partitions that nobody shares out."""

    def __init__(self, settings: ServiceSettings, clock=None) -> None:
        super().__init__(settings, clock or ManualClock())
        self.membership.read_from = lambda *_: None
        self.membership.pause = lambda *_, **__: None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.failed = self._loop.create_future()

    async def take(self, *numbers: int) -> None:
        """Have partitions, and wait until they are loaded."""
        self._came(set(numbers))
        while not all(number in self._parts and self._parts[number].loaded for number in numbers):
            if self.failed.done():
                self.failed.result()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        for part in list(self._parts.values()):
            self._drop(part)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=True)


def kafka_journal(kafka):
    """Return what opens a journal, as the others are opened."""

    @asynccontextmanager
    async def opened(_path):
        journal = Alone(make_settings(kafka))
        await journal.start()
        await journal.take(0)
        try:
            yield journal
        finally:
            await journal.stop()

    return opened
