"""Transactions are counted as they ended, compacted or not."""

import time

import pytest
from kafka import KafkaProducer
from support import kafka_log
from support.chaos_oracle import transactions

pytestmark = pytest.mark.kafka


PATIENCE_S = 10.0
"""For the brokers to write the end of what is committed: a commit is answered before."""


def test_who_is_fenced_leaves_one_transaction_that_was_given_up(kafka):
    environment = kafka_log.environment(kafka, 2)
    prefix = environment["MISSEDCALL_KAFKA_PREFIX"]

    def begun(*topics, of="app-1", partition=1):
        """Leave a transaction open that has written; whoever had this id is fenced."""
        producer = KafkaProducer(
            bootstrap_servers=kafka.bootstrap, transactional_id=f"{prefix}{of}", retry_backoff_ms=5
        )
        producer.init_transactions()
        producer.begin_transaction()
        for topic in topics:
            producer.send(f"{prefix}{topic}", b"v", key=b"k", partition=partition).get(10)
        return producer

    def commit(producer):
        producer.commit_transaction()
        producer.close()

    commit(begun("missed-calls", "call-verdicts", "call-state"))
    commit(begun("call-state"))
    first = begun("missed-calls")
    second = begun("missed-calls", "call-verdicts", "call-state")
    commit(begun("call-state"))
    commit(begun("partitioning", "call-state", of="scale", partition=0))
    for fenced in (first, second):
        fenced.close(timeout=1)

    deadline = time.monotonic() + PATIENCE_S
    while (found := transactions(kafka, prefix, [""])) != (3, 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == (3, 2)
