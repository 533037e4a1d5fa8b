"""Calls made at random are decided as they went."""

from collections import Counter
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.ladder_capture import Capture, batches
from support.scenarios import (
    ENDINGS,
    SHAPES,
    Plan,
    load,
    messages,
    plan,
    plans,
    play,
    reordered,
    repeated,
    thinned,
)

from missedcall_classifier.decision import Decision
from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_schemas.records import SipMessage

VIEWS = {
    "once": Capture(),
    "twice": Capture(twice=True),
    "at the servers": Capture(boxes=("proxy", "sbc", "pbx")),
    "at the caller": Capture(boxes=("alice",)),
    "at a phone": Capture(boxes=("bob.1",)),
}

CROSSED = Plan(
    shape="proxy",
    ending="cancel-crosses-answer",
    phones=3,
    winner=2,
    challenged=False,
    ring_s=2.0,
    talk_s=20.0,
    reason=False,
    retransmits=False,
    early_media=False,
)
"""Two boxes whose clocks differ show it: by the phone's the 2xx came first, by the caller's his CANCEL."""

SILENT_AT_THE_PHONE = ("picked-up", "voicemail-message", "serial-answered")
"""A bare CANCEL is all that the phone gets, as of a caller who gives up."""


def decide(seen: list[SipMessage]) -> list[Decision]:
    engine = Engine(Policy())
    return [decision for batch in batches(seen) for decision in engine.feed(batch)] + engine.finish()


def told(decisions: list[Decision]) -> dict[str, str]:
    """Callee -> cause of the notices that stand at the end; two notices for one person are `twice`."""
    standing: dict[str, str] = {}
    for decision in decisions:
        for fact in decision.facts:
            if fact.state == "retracted":
                del standing[fact.callee]
            elif not fact.suppressed:
                standing[fact.callee] = "twice" if fact.callee in standing else fact.cause
    return standing


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_exactly_those_are_told_who_missed_the_call(shape, ending):
    for phones in (1, 3):
        call = play(Plan(shape=shape, ending=ending, phones=phones, winner=1))

        assert told(decide(call.messages())) == call.due


@settings(max_examples=150, deadline=None)
@given(plans(), st.sampled_from(sorted(VIEWS)))
@example(CROSSED, "twice")
def test_wherever_it_is_captured(drawn, view):
    call = play(drawn)
    decisions = decide(call.messages(VIEWS[view]))

    if view in ("once", "twice") or (view == "at the servers" and call.plan.shape != "direct"):
        assert told(decisions) == call.due
    elif view == "at the caller" or (call.plan.reason and call.plan.ending not in SILENT_AT_THE_PHONE):
        # what one hop does not show, nobody is told
        assert told(decisions).keys() <= call.due.keys()


@settings(max_examples=150, deadline=None)
@given(plans(), st.integers(0, 2**32))
def test_repetition_and_reordering_change_nobody(drawn, seed):
    rng = Random(seed)
    call = play(drawn)
    seen = reordered(repeated(call.messages(), rng), rng)

    assert told(decide(seen)) == call.due


@settings(max_examples=100, deadline=None)
@given(plans(), st.data())
def test_a_restart_at_any_point_changes_nobody(drawn, data):
    call = play(drawn)
    feed = list(batches(call.messages()))
    at = data.draw(st.integers(0, len(feed)))
    before = Engine(Policy())
    decisions = [decision for batch in feed[:at] for decision in before.feed(batch)]
    after = Engine(Policy())
    after.load([(key, value) for key, value in before.changes() if value is not None])
    decisions += [decision for batch in feed[at:] for decision in after.feed(batch)]

    assert told(decisions + after.finish()) == call.due


def test_with_one_message_in_twenty_lost_nobody_is_told_who_missed_nothing():
    rng = Random(20)
    false: Counter[tuple[str, str]] = Counter()
    lost = due = 0
    for index in range(1500):
        call = play(plan(rng), index=index)
        got = told(decide(thinned(call.messages(), rng)))
        due += len(call.due)
        lost += len(call.due.keys() - got.keys())
        false.update((call.plan.shape, call.plan.ending) for callee in got.keys() - call.due.keys())

    assert not false
    assert lost < due * 0.05


def test_a_mix_comes_in_order_and_the_same_seed_gives_the_same_bytes():
    first = list(messages(7, 40))
    times = [message.received_ms for message in first]

    assert times == sorted(times)
    assert first == list(messages(7, 40))
    assert first != list(messages(8, 40))


def test_load_is_a_mix_too():
    made = list(load(5, 60, variety=20))
    times = [message.received_ms for message in made]

    assert times == sorted(times)
    assert len({message.call_id for message in made}) >= 60
    assert len({(message.head, message.captured_ms) for message in made}) == len(made)
    assert "twice" not in told(decide(made)).values()


def test_in_a_mix_of_many_calls_everybody_gets_his_own():
    rng = Random(11)
    due: dict[str, str] = {}
    for index in range(200):
        due |= play(plan(rng), index=index, start=index / 50, seed="11").due

    assert told(decide(list(messages(11, 200)))) == due
