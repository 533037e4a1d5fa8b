"""The second oracle of `chaos_scale`: partitions made one again decide as if they had never been cut."""

from collections import defaultdict
from itertools import pairwise

import pytest
from msgspec.structs import replace
from support import hep_calls
from support.chaos_scale import WAITING, one

from missedcall_classifier.engine import Engine
from missedcall_classifier.stream.settings import load
from missedcall_collector.batching import Batcher
from missedcall_common.placing import heirs

BEFORE, AFTER = 2, 4
START_MS = 1_700_000_000_000
FROZEN_AT_MS = START_MS + 1_000
THAWED_PER_MS = 10
STEP_MS = 20
_, POLICY = load(
    {
        "MISSEDCALL_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        **{f"MISSEDCALL_DECIDE_{name}": value for name, value in WAITING.items()},
    }
)


def collected(collector, messages, frozen_ms, cut_ms):
    """Yield generation, partition and batch as a collector writes them that stands still, and is cut then."""
    thawed_ms = FROZEN_AT_MS + frozen_ms
    late = 0
    waiting = []
    for message in messages:
        received_ms = message.received_ms
        if frozen_ms and FROZEN_AT_MS <= received_ms < thawed_ms:
            received_ms = thawed_ms + late // THAWED_PER_MS
            late += 1
        waiting.append(replace(message, received_ms=received_ms))
    waiting.sort(key=lambda message: message.received_ms)
    batcher, generation = Batcher(collector, 1, BEFORE), 0
    for now_ms in range(START_MS, START_MS + 60_000, STEP_MS):
        if frozen_ms and FROZEN_AT_MS <= now_ms < thawed_ms:
            continue
        if cut_ms and not generation and now_ms >= cut_ms:
            yield from ((generation, *batch) for batch in batcher.flush(now_ms))
            batcher.cut_into(AFTER)
            generation = 1
        while waiting and waiting[0].received_ms <= now_ms:
            yield from ((generation, *batch) for batch in batcher.add(waiting.pop(0), now_ms))
        yield from ((generation, *batch) for batch in batcher.due(now_ms))


def logged(frozen_ms, cut_ms):
    """Return generation -> partition -> batches."""
    messages = list(hep_calls.in_time(100, 50.0, START_MS))
    log = defaultdict(lambda: defaultdict(list))
    for generation, partition, batch in collected("c0", messages, frozen_ms, cut_ms):
        log[generation][partition].append(batch)
    return log


def decided(batches):
    engine = Engine(POLICY)
    return [fact for batch in batches for one in engine.feed(batch) for fact in one.facts]


@pytest.mark.parametrize("frozen_ms", [10_000, *range(14_000, 16_200, 200)])
def test_partitions_that_are_one_again_decide_as_one_that_was_never_cut(frozen_ms):
    whole = logged(frozen_ms, 0)[0]
    parts = logged(frozen_ms, FROZEN_AT_MS + 500)
    for partition in range(BEFORE):
        numbers = {}
        again = [
            batch
            for generation, count in ((0, BEFORE), (1, AFTER))
            for batch in one([parts[generation][heir] for heir in heirs(partition, BEFORE, count)], numbers)
        ]

        assert decided(again) == decided(whole[partition])
        assert sum(len(batch.messages) for batch in again) == sum(
            len(batch.messages) for batch in whole[partition]
        )
        assert all(after.sequence == before.sequence + 1 for before, after in pairwise(again))
