"""The laws of deciding, over every golden trace: what a capture repeats, reorders, splits or loses."""

import random
from functools import cache
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ladder
from support.ladder_capture import batches

from missedcall_classifier.decision import Decision
from missedcall_classifier.engine import Engine
from missedcall_classifier.reading import Reader, decode_read, encode_read
from missedcall_schemas.records import CaptureBatch, SipMessage

FOLDER = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.stem for path in FOLDER.glob("*.trace"))

LATENESS_S = 2.5
"""Below the settle time of 3 s: the bound within which a message may be late."""

LOSS = 0.05
SEEDS = 60


@cache
def trace_of(name: str) -> ladder.Trace:
    return ladder.load(FOLDER / f"{name}.trace")


@cache
def messages_of(name: str) -> tuple[SipMessage, ...]:
    return tuple(trace_of(name).messages())


def run(name: str, feed: list[CaptureBatch]) -> list[Decision]:
    engine = Engine(trace_of(name).policy)
    return [decision for batch in feed for decision in engine.feed(batch)] + engine.finish()


def last_word(decisions: list[Decision]) -> dict[str, tuple[str, ...]]:
    """Callee and call -> the last verdict, and the state of the last fact."""
    said: dict[str, tuple[str, ...]] = {}
    for decision in decisions:
        for verdict in decision.verdicts:
            said[f"{verdict.callee} {verdict.call_id}"] = (verdict.outcome, verdict.cause, verdict.fact_id)
    return said


def due(decisions: list[Decision]) -> dict[str, str]:
    """Fact id -> callee of the notices that stand at the end."""
    standing: dict[str, str] = {}
    for decision in decisions:
        for fact in decision.facts:
            if fact.state == "missed" and not fact.suppressed:
                standing[fact.fact_id] = fact.callee
            else:
                standing.pop(fact.fact_id, None)
    return standing


def as_bytes(decisions: list[Decision]) -> bytes:
    return msgspec.json.encode(sorted(decisions, key=lambda d: d.call_ids))


def one_batch_each(messages: list[SipMessage]) -> list[CaptureBatch]:
    return [CaptureBatch("c", 0, n, m.received_ms, (m,)) for n, m in enumerate(messages)]


in_every_trace = pytest.mark.parametrize("name", NAMES)


@in_every_trace
def test_how_messages_are_batched_changes_no_byte(name):
    messages = list(messages_of(name))
    usual = run(name, list(batches(messages)))

    assert as_bytes(run(name, one_batch_each(messages))) == as_bytes(usual)
    assert as_bytes(run(name, list(batches(messages, size_ms=10_000)))) == as_bytes(usual)


@in_every_trace
def test_a_call_that_rests_changes_no_byte(name):
    feed = one_batch_each(list(messages_of(name)))
    engine = Engine(trace_of(name).policy)
    engine._rest_above = engine._rest_ms = 0

    decisions = [decision for batch in feed for decision in engine.feed(batch)] + engine.finish()

    assert as_bytes(decisions) == as_bytes(run(name, feed))


@in_every_trace
def test_who_reads_changes_no_byte(name):
    feed = list(batches(list(messages_of(name))))
    policy = trace_of(name).policy
    engine, other, reader = Engine(policy), Engine(policy), Reader(policy)

    here = [decision for batch in feed for decision in engine.feed(batch)] + engine.finish()
    read = (decode_read(encode_read(reader.read(batch))) for batch in feed)
    there = [decision for batch in read for decision in other.feed_read(batch)] + other.finish()

    assert as_bytes(there) == as_bytes(here)
    assert other.counts == engine.counts


@in_every_trace
def test_a_restart_at_any_batch_changes_no_byte(name):
    feed = list(batches(messages_of(name)))
    usual = as_bytes(run(name, feed))
    policy = trace_of(name).policy
    engine, rows, decisions = Engine(policy), {}, []
    for batch in feed:
        decisions += engine.feed(batch)
        for key, row in engine.changes():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        engine = Engine(policy)
        engine.load(rows.items())
    decisions += engine.finish()

    assert as_bytes(decisions) == usual


@in_every_trace
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_message_captured_again_changes_nothing(name, seed):
    chance = random.Random(seed)
    messages = []
    for message in messages_of(name):
        messages.append(message)
        if chance.random() < 0.5:
            later = message.received_ms + chance.randrange(0, 300)
            messages.append(msgspec.structs.replace(message, received_ms=later))
    messages.sort(key=lambda each: each.received_ms)

    assert last_word(run(name, list(batches(messages)))) == last_word(
        run(name, list(batches(messages_of(name))))
    )


@in_every_trace
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_order_within_the_lateness_bound_changes_no_verdict(name, seed):
    chance = random.Random(seed)
    messages = [
        msgspec.structs.replace(m, received_ms=m.received_ms + int(chance.random() * LATENESS_S * 1000))
        for m in messages_of(name)
    ]
    messages.sort(key=lambda each: each.received_ms)
    shuffled = run(name, list(batches(messages)))
    usual = run(name, list(batches(messages_of(name))))

    assert due(shuffled) == due(usual)
    assert last_word(shuffled) == last_word(usual)


@in_every_trace
def test_losing_messages_makes_no_false_notice(name):
    """Nobody is told who would not have been: his call was answered, declined, no call, or none of ours.

    Further users of a call that was missed (a ring group's members) are not the question here.
    """
    usual = run(name, list(batches(messages_of(name))))
    missed = {v.callee for d in usual for v in d.verdicts if v.outcome in {"missed", "secondary-suppressed"}}
    for seed in range(SEEDS):
        chance = random.Random(f"{name} {seed}")
        kept = [m for m in messages_of(name) if chance.random() >= LOSS]

        assert set(due(run(name, list(batches(kept)))).values()) <= missed, f"seed {seed}"
