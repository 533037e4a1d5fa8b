"""What is on the topics against what the log says: facts by the core of the audit, verdicts beside it."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from unittest.mock import patch

from kafka import KafkaConsumer, TopicPartition
from kafka_nodes import Cluster
from support.classifier_process import values
from support.kafka_ends import ended

from missedcall_classifier.decision import Decision
from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_classifier.stream.audit import Auditor, Report
from missedcall_common.kafka.cut import Cut
from missedcall_common.placing import heirs
from missedcall_schemas.codec import encode_verdict
from missedcall_schemas.records import CaptureBatch


class Outcome(NamedTuple):
    """What a run came to."""

    facts: Report
    verdicts_repeated: int
    verdicts_missing: int
    verdicts_unexpected: int
    committed: int
    """Transactions."""
    aborted: int
    """Transactions that reached the brokers and were given up."""
    hidden: int
    """Facts and verdicts in them, which a reader of committed records does not see."""

    @property
    def exact(self) -> bool:
        """Whether everything is there once, and nothing else."""
        return self.facts.exact and not (
            self.verdicts_repeated or self.verdicts_missing or self.verdicts_unexpected
        )

    def line(self) -> str:
        """Return the line that programs read."""
        facts = self.facts
        return (
            f"calls={facts.calls} facts={facts.facts} duplicate={facts.duplicate} missing={facts.missing} "
            f"different={facts.different + facts.unexpected} aborted={self.aborted}"
        )


class _Recording:
    """An engine whose verdicts are kept beside what the audit asks for."""

    def __init__(self, policy: Policy, verdicts: Counter[bytes]) -> None:
        self._engine = Engine(policy)
        self._verdicts = verdicts

    def feed(self, batch: CaptureBatch) -> list[Decision]:
        decisions = self._engine.feed(batch)
        self._verdicts.update(_digest(encode_verdict(v)) for one in decisions for v in one.verdicts)
        return decisions

    def load(self, rows) -> None:
        self._engine.load(rows)

    def rows(self) -> Iterator[tuple[str, bytes]]:
        return self._engine.rows()

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        return self._engine.changes()


def compare(cluster: Cluster, prefix: str, policy: Policy, cuts: Sequence[Cut] = (Cut(1, 0),)) -> Outcome:
    """Read everything and decide the log again, generation after generation; the pipeline has come to its end."""
    bootstrap = cluster.bootstrap
    auditor, expected = Auditor(policy), Counter[bytes]()
    suffixes = [f".g{cut.generation}" if cut.generation > 1 else "" for cut in cuts]
    facts = values(bootstrap, f"{prefix}missed-calls")
    found = Counter(map(_digest, values(bootstrap, f"{prefix}call-verdicts")))
    hidden = -len(facts) - found.total()
    for topic in ("missed-calls", "call-verdicts"):
        hidden += len(values(bootstrap, f"{prefix}{topic}", "read_uncommitted"))
    committed, aborted = transactions(cluster, prefix, suffixes)
    for fact in facts:
        auditor.published(fact)
    logs = [defaultdict(list) for _ in cuts]
    for log, suffix in zip(logs, suffixes, strict=True):
        for partition, value in records(bootstrap, f"{prefix}sip-transactions{suffix}"):
            log[partition].append(value)

    def follow(level: int, partition: int) -> None:
        own = cuts[level]
        for value in logs[level][partition]:
            auditor.logged(partition, value, generation=own.generation)
        for other in cuts[level + 1 : level + 2]:
            auditor.goes_on(partition, own.generation, own.partitions, other.partitions, other.generation)
            for heir in heirs(partition, own.partitions, other.partitions):
                follow(level + 1, heir)

    with patch("missedcall_classifier.stream.audit.Engine", lambda policy: _Recording(policy, expected)):
        for partition in range(cuts[0].partitions or max(logs[0]) + 1):
            follow(0, partition)
    return Outcome(
        auditor.report(),
        sum(count - 1 for count in found.values()),
        len(expected.keys() - found.keys()),
        len(found.keys() - expected.keys()),
        committed,
        aborted,
        hidden,
    )


def transactions(cluster: Cluster, prefix: str, suffixes: Iterable[str]) -> tuple[int, int]:
    """Return how many transactions of the classifiers were committed, and how many were given up.

    Each ends on one partition of the state, if it came so far, and on those of other topics that it wrote to.
    """
    jobs = {end.producer for _, end in ended(cluster, [f"{prefix}partitioning"])}
    states = ended(cluster, [f"{prefix}call-state{suffix}" for suffix in suffixes])
    others = ended(cluster, [f"{prefix}{name}" for name in ("missed-calls", "call-verdicts", "dead-letters")])
    given_up = {(end.producer, end.epoch) for _, end in states | others if not end.committed}
    return (
        sum(end.committed and end.producer not in jobs for _, end in states),
        sum(producer not in jobs for producer, _ in given_up),
    )


def state(bootstrap: str, topic: str, isolation: str = "read_committed") -> Iterator[tuple[bytes, int, int]]:
    """Yield key, partition and time (ms) of each row that was written."""
    for partition, record in _read(bootstrap, topic, isolation):
        yield record.key, partition, record.timestamp


def records(bootstrap: str, topic: str) -> Iterator[tuple[int, bytes]]:
    """Yield partition and value of each record, one partition after another, each in order."""
    for partition, record in _read(bootstrap, topic, "read_committed"):
        yield partition, record.value


def _read(bootstrap: str, topic: str, isolation: str):
    """Yield partition and record, one partition after another."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level=isolation)
    try:
        for number in sorted(consumer.partitions_for_topic(topic)):
            partition = TopicPartition(topic, number)
            consumer.assign([partition])
            consumer.seek_to_beginning(partition)
            end = consumer.end_offsets([partition])[partition]
            while consumer.position(partition) < end:
                for record in consumer.poll(timeout_ms=1000).get(partition, ()):
                    yield number, record
    finally:
        consumer.close()


def behind(bootstrap: str, topic: str, group: str) -> int:
    """Return how many records of a topic a group has not committed."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        ends = consumer.end_offsets(partitions)
        return sum(end - (consumer.committed(partition) or 0) for partition, end in ends.items())
    finally:
        consumer.close()


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()
