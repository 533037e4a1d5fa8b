"""A crash between any two steps: at least once, under one name, and never again after a recorded success."""

import asyncio
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from support.notify import (
    NOW,
    CrashError,
    CrashingJournal,
    LeapingClock,
    Log,
    ScriptedChannel,
    make_fact,
    make_lane,
    make_retraction,
    turns_until,
)

from missedcall_notifier.delivery import ENDED, State
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.journal import MemoryJournal
from missedcall_notifier.source import MemoryFacts

FACTS = [make_fact(f"fact-{n}") for n in range(3)]


class Watched(ScriptedChannel):
    """A channel that looks into the journal each time it is used."""

    def __init__(self, journal, *script):
        super().__init__(*script)
        self._journal = journal

    async def send(self, delivery, content):
        held = await self._journal.find(delivery.delivery_id)
        assert held == delivery, "sent without a durable attempt"
        assert held.state is State.ATTEMPT
        return await super().send(delivery, content)


async def live(journal, channel, facts, crash=None):
    """One life of a lane: until it dies, or everything has ended."""
    log = Log()
    seen = CrashingJournal(journal, crash[0], after=crash[1]) if crash else journal
    lane = make_lane(channel, MemoryFacts(facts), seen, LeapingClock(NOW + 20), log, concurrency=2)

    async def until_done():
        await turns_until(lambda: journal.ledger("fake").position == len(facts) and idle(journal))
        lane.stop()

    done = asyncio.ensure_future(until_done())
    try:
        with suppress(ExceptionGroup, CrashError):
            await lane.run()
    finally:
        done.cancel()
        with suppress(asyncio.CancelledError):
            await done


def idle(journal):
    return all(delivery.state in ENDED for delivery in journal.ledger("fake")._held.values())


def play(facts, script, crashes):
    async def main():
        journal = MemoryJournal()
        channel = Watched(journal, *script)
        for crash in (*crashes, None):
            await live(journal, channel, facts, crash)
        return journal, channel

    return asyncio.run(main())


def test_a_crash_at_any_call_of_the_journal_loses_nothing_and_repeats_only_what_is_uncertain():
    repeats = 0
    for at in range(1, 15):
        for after in (False, True):
            journal, channel = play(FACTS, [], [(at, after)])
            held = list(journal.ledger("fake")._held.values())

            assert [delivery.state for delivery in held] == [State.SENT] * len(FACTS)
            assert set(channel.accepted) == {delivery.delivery_id for delivery in held}
            assert len(channel.accepted) <= len(FACTS) + 2  # two were under way when it died
            repeats += len(channel.accepted) - len(FACTS)

    assert repeats > 0  # the crash between effect and outcome was among them


ENDING = [failure for failure in Failure if failure is not Failure.GONE]  # which waits for the operator
OUTCOMES = st.sampled_from([Sent(), *(Failed(failure) for failure in ENDING), RuntimeError("bug")])


@settings(max_examples=200, deadline=None)
@given(
    script=st.lists(OUTCOMES, max_size=12),
    crashes=st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=6),
)
def test_whatever_fails_and_wherever_it_dies_every_notice_comes_to_its_end(script, crashes):
    journal, channel = play(FACTS, script, crashes)
    held = journal.ledger("fake")._held

    assert len(held) == len(FACTS)
    for delivery in held.values():
        assert delivery.state in {State.SENT, State.DEAD}
        if delivery.state is State.SENT:
            assert delivery.delivery_id in channel.accepted
    for delivery_id in channel.accepted:
        assert channel.accepted.count(delivery_id) <= 1 + held[delivery_id].lost


@settings(max_examples=100, deadline=None)
@given(
    script=st.lists(OUTCOMES, max_size=6),
    crashes=st.lists(st.tuples(st.integers(1, 10), st.booleans()), max_size=4),
)
def test_a_retracted_call_is_corrected_exactly_where_a_notice_may_have_been_seen(script, crashes):
    fact = make_fact()
    journal, channel = play([fact, make_retraction(fact)], script, crashes)
    by_revision = {delivery.fact.revision: delivery for delivery in journal.ledger("fake")._held.values()}
    revisions = [delivery.fact.revision for delivery in channel.sent]

    assert by_revision[1].state in ENDED
    assert (by_revision[2].state is not State.SUPPRESSED) == by_revision[1].maybe_seen
    assert 2 not in revisions or 1 not in revisions[revisions.index(2) :]
