"""What is indexed is what a call keeps: nothing outlives it, and no sender makes it grow."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from support import ladder
from support.decide import captured, facts, feed, memory_of, tick, verdicts

from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy

GOLDEN = Path(__file__).parents[2] / "golden"

CANCELLED = """
0.000  alice>proxy>bob.1   INVITE bob
0.200  bob.1>proxy>alice   180
9.400  alice>proxy>bob.1   CANCEL
9.420  bob.1>proxy>alice   487
"""

TWO_LEGS = """
0.000   alice>pbx           INVITE bob
0.020   b:pbx>bob.1         INVITE bob
0.200   b:bob.1>pbx         180
0.210   pbx>alice           180
9.400   alice>pbx           CANCEL
9.420   b:pbx>bob.1         CANCEL
9.430   b:bob.1>pbx         487
9.440   pbx>alice           487
"""


@pytest.fixture
def engine():
    return Engine(Policy())


def test_a_correlation_id_that_one_of_two_agents_sends_is_forgotten_with_its_call(engine):
    messages = captured(CANCELLED)
    known = replace(messages[0], correlation_id="another-leg")
    feed(engine, [messages[0], known, *messages[1:]])
    tick(engine, 500)

    assert memory_of(engine) == 0


def test_a_call_may_bear_a_call_id_that_a_forgotten_one_named(engine):
    messages = captured(CANCELLED)
    later = captured(CANCELLED.replace("alice", "carol"), "another")
    named = replace(messages[0], correlation_id=later[0].call_id)
    feed(engine, [messages[0], named, *messages[1:]])
    tick(engine, 500)
    moved = [
        replace(m, captured_ms=m.captured_ms + 600_000, received_ms=m.received_ms + 600_000) for m in later
    ]

    assert len(facts(feed(engine, moved) + engine.finish())) == 1


def test_what_only_the_second_agent_knows_of_a_leg_joins_it(engine):
    messages = captured(TWO_LEGS)
    upper = messages[0].call_id
    at = next(n for n, m in enumerate(messages) if m.call_id != upper)
    second = replace(messages[at], correlation_id=upper)
    decisions = feed(engine, [*messages[: at + 1], second, *messages[at + 1 :]]) + engine.finish()

    assert [decision.call_ids for decision in decisions] == [(upper, second.call_id)]
    assert [verdict.confidence for verdict in verdicts(decisions)] == ["high"]


def test_a_sender_who_names_another_leg_in_every_copy_fills_no_memory(engine):
    messages = captured(CANCELLED)
    copies = [replace(messages[0], correlation_id=f"leg-{n}") for n in range(1000)]
    feed(engine, [messages[0], *copies])

    assert memory_of(engine) < 50


def test_a_call_that_sends_too_much_leaves_nothing_behind():
    engine = Engine(Policy(max_messages_per_call=4))
    feed(engine, captured(CANCELLED))
    tick(engine, 500)

    assert engine.counts["limit"] > 0
    assert memory_of(engine) == 0


def test_joining_makes_no_call_larger_than_the_limit():
    engine = Engine(Policy(max_messages_per_call=8))
    messages = captured(TWO_LEGS)
    upper = messages[0].call_id
    invite = next(m for m in messages if m.call_id != upper)
    feed(engine, [*messages, replace(invite, correlation_id=upper)])

    assert engine.counts["limit"] > 0
    assert engine.open_calls == 2


def test_a_leg_that_another_named_before_is_known_by_its_stem_as_well(engine):
    messages = ladder.load(GOLDEN / "join-three-legs-in-a-row.trace").messages()

    def late(message):  # first what names leg b, then of leg b something else than its INVITE, then leg a
        named = b"X-CID" in message.head
        of_b = message.call_id.endswith("_b2b-1")
        return (not named, not of_b, message.head.startswith(b"INVITE"))

    ordered = sorted(messages, key=late)
    decisions = feed(
        engine, [replace(m, received_ms=messages[0].received_ms + n) for n, m in enumerate(ordered)]
    )

    assert [len(decision.call_ids) for decision in decisions + engine.finish()] == [3]
