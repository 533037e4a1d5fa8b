"""A mistake in one of our rules costs the call it meets, and nothing else."""

from pathlib import Path

from msgspec.structs import force_setattr, replace
from support import ladder
from support.ladder_capture import batches

from missedcall_classifier.engine import Engine

TRACE = Path(__file__).parents[2] / "golden" / "row-03-caller-cancels-while-ringing.trace"


class Broken:
    def __contains__(self, _):
        raise KeyError("a mistake of ours")


def test_a_call_that_a_rule_fails_on_ends_as_incomplete_by_name():
    trace = ladder.load(TRACE)
    engine = Engine(replace(trace.policy))
    # What a rule asks for fails: a function of the core cannot be replaced where it is compiled.
    force_setattr(engine.policy, "emergency_numbers", Broken())
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
