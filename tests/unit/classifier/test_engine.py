"""The engine's laws that no single ladder states: state rows, clocks, limits, corrections."""

from msgspec.msgpack import decode, encode
from msgspec.structs import replace
from support.decide import captured, facts, feed, rows_of, tick, verdicts
from support.ladder_capture import EPOCH_MS, batches

from missedcall_classifier.decision import Meta
from missedcall_classifier.engine import IDLE_COLLECTOR_S, META, Engine
from missedcall_classifier.policy import Policy
from missedcall_schemas.records import CaptureBatch

CANCELLED = """
0.000  alice>proxy>bob.1   INVITE bob
0.200  bob.1>proxy>alice   180
9.400  alice>proxy>bob.1   CANCEL
9.420  bob.1>proxy>alice   487
"""


def test_a_call_id_used_again_leaves_no_row_of_the_call_before():
    engine = Engine(Policy())
    first = captured(CANCELLED)
    rows = rows_of(engine, {})
    feed(engine, first)
    rows = rows_of(engine, rows)
    tick(engine, 30)
    rows = rows_of(engine, rows)
    redialled = [
        replace(
            message,
            head=message.head.replace(b";tag=", b";tag=again").replace(b"z9hG4bK", b"z9hG4bKagain"),
            captured_ms=message.captured_ms + 40_000,
            received_ms=message.received_ms + 40_000,
        )
        for message in first
    ]
    feed(engine, redialled)
    rows = rows_of(engine, rows)
    open_calls = engine.open_calls
    tick(engine, 500)

    assert open_calls == 1
    assert len(rows) == 2  # the call and the clocks
    assert rows_of(engine, rows).keys() == {META}


DAY_MS = 86_400_000


def ticked(engine, collector, sequence, clock_ms):
    engine.feed(CaptureBatch(collector, 1, sequence, clock_ms))
    return decode(dict(engine.changes())[META], type=Meta)


def test_a_collector_silent_for_a_day_is_forgotten_when_another_appears():
    engine = Engine(Policy())
    ticked(engine, "old", 0, DAY_MS)
    ticked(engine, "young", 0, DAY_MS + 5000)
    before = ticked(engine, "young", 1, 2 * DAY_MS + 1000)
    after = ticked(engine, "new", 0, 2 * DAY_MS + 1000)

    assert before.clocks.keys() == before.sequences.keys() == {"old", "young"}
    assert after.clocks.keys() == after.sequences.keys() == {"young", "new"}
    assert engine.counts["gap"] == 0


def test_a_collector_that_comes_back_within_a_day_is_known_and_what_it_lost_is_a_gap():
    engine = Engine(Policy())
    ticked(engine, "old", 0, DAY_MS)
    ticked(engine, "new", 0, 2 * DAY_MS - 1000)
    ticked(engine, "old", 3, 2 * DAY_MS)

    assert engine.counts["gap"] == 2


def test_a_batch_of_nobody_ends_calls_of_collectors_that_are_silent_and_of_no_other():
    engine = Engine(Policy())
    feed(engine, captured(CANCELLED))

    assert verdicts(tick(engine, 9.42 + IDLE_COLLECTOR_S - 1, "")) == []
    assert len(verdicts(tick(engine, 9.42 + IDLE_COLLECTOR_S + 1, ""))) == 1


def test_a_batch_of_nobody_leaves_no_trace_that_holds_collectors_back_or_marks_calls_blind():
    engine = Engine(Policy())
    feed(engine, captured(CANCELLED))
    for at_s in range(60, 100):
        tick(engine, at_s, "")
    clock_ms = engine.clock_ms
    engine.feed(CaptureBatch("collector-2", 1, 0, clock_ms + 1000))

    assert engine.clock_ms == clock_ms + 1000
    assert engine.counts["gap"] == 0


def test_a_call_that_is_decided_within_a_hole_is_blind_and_none_before_or_after_it():
    engine = Engine(Policy())
    *before, last = captured(CANCELLED)
    feed(engine, [*before, last])
    (batch,) = batches([last])
    (decision,) = engine.feed(CaptureBatch(batch.collector, batch.incarnation, 50, batch.clock_ms + 60_000))

    assert [fact.blind_window for fact in decision.facts] == [True]


def test_a_hole_that_is_over_before_a_call_begins_and_one_that_begins_after_its_end_blind_nobody():
    engine = Engine(Policy())
    ticked(engine, "collector-1", 0, EPOCH_MS - 20_000)
    ticked(engine, "collector-1", 9, EPOCH_MS - 10_000)
    said = []
    for number, batch in enumerate(batches(captured(CANCELLED))):
        said += engine.feed(replace(batch, collector="collector-1", incarnation=1, sequence=10 + number))
    at_ms = EPOCH_MS + 30_000
    said += engine.feed(CaptureBatch("collector-1", 1, 11 + number, at_ms))
    ticked(engine, "collector-1", 90, at_ms + 10_000)

    assert engine.counts["gap"] == 8 + 78 - number
    assert [fact.blind_window for fact in facts(said)] == [False]


def test_a_state_that_does_not_say_how_wide_a_hole_is_is_read():
    meta = encode(({"c": 5000}, {"c": (1, 7)}, [2000, 5000], 5000))
    engine = Engine(Policy())
    engine.load([(META, meta)])
    found = ticked(engine, "c", 9, 9000)

    assert list(zip(found.heard_ms, found.gaps, strict=True)) == [(2000, 2000), (5000, 5000), (5000, 9000)]
