"""`missedcall run`: the whole pipeline on one machine.

Two processes: the receiver empties sockets and fills batches; this one decides, commits and delivers.

Rule 1: whatever arrives is committed within `TURN_S` as a rule; a kill at any moment costs what was not yet,
        and no more.
Rule 2: SIGTERM and SIGINT end it in order: stop listening, decide and commit what was received, let deliveries
        on their way end. A second signal does not wait for those: they are uncertain at the next start.
Rule 3: what cannot go on ends the process with a line that says why: a restart resumes from the file.
"""

import asyncio
import gc
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path

from missedcall_classifier.decision import Decision
from missedcall_classifier.rows import StateError
from missedcall_common.runtime.events import Event, configure, emit
from missedcall_common.runtime.settings import SettingsError
from missedcall_notifier.app import Notifier
from missedcall_notifier.journal_sqlite import SqliteJournal

from .config import Config, ConfigError, load
from .facts import StoredFacts
from .link import Order
from .pipeline import Pipeline
from .receiving import ReceiverError, Receiving
from .store import Store
from .store_file import StoreError

TURN_S = 0.1
"""Between two commits while messages come. Less: more syncs, and state written more often. More: a kill costs
more of what was received, and facts are told later."""
COMMIT_SHARE = 0.2
"""Share of the time that commits may take: on a slow disk, or under load, turns are longer. Less: as a longer
`TURN_S`. More: decisions wait for commits."""
LONGEST_TURN_S = 1.0
"""A turn is never longer, whatever the disk does."""
TURN_MESSAGES = 8_192
"""Messages that a turn may hold. Less: as above. More: one commit takes long."""
ALLOCATIONS = 20_000
"""Objects made between two looks of the garbage collector; Python's 700 costs a tenth of the time here, where
calls live for minutes and hardly anything is a cycle."""
SAY_EVERY_S = 60.0
"""Between two lines of counters."""


def main(config_path: Path | None) -> int:
    """Run until a signal.

    Returns:
        0: ended in order. 1: it could not start or go on. 2: the configuration cannot be used.
    """
    try:
        config = Config() if config_path is None else load(config_path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    configure()
    gc.set_threshold(ALLOCATIONS, 10, 10)
    status = 0
    try:
        asyncio.run(_run(config))
    except* (StoreError, StateError, ReceiverError, SettingsError, sqlite3.Error, OSError) as group:
        for reason in _leaves(group):
            emit(Event.SERVICE_FAILED, reason)
            print(f"missedcall run: {reason}", file=sys.stderr)
        status = 1
    return status


async def _run(config: Config) -> None:
    started = time.monotonic()
    with Store(Path(config.store.file), config.store.keep) as store:
        pipeline = Pipeline(store, config.policy)
        load_s = round(time.monotonic() - started, 3)
        emit(Event.STATE_LOADED, open_calls=pipeline.open_calls, clock_ms=pipeline.clock_ms, load_s=load_s)
        if pipeline.policy_before:
            emit(Event.POLICY_CHANGED, policy=config.policy.digest())
        gc.collect()
        gc.freeze()  # what is here now stays: it is not looked at again
        await Run(config, store, pipeline).until_stopped()
    emit(Event.SERVICE_STOPPED, uptime_s=round(time.monotonic() - started, 1))


class Run:
    """The parts at work, on the running event loop."""

    def __init__(self, config: Config, store: Store, pipeline: Pipeline) -> None:
        self._config = config
        self._store = store
        self._pipeline = pipeline
        self._facts = StoredFacts(store)
        self._receiving = Receiving(self._take)
        self._notifier: Notifier | None = None
        self._turn_ends: asyncio.TimerHandle | None = None
        self._turn_s = TURN_S
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hurried = asyncio.Event()
        self._said: Counter[str] = Counter()

    async def until_stopped(self) -> None:
        """Work until a signal, then end in order.

        Raises:
            ReceiverError: listeners cannot start, or the receiver died.
            StoreError: the file cannot be written.
            ExceptionGroup: the delivery journal cannot be written.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        async with AsyncExitStack() as stack:
            delivering = await self._deliver(stack)
            stack.push_async_callback(self._receiving.close)
            await self._listen()
            saying = loop.create_task(self._say_regularly())
            stack.callback(saying.cancel)
            working = {self._over, self._receiving.ended, *delivering}
            await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for part in working:
                if part.done():
                    part.result()
            if not self._over.done():
                raise ReceiverError("the receiver process ended by itself")
            await self._receiving.rest()
            self._commit()
            await self._end_delivery(delivering)
            self._say()

    async def _listen(self) -> None:
        policy = self._config.policy
        order = Order(
            listen=self._config.listen,
            correlation_headers=policy.correlation_headers,
            call_id_suffixes=policy.call_id_suffixes,
            not_before_ms=self._pipeline.clock_ms,
        )
        for transport, _, port, buffer in (await self._receiving.start(order)).listening:
            emit(Event.LISTENER_OPENED, transport=transport, port=port, bytes=buffer)
        channels = self._config.notify.channels
        emit(
            Event.SERVICE_STARTED,
            version=metadata.version("missedcall"),
            policy=policy.digest(),
            detail=f"delivers by {', '.join(channels)}" if channels else "delivers nothing: no channel is on",
        )

    async def _deliver(self, stack: AsyncExitStack) -> set[asyncio.Task[None]]:
        """Start the notifier if a channel is on."""
        notify = self._config.notify
        if not notify.channels:
            return set()
        journal = await stack.enter_async_context(SqliteJournal(self._store.path))
        self._notifier = Notifier(notify, self._facts, journal)
        delivering = asyncio.get_running_loop().create_task(self._notifier.run())

        async def abandon() -> None:
            delivering.cancel()
            await asyncio.wait({delivering})

        stack.push_async_callback(abandon)
        return {delivering}

    async def _end_delivery(self, delivering: set[asyncio.Task[None]]) -> None:
        """Let deliveries on their way end, unless there is a second signal."""
        if self._notifier is not None:
            self._notifier.stop()
            hurried = asyncio.get_running_loop().create_task(self._hurried.wait())
            await asyncio.wait({hurried, *delivering}, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()

    def _signalled(self) -> None:
        if self._over.done():
            self._hurried.set()
        else:
            self._over.set_result(None)

    def _take(self, encoded: bytes) -> None:
        """Decide a batch; see to it that the turn ends."""
        self._pipeline.take(encoded)
        if self._pipeline.messages >= TURN_MESSAGES:
            self._commit()
        elif self._turn_ends is None:
            self._turn_ends = asyncio.get_running_loop().call_later(self._turn_s, self._end_turn)

    def _end_turn(self) -> None:
        try:
            self._commit()
        except Exception as error:  # noqa: BLE001 - out of a timer nobody would hear it
            if not self._over.done():
                self._over.set_exception(error)

    def _commit(self) -> None:
        if self._turn_ends is not None:
            self._turn_ends.cancel()
            self._turn_ends = None
        if not self._pipeline.pending:
            return
        began = time.monotonic()
        decisions = self._pipeline.commit()
        took_s = time.monotonic() - began
        self._turn_s = min(max(TURN_S, took_s / COMMIT_SHARE - took_s), LONGEST_TURN_S)
        self._facts.committed()
        for decision in decisions:
            _log(decision)

    async def _say_regularly(self) -> None:
        while True:
            await asyncio.sleep(SAY_EVERY_S)
            self._say()

    def _say(self) -> None:
        """Write the line of counters, and a warning for each cause of which something was lost since the last."""
        received = Counter(self._receiving.counts)
        for name, count in (received - self._said).items():
            if name.startswith("dropped."):
                emit(Event.INPUT_DROPPED, cause=name.removeprefix("dropped."), count=count)
        self._said = received
        counts = {**(self._pipeline.engine_counts + received), **self._pipeline.counts}
        emit(Event.COUNTERS_REPORTED, counts=counts, open_calls=self._pipeline.open_calls)


def _log(decision: Decision) -> None:
    """Write the line per call and user."""
    for verdict in decision.verdicts:
        emit(
            Event.CALL_JUDGED,
            outcome=verdict.outcome,
            rule=verdict.rule,
            detail=verdict.detail,
            role=verdict.role,
            confidence=verdict.confidence,
            suppressed=verdict.suppressed,
            revision=verdict.revision,
            fact_id=verdict.fact_id,
            ring_s=round(verdict.ring_s, 3),
            settle_s=round(verdict.decided_at - verdict.ended_at, 3),
        )
    for fact in decision.facts:
        if fact.state == "retracted":
            emit(Event.CALL_RETRACTED, fact_id=fact.fact_id, revision=fact.revision, rule=fact.rule)


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
