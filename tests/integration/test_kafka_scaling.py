"""`scale-partitions` on a real Kafka without anybody who writes or decides: what the job itself promises."""

import uuid
from argparse import Namespace

import pytest
from kafka import KafkaAdminClient

from missedcall_classifier.scale_partitions import main as scale_partitions
from missedcall_classifier.stream.scale import LIMIT, RefusedError, Scaling
from missedcall_classifier.stream.settings import load
from missedcall_common.kafka.__main__ import main as create_topics
from missedcall_common.kafka.partitioning import Looked, PartitioningTopic, look
from missedcall_common.kafka.topics import Topics

pytestmark = pytest.mark.kafka


class StoppedError(Exception):
    """The job dies here."""


@pytest.fixture
def environment(kafka, monkeypatch):
    monkeypatch.setattr("missedcall_classifier.stream.scale.SAMPLE_S", 0.2)
    found = {
        "MISSEDCALL_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "MISSEDCALL_KAFKA_PREFIX": f"s{uuid.uuid4().hex[:8]}.",
        "MISSEDCALL_KAFKA_PARTITIONS": "2",
        "MISSEDCALL_KAFKA_REPLICAS": "1",
    }
    assert create_topics([], found) == 0
    return found


def dying_at(step):
    def progress(name, _):
        if name == step:
            raise StoppedError

    return progress


def topics_of(environment):
    admin = KafkaAdminClient(bootstrap_servers=environment["MISSEDCALL_KAFKA_BOOTSTRAP"])
    try:
        prefix = environment["MISSEDCALL_KAFKA_PREFIX"]
        names = [name for name in admin.list_topics() if name.startswith(prefix)]
        return {
            name.removeprefix(prefix): (found.partitions, found.config.get(LIMIT))
            for name, found in Topics(admin).find_with_settings(names).items()
        }
    finally:
        admin.close()


@pytest.mark.parametrize("step", ["is-creating", "created", "is-moving", "sealed", "marked"])
def test_a_job_that_died_is_aborted_without_a_trace(environment, step):
    settings, _ = load(environment)
    before = topics_of(environment)
    with Scaling(settings, dying_at(step)) as scaling, pytest.raises(StoppedError):
        scaling.execute(4)
    with (
        Scaling(settings, lambda *_: None) as scaling,
        pytest.raises(RefusedError, match="--resume or --abort"),
    ):
        scaling.execute(4)

    with Scaling(settings, lambda *_: None) as scaling:
        there = scaling.abort()

    assert (there.cut.generation, there.cut.partitions, there.next) == (1, 2, None)
    assert topics_of(environment) == before
    assert look(settings.kafka, "test").partitioning == there
    with (
        Scaling(settings, lambda *_: None) as scaling,
        pytest.raises(RefusedError, match="nothing is under way"),
    ):
        scaling.abort()


def test_the_log_is_not_sealed_before_readers_see_why(environment, monkeypatch):
    settings, _ = load(environment)
    late = {"looks": 0}
    told = []

    class Late(PartitioningTopic):
        """A reader to whom the end of a transaction comes late."""

        old: Looked | None = None

        def look(self) -> Looked:
            now = super().look()
            if self.old is not None and now.offset > self.old.offset and late["looks"] < 3:
                late["looks"] += 1
                return self.old
            self.old = now
            late["looks"] = 0
            told.append(now.partitioning.phase)
            return now

    monkeypatch.setattr("missedcall_classifier.stream.scale.PartitioningTopic", Late)

    def progress(step, _):
        if step.startswith("is-"):
            assert told[-1] == step.removeprefix("is-")
        if step == "sealed":
            assert told[-1] == "moving"
            raise StoppedError

    with Scaling(settings, progress) as scaling, pytest.raises(StoppedError):
        scaling.execute(4)


@pytest.mark.parametrize("step", ["plan", "execute", "ensure"])
def test_what_is_refused_ends_with_a_status_of_its_own(environment, monkeypatch, capsys, step):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert scale_partitions(Namespace(step=step, to=3, bootstrap=None)) == 3

    out, err = capsys.readouterr()
    assert "expected a multiple of 2" in out + err
