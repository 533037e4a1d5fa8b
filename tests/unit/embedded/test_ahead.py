"""Reading in a process of its own: the same decisions, errors and counts; neither process outlives the other."""

import multiprocessing
import os
from datetime import UTC

import msgspec
import pytest
from support.command import missedcall
from support.scenarios import load

from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_collector.pcap_writer import write_pcap
from missedcall_embedded import ahead
from missedcall_embedded.ahead import Ahead, worth
from missedcall_embedded.demo import SAMPLES
from missedcall_embedded.source import Sources
from missedcall_schemas import codec

POLICY = Policy()


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    path = tmp_path_factory.mktemp("ahead") / "calls.pcap"
    write_pcap(path, list(load(1, 600)))
    return path


def decided_here(sources):
    engine = Engine(POLICY)
    return [each for batch in sources.batches() for each in engine.feed(batch)] + engine.finish()


def decided_ahead(sources):
    engine = Engine(POLICY)
    return [each for batch in sources.batches() for each in engine.feed_read(batch)] + engine.finish()


@pytest.mark.parametrize("cut", [0, 7])
def test_all_that_is_known_at_the_end_is_the_same(tmp_path, cut):
    files = sorted(SAMPLES.glob("*.pcap"))
    broken = tmp_path / "broken.pcap"
    data = files[0].read_bytes()
    broken.write_bytes(data[: len(data) - cut])
    here, there = (
        make([*files[1:], broken], UTC, *more) for make, more in ((Sources, ()), (Ahead, (POLICY,)))
    )

    decisions = decided_ahead(there)

    assert msgspec.json.encode(decisions) == msgspec.json.encode(decided_here(here))
    assert decisions
    assert (there.errors, there.read, there.share) == (here.errors, here.read, here.share)
    assert there.counts == here.counts
    assert bool(there.errors) == bool(cut)


def test_the_command_reads_a_large_capture_so(capture):
    assert capture.stat().st_size >= ahead.WORTH_BYTES

    done = missedcall("replay", capture, "--format", "jsonl")

    facts = [fact for decision in decided_here(Sources([capture])) for fact in decision.facts]
    assert done.stdout.splitlines() == [codec.encode_missed_call(fact).decode() for fact in facts]
    assert facts


def test_a_second_process_has_to_be_worth_it(capture, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert worth([capture])
    assert not worth(sorted(SAMPLES.glob("*.pcap"))[:1])
    assert not worth([tmp_path / "is-not-there.pcap"])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert not worth([capture])


def test_a_reader_that_nobody_listens_to_ends(capture):
    batches = Ahead([capture], UTC, POLICY).batches()
    next(batches)
    (reader,) = multiprocessing.active_children()

    batches.close()

    assert reader.exitcode == 0


def test_a_reader_that_fails_ends_the_command(capture):
    batches = Ahead([capture], UTC, POLICY).batches()
    next(batches)
    (reader,) = multiprocessing.active_children()
    reader.kill()

    with pytest.raises(RuntimeError, match="failed"):
        list(batches)
