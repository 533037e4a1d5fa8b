"""Notifiers killed, scaled and restarted under load while targets fail: nothing lost, nothing under two names.

`make chaos-notify` is the same for longer, and over all channels.
"""

import asyncio

import pytest
from support.chaos_notify import Chaos, Run

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(360)]


def test_whatever_crashes_each_fact_is_told_under_one_name_and_is_one_item_in_exchange(kafka, tmp_path):
    run = Run(
        facts=60,
        seconds=6.0,
        seed=5,
        channels=("webhook", "ews"),
        named=3,
        partitions=3,
        every_s=(0.7, 1.5),
        crash=0.01,
        take_over=0.02,
        freeze=False,
        patience_s=200.0,
    )

    done = asyncio.run(Chaos(kafka, run, tmp_path).go())

    assert done.right, done.text()
    assert done.happened["kill"] > 1
    assert sum(done.statuses.get(status, 0) for status in (-9, 71)) > 1
