"""The topics of the release on a real Kafka."""

import subprocess
import sys
import uuid

import pytest

from missedcall_common.kafka.__main__ import main
from missedcall_common.kafka.plan import plan
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.kafka.topics import connected

pytestmark = [pytest.mark.kafka]


@pytest.fixture
def environment(kafka):
    return {
        "MISSEDCALL_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "MISSEDCALL_KAFKA_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
        "MISSEDCALL_KAFKA_PARTITIONS": "3",
        "MISSEDCALL_KAFKA_REPLICAS": "1",
    }


def test_topics_are_created_once_as_the_release_says(environment, capsys):
    assert main([], environment) == 0
    assert capsys.readouterr().out.count(" created: ") == 11
    assert main([], environment) == 0
    assert capsys.readouterr().out == ""
    settings = KafkaSettings(
        bootstrap=(environment["MISSEDCALL_KAFKA_BOOTSTRAP"],),
        prefix=environment["MISSEDCALL_KAFKA_PREFIX"],
        partitions=3,
        replicas=1,
    )
    wanted = plan(settings)
    with connected(settings, "test") as topics:
        found = topics.find_with_settings(topic.name for topic in wanted)

    assert {name: topic.partitions for name, topic in found.items()} == {
        topic.name: topic.partitions for topic in wanted
    }
    assert all(topic.config.items() <= found[topic.name].config.items() for topic in wanted)


def test_a_check_creates_nothing(environment, capsys):
    assert main(["--check"], environment) == 1
    assert capsys.readouterr().out.count(" is missing: ") == 11
    assert main(["--check"], environment) == 1


def test_another_partition_count_is_refused(environment, capsys):
    assert main([], environment) == 0
    assert main([], {**environment, "MISSEDCALL_KAFKA_PARTITIONS": "4"}) == 1
    assert "has 3 partitions, expected 4" in capsys.readouterr().err


def test_another_generation_stands_beside_the_first(environment, capsys):
    main([], environment)

    assert (
        main([], {**environment, "MISSEDCALL_KAFKA_PARTITIONS": "4", "MISSEDCALL_KAFKA_GENERATION": "2"}) == 0
    )
    assert "sip-transactions.g2 created: 4 partitions" in capsys.readouterr().out


def test_no_kafka_is_said_and_not_a_traceback():
    ended = subprocess.run(  # the client leaves sockets to the garbage collector where nobody listens
        [sys.executable, "-m", "missedcall_common.kafka"],
        env={"MISSEDCALL_KAFKA_BOOTSTRAP": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("Kafka: ")
    assert ended.stderr.count("\n") == 1
