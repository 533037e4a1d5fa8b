import asyncio
import logging

import pytest
from support.notify import NOW, Log, ManualClock, Running, ScriptedChannel, make_delivery, make_fact

from missedcall_notifier.app import Notifier
from missedcall_notifier.delivery import State
from missedcall_notifier.failure import Failed, Failure
from missedcall_notifier.journal import MemoryJournal
from missedcall_notifier.lane import Way
from missedcall_notifier.retry import RetryPolicy
from missedcall_notifier.routing import everything_to
from missedcall_notifier.settings import NotifierSettings
from missedcall_notifier.source import MemoryFacts


def way(channel):
    return Way(channel, everything_to("bob"), RetryPolicy(), 2)


def make_notifier(*channels, facts=(), journal=None, clock=None, log=None, settings=None):
    return Notifier(
        settings or NotifierSettings(),
        MemoryFacts(facts),
        journal or MemoryJournal(),
        clock or ManualClock(NOW + 20),
        observe=log or Log(),
        ways=[way(channel) for channel in channels],
    )


def test_each_channel_delivers_every_fact():
    async def main():
        log, mail, hook = Log(), ScriptedChannel(name="mail"), ScriptedChannel(name="hook")
        facts = [make_fact("a"), make_fact("b")]
        async with Running(make_notifier(mail, hook, facts=facts, log=log)) as notifier:
            await log.until(State.SENT, count=4)
            return len(mail.accepted), len(hook.accepted), {n: c["sent"] for n, c in notifier.counts.items()}

    assert asyncio.run(main()) == (2, 2, {"mail": 2, "hook": 2})


def test_a_channel_that_is_down_holds_up_nobody_else():
    async def main():
        log = Log()
        mail = ScriptedChannel(*[Failed(Failure.CHANNEL_DOWN)] * 50, name="mail")
        hook = ScriptedChannel(name="hook")
        facts = [make_fact(f"fact-{n}") for n in range(40)]
        async with Running(make_notifier(mail, hook, facts=facts, log=log)) as notifier:
            await log.until(State.SENT, count=40)
            return len(hook.accepted), len(mail.accepted), notifier.paused

    assert asyncio.run(main()) == (40, 0, ["mail"])


def test_a_notifier_without_channels_waits_to_be_stopped():
    async def main():
        async with Running(make_notifier()) as notifier:
            await asyncio.sleep(0)
            return notifier.counts

    assert asyncio.run(main()) == {}


def test_the_journal_forgets_after_its_days():
    async def main():
        log, clock, journal = Log(), ManualClock(NOW + 20), MemoryJournal()
        settings = NotifierSettings(keep_days=1.0)
        channel = ScriptedChannel()
        name = make_delivery().delivery_id
        async with Running(
            make_notifier(
                channel, facts=[make_fact()], journal=journal, clock=clock, log=log, settings=settings
            )
        ):
            await log.until(State.SENT)
            held = await journal.find(name)
            for _ in range(25):
                clock.advance(3600)
                for _ in range(10):
                    await asyncio.sleep(0)
            return held.state, await journal.find(name)

    assert asyncio.run(main()) == (State.SENT, None)


def test_a_broken_source_ends_the_notifier():
    class Broken(MemoryFacts):
        async def read(self, after, limit):
            raise OSError("file is gone")

    async def main():
        notifier = Notifier(NotifierSettings(), Broken(), MemoryJournal(), ways=[way(ScriptedChannel())])
        await notifier.run()

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert caught.value.split(OSError)[1] is None


def test_the_log_names_the_delivery_and_nobody(caplog):
    async def main():
        log, clock = Log(), ManualClock(NOW + 20)
        script = [Failed(Failure.TRANSIENT, "rcpt 451"), Failed(Failure.PERMANENT_RECIPIENT, "rcpt 550")]
        channel = ScriptedChannel(*script)
        notifier = make_notifier(channel, facts=[make_fact()], clock=clock, log=log)
        async with Running(notifier):
            await log.until(State.RETRY)
            clock.advance(60)
            await log.until(State.DEAD)

    with caplog.at_level(logging.INFO, "missedcall"):
        asyncio.run(main())

    assert [record.getMessage() for record in caplog.records] == [
        "notice.retry_scheduled",
        "notice.dead_lettered",
    ]
    said = str([record.__dict__["fields"] for record in caplog.records])
    assert make_delivery().delivery_id in said
    assert not any(secret in said for secret in ("alice", "Alice", "bob", "4930123", "a84b4c76e66710"))


def test_a_paused_channel_is_an_error_in_the_log_and_says_when_it_goes_on(caplog):
    async def main():
        log, clock = Log(), ManualClock(NOW + 20)
        channel = ScriptedChannel(Failed(Failure.CHANNEL_DOWN))
        async with Running(make_notifier(channel, facts=[make_fact()], clock=clock, log=log)):
            await log.until(State.RETRY)
            clock.advance(60)
            await log.until(State.SENT)

    with caplog.at_level(logging.INFO, "missedcall"):
        asyncio.run(main())

    said = [(record.getMessage(), record.levelname) for record in caplog.records]
    assert ("channel.suspended", "ERROR") in said
    assert ("channel.resumed", "INFO") in said
