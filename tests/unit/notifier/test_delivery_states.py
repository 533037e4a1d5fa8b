import itertools
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.notify import NOW, make_delivery, make_fact, make_retraction

from missedcall_notifier.delivery import (
    ENDED,
    OPEN,
    ROWS,
    TRANSITIONS,
    Signal,
    State,
    TransitionError,
    begin,
    decode,
    delivery_id,
    encode,
    intent,
    interrupted,
    jitter,
    name_of,
    redriven,
    settle,
    withdraw,
)
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.retry import RetryPolicy

POLICY = RetryPolicy()


def test_an_id_is_a_function_of_fact_revision_channel_and_recipient():
    assert delivery_id("f", 1, "smtp", "bob@example.com") == "841516ef-29c6-51e6-a81f-9eb1199cd682"


def test_no_two_different_names_give_one_id():
    assert name_of("a", "b,c") != name_of("a,b", "c")


def test_an_id_is_a_uuid_without_a_dot():
    # Standard Webhooks signs `id.timestamp.body`: a dot in the id would make two messages one
    assert uuid.UUID(delivery_id("f.1", 1, "webhook", "default")).version == 5


def test_every_state_is_open_ended_or_under_way():
    assert set(State) - OPEN - ENDED == {State.ATTEMPT}


def test_nothing_but_a_person_leads_out_of_an_end():
    assert [row for row in ROWS if row[0] in ENDED] == [(State.DEAD, Signal.REDRIVEN, State.RETRY)]


def test_a_dead_delivery_that_is_redriven_has_its_name_and_its_whole_patience():
    dead = begin(make_delivery(), NOW)
    dead = settle(dead, Failed(Failure.UNCERTAIN), RetryPolicy(uncertain_attempts=1), NOW + 9)
    assert dead.state is State.DEAD

    again = redriven(dead, NOW + 1000)

    assert (again.state, again.delivery_id) == (State.RETRY, dead.delivery_id)
    assert (again.opened_at, again.next_at, again.attempts) == (NOW + 1000, NOW + 1000, 0)
    assert again.maybe_seen


def test_every_signal_is_in_a_row():
    assert {signal for _, signal, _ in ROWS} == set(Signal)


def test_what_the_table_does_not_know_is_our_mistake():
    unknown = set(itertools.product(State, Signal)) - set(TRANSITIONS)
    sent = settle(begin(make_delivery(), NOW), Sent(), POLICY, NOW)

    assert (sent.state, Signal.BEGIN) in unknown
    with pytest.raises(TransitionError, match="begin in state sent"):
        begin(sent, NOW)


def test_a_new_intent_is_due_at_once():
    delivery = make_delivery()

    assert (delivery.state, delivery.next_at, delivery.attempts) == (State.PENDING, NOW, 0)


def test_a_retraction_supersedes_the_revision_before_it():
    notice = make_delivery()
    correction = intent(make_retraction(make_fact()), "fake", "bob", NOW)

    assert correction.supersedes == notice.delivery_id


def test_every_change_counts_the_version_up():
    delivery = settle(begin(make_delivery(), NOW), Sent("42"), POLICY, NOW)

    assert (delivery.version, delivery.state, delivery.ref) == (2, State.SENT, "42")


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (Failure.TRANSIENT, State.RETRY),
        (Failure.THROTTLED, State.RETRY),
        (Failure.SLOW, State.RETRY),
        (Failure.CHANNEL_DOWN, State.RETRY),
        (Failure.GONE, State.RETRY),
        (Failure.UNCERTAIN, State.UNCERTAIN),
        (Failure.PERMANENT_RECIPIENT, State.DEAD),
        (Failure.PERMANENT_ITEM, State.DEAD),
    ],
)
def test_each_failure_leads_to_its_state(failure, state):
    assert settle(begin(make_delivery(), NOW), Failed(failure), POLICY, NOW).state is state


def test_each_failure_was_tested_above():
    marks = test_each_failure_leads_to_its_state.pytestmark[0].args[1]

    assert {failure for failure, _ in marks} == set(Failure)


def test_an_attempt_that_found_the_channel_down_does_not_count():
    delivery = settle(begin(make_delivery(), NOW), Failed(Failure.CHANNEL_DOWN), POLICY, NOW)

    assert (delivery.attempts, delivery.next_at) == (0, NOW)


def test_an_interrupted_attempt_may_have_been_seen():
    delivery = interrupted(begin(make_delivery(), NOW), NOW + 60)

    assert delivery.state is State.UNCERTAIN
    assert delivery.maybe_seen
    assert delivery.next_at == NOW + 60


def test_a_surely_failed_attempt_was_not_seen():
    assert not settle(begin(make_delivery(), NOW), Failed(Failure.TRANSIENT), POLICY, NOW).maybe_seen


def test_the_last_uncertain_attempt_ends_dead_and_still_may_have_been_seen():
    delivery = make_delivery()
    for _ in range(POLICY.uncertain_attempts):
        delivery = settle(begin(delivery, NOW), Failed(Failure.UNCERTAIN), POLICY, NOW)

    assert delivery.state is State.DEAD
    assert delivery.maybe_seen


def test_transient_failures_do_not_use_up_uncertain_attempts():
    delivery = make_delivery()
    for _ in range(10):
        delivery = settle(begin(delivery, NOW), Failed(Failure.TRANSIENT), POLICY, NOW)
    delivery = settle(begin(delivery, NOW), Failed(Failure.UNCERTAIN), POLICY, NOW)

    assert delivery.state is State.UNCERTAIN


def test_what_is_withdrawn_says_why():
    delivery = withdraw(make_delivery(), "retracted", NOW)

    assert (delivery.state, delivery.detail) == (State.SUPPRESSED, "retracted")


def test_the_record_comes_back_as_it_went():
    delivery = settle(begin(make_delivery(), NOW), Failed(Failure.SLOW, "rcpt 452"), POLICY, NOW)

    assert decode(encode(delivery)) == delivery


def test_a_record_of_a_newer_release_is_read():
    raw = msgspec.json.decode(encode(make_delivery()))
    raw["fact"]["cause"] = "teleported"
    raw["fact"]["mood"] = raw["urgency"] = "new"

    delivery = decode(msgspec.json.encode(raw))

    assert delivery.fact.fact_id == "fact-1"


@given(st.text(), st.integers(0, 1000))
def test_jitter_is_a_share_and_the_same_each_time(name, attempt):
    name = name.encode("utf-8", "replace").decode()

    assert 0 <= jitter(name, attempt) < 1
    assert jitter(name, attempt) == jitter(name, attempt)
