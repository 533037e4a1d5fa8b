"""A log of calls on a real Kafka, and the settings of whoever reads it."""

import asyncio
import uuid

from aiokafka import AIOKafkaProducer
from kafka_nodes import USER
from support import hep_calls

from missedcall_collector.batching import Batcher
from missedcall_common.kafka.__main__ import main as create_topics
from missedcall_schemas.codec import encode_batch

START_MS = 1_700_000_000_000


def environment(kafka, partitions, **more):
    """Create topics of their own and return the variables that name them."""
    prefix = f"k{uuid.uuid4().hex[:8]}."
    found = {
        "MISSEDCALL_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "MISSEDCALL_KAFKA_PREFIX": prefix,
        "MISSEDCALL_KAFKA_PARTITIONS": str(partitions),
        "MISSEDCALL_KAFKA_REPLICAS": "1",
    }
    assert create_topics([], found) == 0
    return {**found, "MISSEDCALL_APPLICATION": f"{prefix}app", "MISSEDCALL_SESSION_S": "6", **more}


def secured(kafka, how, user=USER):
    """Return the variables for a connection by `tls`, with our certificate, or a mechanism of SASL over TLS."""
    secure = kafka.secure
    found = {"MISSEDCALL_KAFKA_TLS": "true", "MISSEDCALL_KAFKA_TLS_CA_FILE": str(secure.ca_file)}
    if how == "tls":
        return found | {
            "MISSEDCALL_KAFKA_BOOTSTRAP": secure.tls,
            "MISSEDCALL_KAFKA_TLS_CERT_FILE": str(secure.cert_file),
            "MISSEDCALL_KAFKA_TLS_KEY_FILE": str(secure.key_file),
        }
    return found | {
        "MISSEDCALL_KAFKA_BOOTSTRAP": secure.sasl,
        "MISSEDCALL_KAFKA_SASL_MECHANISM": how,
        "MISSEDCALL_KAFKA_SASL_USERNAME": user,
        "MISSEDCALL_KAFKA_SASL_PASSWORD_FILE": str(secure.password_file),
    }


def topic(environment, name):
    """Return a topic's name on the cluster."""
    return f"{environment['MISSEDCALL_KAFKA_PREFIX']}{name}"


def records(calls, partitions):
    """Return partition and value of each record of a log that ends with ticks that end every call."""
    batcher = Batcher("c1", 1, partitions, max_messages=10)
    found = []
    now_ms = START_MS
    for message in hep_calls.in_time(calls, 50.0, START_MS):
        now_ms = message.received_ms
        found += batcher.add(message, now_ms)
    for second in range(1, 400):
        found += batcher.due(now_ms + second * 1000)
    return [(partition, encode_batch(batch)) for partition, batch in found]


async def publish(kafka, environment, log, pause_s=0.0):
    """Write the log, with a pause after each twenty records."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    for number, (partition, value) in enumerate(log):
        await producer.send(topic(environment, "sip-transactions"), value, partition=partition)
        if pause_s and number % 20 == 0:
            await asyncio.sleep(pause_s)
    await producer.stop()
