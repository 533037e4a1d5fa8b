"""The classifier service on a real Kafka: what it publishes is what the cores say of the log, once."""

import asyncio
import time
from collections import Counter

import pytest
from kafka import KafkaAdminClient, OffsetAndMetadata, TopicPartition
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType
from support import hep_calls, kafka_log
from support.chaos_fleet import Kept
from support.chaos_oracle import behind
from support.classifier_process import CRASHING, ClassifierProcess, Said, offline, values
from support.collector_process import Topic

from missedcall_classifier.stream.eos import CRASHED
from missedcall_collector.batching import Batcher
from missedcall_schemas.codec import encode_batch

pytestmark = [pytest.mark.kafka]

PARTITIONS = 4


@pytest.fixture
def environment(kafka):
    return kafka_log.environment(kafka, PARTITIONS)


def published(kafka, environment, isolation="read_committed"):
    prefix = environment["MISSEDCALL_KAFKA_PREFIX"]
    return Said(
        values(kafka.bootstrap, f"{prefix}missed-calls", isolation),
        values(kafka.bootstrap, f"{prefix}call-verdicts", isolation),
    )


async def all_verdicts(kafka, environment, count):
    async with asyncio.timeout(60):
        while True:  # what a reader of the topic sees is what counts, and it tells nobody
            said = await asyncio.to_thread(published, kafka, environment)
            if len(said.verdicts) >= count:
                return
            await asyncio.sleep(1)


def assert_exact(kafka, environment):
    said = published(kafka, environment)
    log = Topic(kafka.bootstrap, f"{environment['MISSEDCALL_KAFKA_PREFIX']}sip-transactions")
    expected = offline(log)
    assert Counter(said.facts) == Counter(expected.facts)
    assert Counter(said.verdicts) == Counter(expected.verdicts)


def test_facts_and_verdicts_are_those_of_the_log(kafka, environment):
    async def scenario():
        await kafka_log.publish(kafka, environment, kafka_log.records(200, PARTITIONS))
        async with ClassifierProcess(environment) as worker:
            await all_verdicts(kafka, environment, 200)
            assert await worker.terminate() == 0

    asyncio.run(scenario())

    assert_exact(kafka, environment)


def test_a_worker_that_is_asked_to_end_commits_what_it_decided_and_prints_nothing(kafka, environment, capfd):
    """`commit_s` is the longest there is: nothing but the end commits."""
    source = f"{environment['MISSEDCALL_KAFKA_PREFIX']}sip-transactions"
    waiting = {**environment, "MISSEDCALL_COMMIT_S": "10"}

    async def scenario():
        async with ClassifierProcess(waiting) as worker:
            await worker.event("state.loaded", PARTITIONS)
            records = kafka_log.records(40, PARTITIONS)
            await kafka_log.publish(kafka, environment, records)

            def all_decided():
                lines = worker.named("counters.reported")
                return bool(lines) and lines[-1]["counts"].get("batches", 0) == len(records)

            await worker.until(all_decided)
            before = await asyncio.to_thread(
                behind, kafka.bootstrap, source, waiting["MISSEDCALL_APPLICATION"]
            )
            assert await worker.terminate() == 0
        return before

    before = asyncio.run(scenario())

    assert before > 0, "it committed before it was asked to end: this test shows nothing"
    assert behind(kafka.bootstrap, source, waiting["MISSEDCALL_APPLICATION"]) == 0
    assert_exact(kafka, environment)
    assert "\x1b" not in capfd.readouterr().out


def test_calls_end_by_time_although_every_collector_is_dead(kafka, environment):
    """The collectors' last word is minutes old, and nothing of it ends a call."""
    long_ago_ms = time.time_ns() // 1_000_000 - 300_000
    batcher = Batcher("c1", 1, PARTITIONS)
    rings = [
        message
        for message in hep_calls.in_time(8, 50.0, long_ago_ms)
        if message.head.startswith((b"INVITE", b"SIP/2.0 180"))
    ]
    records = [
        (partition, encode_batch(batch))
        for partition, batch in [
            *batcher.add_all(rings, long_ago_ms),
            *batcher.flush(long_ago_ms + 1000),
        ]
    ]

    async def scenario():
        await kafka_log.publish(kafka, environment, records)
        async with ClassifierProcess({**environment, "CHAOS_QUIET_S": "2"}, CRASHING) as worker:
            await worker.event("state.loaded", PARTITIONS)
            await all_verdicts(kafka, environment, 8)
            assert await worker.terminate() == 0

    asyncio.run(scenario())

    log = Topic(kafka.bootstrap, f"{environment['MISSEDCALL_KAFKA_PREFIX']}sip-transactions")
    assert {batch.collector for batches in log.batches.values() for batch in batches} == {"c1", ""}
    assert_exact(kafka, environment)


def limit(kafka, topic, size):
    """Set the longest record batch that a topic takes, in bytes; None: as it was."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    change = (AlterConfigOp.DELETE, None) if size is None else (AlterConfigOp.SET, str(size))
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": change})])
    finally:
        admin.close()


@pytest.mark.parametrize("topic", ["missed-calls", "call-state"])
def test_what_a_topic_refuses_is_not_lost_with_the_transaction_that_was_to_hold_it(kafka, environment, topic):
    name = f"{environment['MISSEDCALL_KAFKA_PREFIX']}{topic}"

    async def scenario():
        await asyncio.to_thread(limit, kafka, name, 100)
        await kafka_log.publish(kafka, environment, kafka_log.records(40, PARTITIONS))
        async with ClassifierProcess(environment) as worker:
            assert await worker.ended() == CRASHED
        await asyncio.to_thread(limit, kafka, name, None)
        async with ClassifierProcess(environment) as worker:
            await all_verdicts(kafka, environment, 40)
            assert await worker.terminate() == 0

    asyncio.run(scenario())

    assert_exact(kafka, environment)


def test_where_the_group_stands_does_not_matter_the_state_says_where_to_read_on(kafka, environment):
    source = f"{environment['MISSEDCALL_KAFKA_PREFIX']}sip-transactions"
    group = environment["MISSEDCALL_APPLICATION"]

    def move(ahead):
        admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        parts = [TopicPartition(source, number) for number in range(PARTITIONS)]
        try:
            found = admin.list_group_offsets({group: parts})[group]
            moved = {part: OffsetAndMetadata(max(0, at.offset + ahead), "", -1) for part, at in found.items()}
            admin.alter_group_offsets(group, moved)
        finally:
            admin.close()

    log = kafka_log.records(400, PARTITIONS)
    parts = log[:200], log[200:400], log[400:]  # in the midst of calls

    async def all_committed():
        async with asyncio.timeout(60):
            while await asyncio.to_thread(behind, kafka.bootstrap, source, group):  # noqa: ASYNC110 - a group tells nobody
                await asyncio.sleep(0.5)

    async def scenario():
        for part, ahead in zip(parts, (10, -10, 0), strict=True):
            await kafka_log.publish(kafka, environment, part)
            async with ClassifierProcess(environment) as worker:
                await all_committed()
                assert await worker.terminate() == 0
            await asyncio.to_thread(move, ahead)

    asyncio.run(scenario())

    assert_exact(kafka, environment)


def loaded(worker):
    return [event["partition"] for event in worker.named("state.loaded")]


@pytest.mark.slow
def test_a_named_worker_that_is_back_in_time_has_its_partitions_again_and_nobody_else_stops(
    kafka, environment
):
    def named(name):
        return ClassifierProcess({**environment, "MISSEDCALL_WORKER": name, "MISSEDCALL_SESSION_S": "30"})

    async def scenario():
        async with named("w-0") as first:
            await first.event("state.loaded", PARTITIONS)
            async with named("w-1") as second:
                await second.event("state.loaded", PARTITIONS // 2)
                publishing = asyncio.create_task(
                    kafka_log.publish(kafka, environment, kafka_log.records(400, PARTITIONS), 0.05)
                )
                assert await second.terminate() == 0
            async with named("w-1") as again:
                await again.event("state.loaded", PARTITIONS // 2)
                await publishing
                await all_verdicts(kafka, environment, 400)
                assert await again.terminate() == 0
            assert await first.terminate() == 0
            return loaded(first), loaded(second), loaded(again)

    first, second, again = asyncio.run(scenario())

    assert len(first) == PARTITIONS, "the other worker took partitions over, or loaded its own anew"
    assert len(second) == PARTITIONS // 2
    assert sorted(again) == sorted(second)
    assert_exact(kafka, environment)


@pytest.mark.slow
def test_two_workers_of_one_name_repeat_nothing_and_lose_nothing(kafka, environment):
    """A mistake of whoever deploys: each throws the other out of the group, and is started again."""
    twin = {**environment, "MISSEDCALL_WORKER": "twin"}
    twins = [Kept(lambda: ClassifierProcess(twin)) for _ in range(2)]

    async def scenario():
        try:
            for kept in twins:
                kept.keep()
                await kept.begun("state.loaded")
            await kafka_log.publish(kafka, environment, kafka_log.records(400, PARTITIONS), 0.1)
            await twins[0].let_go()
            await all_verdicts(kafka, environment, 400)
        finally:
            await asyncio.gather(*(kept.let_go() for kept in twins))

    asyncio.run(scenario())

    assert sum(kept.statuses[CRASHED] for kept in twins) > 0, "neither met the other"
    assert_exact(kafka, environment)


@pytest.mark.slow
def test_workers_that_are_killed_and_join_lose_nothing_and_repeat_nothing(kafka, environment):
    async def scenario():
        publishing = asyncio.create_task(
            kafka_log.publish(kafka, environment, kafka_log.records(600, PARTITIONS), 0.05)
        )
        async with ClassifierProcess(environment) as first:
            await first.event("state.loaded", PARTITIONS)
            async with ClassifierProcess(environment) as second:
                await second.event("state.loaded", 1)
                await asyncio.sleep(1)  # so that it is in the middle of its work
                await first.kill()
                async with ClassifierProcess(environment) as third:
                    await third.event("state.loaded", 1)
                    await asyncio.sleep(1)
                    await second.kill()
                    await publishing
                    await all_verdicts(kafka, environment, 600)
                    assert await third.terminate() == 0

    asyncio.run(scenario())

    assert_exact(kafka, environment)
