"""One suite over every journal: what the port promises."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.notify import NOW, make_delivery, make_fact, make_retraction, states_of

from missedcall_notifier.delivery import State, begin, intent, settle
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.journal import MemoryJournal, StaleDeliveryError
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.repeats import series_of
from missedcall_notifier.retry import RetryPolicy
from missedcall_notifier.series import Shown

POLICY = RetryPolicy()
CORRECTION = intent(make_retraction(make_fact()), "fake", "bob", NOW)


@asynccontextmanager
async def memory(_path):
    yield MemoryJournal()


@pytest.fixture(params=["memory", "sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def run(request, tmp_path):
    """Run a coroutine function with a fresh journal."""
    opened = {"memory": memory, "sqlite": SqliteJournal, "kafka": None}[request.param]
    if opened is None:
        from support.kafka_journal import kafka_journal

        opened = kafka_journal(request.getfixturevalue("kafka"))

    def run(test):
        async def main():
            async with opened(tmp_path / "notify.db") as journal:
                return await test(journal)

        return asyncio.run(main())

    return run


def test_a_new_channel_stands_at_the_beginning(run):
    assert run(lambda journal: journal.positions("fake")) == {0: 0}


def test_intents_and_position_move_together(run):
    async def test(journal):
        opened = await journal.open("fake", [make_delivery()], position=7)
        return opened, (await journal.positions("fake"))[0], (await journal.positions("other")).get(0, 0)

    assert run(test) == ([make_delivery()], 7, 0)


def test_an_intent_is_opened_once(run):
    async def test(journal):
        await journal.open("fake", [make_delivery()], position=1)
        return await journal.open("fake", [make_delivery(now=NOW + 5)], position=1)

    assert run(test) == []


def test_an_ended_delivery_is_not_opened_again(run):
    async def test(journal):
        await journal.open("fake", [make_delivery()], position=1)
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        await journal.record(attempt, settle(attempt, Sent(), POLICY, NOW))
        await journal.open("fake", [make_delivery()], position=1)
        return await journal.claim("fake", now=NOW, limit=1)

    assert run(test) == []


def test_a_claimed_delivery_is_durably_under_way(run):
    async def test(journal):
        await journal.open("fake", [make_delivery()], position=1)
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        return attempt, await journal.find(attempt.delivery_id)

    assert run(test) == (begin(make_delivery(), NOW),) * 2


def test_nothing_is_claimed_twice(run):
    async def test(journal):
        await journal.open("fake", [make_delivery()], position=1)
        await journal.claim("fake", now=NOW, limit=1)
        return await journal.claim("fake", now=NOW, limit=1)

    assert run(test) == []


def test_nothing_is_claimed_before_it_is_due(run):
    async def test(journal):
        await journal.open("fake", [make_delivery(now=NOW + 5)], position=1)
        return await journal.claim("fake", now=NOW + 4.9, limit=1)

    assert run(test) == []


def test_each_channel_has_its_own_queue(run):
    async def test(journal):
        await journal.open("fake", [make_delivery()], position=1)
        return await journal.claim("other", now=NOW, limit=1), await journal.waiting("other")

    assert run(test) == ([], 0)


@pytest.mark.parametrize(("newest_first", "first"), [(False, "old"), (True, "new")])
def test_both_ends_of_the_queue_can_be_served(run, newest_first, first):
    async def test(journal):
        due = [make_delivery("old", now=NOW), make_delivery("new", now=NOW + 1)]
        await journal.open("fake", due, position=1)
        return await journal.claim("fake", now=NOW + 1, limit=1, newest_first=newest_first)

    assert [delivery.fact.fact_id for delivery in run(test)] == [first]


def test_a_correction_comes_before_the_notice_it_makes_pointless(run):
    async def test(journal):
        await journal.open("fake", [make_delivery(), CORRECTION], position=2)
        changed = await journal.claim("fake", now=NOW, limit=5)
        return changed, await journal.claim("fake", now=NOW, limit=5)

    changed, again = run(test)
    assert states_of(changed) == ["suppressed", "suppressed"]
    assert again == []


def test_a_correction_waits_for_its_notice_and_then_follows(run):
    async def test(journal):
        await journal.open("fake", [make_delivery()], position=1)
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        await journal.open("fake", [CORRECTION], position=2)
        early = await journal.claim("fake", now=NOW, limit=5)
        await journal.record(attempt, settle(attempt, Sent(), POLICY, NOW))
        return early, await journal.claim("fake", now=NOW, limit=5)

    assert run(test) == ([], [begin(CORRECTION, NOW)])


def test_an_outcome_of_a_delivery_that_changed_since_is_refused(run):
    async def test(journal):
        await journal.open("fake", [make_delivery()], position=1)
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        await journal.recover("fake", now=NOW)
        with pytest.raises(StaleDeliveryError):
            await journal.record(attempt, settle(attempt, Sent(), POLICY, NOW))
        return await journal.find(attempt.delivery_id)

    assert run(test).state is State.UNCERTAIN


def test_attempts_of_a_dead_process_are_uncertain_and_due(run):
    async def test(journal):
        await journal.open("fake", [make_delivery()], position=1)
        await journal.claim("fake", now=NOW, limit=1)
        recovered = await journal.recover("fake", now=NOW + 9)
        return recovered, await journal.next_due("fake")

    [recovered], due = run(test)
    assert (recovered.state, due) == (State.UNCERTAIN, NOW + 9)


def test_a_retry_is_due_when_the_delay_is_over(run):
    async def test(journal):
        await journal.open("fake", [make_delivery()], position=1)
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        after = settle(attempt, Failed(Failure.SLOW), POLICY, NOW)
        await journal.record(attempt, after)
        return after.next_at, await journal.next_due("fake"), await journal.waiting("fake")

    next_at, due, waiting = run(test)
    assert (due, waiting) == (next_at, 1)
    assert due >= NOW + POLICY.slow_s


def test_a_correction_counts_among_what_is_due_next(run):
    async def test(journal):
        await journal.open("fake", [make_delivery(now=NOW + 9), CORRECTION], position=1)
        return await journal.next_due("fake")

    assert run(test) == NOW


def test_an_idle_queue_has_nothing_due(run):
    assert run(lambda journal: journal.next_due("fake")) is None


def test_only_what_has_ended_is_forgotten(run):
    async def test(journal):
        await journal.open("fake", [make_delivery("a"), make_delivery("b", now=NOW + 1)], position=1)
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        await journal.record(attempt, settle(attempt, Sent(), POLICY, NOW))
        kept = await journal.forget(before=NOW)
        gone = await journal.forget(before=NOW + 1)
        return kept, gone, await journal.find(attempt.delivery_id), await journal.waiting("fake")

    assert run(test) == (0, 1, None, 1)


def test_a_sqlite_journal_is_still_there_after_it_was_closed(tmp_path):
    async def test():
        async with SqliteJournal(tmp_path / "notify.db") as journal:
            await journal.open("fake", [make_delivery()], position=3)
        async with SqliteJournal(tmp_path / "notify.db") as journal:
            return (await journal.positions("fake"))[0], await journal.find(make_delivery().delivery_id)

    assert asyncio.run(test()) == (3, make_delivery())


def test_calls_that_wait_together_are_committed_together(tmp_path):
    async def test():
        async with SqliteJournal(tmp_path / "notify.db") as journal:
            commits = []
            journal._connection.set_trace_callback(lambda sql: commits.append(sql == "COMMIT"))
            opens = [journal.open("fake", [make_delivery(f"{n}")], position=n) for n in range(50)]
            await asyncio.gather(*opens)
            return sum(commits), await journal.waiting("fake")

    commits, waiting = asyncio.run(test())
    assert waiting == 50
    assert commits <= 2


def test_a_text_that_has_no_encoding_harms_no_other_call(tmp_path):
    async def test():
        async with SqliteJournal(tmp_path / "notify.db") as journal:
            bad = journal.open("fake", [make_delivery(call_id="\ud800")], position=1)
            good = journal.open("fake", [make_delivery("good")], position=1)
            return await asyncio.gather(bad, good, return_exceptions=True)

    bad, good = asyncio.run(test())
    assert isinstance(bad, UnicodeEncodeError)
    assert len(good) == 1


def test_a_caller_who_gives_up_does_not_undo_the_change(tmp_path):
    async def test():
        async with SqliteJournal(tmp_path / "notify.db") as journal:
            opening = asyncio.ensure_future(journal.open("fake", [make_delivery()], position=1))
            await asyncio.sleep(0)
            opening.cancel()
            return await journal.waiting("fake")

    assert asyncio.run(test()) == 1


def test_another_table_and_its_versions_in_the_same_file_are_left_alone(tmp_path):
    path = tmp_path / "notify.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE topics (name TEXT)")
        db.execute("PRAGMA user_version = 7")
        db.execute("PRAGMA application_id = 99")
    db.close()

    async def test():
        async with SqliteJournal(path) as journal:
            await journal.open("fake", [make_delivery()], position=1)

    asyncio.run(test())

    db = sqlite3.connect(path)
    found = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")]
    db.close()
    assert found == [7, 99]


def test_a_file_that_is_no_database_is_one_error(tmp_path):
    path = tmp_path / "notify.db"
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 40)

    async def test():
        async with SqliteJournal(path):
            pass

    with pytest.raises(sqlite3.DatabaseError):
        asyncio.run(test())


def test_the_file_is_not_for_others_to_read(tmp_path):
    async def test():
        async with SqliteJournal(tmp_path / "notify.db"):
            pass

    asyncio.run(test())

    assert (tmp_path / "notify.db").stat().st_mode & 0o777 == 0o600


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("claim"), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from([Sent(), *map(Failed, Failure)])),
        st.tuples(st.just("recover"), st.just(0), st.just(0)),
        st.tuples(st.just("forget"), st.integers(0, 100), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_the_memory_journal_and_the_sqlite_journal_agree(steps, tmp_path_factory):
    async def play(journal):
        under_way, told, now = [], [], NOW
        for what, n, how in steps:
            now += 1
            if what == "open":
                fact = make_fact(f"fact-{n}")
                delivery = intent(make_retraction(fact) if how else fact, "fake", "bob", now)
                told.append(await journal.open("fake", [delivery], position=n))
            elif what == "claim":
                changed = await journal.claim("fake", now=now, limit=n, newest_first=how)
                under_way += [d for d in changed if d.state is State.ATTEMPT]
                told.append(changed)
            elif what == "end" and under_way:
                attempt = under_way.pop(n % len(under_way))
                try:
                    await journal.record(attempt, settle(attempt, how, POLICY, now))
                except StaleDeliveryError:
                    told.append("stale")
            elif what == "recover":
                recovered = await journal.recover("fake", now=now)
                told.append(sorted(recovered, key=lambda d: d.delivery_id))
            elif what == "forget":
                told.append(await journal.forget(before=now - n))
            told.append((await journal.waiting("fake"), await journal.next_due("fake")))
        return told

    async def both():
        path = tmp_path_factory.mktemp("journal") / "notify.db"
        async with SqliteJournal(path) as journal:
            found = await play(journal)
        path.unlink()
        return found, await play(MemoryJournal())

    sqlite, memory = asyncio.run(both())
    assert sqlite == memory


def test_a_channel_is_gone_while_a_delivery_that_found_it_so_is_open(run):
    mark = "410 0123"

    async def test(journal):
        await journal.open("fake", [make_delivery()], position=1)
        seen = [await journal.is_gone("fake", mark)]
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        waiting = settle(attempt, Failed(Failure.GONE, mark), POLICY, NOW)
        await journal.record(attempt, waiting)
        seen += [await journal.is_gone(*asked) for asked in (("fake", mark), ("fake", "410 x"), ("x", mark))]
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        await journal.record(attempt, settle(attempt, Sent(), POLICY, NOW))
        return [*seen, await journal.is_gone("fake", mark)]

    assert run(test) == [False, True, False, False, False]


def repeated(number, state="missed", within_s=600.0):
    """Return the intent of a call that may be one of several."""
    fact = make_fact(f"fact-{number}", rang_at=NOW + number)
    series = series_of(fact, "fake", "bob", within_s)
    return intent(fact if state == "missed" else make_retraction(fact), "fake", "bob", NOW, series=series)


async def sent(journal, *intents):
    """Open intents, and deliver what is due; return what changed when it began."""
    at = (await journal.positions("fake")).get(0, 0)
    await journal.open("fake", intents, position=at + 1)
    begun = await journal.claim("fake", now=NOW, limit=10)
    for one in begun:
        if one.state is State.ATTEMPT:
            await journal.record(one, settle(one, Sent("ok"), POLICY, NOW))
    return begun


def told(delivery):
    return [call.fact_id for call in delivery.calls]


def test_calls_of_one_caller_are_told_as_one(run):
    async def test(journal):
        await sent(journal, repeated(1))
        first = await sent(journal, repeated(2))
        second = await sent(journal, repeated(3), repeated(4))
        return first, second

    (second,), (third, fourth) = run(test)

    assert (told(second), second.replaces) == (["fact-1", "fact-2"], (Shown("fact-1", 1, sure=True),))
    assert states_of((third, fourth)) == ["suppressed", "attempt"]
    assert told(fourth) == ["fact-1", "fact-2", "fact-3", "fact-4"]
    assert fourth.replaces == (Shown("fact-2", 1, sure=True),)


def test_a_retraction_takes_its_call_out_of_those_told_as_one(run):
    async def test(journal):
        await sent(journal, repeated(1), repeated(2))
        return await sent(journal, repeated(2, "retracted"))

    (left,) = run(test)

    assert (told(left), left.corrects) == (["fact-1"], False)


def test_a_call_opened_again_is_not_told_twice(run):
    async def test(journal):
        await sent(journal, repeated(1), repeated(2))
        again = await journal.open("fake", [repeated(1), repeated(2)], position=9)
        return again, await sent(journal, repeated(3))

    again, (third,) = run(test)

    assert again == []
    assert told(third) == ["fact-1", "fact-2", "fact-3"]


def test_what_the_journal_has_forgotten_is_not_told_again(run):
    async def test(journal):
        await sent(journal, repeated(1))
        await journal.forget(before=NOW + 1)
        return await sent(journal, repeated(2))

    (second,) = run(test)

    assert told(second) == ["fact-2"]
