"""The journal on a real Kafka: what it promises beyond the suite of all journals, unit/notifier/test_journal.py."""

import asyncio
import threading

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.net.selector import NetworkSelector
from kafka.producer.sender import Sender
from support.classifier_process import values
from support.kafka_journal import Alone, make_settings
from support.notify import NOW, make_delivery, make_fact, turns_until

from missedcall_notifier.delivery import State, intent, settle
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.journal import StaleDeliveryError
from missedcall_notifier.repeats import series_of
from missedcall_notifier.retry import RetryPolicy
from missedcall_notifier.series import Shown
from missedcall_notifier.stream import letters

pytestmark = pytest.mark.kafka

POLICY = RetryPolicy()


def play(kafka, test, workers=1):
    async def main():
        settings = make_settings(kafka)
        journals = [Alone(settings) for _ in range(workers)]
        for journal in journals:
            await journal.start()
        try:
            return await test(*journals)
        finally:
            for journal in journals:
                await journal.stop()

    return asyncio.run(main())


def test_who_takes_over_finds_everything_and_whoever_had_it_writes_no_more(kafka):
    async def test(old, new):
        await old.take(0)
        await old.open("fake", [make_delivery("a"), make_delivery("b", now=NOW + 1)], position=7)
        [attempt] = await old.claim("fake", now=NOW + 1, limit=1)

        await new.take(0)  # nobody has told the old one

        recovered = await new.claim("fake", now=NOW, limit=0)
        position = await new.positions("fake")
        recording = asyncio.ensure_future(old.record(attempt, settle(attempt, Sent(), POLICY, NOW)))
        await turns_until(lambda: old.counts["transactions-failed"], every_s=0.01)
        old._left({0}, True, _Done())
        with pytest.raises(StaleDeliveryError):
            await recording
        again = await old.claim("fake", now=NOW + 1, limit=5)
        return attempt, recovered, position, again, await new.find(attempt.delivery_id)

    attempt, recovered, position, again, held = play(kafka, test, 2)
    assert [(one.delivery_id, one.state) for one in recovered] == [(attempt.delivery_id, State.UNCERTAIN)]
    assert position == {0: 7}
    assert again == []
    assert held.state is State.UNCERTAIN


def test_who_takes_over_goes_on_with_calls_that_are_told_as_one(kafka):
    async def test(old, new):
        await old.take(0)
        await old.open("fake", [repeated(1)], position=1)
        [attempt] = await old.claim("fake", now=NOW, limit=1)
        await old.record(attempt, settle(attempt, Sent(), POLICY, NOW))

        await new.take(0)

        await new.open("fake", [repeated(2)], position=2)
        return await new.claim("fake", now=NOW, limit=1)

    [second] = play(kafka, test, 2)
    assert [call.fact_id for call in second.calls] == ["fact-1", "fact-2"]
    assert second.replaces == (Shown("fact-1", 1, sure=True),)


def repeated(number):
    fact = make_fact(f"fact-{number}", rang_at=NOW + number)
    return intent(fact, "fake", "bob", NOW, series=series_of(fact, "fake", "bob", 600.0))


class _Done:
    def set(self):
        pass


def test_a_claim_of_whoever_was_fenced_comes_to_nothing(kafka):
    async def test(old, new):
        await old.take(0)
        await old.open("fake", [make_delivery()], position=1)
        await new.take(0)

        claiming = asyncio.ensure_future(old.claim("fake", now=NOW, limit=1))
        await turns_until(lambda: old.counts["transactions-failed"], every_s=0.01)
        old._left({0}, True, _Done())
        return await claiming, await new.claim("fake", now=NOW, limit=1)

    claimed, theirs = play(kafka, test, 2)
    assert claimed == []
    assert [one.state for one in theirs] == [State.ATTEMPT]


def test_an_outcome_survives_a_transaction_that_fails(kafka):
    async def test(journal):
        await journal.take(0)
        await journal.open("fake", [make_delivery("a"), make_delivery("b")], position=3)
        a, b = await journal.claim("fake", now=NOW, limit=2)
        part = journal._parts[0]
        write = part.writer.write

        def written_but_not_said(records):
            write(records)
            raise OSError("the answer was lost")

        part.writer.write = written_but_not_said
        await journal.record(a, settle(a, Sent(), POLICY, NOW))
        return (
            (await journal.find(a.delivery_id)).state,
            (await journal.find(b.delivery_id)).state,
            await journal.positions("fake"),
            journal.counts["taken-over"],
        )

    assert play(kafka, test) == (State.SENT, State.ATTEMPT, {0: 3}, 2)


def test_a_claim_whose_transaction_failed_is_uncertain_and_nobody_has_it(kafka):
    async def test(journal):
        await journal.take(0)
        await journal.open("fake", [make_delivery()], position=1)
        part = journal._parts[0]
        write = part.writer.write

        def written_but_not_said(records):
            write(records)
            raise OSError("the answer was lost")

        part.writer.write = written_but_not_said
        lost = await journal.claim("fake", now=NOW, limit=1)
        return lost, await journal.claim("fake", now=NOW + 60, limit=1)

    lost, found = play(kafka, test)
    assert [one.state for one in lost + found] == [State.UNCERTAIN, State.ATTEMPT]
    assert found[0].lost == 1


def test_what_is_given_up_in_order_lets_the_attempts_end(kafka):
    async def test(journal):
        await journal.take(0)
        await journal.open("fake", [make_delivery("a"), make_delivery("b")], position=1)
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        leaving = asyncio.ensure_future(journal._leave(journal._parts[0], lost=False))
        await asyncio.sleep(0)
        late = await journal.claim("fake", now=NOW, limit=5)
        gone = leaving.done()
        await journal.record(attempt, settle(attempt, Sent(), POLICY, NOW))
        await leaving
        await journal.take(0)
        return late, gone, (await journal.find(attempt.delivery_id)).state

    assert play(kafka, test) == ([], False, State.SENT)


def _held_up(part):
    """Hold the part's transactions up until the event that is returned is set."""
    goes_on, write = threading.Event(), part.writer.write

    def late(records):
        goes_on.wait(30)
        write(records)

    part.writer.write = late
    return goes_on


async def _claimed_of_two(journal):
    """Claim a delivery of each of two partitions; return the claim, of which the second is held up."""
    await journal.take(0, 1)
    for number in (0, 1):
        await journal.open("fake", [make_delivery(str(number))], position=1, part=number)
    goes_on = _held_up(journal._parts[1])
    before = journal.counts["transactions"]
    claiming = asyncio.ensure_future(journal.claim("fake", now=NOW, limit=2))
    await turns_until(lambda: journal.counts["transactions"] > before, every_s=0.01)
    return claiming, goes_on


def test_what_was_claimed_is_under_way_before_whoever_claimed_it_hears_so(kafka):
    async def test(journal):
        claiming, goes_on = await _claimed_of_two(journal)
        leaving = asyncio.ensure_future(journal._leave(journal._parts[0], lost=False))
        await turns_until(lambda: journal._parts[0].flushing is None, every_s=0.01)
        goes_on.set()
        attempts = await claiming
        gone = leaving.done()
        for attempt in attempts:
            await journal.record(attempt, settle(attempt, Sent(), POLICY, NOW))
        await leaving
        await journal.take(0)
        (mine,) = (one for one in attempts if one.fact.fact_id == make_fact("0").fact_id)
        return len(attempts), gone, (await journal.find(mine.delivery_id)).state

    assert play(kafka, test) == (2, False, State.SENT)


def test_what_was_claimed_of_a_partition_that_was_lost_meanwhile_is_not_attempted(kafka):
    async def test(journal):
        claiming, goes_on = await _claimed_of_two(journal)
        await journal._leave(journal._parts[0], lost=True)
        goes_on.set()
        attempts = await claiming
        await journal.take(0)
        return [one.fact.fact_id for one in attempts], await journal.claim("fake", now=NOW, limit=1)

    attempts, found = play(kafka, test)
    assert attempts == [make_fact("1").fact_id]
    assert {one.fact.fact_id for one in found} == {make_fact("0").fact_id}
    assert [one.state for one in found] == [State.UNCERTAIN, State.ATTEMPT]


def test_what_waits_together_is_one_transaction(kafka):
    async def test(journal):
        await journal.take(0)
        before = journal.counts["transactions"]
        opening = [journal.open("fake", [make_delivery(f"{n}")], position=n) for n in range(50)]
        await asyncio.gather(*opening)
        return journal.counts["transactions"] - before, await journal.waiting("fake")

    transactions, waiting = play(kafka, test)
    assert waiting == 50
    assert transactions <= 2


def test_what_is_forgotten_is_gone_for_whoever_comes_next(kafka):
    async def test(journal):
        await journal.take(0)
        await journal.open("fake", [make_delivery()], position=1)
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        await journal.record(attempt, settle(attempt, Sent(), POLICY, NOW))
        count = await journal.forget(before=NOW + 1)
        await journal.take(0)
        return count, await journal.find(attempt.delivery_id), await journal.positions("fake")

    assert play(kafka, test) == (1, None, {0: 1})


def test_a_dead_delivery_is_a_dead_letter_and_lives_again_once_however_often_it_is_asked_for(kafka):
    async def test(journal):
        await journal.take(0)
        await journal.open("fake", [make_delivery()], position=1)
        [attempt] = await journal.claim("fake", now=NOW, limit=1)
        dead = settle(attempt, Failed(Failure.PERMANENT_ITEM, "too large"), POLICY, NOW)
        await journal.record(attempt, dead)

        name = journal._letters_topic
        [value] = await asyncio.to_thread(values, kafka.bootstrap, name)
        letter = letters.read_letter(value)
        request = letters.read_request(letters.request(letter, NOW + 5))
        journal._take_request(request)
        journal._take_request(request)
        again = await journal.claim("fake", now=NOW, limit=5)
        await journal.take(0)  # whoever comes next hears the same requests
        journal._take_request(request)
        after = await journal.claim("fake", now=NOW, limit=5)
        return dead, letter, again, after, journal.counts["redriven"]

    dead, letter, again, after, redriven = play(kafka, test)
    assert letter.delivery() == dead
    assert (letter.error, letter.detail, letter.part) == ("permanent-item", "too large", 0)
    assert {one.delivery_id for one in again} == {dead.delivery_id}
    assert [one.state for one in again] == [State.RETRY, State.ATTEMPT]
    assert redriven == 1
    assert State.RETRY not in [one.state for one in after]


def test_the_client_is_as_we_use_it():
    """Private names that stream/writer.py and stream/membership.py use."""
    assert "_sender" in KafkaProducer.__init__.__code__.co_names
    assert callable(Sender.force_close)
    assert "_net" in KafkaConsumer.__init__.__code__.co_names
    assert callable(NetworkSelector.sleep)


def test_a_partition_that_is_ours_again_at_once_is_not_given_up_with_the_old_one(kafka):
    async def test(journal):
        await journal.take(0)
        journal._left({0}, True, _Done())
        await journal.take(0)
        await asyncio.sleep(0.05)
        return await journal.positions("fake"), journal.counts["given-up"]

    assert play(kafka, test) == ({0: 0}, 1)
