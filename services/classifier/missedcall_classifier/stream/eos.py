"""Exactly once inside Faust: what is overridden, and nothing else.

Faust gives membership, assignment, flow and the agent; the transaction is ours: one per source partition, holding
facts, verdicts, state rows, the position in the state, and the group's offset.

Rule 1: an agent's body does not await: at any commit, what was decided is what is taken.
Rule 2: a partition that is taken over is first fenced (its transactional id taken), then its state is read, then
        its source, from where the state says. Whoever had it before fails at his next commit.
Rule 3: a transaction that fails ends the process. There is no way back to a state that is known, but a restart.
Rule 4: the private names of Faust that this module uses are held in place by `test_faust_is_as_we_override_it`.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from missedcall_common.runtime.events import Event, emit
from missedcall_common.runtime.health import Health, HealthError

CRASHED = 70
"""Exit status after a transaction that failed."""
WATCH_S = 1.0
"""Between two looks whether we can be of our group. More: for so long a worker does nothing and says nothing."""


class Partitions:
    """What the service has of its partitions; filled by `app`."""

    def __init__(self) -> None:
        self.take_over: Callable[[set[int]], Awaitable[None]]
        """Called with the partitions that are ours now, before anything of them is read."""
        self.commit: Callable[[], Awaitable[dict[int, int]]]
        """Commits all that is pending; returns the next offset by partition."""
        self.positions: Callable[[], Mapping[int, int]]
        """Returns the next offset by partition, as the state says it."""


class EosConsumer(driver.Consumer):
    """Commits by transaction, and hands records over without a task for each."""

    async def wait_first(self, *waiting: Any, **limits: Any) -> Any:
        """Wait for the first of several; where that is a record that nothing holds up, hand it over.

        `_drain_messages` waits here for each record: (its delivery, the end of the flow). Faust makes four tasks of
        that; a delivery that need not wait takes none: 0.09 ms of CPU for a record of one message, not 0.14.
        """
        if len(waiting) == 2 and asyncio.iscoroutine(waiting[1]) and self._flows():
            delivery, end_of_flow = waiting
            end_of_flow.close()  # it has not begun
            return await delivery
        return await super().wait_first(*waiting, **limits)

    def _flows(self) -> bool:
        app: Any = self.app
        if self.suspend_flow.is_set() or not app.flow_control.is_active():
            return False
        return not any(channel.queue.full() for channel in app.topics._topic_name_index[app.source])  # noqa: SLF001

    @property
    def refused(self) -> KafkaError | None:
        """Why the client cannot be of its group, if so."""
        client: Any = self._thread._consumer  # noqa: SLF001
        error: KafkaError | None = client and client._coordinator._pending_exception  # noqa: SLF001
        return error

    async def _getmany(self, *args: Any, **options: Any) -> Any:
        """Read; what the client does not get over is told in our words, not in Faust's."""
        app: Any = self.app
        try:
            return await super()._getmany(*args, **options)
        except KafkaError as error:
            app.crash(error)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek where the state says; the offsets of the group are for onlookers, and anybody may move them."""
        app: Any = self.app
        found = await super().seek_to_committed()
        ours = {TP(app.source, number): position for number, position in app.partitions.positions().items()}
        ours = {tp: position for tp, position in ours.items() if tp in found}
        await self.seek_wait(ours)
        return {**found, **ours}

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """Commit; called by the timer, before partitions are given away, and at the end."""
        app: Any = self.app
        # A commit that has begun is brought to its end, also if who asked for it does not wait any more.
        committed = await asyncio.shield(asyncio.ensure_future(self._commit_or_crash(app)))
        for partition, offset in committed.items():
            tp = TP(app.source, partition)
            self._acked.pop(tp, None)
            self._acked_index.pop(tp, None)
            self._gap.pop(tp, None)
            self._committed_offset[tp] = offset
        return bool(committed)

    async def _commit_or_crash(self, app: "EosApp") -> dict[int, int]:
        try:
            return await app.partitions.commit()
        except BaseException as error:  # noqa: BLE001 - whatever it is, nothing is known after it
            app.crash(error)


class EosTransport(driver.Transport):
    """Makes our consumer."""

    Consumer = EosConsumer


class EosApp(faust.App):
    """A Faust app whose commits are transactions."""

    def __init__(
        self,
        *args: Any,
        source: str,
        partitions: Partitions,
        health: Health,
        rights: Mapping[type[KafkaError], str],
        **settings: Any,
    ) -> None:
        """Prepare.

        Args:
            args: as of a Faust app.
            source: full name of the topic that is read.
            partitions: what to do about them.
            health: who answers for us, from before the state is read.
            rights: what is to be said of an error that means that one is missing.
            settings: as of a Faust app.
        """
        self.source = source
        self.partitions = partitions
        self.health = health
        self._rights = rights
        self.moved = False
        """Whether the log goes on elsewhere, and this ends for that."""
        super().__init__(*args, **settings)
        # Sent after an assignment, before Faust seeks and reads.
        self.on_rebalance_complete.connect(self._take_over)

    async def on_first_start(self) -> None:
        """Answer probes before anything that takes long.

        Not Faust's own: it makes folders for tables on disk, in the current one.
        """
        self.add_future(self._watch_group())
        try:
            await self.health.start()
        except HealthError as error:  # Faust would log its own trace and hide ours
            emit(Event.SERVICE_FAILED, error)
            sys.stderr.write(f"missedcall_classifier: {error}\n")
            sys.stderr.flush()
            os._exit(1)

    async def on_stop(self) -> None:
        """Answer no more."""
        await self.health.stop()
        await super().on_stop()

    async def _watch_group(self) -> None:
        """End the process once we cannot be of our group.

        The client keeps why for whoever reads next, and waits; Faust reads nothing before its first partition.
        """
        consumer: Any = self.consumer
        while not self.should_stop:
            await self.sleep(WATCH_S)
            if (error := consumer.refused) is not None:
                self.crash(error)

    def crash(self, error: BaseException) -> NoReturn:
        """End the process, and say which right is missing if that is why."""
        crash(error, next((said for kind, said in self._rights.items() if isinstance(error, kind)), ""))

    def _new_transport(self) -> EosTransport:
        return EosTransport(self.conf.broker_consumer, self)

    async def _take_over(self, *_: Any, **__: Any) -> None:
        assigned = {tp.partition for tp in self.consumer.assignment() if tp.topic == self.source}
        try:
            await self.partitions.take_over(assigned)
        except Exception as error:  # noqa: BLE001 - Faust would log it and read on
            self.crash(error)


class EosWorker(faust.Worker):
    """A Faust worker that leaves our log alone, draws nothing, and ends when there is nothing left to do."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        """Prepare as a Faust worker does."""
        super().__init__(*args, **settings)
        self.spinner = None

    def _setup_logging(self) -> None:
        """Do nothing: the log is set up already, and its lines are JSON."""

    def _gather_all(self) -> None:
        """Cancel what is left. All that counts is committed; Faust would wait for a second first."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()

    async def _sentinel_task(self) -> None:
        """Let the cancelled see it; Faust sleeps for another second."""
        await asyncio.sleep(0)


def crash(error: BaseException, why: str = "") -> NoReturn:
    """End the process at once: no handler may still write anything.

    Args:
        error: what happened.
        why: what is to be done about it, if that is known.
    """
    refused = "AuthorizationFailed" in type(error).__name__
    why = why or ("Kafka does not allow it: see docs/rights.md" if refused else "a restart resumes")
    emit(Event.SERVICE_FAILED, error, detail=f"the open transaction is given up; {why}")
    os._exit(CRASHED)
