"""`python -m missedcall_classifier` as a process, and what it has to say about a log."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from support.collector_process import Topic
from support.pipeline_process import PipelineProcess

from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_schemas.codec import encode_missed_call, encode_verdict

SERVICE = (sys.executable, "-m", "missedcall_classifier")
CRASHING = (sys.executable, str(Path(__file__).with_name("crashing_classifier.py")))


class ClassifierProcess(PipelineProcess):
    """One worker. Use as an async context manager; whatever happens inside, it does not outlive it."""

    def __init__(self, environment: Mapping[str, str], command: Sequence[str] = SERVICE) -> None:
        super().__init__(
            command,
            {"PATH": os.environ["PATH"], "MISSEDCALL_REPORT_S": "0.3", **environment},
        )


class Said(NamedTuple):
    """Facts and verdicts, as written."""

    facts: list[bytes]
    verdicts: list[bytes]


def offline(topic: Topic) -> Said:
    """Return what the cores say about a log, each partition by itself."""
    said = Said([], [])
    for batches in topic.batches.values():
        engine = Engine(Policy())
        for batch in batches:
            for decision in engine.feed(batch):
                said.facts.extend(map(encode_missed_call, decision.facts))
                said.verdicts.extend(map(encode_verdict, decision.verdicts))
    return said


def values(bootstrap: str, name: str, isolation: str = "read_committed") -> list[bytes]:
    """Return the values of a topic's records."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level=isolation)
    found: list[bytes] = []
    try:
        partitions = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name))]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for records in consumer.poll(timeout_ms=1000).values():
                found += [record.value for record in records]
    finally:
        consumer.close()
    return found
