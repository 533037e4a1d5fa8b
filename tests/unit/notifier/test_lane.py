import asyncio
import math

import pytest
from support.notify import (
    NOW,
    Log,
    ManualClock,
    Running,
    ScriptedChannel,
    make_delivery,
    make_fact,
    make_lane,
    make_retraction,
    turns_until,
)

from missedcall_notifier.delivery import State
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.journal import MemoryJournal
from missedcall_notifier.retry import RetryPolicy
from missedcall_notifier.routing import by_mail
from missedcall_notifier.source import MemoryFacts

DOWN = Failed(Failure.CHANNEL_DOWN)


class World:
    """One lane and everything around it."""

    def __init__(self, *script, facts=(), journal=None, **options):
        self.channel = ScriptedChannel(*script)
        self.facts = MemoryFacts(facts)
        self.journal = journal or MemoryJournal()
        self.clock = ManualClock(NOW + 20)
        self.log = Log()
        self.lane = make_lane(self.channel, self.facts, self.journal, self.clock, self.log, **options)

    def running(self):
        return Running(self.lane)

    async def asleep_until(self, when):
        """Return when the lane sleeps until then (None: until something happens)."""
        await turns_until(lambda: when in self.clock.sleeping)


def test_a_fact_is_delivered():
    async def main():
        world = World(facts=[make_fact()])
        async with world.running():
            await world.log.until(State.SENT)
        return world

    world = asyncio.run(main())
    assert world.channel.accepted == [make_delivery().delivery_id]
    assert [d.state for d in world.log.seen] == [State.PENDING, State.ATTEMPT, State.SENT]
    assert world.channel.closed


def test_a_fact_that_comes_later_is_delivered_too():
    async def main():
        world = World()
        async with world.running():
            await world.asleep_until(None)
            world.facts.add(make_fact())
            await world.log.until(State.SENT)

    asyncio.run(main())


def test_an_attempt_is_durably_under_way_before_anything_is_sent():
    async def main():
        world = World(facts=[make_fact()])
        held = []

        async def look():
            held.append(await world.journal.find(make_delivery().delivery_id))
            return Sent()

        world.channel.script.append(look)
        async with world.running():
            await world.log.until(State.SENT)
        return held

    [held] = asyncio.run(main())
    assert held.state is State.ATTEMPT


def test_a_failed_attempt_is_repeated_when_its_delay_is_over_and_not_before():
    async def main():
        world = World(Failed(Failure.TRANSIENT), facts=[make_fact()])
        async with world.running():
            [retry] = await world.log.until(State.RETRY)
            await world.asleep_until(retry.next_at)
            world.clock.advance(retry.next_at - world.clock.now() - 0.001)
            await world.asleep_until(retry.next_at)
            early = len(world.channel.sent)
            world.clock.advance(0.001)
            await world.log.until(State.SENT)
            return early, len(world.channel.sent)

    assert asyncio.run(main()) == (1, 2)


def test_a_retry_survives_a_restart_and_its_delay_too():
    async def main():
        before = World(Failed(Failure.TRANSIENT), facts=[make_fact()])
        async with before.running():
            [retry] = await before.log.until(State.RETRY)
        after = World(facts=[make_fact()], journal=before.journal)
        async with after.running():
            await after.asleep_until(retry.next_at)
            early = len(after.channel.sent)
            after.clock.advance(60)
            await after.log.until(State.SENT)
        return early, [d.delivery_id for d in (*before.channel.sent, *after.channel.sent)]

    early, names = asyncio.run(main())
    assert early == 0
    assert names == [make_delivery().delivery_id] * 2


def test_an_interrupted_attempt_is_repeated_at_the_next_start():
    async def main():
        journal = MemoryJournal()
        await journal.open("fake", [make_delivery()], position=1)
        await journal.claim("fake", now=NOW, limit=1)
        world = World(facts=[make_fact()], journal=journal)
        async with world.running():
            [sent] = await world.log.until(State.SENT)
        return sent

    sent = asyncio.run(main())
    assert (sent.delivery_id, sent.attempts, sent.lost) == (make_delivery().delivery_id, 2, 1)


def test_a_notice_that_was_sent_is_not_sent_again_when_its_fact_is_read_again():
    async def main():
        world = World(facts=[make_fact(), make_fact(), make_fact("fact-2")])
        async with world.running():
            await world.log.until(State.SENT, count=2)
        return world.channel.sent

    assert len(asyncio.run(main())) == 2


def test_no_more_attempts_are_under_way_than_allowed():
    async def main():
        under_way, most = set(), []
        go = asyncio.Event()

        async def slow():
            under_way.add(asyncio.current_task())
            most.append(len(under_way))
            if len(most) == 3:
                go.set()
            await go.wait()
            under_way.discard(asyncio.current_task())
            return Sent()

        facts = [make_fact(f"fact-{n}") for n in range(20)]
        world = World(*[slow] * 20, facts=facts, concurrency=3)
        async with world.running():
            await world.log.until(State.SENT, count=20)
        return max(most)

    assert asyncio.run(main()) == 3


def test_what_waits_to_be_recorded_takes_no_place():
    async def main():
        recorded = asyncio.Event()

        class Slow(MemoryJournal):
            async def record(self, before, after):
                await recorded.wait()
                await super().record(before, after)

        world = World(facts=[make_fact(f"fact-{n}") for n in range(5)], journal=Slow(), concurrency=1)
        async with world.running():
            await turns_until(lambda: len(world.channel.sent) == 5)
            recorded.set()
            await world.log.until(State.SENT, count=5)

    asyncio.run(main())


def test_what_was_claimed_ahead_is_given_back_unused_when_the_channel_goes_down():
    async def main():
        go = asyncio.Event()

        async def slow():
            await go.wait()
            return DOWN

        facts = [make_fact(f"fact-{n}") for n in range(7)]
        world = World(Sent(), Sent(), Sent(), slow, facts=facts, concurrency=1)
        async with world.running() as lane:
            await world.log.until(State.ATTEMPT, count=7)
            go.set()
            back = await world.log.until(State.RETRY, count=4)
            sent = len(world.channel.sent)
            await world.asleep_until(lane.breaker.opens_at)
            world.clock.advance(600)
            await world.log.until(State.SENT, count=7)
        return sent, [(one.detail, one.attempts) for one in back]

    sent, back = asyncio.run(main())
    assert sent == 4
    assert sorted(back) == [("", 0), *[("not begun", 0)] * 3]


def test_a_channel_that_is_down_is_asked_by_one_probe_at_a_time():
    async def main():
        facts = [make_fact(f"fact-{n}") for n in range(10)]
        world = World(*[DOWN] * 4, facts=facts, concurrency=2)
        async with world.running() as lane:
            await world.log.until(State.RETRY, count=2)
            tried = [len(world.channel.sent)]
            for _ in range(2):
                await world.asleep_until(lane.breaker.opens_at)
                opens_at = lane.breaker.opens_at
                world.clock.advance(opens_at - world.clock.now())
                await turns_until(lambda before=opens_at: lane.breaker.opens_at != before)
                tried.append(len(world.channel.sent))
            await world.asleep_until(lane.breaker.opens_at)
            world.clock.advance(600)
            await world.log.until(State.SENT, count=10)
            return tried, lane.breaker.closed

    assert asyncio.run(main()) == ([2, 3, 4], True)


def test_an_outage_uses_up_no_notice_however_long_it_takes():
    async def main():
        world = World(*[DOWN] * 2000, facts=[make_fact()])
        async with world.running() as lane:
            for _ in range(2000):
                opens_at = lane.breaker.opens_at
                while lane.breaker.opens_at == opens_at:
                    world.clock.advance(max(0.0, opens_at - world.clock.now()))
                    await asyncio.sleep(0)
            world.clock.advance(600)
            [sent] = await world.log.until(State.SENT)
        return sent.attempts, world.clock.now() - NOW

    attempts, elapsed_s = asyncio.run(main())
    assert attempts == 1
    assert elapsed_s > 5 * 86400


def test_a_channel_that_is_down_takes_in_no_more_than_it_may():
    async def main():
        facts = [make_fact(f"fact-{n}") for n in range(600)]
        world = World(DOWN, DOWN, DOWN, DOWN, facts=facts, max_waiting=300)
        async with world.running() as lane:
            await world.log.until(State.RETRY)
            await world.asleep_until(lane.breaker.opens_at)
            await world.asleep_until(world.clock.now() + 1.0)
            waiting = await world.journal.waiting("fake")
            while len(world.channel.accepted) < 600:
                world.clock.advance(1)
                await asyncio.sleep(0)
        return waiting

    assert asyncio.run(main()) == 512  # two readings of 256: the limit is looked at before each


def test_fresh_notices_do_not_wait_behind_a_backlog():
    async def main():
        journal = MemoryJournal()
        backlog = [make_delivery(f"old-{n}", now=NOW + n / 100) for n in range(100)]
        await journal.open("fake", backlog, position=1)
        world = World(facts=[make_fact("old-0"), make_fact("fresh")], journal=journal, concurrency=1)
        async with world.running():
            await world.log.until(State.SENT, count=101)
        return [delivery.fact.fact_id for delivery in world.channel.sent]

    order = asyncio.run(main())
    assert order.index("fresh") < 5
    assert order.index("old-0") < 5


def test_a_retraction_before_the_notice_means_silence():
    async def main():
        fact = make_fact()
        world = World(facts=[fact, make_retraction(fact)])
        async with world.running():
            await world.log.until(State.SUPPRESSED, count=2)
        return world.channel.sent

    assert asyncio.run(main()) == []


def test_a_retraction_after_the_notice_is_a_correction():
    async def main():
        world = World(facts=[make_fact()])
        async with world.running():
            await world.log.until(State.SENT)
            world.facts.add(make_retraction(make_fact()))
            await world.log.until(State.SENT, count=2)
        return [delivery.fact.state for delivery in world.channel.sent]

    assert asyncio.run(main()) == ["missed", "retracted"]


def test_a_retraction_during_the_attempt_waits_for_it():
    async def main():
        go = asyncio.Event()

        async def slow():
            await go.wait()
            return Sent()

        world = World(slow, facts=[make_fact()])
        async with world.running():
            await world.log.until(State.ATTEMPT)
            world.facts.add(make_retraction(make_fact()))
            await world.log.until(State.PENDING, count=2)
            await world.asleep_until(None)
            early = len(world.channel.sent)
            go.set()
            await world.log.until(State.SENT, count=2)
        return early, [delivery.fact.state for delivery in world.channel.sent]

    assert asyncio.run(main()) == (1, ["missed", "retracted"])


def test_a_channels_bug_is_uncertain_and_bounded_and_stops_nobody_else():
    async def main():
        world = World(RuntimeError("boom"), facts=[make_fact(), make_fact("fact-2")], concurrency=1)
        async with world.running():
            [lost] = await world.log.until(State.UNCERTAIN)
            await world.log.until(State.SENT)
        return lost

    assert asyncio.run(main()).detail == "unexpected RuntimeError"


def test_what_cannot_be_rendered_is_dead_and_was_never_sent():
    from missedcall_notifier.channels.port import UnrenderableError

    async def main():
        world = World(facts=[make_fact()])

        def render(_delivery):
            raise UnrenderableError("no")

        world.channel.render = render
        async with world.running():
            [dead] = await world.log.until(State.DEAD)
        return dead.failure, world.channel.sent

    assert asyncio.run(main()) == (Failure.PERMANENT_ITEM, [])


def test_who_is_not_told_is_counted_by_reason():
    async def main():
        facts = [
            make_fact(callee="sip:eve@example.com"),
            make_fact("fact-2", suppressed="unrung"),
            make_fact("fact-3", decided_at=NOW - 100 * 86400),
        ]
        world = World(facts=facts, recipients=by_mail({"sip:bob@example.com": "bob@example.com"}))
        async with world.running() as lane:
            await turns_until(lambda: lane.counts.total() == 3)
            return dict(lane.counts)

    assert asyncio.run(main()) == {
        "unrouted:unknown-callee": 1,
        "unrouted:suppressed:unrung": 1,
        "unrouted:too-old": 1,
    }


def test_a_fact_that_cannot_be_read_holds_up_nothing():
    async def main():
        world = World(facts=[None, make_fact()])
        async with world.running() as lane:
            await world.log.until(State.SENT)
            return lane.counts["unrouted:unreadable"], (await world.journal.positions("fake"))[0]

    assert asyncio.run(main()) == (1, 2)


def test_an_idle_lane_sleeps():
    async def main():
        world = World()
        async with world.running():
            await world.asleep_until(None)
            return list(world.clock.sleeping)

    assert asyncio.run(main()) == [None]


def test_stop_waits_for_what_is_on_its_way():
    async def main():
        go = asyncio.Event()

        async def slow():
            await go.wait()
            return Sent()

        world = World(slow, facts=[make_fact()])
        async with world.running() as lane:
            await world.log.until(State.ATTEMPT)
            lane.stop()
            go.set()
        return world.log.seen[-1].state

    assert asyncio.run(main()) is State.SENT


def test_what_does_not_end_in_time_is_uncertain_at_the_next_start():
    async def main():
        world = World(asyncio.Event().wait, facts=[make_fact()], stop_s=0.01)
        async with world.running():
            await world.log.until(State.ATTEMPT)
        [left] = await world.journal.recover("fake", now=NOW)
        return left.state

    assert asyncio.run(main()) is State.UNCERTAIN


def test_without_its_journal_a_lane_ends():
    class Broken(MemoryJournal):
        async def record(self, before, after):
            raise OSError("disk full")

    async def main():
        world = World(facts=[make_fact()], journal=Broken())
        with pytest.raises(ExceptionGroup) as caught:
            await world.lane.run()
        return caught.value, world.channel.closed

    error, closed = asyncio.run(main())
    assert error.split(OSError)[1] is None
    assert closed


def test_a_delivery_that_another_owner_took_is_left_to_him():
    async def main():
        world = World(facts=[make_fact()])

        async def robbed():
            await world.journal.recover("fake", now=math.inf)
            return Sent()

        world.channel.script.append(robbed)
        async with world.running():
            await world.log.until(State.ATTEMPT)
            world.facts.add(make_fact("fact-2"))
            await world.log.until(State.SENT)
        return [delivery.fact.fact_id for delivery in world.log.seen if delivery.state is State.SENT]

    assert asyncio.run(main()) == ["fact-2"]


def test_a_target_that_asks_for_time_gets_it():
    async def main():
        world = World(Failed(Failure.THROTTLED, asked_s=120.0), facts=[make_fact()])
        async with world.running():
            [retry] = await world.log.until(State.RETRY)
        return retry.next_at - retry.changed_at

    assert 120 <= asyncio.run(main()) < 120 * 1.25


def test_a_notice_that_cannot_be_delivered_dies_at_the_end_of_its_life():
    async def main():
        failures = [Failed(Failure.TRANSIENT)] * 200
        world = World(*failures, facts=[make_fact()], policy=RetryPolicy(max_age_s=3600.0))
        async with world.running():
            while not [d for d in world.log.seen if d.state is State.DEAD]:
                world.clock.advance(1)
                await asyncio.sleep(0)
        [dead] = await world.log.until(State.DEAD)
        return dead.changed_at - dead.opened_at, dead.failure

    age_s, failure = asyncio.run(main())
    assert 3600 <= age_s < 3700
    assert failure is Failure.TRANSIENT


def test_an_attempt_that_was_claimed_too_long_ago_is_not_made_and_uses_up_nothing():
    class Slow(MemoryJournal):
        pause_s = 9.0

        async def claim(self, channel, **how):
            claimed = await super().claim(channel, **how)
            if claimed:
                world.clock.advance(self.pause_s)
                self.pause_s = 0.0
            return claimed

    async def main():
        async with world.running() as lane:
            [sent] = await world.log.until(State.SENT)
            return sent, lane.breaker.closed

    world = World(facts=[make_fact()], journal=Slow(), claim_s=5.0)
    sent, closed = asyncio.run(main())
    assert [d.state for d in world.log.seen] == [
        State.PENDING, State.ATTEMPT, State.RETRY, State.ATTEMPT, State.SENT,
    ]  # fmt: skip
    assert (sent.attempts, closed, len(world.channel.sent)) == (1, True, 1)
