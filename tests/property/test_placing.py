"""However many partitions there are, everybody is told what he would be told on one."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from support import ladder
from support.placing import decide, decide_apart, told
from support.scenarios import plan, plans, play

from missedcall_classifier.policy import Policy

FOLDER = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.stem for path in FOLDER.glob("*.trace"))

APART_UNREMEMBERED = {"row-38c-pickup-refused-then-caller-gives-up", "row-41c-blonde-transfer-missed"}
"""Of a leg that replaces another only the INVITE says so. Nobody is told wrongly, but one is not told."""


@pytest.mark.parametrize("name", NAMES)
def test_every_trace(name):
    trace = ladder.load(FOLDER / f"{name}.trace")
    messages = list(trace.messages())

    assert told(decide_apart(messages, trace.policy)) == told(decide(messages, trace.policy))


@pytest.mark.parametrize("name", NAMES)
def test_every_trace_whichever_collector_sees_which_message(name):
    trace = ladder.load(FOLDER / f"{name}.trace")
    messages = list(trace.messages())
    apart = told(decide_apart(messages, trace.policy, forgets=True))

    if name in APART_UNREMEMBERED:
        assert apart == []
    else:
        assert apart == told(decide(messages, trace.policy))


@settings(max_examples=150, deadline=None)
@given(plans())
def test_every_random_call(drawn):
    call = play(drawn)
    messages = list(call.messages())

    for forgets in (False, True):
        assert told(decide_apart(messages, Policy(), forgets=forgets)) == sorted(call.due.items())


def test_with_one_message_in_twenty_lost_nobody_is_told_who_missed_nothing():
    rng = Random(21)
    false: Counter[tuple[str, str]] = Counter()
    for index in range(400):
        call = play(plan(rng), index=index)
        messages = [message for message in call.messages() if rng.random() >= 0.05]
        for callee, _ in told(decide_apart(messages, Policy(), forgets=index % 2 == 0)):
            if callee not in call.due:
                false[call.plan.shape, call.plan.ending] += 1

    assert not false
