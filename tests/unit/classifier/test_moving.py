"""The state of one partition for its heirs: every row once, each where its key goes, and the rest as it was."""

import msgspec
import pytest
from msgspec.structs import replace
from support import hep_calls

from missedcall_classifier.engine import META, Engine
from missedcall_classifier.policy import Policy
from missedcall_classifier.rows import StateError, decode_row, encode_row
from missedcall_classifier.stream.moving import moved, sum_of, unplaced
from missedcall_classifier.stream.unit import FORMAT, NEXT, POISON, Format, Unit
from missedcall_collector.batching import Batcher
from missedcall_collector.recut import recut
from missedcall_common.placing import BETWEEN, heirs, partitions_of
from missedcall_schemas.codec import encode_batch, encode_missed_call

START_MS = 1_700_000_000_000
POLICY = Policy()


def log(calls, partitions):
    """Return (partition, batch) of calls, with the ticks that end them."""
    batcher = Batcher("c", 1, partitions, max_messages=10)
    found = []
    now_ms = START_MS
    for message in hep_calls.in_time(calls, 50.0, START_MS):
        now_ms = message.received_ms
        found += batcher.add(message, now_ms)
    for second in range(1, 400):
        found += batcher.due(now_ms + second * 1000)
    return found


def facts_of(engines, batches):
    return [
        fact
        for partition, batch in batches
        for decision in engines[partition].feed(batch)
        for fact in decision.facts
    ]


def state(engine):
    return dict(engine.rows())


@pytest.mark.parametrize("share", [0.0, 0.03, 0.06, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 4), (2, 6), (3, 12)])
def test_a_log_that_goes_on_in_more_partitions_gives_the_same_facts(before, after, share):
    batches = log(60, before)
    whole = facts_of([Engine(POLICY) for _ in range(before)], batches)
    at = int(len(batches) * share)
    engines = [Engine(POLICY) for _ in range(before)]
    found = facts_of(engines, batches[:at])
    rows = {}
    for number in range(before):
        rows |= moved(number, state(engines[number]), before, after)
    others = [Engine(POLICY) for _ in range(after)]
    for number, own in rows.items():
        others[number].load(own.items())
    rest = []
    for partition, batch in batches[at:]:
        parts = recut(partition, encode_batch(batch), before, after)
        rest += [(part.partition, part.value) for part in parts]
    units = [Unit(POLICY, after, [(key, row) for key, row in rows[n].items()]) for n in range(after)]
    for offset, (partition, value) in enumerate(rest):
        units[partition]._begun = False  # offsets of this test are those of all partitions together
        units[partition].feed(offset, value)
    published = [
        publication.value
        for unit in units
        for publication in unit.turn().publications
        if publication.topic == "missed-calls"
    ]

    assert sorted([*map(encode_missed_call, found), *published]) == sorted(map(encode_missed_call, whole))
    assert sum(unit.engine.counts["gap"] for unit in units) == 0


def engine_with_calls():
    engine = Engine(POLICY)
    facts_of([engine], log(20, 1)[:30])
    return engine


def test_each_row_goes_where_its_key_goes_and_is_not_changed():
    rows = state(engine_with_calls())

    found = moved(0, rows, 1, 3)

    assert sorted(found) == [0, 1, 2]
    calls = {key: (heir, row) for heir, own in found.items() for key, row in own.items() if key != META}
    assert {key: row for key, (_, row) in calls.items()} == {
        key: row for key, row in rows.items() if key != META
    }
    for heir, row in calls.values():
        assert heir in partitions_of(decode_row(row).home, 3)
    assert all(own[META] == rows[META] for own in found.values())


def test_the_position_begins_anew_and_the_format_is_the_new_one():
    rows = {NEXT: b"17", FORMAT: msgspec.msgpack.encode(Format(2, "crc32-of-caller", "p"))}

    found = moved(1, rows, 2, 4)

    assert {heir: list(own) for heir, own in found.items()} == {1: [FORMAT], 3: [FORMAT]}
    assert msgspec.msgpack.decode(found[3][FORMAT], type=Format) == Format(4, "crc32-of-caller", "p")


def changed(rows, **fields):
    key = next(key for key in rows if key != META)
    call = decode_row(rows[key])
    for name, value in fields.items():
        setattr(call, name, value)
    return {**rows, key: encode_row(call)}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({POISON: b"3"}, "not decided"),
        ({FORMAT: b"?"}, "no format"),
        ({FORMAT: msgspec.msgpack.encode(Format(3, "crc32-of-caller", "p"))}, "3 partitions"),
        (changed(state(engine_with_calls()), home=BETWEEN), "did not note its key"),
    ],
)
def test_what_is_not_to_be_moved_is_refused(rows, says):
    with pytest.raises(StateError, match=says):
        moved(0, rows, 1, 2)


def test_a_call_that_belongs_elsewhere_is_refused():
    rows = changed(state(engine_with_calls()), home="a")  # on partition 3 of 48

    with pytest.raises(StateError, match="does not belong"):
        moved(0, rows, 48, 96)


def test_a_call_of_two_users_goes_with_the_one_who_brought_it_here():
    (here,) = partitions_of("a", 48)
    rows = {"k": changed(state(engine_with_calls()), home=f"ü{BETWEEN}a")}
    (key, row), *_ = [item for item in rows["k"].items() if item[0] != META]

    found = moved(here, {key: row}, 48, 96)

    assert [heir for heir, own in found.items() if own] == partitions_of("a", 96)


def test_rows_of_the_release_before_have_no_key_and_are_counted():
    rows = state(engine_with_calls())
    key = next(key for key in rows if key != META)
    fields = msgspec.msgpack.decode(rows[key][1:])
    rows[key] = rows[key][:1] + msgspec.msgpack.encode(fields[:12])

    assert unplaced(rows) == 1


def test_a_sum_is_the_same_in_any_order_and_another_if_a_row_is():
    rows = [("a", b"1"), ("b", b"2"), ("ab", b"")]

    assert sum_of(rows) == sum_of(reversed(rows))
    assert sum_of(rows) != sum_of([*rows[:2], ("a", b"b")])
    assert sum_of(rows) != sum_of(rows[:2])


def test_heirs_are_those_that_a_key_can_go_to():
    for user in ("", "a", "ü", "1234"):
        (number,) = partitions_of(user, 12)
        assert partitions_of(user, 36)[0] in heirs(number, 12, 36)
    with pytest.raises(ValueError, match="no multiple"):
        heirs(0, 12, 18)


def test_the_key_of_one_user_is_better_than_that_of_two():
    engine = Engine(POLICY)
    (_, batch), *_ = [found for found in log(1, 1) if found[1].messages]
    first, *rest = batch.messages
    engine.feed(replace(batch, messages=(replace(first, key="x y"),)))
    calls = [decode_row(row).home for key, row in engine.rows() if key != META]
    assert calls == ["x y"]

    engine.feed(replace(batch, sequence=1, messages=(replace(rest[0], key="y"),)))

    assert [decode_row(row).home for key, row in engine.rows() if key != META] == ["y"]
