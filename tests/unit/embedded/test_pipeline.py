"""The pipeline against an engine that nobody disturbs."""

import base64
from functools import cache
from pathlib import Path

import msgspec
import pytest
from support import hep_calls

from missedcall_classifier.engine import Engine
from missedcall_classifier.poison import blame
from missedcall_classifier.policy import Policy
from missedcall_embedded.pipeline import DeadLetter, Pipeline
from missedcall_embedded.store import Store, read_batches
from missedcall_embedded.store_file import (
    BATCHES,
    DEAD_LETTERS,
    FACTS,
    STATE,
    VERDICTS,
    StoreError,
    Topic,
    read,
)
from missedcall_schemas import codec
from missedcall_schemas.records import CaptureBatch

CALLS = 24


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "missedcall.db"


@cache
def batches() -> tuple[CaptureBatch, ...]:
    """Return calls, and then ticks until every one is decided and forgotten."""
    return tuple(hep_calls.batches(CALLS, 40.0, ticks=80))


def undisturbed(log, policy: Policy | None = None) -> tuple[list[bytes], list[bytes]]:
    """Return the facts and verdicts of an engine over a log, encoded."""
    engine = Engine(policy or Policy())
    decisions = [decision for batch in log for decision in engine.feed(batch)]
    return (
        [codec.encode_missed_call(fact) for decision in decisions for fact in decision.facts],
        [codec.encode_verdict(verdict) for decision in decisions for verdict in decision.verdicts],
    )


def values(path: Path, topic: Topic) -> list[bytes]:
    return [row.value for row in read(path, topic)]


def test_the_load_has_what_these_tests_need():
    facts, verdicts = undisturbed(batches())

    assert len(facts) == CALLS * hep_calls.MISSED_OF_FOUR // 4
    assert len(verdicts) == CALLS


def test_the_pipeline_says_what_an_undisturbed_engine_says(path):
    with Store(path) as store:
        pipeline = Pipeline(store, Policy())
        for batch in batches():
            pipeline.take(codec.encode_batch(batch))
        pipeline.commit()

    assert (values(path, FACTS), values(path, VERDICTS)) == undisturbed(batches())
    assert tuple(read_batches(path)) == batches()


def test_a_restart_between_any_two_batches_changes_nothing(path):
    for batch in batches():
        with Store(path) as store:
            pipeline = Pipeline(store, Policy())
            pipeline.take(codec.encode_batch(batch))
            pipeline.commit()

    assert (values(path, FACTS), values(path, VERDICTS)) == undisturbed(batches())


@pytest.mark.parametrize("every", [2, 3, 7])
def test_a_crash_loses_the_turn_and_nothing_before_it(path, every):
    """A crash in every turn, after which what was lost does not come again, as on a network."""
    for start in range(0, len(batches()), every):
        with Store(path) as store:
            pipeline = Pipeline(store, Policy())
            *kept, lost = batches()[start : start + every]
            for batch in kept:
                pipeline.take(codec.encode_batch(batch))
            pipeline.commit()
            pipeline.take(codec.encode_batch(lost))

    log = list(read_batches(path))
    assert len(log) == len(batches()) - -(-len(batches()) // every)
    assert (values(path, FACTS), values(path, VERDICTS)) == undisturbed(log)


def test_decided_calls_leave_no_state_behind(path):
    with Store(path) as store:
        pipeline = Pipeline(store, Policy())
        for batch in batches():
            pipeline.take(codec.encode_batch(batch))
            pipeline.commit()

        assert pipeline.open_calls == 0
        assert all(key.startswith("__") for key, _ in store.values(STATE))


def test_nobody_is_told_before_the_commit(path):
    with Store(path) as store:
        pipeline = Pipeline(store, Policy())
        for batch in batches():
            pipeline.take(codec.encode_batch(batch))
        before = store.rows(FACTS)
        told = pipeline.commit()

        assert before == []
        assert sum(len(decision.facts) for decision in told) == len(store.rows(FACTS))


def test_what_is_committed_is_counted(path):
    with Store(path) as store:
        pipeline = Pipeline(store, Policy())
        for batch in batches():
            pipeline.take(codec.encode_batch(batch))
        assert not pipeline.counts
        pipeline.commit()

        assert pipeline.counts == {
            "turns": 1,
            "batches": len(batches()),
            "accepted": sum(len(batch.messages) for batch in batches()),
            "facts": CALLS * hep_calls.MISSED_OF_FOUR // 4,
            "verdicts": CALLS,
        }


def test_another_policy_is_allowed_and_named(path):
    with Store(path) as store:
        assert Pipeline(store, Policy()).policy_before == ""
    with Store(path) as store:
        assert Pipeline(store, Policy(settle_s=4.0)).policy_before == Policy().digest()
    with Store(path) as store:
        assert Pipeline(store, Policy(settle_s=4.0)).policy_before == ""


def test_a_state_that_does_not_go_with_its_log_is_refused(path):
    with Store(path) as store:
        Pipeline(store, Policy())
        store.append(BATCHES, "", 1, codec.encode_batch(CaptureBatch("c", 1, 0, 1)))
        store.commit()

        with pytest.raises(
            StoreError, match="state up to batch 1, log up to 2: the file was changed from outside"
        ):
            Pipeline(store, Policy())


def test_a_state_of_more_partitions_is_refused(path):
    with Store(path) as store:
        store.put(STATE, "__format__", msgspec.msgpack.encode({"partitions": 48, "policy": ""}))
        store.commit()

        with pytest.raises(StoreError, match="state of 48 partitions, expected 1"):
            Pipeline(store, Policy())


class AllergicEngine(Engine):
    """Fails on messages to or from some users, and after having changed its state."""

    callees: tuple[bytes, ...] = ()

    def feed(self, batch):
        decided = super().feed(batch)
        for message in batch.messages:
            for callee in self.callees:
                if callee in message.head:
                    raise RuntimeError("a mistake in a rule")
        return decided


def test_messages_that_trip_a_mistake_are_set_aside_and_the_rest_is_decided(path, monkeypatch):
    allergy = (b"callee000003", b"callee000008", b"callee000009")
    monkeypatch.setattr("missedcall_embedded.pipeline.Engine", AllergicEngine)
    monkeypatch.setattr(AllergicEngine, "callees", allergy)
    with Store(path) as store:
        pipeline = Pipeline(store, Policy())
        for batch in batches():
            pipeline.take(codec.encode_batch(batch))
            if batch.sequence % 3 == 0:
                pipeline.commit()
        pipeline.commit()
    letters = [msgspec.json.decode(value, type=DeadLetter) for value in values(path, DEAD_LETTERS)]
    log = list(read_batches(path))

    heads = [codec.decode_message(base64.b64decode(letter.record)).head for letter in letters]
    assert {callee for callee in allergy for head in heads if callee in head} == set(allergy)
    assert len(heads) == sum(callee in m.head for b in batches() for m in b.messages for callee in allergy)
    assert {letter.error for letter in letters} == {"RuntimeError"}
    assert not [m for batch in log for m in batch.messages if any(callee in m.head for callee in allergy)]
    assert (values(path, FACTS), values(path, VERDICTS)) == undisturbed(log)
    assert len(values(path, VERDICTS)) == CALLS - len(allergy)
    assert pipeline.counts["undecidable"] == len(heads)


def test_what_fails_without_any_message_stops_the_pipeline(path, monkeypatch):
    def fail(_engine, _batch):
        raise RuntimeError("broken for good")

    monkeypatch.setattr(Engine, "feed", fail)
    with Store(path) as store:
        pipeline = Pipeline(store, Policy())

        with pytest.raises(RuntimeError, match="broken for good"):
            pipeline.take(codec.encode_batch(batches()[0]))


def test_blame_tries_few_times():
    messages = batches()[0].messages[:64]
    trials = []

    def trial(tried):
        trials.append(tried)
        return ValueError() if messages[37] in tried else None

    guilty = [message for message, error in blame(messages, trial) if error is not None]

    assert guilty == [messages[37]]
    assert len(trials) <= 2 * 6 + 1
