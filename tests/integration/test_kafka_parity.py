"""Three ways, one answer: the same captures through replay, through one machine, through Kafka."""

import asyncio

import pytest
from msgspec.structs import replace
from support import hep_calls, kafka_log
from support.classifier_process import ClassifierProcess, values
from support.collector_process import CollectorProcess
from support.command import missedcall
from support.pipeline_process import PipelineProcess

from missedcall_classifier.policy import Policy
from missedcall_collector.batching import Batcher
from missedcall_collector.correlation import CorrelationRules, LegKeys
from missedcall_collector.pcap_writer import write_pcap
from missedcall_common.sip.peek import peek
from missedcall_embedded.demo import SAMPLES, load_samples
from missedcall_embedded.pipeline import Pipeline
from missedcall_embedded.source import Sources
from missedcall_embedded.store import Store
from missedcall_embedded.store_file import FACTS, VERDICTS, read
from missedcall_schemas.codec import (
    decode_missed_call,
    decode_verdict,
    encode_batch,
    encode_missed_call,
    encode_verdict,
)

pytestmark = [pytest.mark.kafka]

PARTITIONS = 4
CALLS = 120
LONG_MS = 7_200_000
"""Longer than any timer of the policy, shorter than any retention."""


@pytest.fixture
def captures(tmp_path):
    """Return the sample captures, and one of many calls; of all of them each call is whole."""
    many = tmp_path / "many.pcap"
    write_pcap(many, hep_calls.in_time(CALLS, 40.0))
    return [*(SAMPLES / sample.file for sample in load_samples()), many]


@pytest.fixture
def environment(kafka):
    return kafka_log.environment(kafka, PARTITIONS)


def replayed(captures, *words):
    done = missedcall("replay", *captures, "--format", "jsonl", *words)
    assert done.returncode == 0
    return sorted(line.encode() for line in done.stdout.splitlines())


def batches(captures, partitions):
    """Yield partition and batch of a log whose clocks go on until every call is decided."""
    policy = Policy()
    keys = LegKeys(CorrelationRules(policy.correlation_headers, policy.call_id_suffixes))
    batcher = Batcher("c1", 1, partitions, max_messages=20)
    for message in Sources(captures).messages():
        seen = peek(message.head)
        key = keys.key(message.head, message.call_id, seen.method, seen.status, message.correlation_id)
        yield from batcher.add(replace(message, key=key), message.received_ms)
    yield from batcher.flush(batcher.clock_ms)
    yield from batcher.due(batcher.clock_ms + LONG_MS)


def stored(captures, path):
    """Return facts and verdicts of the pipeline of one machine."""
    with Store(path) as store:
        pipeline = Pipeline(store, Policy())
        for _, batch in batches(captures, 1):
            pipeline.take(encode_batch(batch))
            pipeline.commit()
    return [sorted(row.value for row in read(path, topic)) for topic in (FACTS, VERDICTS)]


async def on_kafka(kafka, environment, count):
    """Wait for as many verdicts and return facts and verdicts."""
    async with asyncio.timeout(60):
        while True:  # what a reader of the topic sees is what counts, and it tells nobody
            verdicts = await asyncio.to_thread(
                values, kafka.bootstrap, kafka_log.topic(environment, "call-verdicts")
            )
            if len(verdicts) >= count:
                break
            await asyncio.sleep(0.5)
    facts = await asyncio.to_thread(values, kafka.bootstrap, kafka_log.topic(environment, "missed-calls"))
    return [sorted(facts), sorted(verdicts)]


def test_the_same_log_gives_the_same_bytes(kafka, environment, captures, tmp_path):
    by_replay = [replayed(captures), replayed(captures, "--verdicts")]
    log = [(partition, encode_batch(batch)) for partition, batch in batches(captures, PARTITIONS)]

    async def scenario():
        await kafka_log.publish(kafka, environment, log)
        async with ClassifierProcess(environment) as worker:
            said = await on_kafka(kafka, environment, len(by_replay[1]))
            assert await worker.terminate() == 0
        return said

    assert len({partition for partition, _ in log}) == PARTITIONS
    assert len(by_replay[0]) > CALLS / 2
    assert stored(captures, tmp_path / "one.db") == by_replay
    assert asyncio.run(scenario()) == by_replay


def without_our_clock(facts, verdicts):
    """Return both without the time of the decision, which is the clock of whoever received the messages."""
    return [
        sorted(encode_missed_call(replace(decode_missed_call(fact), decided_at=0.0)) for fact in facts),
        sorted(encode_verdict(replace(decode_verdict(verdict), decided_at=0.0)) for verdict in verdicts),
    ]


def test_what_is_captured_live_gives_the_same_on_one_machine_and_on_kafka(
    kafka, environment, captures, tmp_path
):
    count = len(replayed(captures, "--verdicts"))
    by_replay, _ = without_our_clock(replayed(captures), [])
    config = tmp_path / "run.toml"
    config.write_text('[listen]\nudp = []\ntcp = ["127.0.0.1:0"]\n')

    async def play(port):
        done = await asyncio.to_thread(
            missedcall, "send", *captures, "--to", f"tcp://127.0.0.1:{port}", "--rate", "2000"
        )
        assert done.returncode == 0

    async def scenario():
        collecting = {k: v for k, v in environment.items() if k.startswith("MISSEDCALL_KAFKA_")}
        async with (
            CollectorProcess(collecting) as collector,
            ClassifierProcess(environment) as classifier,
            PipelineProcess(config) as pipeline,
        ):
            await classifier.event("state.loaded", PARTITIONS)
            await play((await collector.ports())["tcp"])
            await play((await pipeline.ports(1))["tcp"])
            live = await on_kafka(kafka, environment, count)
            await pipeline.event("call.judged", count)
            for process in (collector, classifier, pipeline):
                assert await process.terminate() == 0
        return live

    live = asyncio.run(scenario())
    store = tmp_path / "missedcall.db"
    on_one = [[row.value for row in read(store, topic)] for topic in (FACTS, VERDICTS)]

    assert len(by_replay) > CALLS / 2
    assert without_our_clock(*live) == without_our_clock(*on_one)
    # Verdicts of a replay may say more: a trace names servers that HEP cannot, and its calls are not played faster.
    assert without_our_clock(*live)[0] == by_replay
