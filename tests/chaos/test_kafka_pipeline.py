"""The distributed pipeline killed, frozen, scaled and restarted under load: each fact once, as its log says.

`make chaos` is the same for longer, on three nodes, one of which goes away now and then.
"""

import asyncio

import pytest
from support.chaos_kafka import Chaos, Run

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


def test_whatever_crashes_each_fact_is_there_once_and_none_is_hidden_for_ever(kafka):
    run = Run(calls=2000, seconds=40.0, seed=7, partitions=4, every_s=(1.0, 3.0), crash=0.012, take_over=0.05)

    done = asyncio.run(Chaos(kafka, run).go())

    outcome = done.outcome
    assert done.behind == 0
    assert outcome.exact, done.text()
    assert outcome.facts.calls > run.calls / 2
    assert outcome.facts.facts > run.calls / 4
    assert outcome.aborted > 0, "no transaction was cut short: this run shows nothing"
    assert set(done.happened) == {
        "kill", "terminate", "freeze", "scale", "kill-collector", "terminate-collector",
    }  # fmt: skip
    assert sum(done.statuses[status] for status in (-9, 71)) > 3
