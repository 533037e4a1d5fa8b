"""A bounded run of the fuzzers, the same inputs every time; `make fuzz` runs them for as long as wanted."""

from pathlib import Path
from random import Random

import pytest
from support.fuzz_bytes import MAX_INPUT
from support.fuzz_loop import Fuzzer, keep
from support.fuzz_targets import target_of, targets

FOUND = sorted((Path(__file__).parent / "found").glob("*.bin"))
INPUTS = {
    "hep": 6000,
    "hep-stream": 2000,
    "sip": 3000,
    "sip-stream": 3000,
    "packets": 1200,
    "hep-packets": 800,
    "file": 4000,
    "calls": 900,
}
"""What one to two seconds suffice for."""
TARGETS = {target.name: target for target in targets()}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_a_stranger_writes_breaks_what_reads_it(name, tmp_path):
    fuzzer = Fuzzer(TARGETS[name], "tests")
    for _ in range(INPUTS[name]):
        fuzzer.step()

    assert not fuzzer.found.failures, f"kept: {', '.join(map(str, keep(fuzzer.found, tmp_path)))}"
    assert fuzzer.found.ways > 20  # the inputs are not all refused alike


@pytest.mark.parametrize("name", TARGETS)
def test_every_sample_is_read(name):
    target = TARGETS[name]
    fuzzer = Fuzzer(target, "tests")
    for sample in target.seeds[:: max(1, len(target.seeds) // 500)]:
        fuzzer.read(sample)

    assert not fuzzer.found.failures


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_fuzzing_once_found_is_read(path):
    fuzzer = Fuzzer(target_of(path), "tests")
    fuzzer.read(path.read_bytes())

    assert not fuzzer.found.failures


def test_the_same_seed_makes_the_same_inputs():
    seen = []
    for _ in range(2):
        inputs = []
        target = TARGETS["sip"]._replace(read=inputs.append)
        fuzzer = Fuzzer(target, "again")
        for _ in range(20):
            fuzzer.step()
        seen.append(inputs)

    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 10


@pytest.mark.parametrize("name", TARGETS)
def test_the_mutators_take_whatever_they_made_themselves(name):
    target = TARGETS[name]
    rng = Random(1)
    for _ in range(300):
        data = (
            rng.choice(target.seeds)[: rng.randrange(60)] if rng.random() < 0.5 else rng.choice(target.seeds)
        )
        for mutator in target.mutators:
            data = mutator(rng, data[:2000], target.seeds)

            assert len(data) <= MAX_INPUT


def slow(data):
    while True:
        pass


def large(data):
    return len(b"x" * (150 << 20))


@pytest.mark.parametrize(
    ("read", "way"), [(slow, "TooSlowError"), (large, "TooLargeError"), (int, "ValueError")]
)
def test_an_input_that_takes_too_much_is_a_find(read, way, monkeypatch, tmp_path):
    if read is slow:
        monkeypatch.setattr("support.fuzz_loop.LIMIT_S", 0.05)
    fuzzer = Fuzzer(TARGETS["sip"]._replace(read=read), "tests")
    fuzzer.read(b"x")

    ((failed, count),) = fuzzer.found.failures.items()
    assert (failed.split()[0], count) == (way, 1)
    (kept,) = keep(fuzzer.found, tmp_path)
    assert kept.read_bytes() == b"x"
