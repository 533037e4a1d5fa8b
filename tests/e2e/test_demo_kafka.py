"""`make demo-kafka` as a newcomer sees it."""

import subprocess
import sys
from pathlib import Path

import pytest
from demo_kafka import differences
from msgspec.structs import replace

from missedcall_embedded.demo import SAMPLES, load_samples
from missedcall_embedded.source import Sources

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.kafka
@pytest.mark.slow
def test_it_shows_each_fact_once_and_ends_by_itself():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", ROOT / "tools/demo_kafka.py"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    told = [verdict for sample in load_samples() for verdict in sample.verdicts if verdict.is_told]
    shown = [line for line in done.stdout.splitlines() if line.startswith("  partition ")]

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(line.split()[-1] for line in shown) == sorted(v.callee.removeprefix("sip:") for v in told)
    mails = [
        line.split()[1].partition("@")[0] for line in done.stdout.splitlines() if line.startswith("  to ")
    ]
    assert sorted(mails) == sorted(v.callee.removeprefix("sip:").partition("@")[0] for v in told)
    assert f"facts={len(told)} compared={len(told)} duplicate=0 missing=0 different=0" in done.stdout


def decided():
    from missedcall_classifier.engine import Engine
    from missedcall_classifier.policy import Policy
    from missedcall_embedded.replay import FOR_EVER_MS
    from missedcall_schemas.records import CaptureBatch

    engine = Engine(Policy())
    sources = Sources([SAMPLES / sample.file for sample in load_samples()])
    found = [decision for batch in sources.batches() for decision in engine.feed(batch)]
    found += engine.feed(CaptureBatch("replay", 0, 1, engine.clock_ms + FOR_EVER_MS))
    facts = [fact for decision in found for fact in decision.facts]
    return facts, [verdict for decision in found for verdict in decision.verdicts]


def test_what_the_samples_promise_is_no_difference():
    assert differences(load_samples(), *decided()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda facts, verdicts: (facts[1:], verdicts), "facts, promised"),
        (lambda facts, verdicts: ([*facts, facts[0]], verdicts), "facts, promised"),
        (lambda facts, verdicts: (facts, [*verdicts, verdicts[0]]), "verdicts on"),
        (lambda facts, verdicts: (facts, verdicts[1:]), "decided None"),
        (
            lambda facts, verdicts: (facts, [replace(verdicts[0], outcome="blocked"), *verdicts[1:]]),
            "blocked",
        ),
    ],
)
def test_what_is_not_as_promised_fails_the_demo(change, says):
    wrong = differences(load_samples(), *change(*decided()))

    assert len(wrong) == 1
    assert says in wrong[0]
