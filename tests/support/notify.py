"""What the tests of delivery share: facts, a clock that is told the time, channels that follow a script."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC
from functools import cache
from typing import Any

from missedcall_notifier import wording_files
from missedcall_notifier.delivery import Delivery, State, intent
from missedcall_notifier.failure import Report, Sent
from missedcall_notifier.lane import Lane, Way
from missedcall_notifier.notices import Notices
from missedcall_notifier.reader import Defaults
from missedcall_notifier.retry import RetryPolicy
from missedcall_notifier.routing import everything_to
from missedcall_schemas.records import MissedCall, Party

NOW = 1_795_430_527.0
"""2026-11-23 10:42:07 UTC, a Monday."""


def make_fact(fact_id="fact-1", **changes) -> MissedCall:
    given = {
        "fact_id": fact_id,
        "call_id": "a84b4c76e66710@pc33.example.com",
        "callee": "sip:bob@example.com",
        "caller": Party(uri="sip:alice@example.net", number="+4930123", display_name="Alice", source="from"),
        "cause": "caller-cancelled",
        "rang_at": NOW,
        "ring_s": 9.2,
        "ended_at": NOW + 9.4,
        "devices_rung": 2,
        "rule": "caller-cancelled",
        "decided_at": NOW + 12.4,
    }
    return MissedCall(**(given | changes))


def make_retraction(fact: MissedCall) -> MissedCall:
    changed = {name: getattr(fact, name) for name in fact.__struct_fields__}
    return MissedCall(**(changed | {"revision": fact.revision + 1, "state": "retracted"}))


def make_delivery(fact_id="fact-1", channel="fake", recipient="bob", now=NOW, **fact) -> Delivery:
    return intent(make_fact(fact_id, **fact), channel, recipient, now)


@cache
def make_notices(locale="en-GB", zone=UTC, region="") -> Notices:
    return Notices(wording_files.ours(), Defaults(locale, zone, region))


class ManualClock:
    """A clock that stands until it is told to go on."""

    def __init__(self, now: float = NOW) -> None:
        self._now = now
        self._moved = asyncio.Event()
        self.sleeping: list[float | None] = []
        """Until when somebody waits; None: for an event only."""

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._moved.set()
        self._moved = asyncio.Event()

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        self.sleeping.append(until)
        try:
            while not event.is_set() and (until is None or self._now < until):
                await _first(event, self._moved)
        finally:
            self.sleeping.remove(until)


class LeapingClock(ManualClock):
    """A clock that leaps to whatever is waited for, once nobody else has anything to do."""

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        for _ in range(20):
            if event.is_set():
                return
            await asyncio.sleep(0)
        if until is None:
            await super().wait(event, until)
        else:
            self._now = max(self._now, until)


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


class ScriptedChannel:
    """A channel that answers as it is told, and with success when the script is at its end."""

    def __init__(self, *script: Report | Exception | Callable[[], Any], name: str = "fake") -> None:
        self.name = name
        self.script = deque(script)
        self.sent: list[Delivery] = []
        """Every attempt, as the channel saw it."""
        self.accepted: list[str] = []
        """Ids of what it took, repeats included."""
        self.closed = False

    def render(self, delivery: Delivery) -> bytes:
        return delivery.delivery_id.encode()

    async def send(self, delivery: Delivery, content: bytes) -> Report:
        assert content == delivery.delivery_id.encode()
        self.sent.append(delivery)
        step = self.script.popleft() if self.script else Sent("ok")
        if callable(step):
            step = await step()
        if isinstance(step, Exception):
            raise step
        if isinstance(step, Sent):
            self.accepted.append(delivery.delivery_id)
        return step

    async def close(self) -> None:
        self.closed = True


class Log:
    """An observer that can be waited for."""

    def __init__(self) -> None:
        self.seen: list[Delivery] = []
        self._more = asyncio.Event()

    def __call__(self, delivery: Delivery) -> None:
        self.seen.append(delivery)
        self._more.set()

    async def until(self, *states: State, count: int = 1, within_s: float = 20.0) -> list[Delivery]:
        """Return the first `count` changes to one of the states, when there are as many."""
        async with asyncio.timeout(within_s):
            while len(found := [d for d in self.seen if d.state in states]) < count:
                self._more.clear()
                await self._more.wait()
        return found[:count]


def make_lane(channel, source, journal, clock, observe, **options) -> Lane:
    """Return a lane over a channel whose only recipient is bob."""
    way = Way(
        channel,
        options.pop("recipients", everything_to("bob")),
        options.pop("policy", RetryPolicy()),
        options.pop("concurrency", 4),
    )
    given = {"max_waiting": 1000, "stop_s": 5.0} | options
    return Lane(way, source=source, journal=journal, clock=clock, observe=observe, **given)


class Running:
    """A lane or notifier at work, for the length of an `async with`."""

    def __init__(self, worker) -> None:
        self.worker = worker
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self):
        self.task = asyncio.ensure_future(self.worker.run())
        return self.worker

    async def __aexit__(self, *_: object) -> None:
        self.worker.stop()
        await self.task


class CrashError(Exception):
    """The process died here."""


class CrashingJournal:
    """A journal over another one, which dies at its n-th change: just before it, or just after."""

    def __init__(self, journal, at: int, *, after: bool) -> None:
        self._journal = journal
        self._left = at
        self._after = after
        self.dead = False

    def __getattr__(self, name: str):
        method = getattr(self._journal, name)
        return self._deadly(method) if name in {"open", "claim", "record", "recover"} else method

    def _deadly(self, method):
        async def call(*args, **kwargs):
            if self.dead:
                raise CrashError
            self._left -= 1
            if self._left == 0 and not self._after:
                self.dead = True
                raise CrashError
            result = await method(*args, **kwargs)
            if self._left == 0:
                self.dead = True
                raise CrashError
            return result

        return call


async def turns_until(done: Callable[[], Any], within_s: float = 20.0, every_s: float = 0.0) -> None:
    """Let the event loop turn until something is so that tells nobody when it is."""
    async with asyncio.timeout(within_s):
        while not done():  # noqa: ASYNC110 there is no event: that is what this is for
            await asyncio.sleep(every_s)


def states_of(deliveries: Iterable[Delivery]) -> list[str]:
    return [delivery.state.value for delivery in deliveries]
