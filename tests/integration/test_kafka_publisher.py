"""The publisher on a real Kafka: a client that fails is replaced, a record that is refused costs itself."""

import time
import uuid

import pytest
from kafka import KafkaProducer
from kafka.errors import UnknownError
from support.collector_process import Topic, missing_numbers

from missedcall_collector.publisher import PartitionsChangedError, Publisher
from missedcall_common.kafka.plan import Wanted, name_of
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.kafka.topics import connected
from missedcall_schemas.codec import encode_batch
from missedcall_schemas.records import CaptureBatch

pytestmark = [pytest.mark.kafka]

PATIENCE_S = 30.0
MEMORY = 64_000_000


@pytest.fixture
def settings(kafka):
    return KafkaSettings(
        bootstrap=tuple(kafka.bootstrap.split(",")),
        prefix=f"p{uuid.uuid4().hex[:8]}.",
        partitions=2,
        replicas=1,
    )


@pytest.fixture
def topic(settings):
    name = name_of("sip-transactions", settings)
    with connected(settings, "test") as topics:
        topics.create([Wanted("sip-transactions", name, 2, 1, {})])
        topics.create([Wanted("partitioning", name_of("partitioning", settings), 1, 1, {})])
    return name


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def value(number):
    return encode_batch(CaptureBatch("c", 1, number, number))


def test_a_client_that_fails_is_replaced_and_nothing_is_missing_or_out_of_order(settings, topic, kafka):
    publisher = Publisher(settings, "test", MEMORY, None)
    publisher.start()

    def offer(first, last):
        for number in range(first, last):
            for partition in range(2):
                publisher.offer(partition, value(number), 1)

    offer(0, 50)
    until(lambda: publisher.waiting == 0)
    for life in range(1, 3):
        kafka.freeze(1)  # so that what is under way stays so
        try:
            offer(life * 50, life * 50 + 50)
            until(lambda: len(publisher._under_way) == 100)
            publisher._refused(publisher._life, UnknownError())
            until(lambda: publisher._life >= life)  # noqa: B023 - it is called at once
        finally:
            kafka.thaw(1)
        until(lambda: publisher.waiting == 0)
    publisher.stop(PATIENCE_S)

    assert publisher.counts["published"] == 300
    for batches in Topic(settings.bootstrap[0], topic).batches.values():
        first_seen = dict.fromkeys(batch.sequence for batch in batches)
        assert list(first_seen) == list(range(150))


def test_a_record_that_kafka_refuses_costs_itself_and_no_other(settings, topic):
    publisher = Publisher(settings, "test", MEMORY, None)
    publisher.start()
    publisher.offer(0, value(0), 1)
    publisher.offer(0, b"x" * 3_000_000, 7)
    publisher.offer(0, b"x" * 5_000_000, 5)
    publisher.offer(0, value(1), 1)
    until(lambda: publisher.waiting == 0)
    publisher.stop(PATIENCE_S)

    assert publisher.counts == {"published": 2, "published-batches": 2, "dropped.refused": 12}
    assert missing_numbers(Topic(settings.bootstrap[0], topic).batches[0]) == 0


def test_what_is_under_way_is_bounded(settings, topic, kafka):
    publisher = Publisher(settings, "test", 400_000, None)
    publisher.start()
    publisher.offer(0, value(0), 1)
    until(lambda: publisher.waiting == 0)
    kafka.freeze(1)
    try:
        for _ in range(100):
            publisher.offer(0, b"x" * 10_000, 1)
        until(lambda: publisher._under_way)
        time.sleep(0.2)  # time enough to hand over all, if there were no bound
        assert 100_000 <= publisher._handed - publisher._answered <= 110_000
        assert publisher.backlog >= 890_000
    finally:
        kafka.thaw(1)
    until(lambda: publisher.waiting == 0)
    publisher.stop(PATIENCE_S)

    assert publisher.counts["published"] == 101


def test_another_partition_count_stops_it(settings, topic):
    with connected(settings, "test") as topics:
        assert topics.find([topic])[topic].partitions == 2
    publisher = Publisher(
        KafkaSettings(bootstrap=settings.bootstrap, prefix=settings.prefix, partitions=3),
        "test",
        MEMORY,
        None,
    )
    publisher.start()
    until(lambda: publisher.failed is not None)
    publisher.stop(0)

    assert isinstance(publisher.failed, PartitionsChangedError)


def test_a_topic_that_comes_later_is_found(settings):
    name = name_of("sip-transactions", settings)
    publisher = Publisher(settings, "test", MEMORY, None)
    publisher.start()
    publisher.offer(1, value(0), 1)
    until(lambda: publisher._lost_at is not None)
    with connected(settings, "test") as topics:
        topics.create([Wanted("sip-transactions", name, 2, 1, {})])
    until(lambda: publisher.waiting == 0)
    publisher.stop(PATIENCE_S)

    assert publisher.counts["published"] == 1


def test_without_kafka_and_without_a_disk_what_is_lost_at_the_end_is_counted(monkeypatch):
    monkeypatch.setattr(Publisher, "_connect", lambda _self, _made: None)  # an attempt that takes for ever
    publisher = Publisher(KafkaSettings(bootstrap=("127.0.0.1:1",)), "test", MEMORY, None)
    publisher.start()
    publisher.offer(0, value(0), 3)
    publisher.stop(0.1)

    assert publisher.counts == {"dropped.unsent": 3}


def test_the_clients_private_names_are_where_the_publisher_looks_for_them(settings, topic):
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap)

    assert callable(producer._sender.force_close)
    assert callable(producer._sender.join)
    producer.close()
