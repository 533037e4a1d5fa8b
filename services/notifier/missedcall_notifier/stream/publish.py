"""A directory to the topic `directory`: what differs is written, who is gone is deleted.

Rule 1: it may be run as often as one likes, and again after it has failed: it compares with the topic.
"""

from collections.abc import Sequence
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.kafka.plan import name_of
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_notifier.people.log import DIRECTORY, PeopleLog, RecordError
from missedcall_schemas.codec import encode_person
from missedcall_schemas.records import Person

PATIENCE_MS = 30_000
"""For Kafka to answer."""


class FewerError(Exception):
    """The directory has far fewer persons than the topic."""


def publish(settings: KafkaSettings, persons: Sequence[Person], *, keeps: float) -> tuple[int, int]:
    """Make the topic say what the directory says; return how many records were written and deleted.

    Args:
        settings: where Kafka is.
        persons: right ones, no address twice.
        keeps: share of the topic's persons that there must be.

    Raises:
        FewerError: there are fewer.
        KafkaUnusableError: Kafka cannot be reached, or did not take all of it.
        SettingsError: a file for TLS or the password's cannot be used.
    """
    arguments = connection(settings, "missedcall-directory")
    topic = name_of(DIRECTORY, settings)
    try:
        log = _read(arguments, topic)
        by_key = {person.addresses[0]: person for person in persons}
        held = log.keys(DIRECTORY)
        if len(by_key) < keeps * len(held):
            raise FewerError(f"the topic has {len(held)} persons, the file {len(by_key)}")
        changed = {key: encode_person(person) for key, person in by_key.items() if log.person(key) != person}
        gone = dict.fromkeys(sorted(held - by_key.keys()))
        _write(arguments, topic, {**gone, **changed})
    except KafkaError as error:
        raise KafkaUnusableError(f"topic {topic}: {type(error).__name__}: {error}"[:500]) from error
    return len(changed), len(gone)


def _read(arguments: dict[str, Any], topic: str) -> PeopleLog:
    log = PeopleLog()
    consumer = KafkaConsumer(
        **arguments,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        bootstrap_timeout_ms=PATIENCE_MS,
        metrics_enabled=False,
    )
    try:
        parts = [TopicPartition(topic, part) for part in consumer.partitions_for_topic(topic) or ()]
        if not parts:
            raise KafkaUnusableError(f"topic {topic} is missing: see python -m missedcall_common.kafka")
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        ends = consumer.end_offsets(parts)
        while any((consumer.position(part) or 0) < end for part, end in ends.items()):
            for records in consumer.poll(timeout_ms=1_000).values():
                for record in records:
                    try:
                        log.hear(DIRECTORY, record.key, record.value)
                    except RecordError:  # it is written again, or deleted
                        continue
    finally:
        consumer.close(autocommit=False)
    return log


def _write(arguments: dict[str, Any], topic: str, values: dict[str, bytes | None]) -> None:
    producer = KafkaProducer(**arguments, acks="all", bootstrap_timeout_ms=PATIENCE_MS, metrics_enabled=False)
    try:
        sent = [producer.send(topic, key=key.encode(), value=value) for key, value in values.items()]
        producer.flush(PATIENCE_MS / 1000)
        for one in sent:
            one.get(PATIENCE_MS / 1000)
    finally:
        producer.close(5)
