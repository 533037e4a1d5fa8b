"""How a notifier reads the partitions of its facts: each as far as its owner lets it."""

import asyncio
import threading
import uuid
from collections import defaultdict

import pytest
from kafka import KafkaProducer
from support.notify import turns_until

from missedcall_common.kafka.__main__ import main as create_topics
from missedcall_notifier.stream.membership import Membership, Place

pytestmark = pytest.mark.kafka

PARTS = 4
FACTS = 3_000
"""Of each partition: several times what one poll brings."""
WAITING = {0, 2}


class Careful:
    """An owner who lets some partitions wait after their first facts."""

    def __init__(self):
        self.offsets = defaultdict(list)
        self.membership = None

    def came(self, parts):
        for part in parts:
            self.membership.read_from(part, 0, 1)

    def left(self, parts, *, lost):
        done = threading.Event()
        done.set()
        return done

    def heard(self, part, run, facts):
        if part in WAITING and not self.offsets[part]:
            self.membership.pause(part, paused=True)
        self.offsets[part] += [fact.offset for fact in facts]

    def positions_durable(self):
        return {}


def test_partitions_that_waited_are_read_on_to_their_ends(kafka):
    environment = {
        "MISSEDCALL_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "MISSEDCALL_KAFKA_PREFIX": f"m{uuid.uuid4().hex[:8]}.",
        "MISSEDCALL_KAFKA_PARTITIONS": str(PARTS),
        "MISSEDCALL_KAFKA_REPLICAS": "1",
    }
    assert create_topics([], environment) == 0
    topic = f"{environment['MISSEDCALL_KAFKA_PREFIX']}missed-calls"
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=20)
    for number in range(FACTS):
        for part in range(PARTS):
            producer.send(topic, b"%d" % number, partition=part)
    producer.close()
    owner = Careful()
    place = Place(topic, f"{topic}.group", "", 10.0, 1.0)
    membership = owner.membership = Membership({"bootstrap_servers": kafka.bootstrap}, place, owner)

    def read(parts):
        return all(len(owner.offsets[part]) >= FACTS for part in parts)

    def others_read():  # a partition that was not heard of yet would be paused after it was let go
        return all(owner.offsets[part] for part in WAITING) and read(set(range(PARTS)) - WAITING)

    membership.start()
    try:
        asyncio.run(turns_until(others_read, within_s=60, every_s=0.02))
        assert not any(read({part}) for part in WAITING)
        for part in WAITING:
            membership.pause(part, paused=False)
        asyncio.run(turns_until(lambda: read(WAITING), within_s=20, every_s=0.02))
    finally:
        membership.stop()

    assert owner.offsets == {part: list(range(FACTS)) for part in range(PARTS)}
