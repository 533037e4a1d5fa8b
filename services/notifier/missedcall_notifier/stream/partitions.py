"""The partitions of this worker on Kafka: the journal of a channel, and the source of its facts, in one.

    came -> taken over, read -> ours -> leaving (what is under way may end) -> gone
              ^------ a transaction failed ------'

Rule 1: a change is made in memory and answered when its transaction is committed. What waits together for one
        partition is committed together; partitions do not wait for each other.
Rule 2: a transaction that fails says nothing: the partition is taken over anew and read again, and what waited is
        done again on what is there. An outcome finds its attempt, or is there already, or is somebody else's now.
Rule 3: an attempt found in the journal that nobody here makes was interrupted: it is uncertain.
Rule 4: everything here is of the event loop's thread, but for what `Owner` hears, which is handed to it.
"""

import asyncio
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from kafka.errors import KafkaError

from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.kafka.plan import name_of
from missedcall_common.runtime.events import Event, emit
from missedcall_common.runtime.telemetry import SILENT, Telemetry
from missedcall_notifier.clock import Clock
from missedcall_notifier.delivery import Delivery, State
from missedcall_notifier.journal import StaleDeliveryError
from missedcall_notifier.ledger import Ledger
from missedcall_notifier.source import Page
from missedcall_schemas import codec
from missedcall_schemas.records import MissedCall
from missedcall_schemas.topics import TOPICS

from .letters import LetterError, Request, letter
from .membership import Fact, Membership, Place
from .requests import Requests
from .settings import DAY_S, ServiceSettings
from .writer import POSITION, FencedError, Record, Rows, Writer, read

THREADS = 8
"""Transactions under way at once. Less: they wait for the brokers' answers one after the other. More: each holds
fewer changes, and the interpreter is what they wait for."""
RETRY_S = 1.0
"""Between two attempts to take a partition over."""
BUFFER = 1_024
"""Facts of one partition that wait in memory; then it is read no further until a quarter is left. More: memory,
about 1 kB each. Less: the end of an outage is read in more steps."""
REDRIVE_S = 3 * DAY_S
"""A request that is older changes nothing: what it asked for may be over and forgotten."""
LEAVE_S = 2.0
"""For the outcomes of what ended in time, when a partition is given up."""


class _Waiter(NamedTuple):
    """Who waits for a change to be durable."""

    done: "asyncio.Future[Any]"
    result: Any
    redo: Callable[[Ledger], Any]
    """Makes the change again on what was read anew; returns the result."""


class _Part:
    """One partition."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ledger = Ledger()
        self.writer: Writer | None = None
        self.loaded = self.leaving = self.gone = False
        self.run = 0
        """How often it was read; facts that were heard before count for nothing."""
        self.committed = 0
        """Position that is durable."""
        self.under_way: set[str] = set()
        """Deliveries whose attempt somebody here makes."""
        self.claiming = 0
        """How many are about to: their claim is being committed, or is and they have not heard it yet."""
        self.waiters: list[_Waiter] = []
        self.letters: list[Delivery] = []
        self.flushing: asyncio.Task[None] | None = None
        self.facts: deque[Fact] = deque()
        self.paused = False
        self.idle = asyncio.Event()
        """Set when nothing is under way and nobody waits; looked at by whoever gives it up."""

    @property
    def ours(self) -> bool:
        """Whether deliveries of it may begin."""
        return self.loaded and not self.leaving

    def settle(self) -> None:
        """Set or clear `idle`."""
        if self.under_way or self.claiming or self.waiters or self.flushing:
            self.idle.clear()
        else:
            self.idle.set()


class KafkaPartitions:
    """A `Journal` and a `FactSource` of one channel. `start` it, `stop` it."""

    def __init__(self, settings: ServiceSettings, clock: Clock, telemetry: Telemetry = SILENT) -> None:
        """Prepare; nothing is connected.

        Raises:
            KafkaUnusableError: the compiled checksum is missing.
            SettingsError: a file for TLS or the password's cannot be used.
        """
        kafka = settings.kafka
        self.counts: Counter[str] = Counter()
        """`taken-over` and `given-up` partitions, `transactions`, `transactions-failed`, `redriven` deliveries;
        what else the service counts, too."""
        self._settings = settings
        self._clock = clock
        self._telemetry = telemetry
        self._facts_topic = name_of("missed-calls", kafka)
        self._letters_topic = name_of("dead-letters", kafka)
        self._journal_topic = TOPICS["notify-journal-{channel}"].full_name(
            prefix=kafka.prefix, generation=kafka.generation, channel=settings.channel
        )
        self._connection = connection(kafka, f"missedcall-{settings.channel}")
        self._parts: dict[int, _Part] = {}
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._recovered: list[Delivery] = []
        self._asked: defaultdict[int, dict[str, Request]] = defaultdict(dict)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="journal")
        self._tasks: set[asyncio.Task[Any]] = set()
        self._news = asyncio.Event()
        self._lost_at: float | None = None
        self._turn_of = 0
        stop_s = settings.notify.stop_s
        place = Place(self._facts_topic, settings.group, settings.worker, settings.session_s, stop_s)
        self.membership = Membership(self._connection, place, self)
        self._requests = Requests(
            self._connection, name_of("notify-redrive", kafka), settings.channel, self._hear_request
        )
        self._loop: asyncio.AbstractEventLoop
        self.failed: asyncio.Future[None]
        """Done with what went wrong here, if something did that only a restart can mend."""

    async def start(self) -> None:
        """Take part in the group from now on."""
        self._loop = asyncio.get_running_loop()
        self.failed = self._loop.create_future()
        self.membership.start()
        self._requests.start()

    async def stop(self) -> None:
        """Give all partitions up and leave; attempts that nobody makes any more are not waited for."""
        for part in self._parts.values():
            part.under_way.clear()
            part.settle()
        await asyncio.to_thread(self.membership.stop)
        await asyncio.to_thread(self._requests.stop)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False)

    @property
    def ready(self) -> bool:
        """Whether all partitions that are ours are loaded; that may be none."""
        return self.membership.joined and all(part.loaded for part in self._parts.values())

    @property
    def open_deliveries(self) -> int:
        """How many deliveries wait here."""
        return sum(part.ledger.waiting for part in self._parts.values() if part.loaded)

    @property
    def waits_since(self) -> float | None:
        """When the oldest of them was to be delivered, POSIX seconds; None if none waits."""
        since = (part.ledger.waits_since for part in self._parts.values() if part.loaded)
        return min((at for at in since if at is not None), default=None)

    # -- the journal ---------------------------------------------------------------------------------

    async def positions(self, channel: str) -> Mapping[int, int]:
        """Return, by part that is ours, up to where its facts have become intents."""
        return {part.number: part.ledger.position for part in self._ours(channel)}

    async def open(
        self,
        channel: str,
        intents: Sequence[Delivery],
        *,
        position: int,
        part: int = 0,
    ) -> list[Delivery]:
        """Record intents and the part's new position; return the intents that are new."""
        there = self._parts.get(part)
        if there is None or there not in self._ours(channel):
            return []

        def take(ledger: Ledger) -> list[Delivery]:
            return ledger.take(intents, max(position, ledger.position))

        try:
            opened: list[Delivery] = await self._durable(there, take(there.ledger), take)
        except StaleDeliveryError:
            return []
        return opened

    async def claim(
        self,
        channel: str,
        *,
        now: float,
        limit: int,
        newest_first: bool = False,
    ) -> list[Delivery]:
        """Begin up to `limit` due deliveries; return all that changed.

        The freshest are taken wherever they are, the oldest as many as there are from one partition: so few
        transactions carry a backlog.
        """
        if channel != self._settings.channel:
            return []
        taken: list[tuple[_Part, list[Delivery]]] = []
        waiting = []
        served: set[int] = set()
        while limit > 0:
            first = self._first(now, newest_first=newest_first, besides=served)
            if first is None:
                break
            share = 1 if newest_first else limit
            changed = first.ledger.claim(now, share, newest_first=newest_first)
            if not changed:
                served.add(first.number)  # what is due there waits for something under way
                continue
            limit -= sum(one.state is State.ATTEMPT for one in changed)
            taken.append((first, changed))
        for part, changed in taken:
            part.claiming += 1
            waiting.append(self._durable(part, changed, lambda _: []))
        found, self._recovered = self._recovered, []
        try:
            answers: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
            for (part, _), answer in zip(taken, answers, strict=True):
                if part.gone or isinstance(answer, StaleDeliveryError):
                    continue  # whoever has it finds the attempt, and that nobody makes it
                if isinstance(answer, BaseException):
                    raise answer
                part.under_way |= {one.delivery_id for one in answer if one.state is State.ATTEMPT}
                found += answer
        finally:
            for part, _ in taken:
                part.claiming -= 1
                part.settle()
        return found

    async def record(self, before: Delivery, after: Delivery) -> None:
        """Replace `before` by `after`.

        Raises:
            StaleDeliveryError: the journal does not hold `before` (any more), or is not ours.
        """
        name = before.delivery_id
        part = next((one for one in self._parts.values() if self._has(one, name)), None)
        if part is None:
            raise StaleDeliveryError(name)

        def change(ledger: Ledger) -> None:
            if ledger.record(before, after) and after.state is State.DEAD:
                part.letters.append(after)

        try:
            if part.loaded:
                change(part.ledger)
            await self._durable(part, None, change)
        finally:
            part.under_way.discard(name)
            part.settle()

    async def recover(self, channel: str, *, now: float) -> list[Delivery]:
        """Return the attempts that a dead process left behind, now UNCERTAIN and due."""
        found = []
        for part in self._ours(channel):
            part.under_way.clear()
            recovered = part.ledger.recover(now)
            found += await self._durable(part, recovered, lambda ledger: ledger.recover(now))
        return found

    async def find(self, delivery_id: str) -> Delivery | None:
        """Return a delivery, without its fact if it has ended well; None if it is not in a part of ours."""
        found = (part.ledger.find(delivery_id) for part in self._ours())
        return next((delivery for delivery in found if delivery is not None), None)

    async def next_due(self, channel: str) -> float | None:
        """Return when the next open delivery is due; None if there is none."""
        ends = (part.ledger.next_due() for part in self._ours(channel))
        return min((at for at in ends if at is not None), default=None)

    async def waiting(self, channel: str) -> int:
        """Return how many deliveries are open."""
        return sum(part.ledger.waiting for part in self._ours(channel))

    async def is_gone(self, channel: str, mark: str) -> bool:
        """Whether an open delivery found the channel `gone` under this mark."""
        return any(part.ledger.is_gone(mark) for part in self._ours(channel))

    async def forget(self, *, before: float) -> int:
        """Remove what ended before this time; return how many."""
        total = 0
        for part in self._ours():
            if count := part.ledger.forget(before):
                try:
                    total += await self._durable(part, count, lambda ledger: ledger.forget(before))
                except StaleDeliveryError:
                    continue
        return total

    def _ours(self, channel: str = "") -> list[_Part]:
        """Return the partitions that we have; none for a channel that is not ours."""
        if channel not in {"", self._settings.channel}:
            return []
        return [part for part in self._parts.values() if part.ours]

    def _first(self, now: float, *, newest_first: bool, besides: set[int]) -> _Part | None:
        """Return the partition whose first delivery comes before those of all others."""
        best: tuple[bool, float] | None = None
        found = None
        for part in self._ours():
            head = part.ledger.head(now, newest_first=newest_first) if part.number not in besides else None
            if head is not None:
                rank = (not head[0], -head[1] if newest_first else head[1])
                if best is None or rank < best:
                    best, found = rank, part
        return found

    def _has(self, part: _Part, name: str) -> bool:
        return name in part.under_way or (part.ours and part.ledger.find(name) is not None)

    # -- the source ----------------------------------------------------------------------------------

    async def read(self, positions: Mapping[int, int], limit: int) -> Page | None:
        """Return up to `limit` facts of one partition, of each in its turn."""
        parts = sorted(part for part in positions if part in self._parts)
        for number in [one for one in parts if one > self._turn_of] + [
            one for one in parts if one <= self._turn_of
        ]:
            part = self._parts[number]
            while part.facts and part.facts[0].offset < positions[number]:
                part.facts.popleft()
            if part.ours and part.facts:
                self._turn_of = number
                return self._page(part, limit)
        return None

    async def wait(self, positions: Mapping[int, int]) -> None:
        """Return when there are facts, or other partitions than these."""
        while True:
            ours = self._ours()
            if {part.number for part in ours} != positions.keys() or any(part.facts for part in ours):
                return
            await self._news.wait()

    def _page(self, part: _Part, limit: int) -> Page:
        newer: Counter[str] = Counter()
        facts: list[MissedCall | None] = []
        offset = 0
        for _ in range(min(limit, len(part.facts))):
            offset, value = part.facts.popleft()
            try:
                facts.append(codec.decode_missed_call(value or b"", newer))
            except codec.CodecError as error:
                emit(Event.RECORD_REFUSED, error, topic="missed-calls", partition=part.number, offset=offset)
                facts.append(None)
        if newer:
            emit(Event.RECORD_NEWER, topic="missed-calls", count=newer.total())
        if part.paused and len(part.facts) < BUFFER // 4:
            part.paused = False
            self.membership.pause(part.number, paused=False)
        return Page(part.number, offset + 1, facts)

    # -- the owner of a membership, on its thread --------------------------------------------------------

    def came(self, parts: set[int]) -> None:
        """Take partitions up."""
        self._loop.call_soon_threadsafe(self._came, parts)

    def left(self, parts: set[int], *, lost: bool) -> threading.Event:
        """Give partitions up."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._left, parts, lost, done)
        return done

    def heard(self, part: int, run: int, facts: Sequence[Fact]) -> None:
        """Take facts."""
        self._loop.call_soon_threadsafe(self._heard, part, run, facts)

    def positions_durable(self) -> Mapping[int, int]:
        """Return up to where the facts of each partition are durable intents."""
        return {part.number: part.committed for part in list(self._parts.values())}

    def _hear_request(self, request: Request) -> None:
        self._loop.call_soon_threadsafe(self._take_request, request)

    # -- partitions come and go -----------------------------------------------------------------------

    def _came(self, numbers: set[int]) -> None:
        for number in numbers:
            if (before := self._parts.get(number)) is not None:
                self._drop(before)
            part = self._parts[number] = _Part(number)
            self._spawn(self._load(part))

    def _left(self, numbers: set[int], lost: bool, done: threading.Event) -> None:
        # Now, not when the task runs: they may be ours again by then.
        parts = [self._parts[number] for number in numbers if number in self._parts]

        async def leave() -> None:
            try:
                await asyncio.gather(*(self._leave(part, lost=lost) for part in parts))
            finally:
                done.set()

        self._spawn(leave())

    def _heard(self, number: int, run: int, facts: Sequence[Fact]) -> None:
        part = self._parts.get(number)
        if part is None or part.run != run:
            return
        part.facts.extend(facts)
        if len(part.facts) >= BUFFER and not part.paused:
            part.paused = True
            self.membership.pause(number, paused=True)
        self._tell()

    async def _leave(self, part: _Part, *, lost: bool) -> None:
        """Let what is under way end, unless the partition is another's already, and have no more of it."""
        part.leaving = True
        self._tell()
        if part.loaded and not lost:
            try:
                async with asyncio.timeout(self._settings.notify.stop_s + LEAVE_S):
                    part.settle()
                    await part.idle.wait()
            except TimeoutError:
                pass  # stays in ATTEMPT: uncertain to whoever has it next
        self._drop(part)

    def _drop(self, part: _Part) -> None:
        if part.gone:
            return
        part.gone, part.loaded = True, False
        if self._parts.get(part.number) is part:
            del self._parts[part.number]
        self.counts["given-up"] += 1
        emit(
            Event.PARTITION_LEFT,
            partition=part.number,
            waiting=part.ledger.waiting,
            count=len(part.under_way),
        )
        waiters, part.waiters = part.waiters, []
        self._fail(waiters)
        self._close(part)
        self._tell()

    def _close(self, part: _Part) -> None:
        if (writer := part.writer) is not None:
            part.writer = None
            self._spawn(self._in_thread(writer.close))

    async def _load(self, part: _Part) -> None:
        """Take a partition over, and read it; however long Kafka lets us wait."""
        began = time.monotonic()
        rows = await self._taken_over(part)
        if rows is None:
            return
        now = self._clock.now()
        part.ledger = ledger = Ledger(rows.deliveries, rows.position, slim=True)
        part.letters.clear()
        waiters, part.waiters = part.waiters, []
        for waiter in waiters:
            try:
                part.waiters.append(waiter._replace(result=waiter.redo(ledger)))
            except StaleDeliveryError as error:
                _answer(waiter, error=error)
        self._recovered += ledger.recover(now, part.under_way)
        for request in self._asked[part.number].values():
            self._redrive(part, request)
        part.committed = rows.position
        part.run += 1
        part.facts.clear()
        part.paused = False
        part.loaded = True
        self.counts["taken-over"] += 1
        self.membership.read_from(part.number, rows.position, part.run)
        emit(
            Event.STATE_LOADED,
            partition=part.number,
            offset=rows.position,
            waiting=ledger.waiting,
            records=len(rows.deliveries),
            load_s=round(time.monotonic() - began, 3),
        )
        self._flush(part)
        self._tell()

    async def _taken_over(self, part: _Part) -> Rows | None:
        """Return what is in a partition, once we are its writer; None if it is not ours any more."""
        while not part.gone:
            try:
                async with self._locks[part.number]:  # an earlier time that it was ours may not be over
                    if part.gone:
                        break
                    taken: tuple[Writer, Rows] = await self._in_thread(partial(self._take_over, part.number))
                    part.writer, rows = taken
            except (KafkaError, KafkaUnusableError, OSError) as error:
                self._say_lost(
                    error,
                    f"partition {part.number} cannot be taken over by {self._settings.group}-{part.number}",
                )
                await asyncio.sleep(RETRY_S)
            else:
                self._say_reached()
                if not part.gone:
                    return rows
                self._close(part)
        return None

    def _take_over(self, number: int) -> tuple[Writer, Rows]:
        writer = Writer(self._connection, f"{self._settings.group}-{number}")
        try:
            return writer, read(self._connection, self._journal_topic, number)
        except BaseException:
            writer.close()
            raise

    # -- transactions ---------------------------------------------------------------------------------

    async def _durable(self, part: _Part, result: Any, redo: Callable[[Ledger], Any]) -> Any:
        """Return the result of a change that was made in memory, once it is committed.

        Raises:
            StaleDeliveryError: the partition is not ours any more.
        """
        if part.gone:
            raise StaleDeliveryError(f"partition {part.number}")
        waiter = _Waiter(self._loop.create_future(), result, redo)
        part.waiters.append(waiter)
        self._flush(part)
        return await asyncio.shield(waiter.done)

    def _flush(self, part: _Part) -> None:
        if part.flushing is None and part.loaded:
            part.flushing = self._spawn(self._commit_all(part))

    def _tell_of(self, part: _Part, began_s: float, records: int, failure: str = "") -> None:
        """Tell of a transaction; of facts that are no business of this channel's it only moves the position."""
        said: dict[str, str | int | float] = {
            "messaging.system": "kafka",
            "messaging.destination.partition.id": str(part.number),
            "messaging.batch.message_count": records,
        }
        self._telemetry.batch("send notify-journal", began_s, time.time(), said, failure=failure)

    async def _commit_all(self, part: _Part) -> None:
        """Commit turn after turn, until nothing is left."""
        try:
            while part.loaded:
                waiters, part.waiters = part.waiters, []
                letters, part.letters = part.letters, []
                position = part.ledger.position
                records = self._records(part, letters)
                if not (waiters or records):
                    break
                began_s = time.time()
                try:
                    if records and part.writer is not None:
                        await self._in_thread(partial(part.writer.write, records))
                        self.counts["transactions"] += 1
                        self._tell_of(part, began_s, len(records))
                except (FencedError, KafkaError, OSError) as error:
                    self.counts["transactions-failed"] += 1
                    self._tell_of(part, began_s, len(records), type(error).__name__)
                    if part.gone:
                        self._fail(waiters)
                    else:
                        part.waiters = waiters + part.waiters
                        self._spawn(self._take_over_anew(part, error))
                        part.loaded = False
                    break
                except BaseException:
                    self._fail(waiters)
                    raise
                part.committed = position
                self._say_reached()
                for waiter in waiters:
                    _answer(waiter)
        finally:
            part.flushing = None
            part.settle()

    def _records(self, part: _Part, letters: Sequence[Delivery]) -> list[Record]:
        topic, number = self._journal_topic, part.number
        records = [Record(topic, key.encode(), row, number) for key, row in part.ledger.turn().items()]
        records += [
            Record(self._letters_topic, dead.delivery_id.encode(), letter(dead, number), None)
            for dead in letters
        ]
        if part.ledger.position != part.committed:
            records.append(Record(topic, POSITION, b"%d" % part.ledger.position, number))
        return records

    async def _take_over_anew(self, part: _Part, error: BaseException) -> None:
        """Begin a partition anew after a transaction that failed."""
        self._say_lost(error, "a transaction failed")
        self._close(part)
        self._tell()
        # Who was fenced has lost the partition as a rule, and hears of it soon: to take it back at once would fence
        # its new owner.
        await asyncio.sleep(self._settings.session_s if isinstance(error, FencedError) else RETRY_S)
        if not part.gone:
            await self._load(part)

    def _fail(self, waiters: Sequence[_Waiter]) -> None:
        for waiter in waiters:
            _answer(waiter, error=StaleDeliveryError("the partition is another's"))

    # -- what is asked for -----------------------------------------------------------------------------

    def _take_request(self, request: Request) -> None:
        self._asked[request.part][request.record] = request
        part = self._parts.get(request.part)
        if part is not None and part.loaded:
            self._redrive(part, request)
            self._flush(part)
            self._tell()

    def _redrive(self, part: _Part, request: Request) -> None:
        now = self._clock.now()
        if request.asked_at < now - min(REDRIVE_S, self._settings.notify.keep_days * DAY_S):
            return
        try:
            dead = request.delivery()
        except LetterError as error:
            emit(Event.RECORD_REFUSED, error, topic="notify-redrive", partition=part.number)
            return
        if dead.channel == self._settings.channel and (again := part.ledger.redrive(dead, now)) is not None:
            self.counts["redriven"] += 1
            self._recovered.append(again)

    # -- helpers ---------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Wake whoever waits for news."""
        self._news.set()
        self._news = asyncio.Event()

    def _say_lost(self, error: BaseException, detail: str) -> None:
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            emit(Event.KAFKA_LOST, error, detail=detail)

    def _say_reached(self) -> None:
        if self._lost_at is not None:
            emit(Event.KAFKA_REACHED, wait_s=round(time.monotonic() - self._lost_at, 1))
            self._lost_at = None

    def _in_thread(self, work: Callable[[], Any]) -> "asyncio.Future[Any]":
        return self._loop.run_in_executor(self._threads, work)

    def _spawn(self, work: "Coroutine[Any, Any, Any] | asyncio.Future[Any]") -> "asyncio.Task[Any]":
        async def run() -> Any:
            return await work

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)


def _answer(waiter: _Waiter, *, error: BaseException | None = None) -> None:
    if waiter.done.done():
        return
    if error is None:
        waiter.done.set_result(waiter.result)
    else:
        waiter.done.set_exception(error)
        waiter.done.exception()  # heard, whether or not anybody still waits
