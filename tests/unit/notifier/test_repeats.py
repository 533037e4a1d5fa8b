from typing import get_args

import pytest
from msgspec import UNSET
from support.notify import NOW, make_fact, states_of
from support.repeats import taken

from missedcall_notifier.claim import NOTHING_SENT, REPEATED, RETRACTED
from missedcall_notifier.delivery import State, decode, encode, intent, settle
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.ledger import Ledger
from missedcall_notifier.repeats import ALONE, APART, FORGOTTEN, LATE_S, MOST, series_of
from missedcall_notifier.retry import RetryPolicy
from missedcall_notifier.series import Shown
from missedcall_schemas.records import Cause, Party

WINDOW_S = 600.0
POLICY = RetryPolicy()
ANYBODY = Party(display_name="Somebody", source="from")


def opened(fact, channel="ews", recipient="bob@example.com", now=NOW, not_before=0.0, within_s=WINDOW_S):
    series = series_of(fact, channel, recipient, within_s)
    return intent(fact, channel, recipient, now, series=series, not_before=not_before)


def call(number, **changes):
    return make_fact(f"fact-{number}", **({"rang_at": NOW + number} | changes))


class Journal:
    """A ledger and its short-hands."""

    def __init__(self, **options):
        self.ledger = Ledger(**options)

    def take(self, *intents):
        return self.ledger.take(intents, self.ledger.position + 1)

    def settle(self, delivery, report=None, now=NOW):
        after = settle(delivery, report or Sent("ok"), POLICY, now)
        self.ledger.record(delivery, after)
        return after

    def send(self, now=NOW):
        """Deliver all that is due."""
        begun = [one for one in self.ledger.claim(now, 10) if one.state is State.ATTEMPT]
        return [self.settle(one, now=now) for one in begun]


def told(delivery):
    return [fact.fact_id for fact in delivery.calls]


def test_a_second_call_tells_both_and_takes_the_place_of_the_first():
    journal = Journal()
    journal.take(opened(call(1)))
    journal.send()
    journal.take(opened(call(2)))

    (second,) = journal.send()

    assert told(second) == ["fact-1", "fact-2"]
    assert second.replaces == (Shown("fact-1", 1, sure=True),)


def test_a_third_call_replaces_the_second_only():
    journal = Journal(slim=True)
    for number in (1, 2, 3):
        journal.take(opened(call(number)))
        (last,) = journal.send()

    assert told(last) == ["fact-1", "fact-2", "fact-3"]
    assert last.replaces == (Shown("fact-2", 1, sure=True),)


def test_calls_are_told_in_the_order_in_which_they_began():
    journal = Journal()

    *_, last = journal.take(opened(call(5)), opened(call(3)))

    assert told(last) == ["fact-3", "fact-5"]


def test_of_notices_that_wait_together_one_is_sent():
    journal = Journal()
    journal.take(*(opened(call(number)) for number in (1, 2, 3)))

    changed = journal.ledger.claim(NOW, 10)

    assert states_of(changed) == ["suppressed", "suppressed", "attempt"]
    assert {one.detail for one in changed[:2]} == {REPEATED}
    assert changed[2].replaces == ()


def test_a_notice_waits_for_the_one_before_it():
    journal = Journal()
    journal.take(opened(call(1)))
    (first,) = journal.ledger.claim(NOW, 10)
    journal.take(opened(call(2)))
    assert journal.ledger.claim(NOW, 10) == []

    journal.settle(first, Failed(Failure.UNCERTAIN))
    withdrawn, second = journal.ledger.claim(NOW, 10)

    assert (withdrawn.state, withdrawn.detail) == (State.SUPPRESSED, REPEATED)
    assert second.replaces == (Shown("fact-1", 1, sure=False),)


ALONE_CASES = {
    "off": (call(2), 0.0),
    "retraction": (taken(call(2)), WINDOW_S),
    "no-caller": (call(2, caller=Party(uri="sip:a@b.example", number="+4930123", anonymous=True)), WINDOW_S),
    "urgent": (call(2, urgent=True), WINDOW_S),
}


@pytest.mark.parametrize("row", ALONE, ids=lambda row: row.reason)
def test_each_row_of_what_stands_alone(row):
    fact, within_s = ALONE_CASES[row.reason]

    assert next(one for one in ALONE if one.holds(fact, within_s)) is row
    assert series_of(fact, "ews", "bob@example.com", within_s) is UNSET


def test_who_names_himself_only_is_nobody_that_could_be_told_again():
    assert series_of(call(1, caller=ANYBODY), "ews", "bob@example.com", WINDOW_S) is UNSET


@pytest.mark.parametrize("row", APART, ids=lambda row: row.reason)
def test_each_row_of_what_stays_apart(row):
    before = {
        "nothing-left": [call(1), taken(call(1))],
        "full": [call(number) for number in range(10, 10 + MOST)],
        "too-far": [call(1)],
    }[row.reason]
    after = call(40, rang_at=NOW + (602 if row.reason == "too-far" else 2))
    journal = Journal()
    for fact in before:
        journal.take(opened(fact))
        journal.send()

    (last,) = journal.take(opened(after))

    assert told(last) == [after.fact_id]
    assert last.series.after == ""


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1.0, 1e12])
def test_a_call_without_a_time_joins_nothing_and_takes_nothing_with_it(at):
    journal = Journal()

    opens = journal.take(opened(call(1)), opened(call(2, rang_at=at)), opened(call(3, rang_at=at)))

    assert [told(one) for one in opens] == [["fact-1"], ["fact-2"], ["fact-3"]]


@pytest.mark.parametrize(
    "other",
    [
        {"callee": "sip:carol@example.com"},
        {"caller": Party(uri="sip:alice@example.net", number="+4930124")},
        {"caller": Party(uri="sip:alice@example.org")},
    ],
)
def test_another_callee_or_caller_is_another_series(other):
    journal = Journal()

    *_, last = journal.take(opened(call(1)), opened(call(2, **other)))

    assert told(last) == ["fact-2"]


@pytest.mark.parametrize("other", [{"channel": "graph"}, {"recipient": "team@example.com"}])
def test_another_channel_or_recipient_is_another_series(other):
    journal = Journal()

    *_, last = journal.take(opened(call(1)), opened(call(2), **other))

    assert told(last) == ["fact-2"]


def test_without_a_window_the_record_is_as_it_was():
    fact = call(1)

    assert encode(opened(fact, within_s=0.0)) == encode(intent(fact, "ews", "bob@example.com", NOW))
    assert b"series" not in encode(opened(fact, within_s=0.0))


def test_the_record_is_read_as_it_was_written():
    journal = Journal()
    *_, last = journal.take(opened(call(1)), opened(call(2)))

    assert decode(encode(last)) == last


def test_a_newer_word_in_an_earlier_call_is_read():
    journal = Journal()
    *_, last = journal.take(opened(call(1)), opened(call(2)))

    read = decode(encode(last).replace(b'"cause":"caller-cancelled"', b'"cause":"eaten-by-the-dog"'))

    assert told(read) == told(last)
    assert all(fact.cause in get_args(Cause) for fact in read.calls)


def test_one_of_several_was_taken_the_others_are_told_anew():
    journal = Journal(slim=True)
    for number in (1, 2, 3):
        journal.take(opened(call(number)))
        journal.send()
    journal.take(opened(taken(call(2))))

    (last,) = journal.send()

    assert told(last) == ["fact-1", "fact-3"]
    assert not last.corrects
    assert last.replaces == (Shown("fact-3", 1, sure=True),)


def test_when_all_were_taken_what_is_shown_is_corrected():
    journal = Journal(slim=True)
    for fact in (call(1), call(2), taken(call(1)), taken(call(2))):
        journal.take(opened(fact))
        (last,) = journal.send()

    assert last.corrects
    assert last.replaces == (Shown("fact-1", 2, sure=True),)


def test_a_repeat_that_nobody_has_seen_is_taken_back_without_a_word():
    journal = Journal()
    journal.take(opened(call(1)))
    journal.send()
    journal.take(opened(call(2)), opened(taken(call(2))))

    withdrawn, correction = journal.ledger.claim(NOW, 10)

    assert (withdrawn.state, withdrawn.detail) == (State.SUPPRESSED, RETRACTED)
    assert (correction.state, correction.detail) == (State.SUPPRESSED, NOTHING_SENT)


def test_what_a_repeat_has_made_pointless_comes_back_when_the_repeat_is_taken_back():
    journal = Journal()
    journal.take(opened(call(1)), opened(call(2)))
    _, second = journal.ledger.claim(NOW, 10)
    journal.settle(second, Failed(Failure.TRANSIENT))
    journal.take(opened(taken(call(2))))

    _, last = journal.ledger.claim(NOW, 10)

    assert last.state is State.ATTEMPT
    assert told(last) == ["fact-1"]


def test_a_call_joins_what_a_retraction_has_left():
    journal = Journal()
    for fact in (call(1), call(2), taken(call(2)), call(3)):
        journal.take(opened(fact))
        journal.send()
    last = journal.ledger.find(opened(call(3)).delivery_id)

    assert told(last) == ["fact-1", "fact-3"]


def test_a_retraction_of_a_series_ends_where_it_began_though_it_is_switched_off_now():
    journal = Journal()
    for fact in (call(1), call(2)):
        journal.take(opened(fact))
        journal.send()
    journal.take(opened(taken(call(1)), within_s=0.0))

    (last,) = journal.send()

    assert told(last) == ["fact-2"]
    assert last.replaces == (Shown("fact-2", 1, sure=True),)


def test_what_is_told_anew_in_the_quiet_hours_waits_for_their_end():
    journal = Journal()
    journal.take(*(opened(call(number), not_before=NOW + 3600) for number in (1, 2)))

    (last,) = journal.take(opened(taken(call(1))))

    assert (last.next_at, last.not_before) == (NOW + 3600, NOW + 3600)


def test_a_dead_notice_is_not_redriven_when_a_later_one_tells_its_call():
    journal = Journal()
    journal.take(opened(call(1)))
    (first,) = journal.ledger.claim(NOW, 10)
    dead = journal.settle(first, Failed(Failure.PERMANENT_RECIPIENT))
    assert Journal().ledger.redrive(dead, NOW) is not None

    journal.take(opened(call(2)))

    assert journal.ledger.redrive(dead, NOW) is None


@pytest.mark.parametrize(("after_s", "joins"), [(-1, True), (0, False)])
def test_a_series_is_remembered_for_its_window_and_a_little_longer(after_s, joins):
    journal = Journal(slim=True)
    for number in (1, 2):
        journal.take(opened(call(number)))
        journal.send()

    (third,) = journal.take(opened(call(3), now=NOW + WINDOW_S + LATE_S + after_s))

    assert told(third) == (["fact-1", "fact-2", "fact-3"] if joins else ["fact-3"])


def test_a_retraction_that_comes_after_that_changes_nothing_of_a_series():
    journal = Journal(slim=True)
    for number in (1, 2):
        journal.take(opened(call(number)))
        journal.send()
    later = NOW + WINDOW_S + LATE_S

    (late,) = journal.take(opened(taken(call(2)), now=later))

    assert (late.state, late.detail) == (State.SUPPRESSED, FORGOTTEN)


def test_a_retraction_that_comes_after_that_corrects_a_notice_of_one_call():
    journal = Journal(slim=True)
    journal.take(opened(call(1)))
    journal.send()
    later = NOW + WINDOW_S + LATE_S
    journal.take(opened(taken(call(1)), now=later))

    (late,) = journal.send(later)

    assert late.corrects


def test_no_more_series_are_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr("missedcall_notifier.ledger.REMEMBERED", 3)
    journal = Journal(slim=True)
    for number in range(10):
        caller = Party(uri=f"sip:caller-{number}@example.net")
        journal.take(opened(call(number, caller=caller), now=NOW + number))
        journal.send(NOW + number)

    whole = [one for one in journal.ledger._held.values() if one.fact.callee]
    assert len(whole) <= 4
    assert sum(map(len, journal.ledger._heads.values())) <= 4


def test_what_is_forgotten_is_no_longer_joined():
    journal = Journal()
    journal.take(opened(call(1)))
    journal.send()

    assert journal.ledger.forget(NOW + 1) == 1
    (last,) = journal.take(opened(call(2)))

    assert told(last) == ["fact-2"]
