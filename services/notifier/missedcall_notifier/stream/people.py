"""People from the topics `directory` and `preferences`: every worker reads all of both.

Rule 1: nothing is delivered before both have been read to their end once: a notice without its reader's language
        cannot be taken back.
Rule 2: afterwards nothing waits for Kafka: what was read last holds while it is away.
"""

import asyncio
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from missedcall_common.runtime.events import Event, emit
from missedcall_notifier.people.files import FilePeople
from missedcall_notifier.people.log import PeopleLog, RecordError
from missedcall_notifier.people.port import People
from missedcall_notifier.settings import PeopleSettings

from .following import Follower

REBUILD_S = 5.0
"""Between two times that changes are taken over. Less: of 50,000 persons each takes seconds of a core. More: a
change counts that much later."""
LOOK_S = 0.1


class TopicPeople:
    """A snapshot that a thread makes anew."""

    def __init__(
        self, settings: PeopleSettings, connection: Mapping[str, Any], names: Mapping[str, str]
    ) -> None:
        """Prepare.

        Args:
            settings: the region; the file with the choices of groups and everybody.
            connection: arguments that all clients have in common.
            names: DIRECTORY and PREFERENCES by their full names.

        Raises:
            SettingsError: the file is wrong.
        """
        self._region = settings.region
        self._files = FilePeople(settings)
        self._names = names
        self._people = self._files.snapshot()
        self._loaded = threading.Event()
        self._follower = Follower(connection, list(names), lambda: _Reading(self), "people")

    def snapshot(self) -> People:
        """Return what was last read."""
        return self._people

    async def load(self, stopping: asyncio.Event) -> None:
        """Return when both topics have been read to their end, or we are told to stop."""
        self._follower.start()
        while not self._loaded.is_set() and not stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await stopping.wait()

    async def follow(self, stopping: asyncio.Event) -> None:
        """Follow the file, too, until told to stop; then end the thread."""
        await self._files.follow(stopping)
        self._follower.end()

    # -- the thread ----------------------------------------------------------------------------------

    def topic_of(self, record: Any) -> str:
        """Return DIRECTORY or PREFERENCES."""
        return self._names[record.topic]

    def wishes(self) -> Any:
        """Return the choices of groups and everybody as they stand in the file."""
        return self._files.snapshot().wishes

    def take_over(self, log: PeopleLog, wishes: Any) -> None:
        """Make the snapshot anew."""
        self._people = log.people(self._region, wishes)
        emit(Event.DIRECTORY_LOADED, record="topics", records=len(self._people.directory))
        self._loaded.set()


class _Reading:
    """What one client has read."""

    def __init__(self, owner: TopicPeople) -> None:
        self._owner = owner
        self._log = PeopleLog()
        self._wishes: Any = None
        self._changed = True
        self._rebuild_at = 0.0

    def hear(self, record: Any) -> None:
        self._changed = True
        topic = self._owner.topic_of(record)
        try:
            self._log.hear(topic, record.key, record.value)
        except RecordError as error:
            emit(
                Event.RECORD_REFUSED,
                topic=topic,
                partition=record.partition,
                offset=record.offset,
                detail=str(error),
            )

    def went_round(self, *, complete: bool) -> None:
        wishes = self._owner.wishes()
        if (
            complete
            and (self._changed or wishes is not self._wishes)
            and time.monotonic() >= self._rebuild_at
        ):
            self._owner.take_over(self._log, wishes)
            self._changed, self._wishes = False, wishes
            self._rebuild_at = time.monotonic() + REBUILD_S
