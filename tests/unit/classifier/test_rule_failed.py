"""A mistake in one of our rules costs the call it meets, and nothing else."""

from pathlib import Path

from support import ladder
from support.ladder_capture import batches

from missedcall_classifier import engine as engine_module
from missedcall_classifier.engine import Engine

TRACE = Path(__file__).parents[2] / "golden" / "row-03-caller-cancels-while-ringing.trace"


def test_a_call_that_a_rule_fails_on_ends_as_incomplete_by_name(monkeypatch):
    def broken(*_):
        raise KeyError("a mistake of ours")

    monkeypatch.setattr(engine_module, "build_all", broken)
    trace = ladder.load(TRACE)
    engine = Engine(trace.policy)
    decisions = [d for batch in batches(trace.messages()) for d in engine.feed(batch)] + engine.finish()

    (verdict,) = [v for d in decisions for v in d.verdicts]
    assert (verdict.outcome, verdict.rule, verdict.callee) == (
        "incomplete",
        "rule-failed",
        "sip:bob@example.com",
    )
    assert [f for d in decisions for f in d.facts] == []
    assert engine.counts["rule-failed"] == 1
    assert engine.open_calls == 0
