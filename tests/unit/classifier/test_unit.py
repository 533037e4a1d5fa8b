"""One partition of the classifier service, without Kafka."""

import base64
import json
from types import SimpleNamespace

import pytest
from msgspec import msgpack
from support import hep_calls
from support.classifier_process import offline

from missedcall_classifier import engine
from missedcall_classifier.policy import Policy
from missedcall_classifier.rows import StateError
from missedcall_classifier.stream.unit import FORMAT, HASH, NEXT, POISON, Format, PassedOverError, Unit
from missedcall_schemas.codec import decode_message, encode_batch

LOG = list(hep_calls.batches(40, 20.0))


class Store:
    """What Kafka would keep: committed state, and what was published."""

    def __init__(self):
        self.rows = {}
        self.published = []

    def commit(self, unit):
        turn = unit.turn()
        for key, row in turn.rows:
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.published += turn.publications
        unit.committed = turn.next

    def unit(self, **changes):
        return Unit(Policy(), changes.get("partitions", 4), self.rows.items())

    def values(self, topic):
        return [one.value for one in self.published if one.topic == topic]


@pytest.mark.parametrize("commit_every", [1, 3, 50])
@pytest.mark.parametrize("crash_every", [7, 1000])
def test_whatever_crashes_what_is_published_is_what_the_cores_say_of_the_log(commit_every, crash_every):
    store = Store()
    unit, steps, offset = store.unit(), 0, 0
    while offset < len(LOG):
        assert unit.feed(offset, encode_batch(LOG[offset]))
        offset, steps = offset + 1, steps + 1
        if steps % commit_every == 0:
            store.commit(unit)
        if steps % crash_every == 0 and commit_every <= crash_every:
            unit = store.unit()
            offset = unit.next
    store.commit(unit)
    expected = offline(SimpleNamespace(batches={0: LOG}))

    assert store.values("missed-calls") == expected.facts
    assert store.values("call-verdicts") == expected.verdicts


def test_a_record_that_is_delivered_again_changes_nothing():
    store = Store()
    unit = store.unit()
    unit.feed(0, encode_batch(LOG[0]))
    store.commit(unit)

    assert not unit.feed(0, encode_batch(LOG[0]))
    assert not unit.pending


def test_a_record_before_which_others_were_not_delivered_is_not_decided():
    store = Store()
    unit = store.unit()
    unit.feed(0, encode_batch(LOG[0]))

    with pytest.raises(PassedOverError, match="offset 2 was delivered, expected 1"):
        unit.feed(2, encode_batch(LOG[2]))

    assert unit.next == 1
    assert unit.feed(1, encode_batch(LOG[1]))


def test_a_log_whose_begin_was_deleted_is_decided_from_where_it_begins():
    store = Store()

    assert store.unit().feed(17, encode_batch(LOG[17]))


def test_a_record_that_is_no_batch_is_set_aside_and_the_rest_decided():
    store = Store()
    unit = store.unit()
    unit.feed(0, b"no batch")
    unit.feed(1, encode_batch(LOG[0]))
    store.commit(unit)

    (letter,) = store.values("dead-letters")
    assert json.loads(letter)["error"] == "CodecError"
    assert base64.b64decode(json.loads(letter)["record"]) == b"no batch"
    assert unit.counts["undecidable"] == 1
    assert unit.counts["accepted"] == len(LOG[0].messages)


def test_the_position_is_part_of_the_state():
    store = Store()
    unit = store.unit()
    unit.feed(41, encode_batch(LOG[0]))
    store.commit(unit)

    assert store.rows[NEXT] == b"42"
    assert store.unit().next == 42


def test_facts_carry_what_a_reader_needs_to_know_them_again():
    store = Store()
    unit = store.unit()
    for offset, batch in enumerate(LOG):
        unit.feed(offset, encode_batch(batch))
    store.commit(unit)
    fact = next(one for one in store.published if one.topic == "missed-calls")

    assert {"ce_id", "ce_source", "ce_type"} <= {name for name, _ in fact.headers}
    assert fact.key == json.loads(fact.value)["callee"]


def test_state_of_another_partition_count_is_refused():
    store = Store()
    unit = store.unit()
    unit.feed(0, encode_batch(LOG[0]))
    store.commit(unit)

    with pytest.raises(StateError, match="partitions 4, expected 5"):
        store.unit(partitions=5)


def test_state_of_another_hash_is_refused():
    row = msgpack.encode(Format(4, "murmur2", ""))

    with pytest.raises(StateError, match="hash murmur2, expected crc32-of-caller"):
        Unit(Policy(), 4, [(FORMAT, row)])


def test_another_policy_is_written_down_with_the_next_turn():
    store = Store()
    store.rows[FORMAT] = msgpack.encode(Format(4, HASH, "before"))
    unit = store.unit()
    unit.feed(0, encode_batch(LOG[0]))
    store.commit(unit)

    assert msgpack.decode(store.rows[FORMAT], type=Format).policy == Policy().digest()


@pytest.fixture
def poison(monkeypatch):
    """Let the engine fail on the messages of one call; return its Call-ID."""
    if not engine.__file__.endswith(".py"):
        pytest.skip("a compiled core calls its functions directly: none can be made to fail")
    call_id = next(hep_calls.one_call(8)).call_id
    see = engine.see

    def failing(message, *arguments):
        if message.call_id == call_id:
            raise RuntimeError("a mistake of ours")
        return see(message, *arguments)

    monkeypatch.setattr(engine, "see", failing)
    return call_id


def test_after_a_failure_nothing_of_the_record_is_committed_and_the_next_life_sets_aside_what_fails(poison):
    store = Store()
    unit, offset = store.unit(), 0
    while offset < len(LOG):
        try:
            unit.feed(offset, encode_batch(LOG[offset]))
        except RuntimeError:
            assert unit.poisoned == offset
            assert not unit.feed(offset + 1, encode_batch(LOG[offset + 1]))
            store.rows[POISON] = b"%d" % unit.poisoned
            unit = store.unit()
            offset = unit.next
            continue
        offset += 1
        if offset % 5 == 0:
            store.commit(unit)
    store.commit(unit)
    letters = [json.loads(value) for value in store.values("dead-letters")]
    said = [json.loads(value) for value in store.values("call-verdicts")]

    assert {letter["error"] for letter in letters} == {"RuntimeError"}
    assert {decode_message(base64.b64decode(letter["record"])).call_id for letter in letters} == {poison}
    assert len(letters) == len(list(hep_calls.one_call(8)))
    assert len({verdict["call_id"] for verdict in said}) == 39
    assert len(said) == 39
    assert POISON not in store.rows
