"""What only the ledger promises; what all journals do is in test_journal.py."""

import random

from support.notify import NOW, make_delivery, make_fact, make_retraction

from missedcall_notifier.delivery import State, intent, settle
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.ledger import Ledger
from missedcall_notifier.retry import RetryPolicy

POLICY = RetryPolicy()


def dead_one(ledger, now=NOW):
    ledger.take([make_delivery(now=now)], 1)
    [attempt] = ledger.claim(now, 1)
    dead = settle(attempt, Failed(Failure.PERMANENT_ITEM), POLICY, now)
    ledger.record(attempt, dead)
    return dead


def again(ledger, rows):
    for name, row in ledger.turn().items():
        rows[name] = row
    return Ledger([row for row in rows.values() if row is not None], ledger.position, slim=True)


def test_the_rows_of_its_turns_make_it_anew():
    ledger, rows, now = Ledger(), {}, NOW
    chance = random.Random(20261128)
    for number in range(300):
        now += 1
        ledger.take([make_delivery(f"fact-{number}", now=now)], number)
        for attempt in ledger.claim(now, 1, newest_first=bool(number % 2)):
            report = chance.choice([Sent("ok"), Failed(Failure.TRANSIENT), Failed(Failure.PERMANENT_ITEM)])
            ledger.record(attempt, settle(attempt, report, POLICY, now))
        if number % 50 == 0:
            ledger.forget(now - 40)
            rows.update(ledger.turn())

    copy = again(ledger, rows)

    assert copy.waiting == ledger.waiting > 0
    assert copy.next_due() == ledger.next_due()
    due = [ledger.claim(now + 9e6, 400), copy.claim(now + 9e6, 400)]
    assert due[0] == due[1]
    assert copy.forget(now + 1e9) == ledger.forget(now + 1e9) > 0


def test_an_outcome_that_it_has_already_is_taken_again():
    ledger = Ledger(slim=True)
    ledger.take([make_delivery()], 1)
    [attempt] = ledger.claim(NOW, 1)
    sent = settle(attempt, Sent(), POLICY, NOW)
    ledger.record(attempt, sent)
    ledger.turn()

    ledger.record(attempt, sent)

    assert ledger.turn() == {}


def test_attempts_that_somebody_makes_are_not_recovered():
    ledger = Ledger()
    ledger.take([make_delivery("a"), make_delivery("b")], 1)
    a, b = ledger.claim(NOW, 2)

    assert [one.delivery_id for one in ledger.recover(NOW, {a.delivery_id})] == [b.delivery_id]


def test_what_has_ended_well_is_kept_without_its_fact_and_what_is_dead_with_it():
    ledger = Ledger(slim=True)
    dead = dead_one(ledger)
    assert ledger.find(dead.delivery_id) == dead
    ledger.take([make_delivery("b")], 2)
    [attempt] = ledger.claim(NOW, 1)
    ledger.record(attempt, settle(attempt, Sent(), POLICY, NOW))
    kept = ledger.find(attempt.delivery_id)
    assert (kept.state, kept.fact.call_id) == (State.SENT, "")


def test_a_redrive_happens_once():
    ledger = Ledger()
    dead = dead_one(ledger)

    assert ledger.redrive(dead, NOW + 5).state is State.RETRY
    assert ledger.redrive(dead, NOW + 6) is None
    assert [one.state for one in ledger.claim(NOW + 5, 5)] == [State.ATTEMPT]
    assert ledger.redrive(dead, NOW + 7) is None


def test_a_redrive_of_what_is_forgotten_takes_it_from_the_dead_letter():
    dead, ledger = dead_one(Ledger()), Ledger()

    assert ledger.redrive(dead, NOW + 5).opened_at == NOW + 5


def test_a_redrive_of_a_call_that_was_taken_after_all_does_not_happen():
    ledger = Ledger()
    dead = dead_one(ledger)
    ledger.take([intent(make_retraction(make_fact()), "fake", "bob", NOW)], 2)

    assert ledger.redrive(dead, NOW + 5) is None


def test_a_wall_clock_that_is_set_back_loses_nothing():
    ledger = Ledger()
    ledger.take([make_delivery()], 1)
    assert ledger.head(NOW + 1, newest_first=True) == (False, NOW)

    assert ledger.claim(NOW - 100, 1) == []
    assert ledger.claim(NOW - 100, 1, newest_first=True) == []
    assert len(ledger.claim(NOW, 1)) == 1


def test_a_backlog_that_is_served_from_one_end_does_not_grow_the_other():
    ledger = Ledger()
    for number in range(20_000):
        ledger.take([make_delivery(f"fact-{number}", now=NOW + number)], number)
        [attempt] = ledger.claim(NOW + number, 1)
        ledger.record(attempt, settle(attempt, Sent(), POLICY, NOW + number))
        ledger.forget(NOW + number)

    assert len(ledger._notices._due_late) < 5000


def test_it_knows_since_when_the_oldest_that_has_not_ended_waits():
    ledger = Ledger()
    for number in range(3):
        ledger.take([make_delivery(f"fact-{number}", now=NOW + number)], number)
    begun = {attempt.fact.fact_id: attempt for attempt in ledger.claim(NOW + 9, 9)}

    since = []
    for name in ("fact-1", "fact-0", "fact-2"):
        since.append(ledger.waits_since)
        ledger.record(begun[name], settle(begun[name], Sent(), POLICY, NOW + 9))

    assert since == [NOW, NOW, NOW + 2]
    assert ledger.waits_since is None


def test_a_redriven_delivery_waits_since_its_redrive():
    ledger = Ledger()
    dead = dead_one(ledger)
    ledger.redrive(dead, NOW + 99)

    assert ledger.waits_since == NOW + 99
