"""What `missed-calls` promises to whoever reads it, on a real Kafka; the readers that the README shows."""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.partitioner.default import murmur2
from support import kafka_log
from support.classifier_process import ClassifierProcess, values

from missedcall_schemas import asyncapi, cloudevents, generate
from missedcall_schemas.codec import decode_missed_call

pytestmark = [pytest.mark.kafka]

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PARTITIONS = 3
CALLS = 24
FACTS = 18
SOURCE = "urn:test:contract"


@pytest.fixture(scope="module")
def decided(kafka):
    """Return the settings of topics on which a classifier has decided, and somebody has given up a transaction."""
    environment = kafka_log.environment(kafka, PARTITIONS, MISSEDCALL_SOURCE=SOURCE)

    async def decide():
        await kafka_log.publish(kafka, environment, kafka_log.records(CALLS, PARTITIONS))
        async with ClassifierProcess(environment) as worker:
            await worker.until(
                lambda: (
                    (lines := worker.named("counters.reported"))
                    and lines[-1]["counts"].get("facts", 0) >= FACTS
                    and not lines[-1]["open_calls"]
                )
            )
            assert await worker.terminate() == 0

    asyncio.run(decide())
    producer = KafkaProducer(
        bootstrap_servers=kafka.bootstrap, transactional_id=f"{environment['MISSEDCALL_KAFKA_PREFIX']}x"
    )
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(kafka_log.topic(environment, "missed-calls"), b"given up", partition=0)
    producer.flush()
    producer.abort_transaction()
    producer.close()
    return environment


def records(kafka, name):
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, isolation_level="read_committed")
    try:
        partitions = [TopicPartition(name, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        found = []
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for polled in consumer.poll(timeout_ms=500).values():
                found += polled
    finally:
        consumer.close()
    return found


def headers_schema():
    document = asyncapi.document(generate.ROOT / "examples")
    message = document["components"]["messages"]["missed-calls"]
    schema = message["headers"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema, message["contentType"]


def schema_of(name):
    return json.loads((generate.ROOT / "json-schema" / f"{name}.json").read_text())


def test_a_fact_on_the_topic_is_what_the_documents_say(kafka, decided):
    found = records(kafka, kafka_log.topic(decided, "missed-calls"))
    headers, content_type = headers_schema()
    value = jsonschema.Draft202012Validator(schema_of("missed-call.v1"))

    assert len(found) == FACTS
    for record in found:
        fact = decode_missed_call(record.value)
        named = {name: text.decode() for name, text in record.headers}
        value.validate(json.loads(record.value))
        jsonschema.validate(named, headers)
        assert list(record.headers) == cloudevents.kafka_headers(fact, SOURCE)
        assert named["content-type"] == content_type
        assert record.key.decode() == fact.callee
        assert record.partition == (murmur2(record.key) & 0x7FFFFFFF) % PARTITIONS
    assert len({dict(record.headers)["ce_id"] for record in found}) == FACTS


def test_a_verdict_on_the_topic_is_what_the_schema_says(kafka, decided):
    found = records(kafka, kafka_log.topic(decided, "call-verdicts"))
    value = jsonschema.Draft202012Validator(schema_of("verdict.v1"))

    assert len(found) == CALLS
    for record in found:
        verdict = json.loads(record.value)
        value.validate(verdict)
        assert record.key.decode() == verdict["callee"]


def shown(language):
    """Return the one example in the README that reads the topic."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (text,) = [block for block in blocks if "missed-calls" in block and "isolation" in block]
    return text


def here(text, kafka, decided):
    """Return an example with the test's broker and topic in it, each of which it names once."""
    assert text.count("127.0.0.1:9092") == text.count("missed-calls") == 1
    return text.replace("127.0.0.1:9092", kafka.bootstrap).replace(
        "missed-calls", kafka_log.topic(decided, "missed-calls")
    )


async def lines_of(command, count):
    """Return the first lines of a program that goes on for ever, and what else it says until it is interrupted."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(60):
            lines = [await process.stdout.readline() for _ in range(count)]
            process.send_signal(signal.SIGINT)
            return lines + (await process.stdout.read()).splitlines()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_the_python_reader_of_the_readme_reads_every_fact_once(kafka, decided):
    text = shown("python")
    # kafka-python hands out no partition if it joins before it knows the topic, and looks again after 5 minutes
    program = here(text, kafka, decided).replace(
        "auto_offset_reset=", "metadata_max_age_ms=2000, auto_offset_reset="
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    lines = asyncio.run(lines_of(command, FACTS))

    facts = [
        decode_missed_call(value)
        for value in values(kafka.bootstrap, kafka_log.topic(decided, "missed-calls"))
    ]
    assert len(text.splitlines()) <= 10
    assert sorted(line.decode().strip() for line in lines if line.strip()) == sorted(
        f"{fact.fact_id}:{fact.revision} {fact.state} {fact.callee} {fact.cause}" for fact in facts
    )


def test_the_kcat_reader_of_the_readme_reads_every_fact_once(kafka, decided):
    if shutil.which("kcat") is None:
        pytest.skip("kcat is not here: Debian's package kcat")
    command = here(shown("sh"), kafka, decided)
    done = subprocess.run(  # -e: to the end instead of for ever
        ["sh", "-c", f"{command.strip()} -e -q"], capture_output=True, text=True, timeout=60, check=True
    )

    lines = done.stdout.splitlines()
    assert "read_committed" in command
    assert len(lines) == FACTS
    for line in lines:
        headers, _, value = line.partition(" {")
        fact = decode_missed_call(f"{{{value}".encode())
        assert f"ce_id={fact.fact_id}:{fact.revision}" in headers


def test_without_read_committed_a_reader_sees_what_was_given_up(kafka, decided):
    name = kafka_log.topic(decided, "missed-calls")

    assert b"given up" in values(kafka.bootstrap, name, "read_uncommitted")
    assert b"given up" not in values(kafka.bootstrap, name)
