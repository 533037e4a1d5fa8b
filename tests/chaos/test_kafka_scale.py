"""The log cut into more partitions under load, the job killed, aborted, killed again: nothing is told otherwise.

Each program is a user of its own, with the rights of docs/rights.md.

`make chaos-scale` kills it at every step, and collectors and workers beside it.
"""

import asyncio

import pytest
from support.chaos_scale import Run, ScaleChaos
from support.kafka_rights import Place

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_log_that_is_cut_anew_under_load_gives_the_facts_of_one_that_is_not(kafka):
    run = Run(
        calls=700,
        calls_per_s=40.0,
        partitions=2,
        to=4,
        aborts=("marked",),
        steps=("copied-one",),
        quiet_s=3.0,
    )

    place = Place(kafka, run.partitions)
    try:
        done = asyncio.run(ScaleChaos(kafka, run, place=place).go())
    finally:
        place.close()

    assert done.behind == 0
    assert [(cut.generation, cut.partitions) for cut in done.cuts] == [(1, 2), (3, 4)]
    assert done.outcome.exact, done.text()
    assert done.outcome.facts.gaps == 0, done.text()
    assert done.differ == 0, done.text()
    assert done.facts > 100
    assert len(done.held_s) >= 2 * run.collectors, "no collector was held back: this run shows nothing"
