"""One channel at work: facts become intents, intents become attempts, until it is told to stop.

Rule 1: lanes share the facts and the journal and nothing else. One that is down, slow or full holds up nobody.
Rule 2: every state is in the journal; what is here can be lost at any line. An error of the journal or the
        source ends the lane, and with it the notifier: restart and resume.
Rule 3: a lane sleeps until the earliest of: the next delivery is due, the breaker lets a probe through, an
        attempt ended, a fact came, it is told to stop. Never past due work.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import NamedTuple

from missedcall_common.runtime.sampling import NO_CALL, Sampler

from .breaker import GONE, Breaker, after
from .channels.port import Channel
from .clock import Clock
from .delivery import Delivery, State
from .events import log_breaker, log_delivery
from .failure import Failed, Failure
from .journal import Journal, StaleDeliveryError
from .people.port import FixedPeople, PeopleSource
from .reader import Defaults
from .retry import RetryPolicy
from .routing import UNREADABLE, Recipients, route
from .source import FactSource, Page
from .stages import Job, chain, record, render, send, unless_reported

READ_LIMIT = 256
"""Facts that become intents in one transaction. Less: a backlog is read slowly. More: the first notice of a
burst waits for the last to be recorded."""

FULL_WAIT_S = 1.0
"""How often a full journal is asked whether there is room; facts that a gone channel does not want stay where they
are, too. Less: questions during an outage, answered no. More:
intake starts that much after there is room; by then attempts have a full journal to work on."""

AHEAD_S = 0.25
"""As many as were sent in this time are claimed beyond the free places: who is fast does not wait for the journal,
and for who is slow nothing is claimed that has to wait. Less: sending waits for transactions. More: a crash leaves
more attempts that were never made and are uncertain all the same."""
AHEAD = 8
"""Times the places, at most."""

NOT_BEGUN = "not begun"
"""Detail of an attempt that was claimed and not made: too long ago, the channel is down meanwhile, or we stop."""

Observer = Callable[[Delivery], None]
"""Told of every change after it is durable."""


def say_nothing(_delivery: Delivery) -> None:
    """Observe nothing."""


class Way(NamedTuple):
    """A channel, whom it reaches and how patient it is."""

    channel: Channel
    recipients: Recipients
    policy: RetryPolicy
    concurrency: int
    """Attempts under way at once."""
    gone: str = ""
    """Detail under which the channel says that it is gone; "" if it never does."""
    repeats_s: float = 0.0
    """Seconds within which calls of one caller are one notice; 0: each is one of its own."""


class Lane:
    """One channel's intake and attempts."""

    def __init__(
        self,
        way: Way,
        *,
        source: FactSource,
        journal: Journal,
        clock: Clock,
        people: PeopleSource | None = None,
        defaults: Defaults | None = None,
        observe: Observer = say_nothing,
        sampler: Sampler = NO_CALL,
        max_waiting: int,
        stop_s: float,
        claim_s: float = math.inf,
    ) -> None:
        self.name = way.channel.name
        self.breaker = Breaker()
        self.counts: Counter[str] = Counter()
        """Deliveries by the state they reached, and `unrouted:<reason>`."""
        self._way = way
        self._source = source
        self._journal = journal
        self._clock = clock
        self._people = people or FixedPeople()
        self._defaults = defaults or Defaults()
        self._observe = observe
        self._sampler = sampler
        self._max_waiting = max_waiting
        self._stop_s = stop_s
        self._claim_s = claim_s
        self._send = chain(unless_reported(render(way.channel)), unless_reported(send(way.channel)))
        self._record = record(journal, way.policy, clock)
        self._places = asyncio.Semaphore(way.concurrency)
        self._in_hand = 0
        """Claimed, and not yet sent."""
        self._sent_at: deque[float] = deque(maxlen=AHEAD * way.concurrency)
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._newest_first = False

    async def run(self) -> None:
        """Work until `stop`. Call once.

        Raises:
            ExceptionGroup: the journal or the source failed.
        """
        for delivery in await self._journal.recover(self.name, now=self._clock.now()):
            self._changed(delivery)
        if self._way.gone and await self._journal.is_gone(self.name, self._way.gone):
            self.breaker = GONE
            log_breaker(self.name, Breaker(), GONE, self._clock.now())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._take_in())
                group.create_task(self._attempt_all())
        finally:
            await self._way.channel.close()

    def stop(self) -> None:
        """Begin nothing further; `run` returns when what is on its way has ended."""
        self._stopping.set()
        self._wake.set()

    async def _take_in(self) -> None:
        """Turn facts into intents."""
        name = self.name
        while not self._stopping.is_set():
            if self.breaker.gone or await self._journal.waiting(name) >= self._max_waiting:
                await self._clock.wait(self._stopping, self._clock.now() + FULL_WAIT_S)
                continue
            positions = await self._journal.positions(name)
            pages: list[Page] = []
            unread = dict(positions)
            while unread and (page := await self._source.read(unread, READ_LIMIT)) is not None:
                pages.append(page)
                del unread[page.part]
            if not pages:
                await self._until_stopped(self._source.wait(positions))
                self._wake.set()  # a part may have come, with deliveries of its own
                continue
            await asyncio.gather(*map(self._open, pages))

    async def _open(self, page: Page) -> None:
        """Turn the facts of a page into intents."""
        name = self.name
        intents: list[Delivery] = []
        people = self._people.snapshot()
        for fact in page.facts:
            if fact is None:
                self.counts[f"unrouted:{UNREADABLE}"] += 1
                continue
            routed = route(
                fact,
                name,
                self._way.recipients,
                people,
                self._defaults,
                now=self._clock.now(),
                max_age_s=self._way.policy.max_age_s,
                repeats_s=self._way.repeats_s,
            )
            for reason in routed.unrouted:
                self.counts[f"unrouted:{reason}"] += 1
            intents += routed.intents
        for delivery in await self._journal.open(name, intents, position=page.position, part=page.part):
            self._changed(delivery)
        self._wake.set()

    async def _attempt_all(self) -> None:
        """Begin what is due, as much at once as the breaker and the limit allow."""
        async with asyncio.TaskGroup() as attempts:
            running: set[asyncio.Task[None]] = set()
            while not self._stopping.is_set():
                self._wake.clear()
                until = await self._begin_due(attempts, running)
                if not self._stopping.is_set():
                    await self._clock.wait(self._wake, until)
            if running:
                await asyncio.wait(running, timeout=self._stop_s)
            for attempt in running:
                attempt.cancel()  # stays in ATTEMPT: uncertain at the next start

    async def _begin_due(self, attempts: asyncio.TaskGroup, running: set[asyncio.Task[None]]) -> float | None:
        """Begin attempts; return when to look again, None if only an event can change anything."""
        name = self.name

        def ended(attempt: asyncio.Task[None]) -> None:
            running.discard(attempt)
            self._wake.set()  # a correction may have waited for it

        while (free := self._room(now := self._clock.now())) > 0:
            self._newest_first = not self._newest_first
            changed = await self._journal.claim(name, now=now, limit=free, newest_first=self._newest_first)
            if not changed:
                due = await self._journal.next_due(name)
                return due if due is None or due > now else None  # due now, but it waits for one under way
            for delivery in changed:
                self._changed(delivery)
                if delivery.state is State.ATTEMPT:
                    self._in_hand += 1
                    attempt = attempts.create_task(
                        self._attempt(delivery, ahead=self._in_hand > self._way.concurrency)
                    )
                    running.add(attempt)
                    attempt.add_done_callback(ended)
        return self.breaker.opens_at if now < self.breaker.opens_at else None

    def _room(self, now: float) -> int:
        """Return how many may be claimed."""
        while self._sent_at and self._sent_at[0] <= now - AHEAD_S:
            self._sent_at.popleft()
        ahead = len(self._sent_at) if self.breaker.closed and now >= self.breaker.opens_at else 0
        return self.breaker.allows(self._way.concurrency, now) + ahead - self._in_hand

    async def _attempt(self, delivery: Delivery, *, ahead: bool) -> None:
        with suppress(StaleDeliveryError):  # another owner has it, and its outcome counts
            try:
                async with self._places:
                    job = await self._sent(delivery, ahead=ahead)
            finally:
                self._in_hand -= 1
                self._wake.set()
            job = await self._record(job)
            self._changed(job.delivery)

    async def _sent(self, delivery: Delivery, *, ahead: bool) -> Job:
        """Make the attempt; not if another owner may be about to make it, or nobody should any more.

        Args:
            delivery: in ATTEMPT.
            ahead: whether it was claimed when there was no place for it.
        """
        now = self._clock.now()
        late = now - delivery.changed_at > self._claim_s
        if late or (ahead and (self._stopping.is_set() or not self.breaker.allows(1, now))):
            # Nothing was sent and nobody is to blame: nothing is used up, and what is known of it stays known.
            return Job(delivery, report=Failed(Failure.CHANNEL_DOWN, delivery.detail or NOT_BEGUN))
        job = await self._send(Job(delivery))
        self._sent_at.append(self._clock.now())
        self._heard(job)
        return job

    def _heard(self, job: Job) -> None:
        """Let the breaker know what the attempt came to."""
        if job.report is not None:
            before, now = self.breaker, self._clock.now()
            self.breaker = after(before, job.report, now)
            log_breaker(self.name, before, self.breaker, now)

    async def _until_stopped(self, waiting: Coroutine[None, None, None]) -> None:
        """Wait for a coroutine, but not longer than until `stop`."""
        wanted = asyncio.ensure_future(waiting)
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({wanted, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if wanted.done():
                wanted.result()
        finally:
            wanted.cancel()
            stopped.cancel()

    def _changed(self, delivery: Delivery) -> None:
        self.counts[delivery.state] += 1
        log_delivery(delivery, self._sampler.trace(delivery.fact.call_id))
        self._observe(delivery)
