"""The classifier service on a real Kafka: what it publishes is what the cores say of the log, once."""

import asyncio
from collections import Counter

import pytest
from support import kafka_log
from support.classifier_process import ClassifierProcess, Said, offline, values
from support.collector_process import Topic

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
