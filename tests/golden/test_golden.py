"""Every trace beside this file is decided as it says.

A trace is a specification: derived from the RFCs and from what operators expect, not from the rules.
"""

from pathlib import Path

import pytest
from support import ladder
from support.ladder_capture import batches
from support.ladder_expect import differences, report

from missedcall_classifier.decision import Decision
from missedcall_classifier.engine import Engine

TRACES = sorted(Path(__file__).parent.glob("*.trace"))


def decide(trace: ladder.Trace) -> list[Decision]:
    """Feed the trace as a collector would, then end the log."""
    engine = Engine(trace.policy, keep_ladders=True)
    decisions = [decision for batch in batches(trace.messages()) for decision in engine.feed(batch)]
    return decisions + engine.finish()


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_trace_is_decided_as_it_says(path):
    trace = ladder.load(path)
    decisions = decide(trace)
    wrong = differences(
        trace.expected,
        decisions,
        aor=trace.aor,
        call_id=trace.network.call_id,
        open_ended=trace.open_ended,
    )
    if wrong:
        pytest.fail("\n".join((f"{path.name}: {trace.claim}", *wrong, report(decisions))), pytrace=False)


def test_every_trace_claims_something_and_expects_something():
    silent = [path.name for path in TRACES if "\n=> " not in path.read_text() or not ladder.load(path).claim]

    assert silent == []
