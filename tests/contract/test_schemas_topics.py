"""The topic files: one file is one topic."""

import re

import msgspec
import pytest

from missedcall_embedded import store_file
from missedcall_embedded.store import Retention
from missedcall_schemas import topics
from missedcall_schemas.codec import CODECS
from missedcall_schemas.topics import TOPICS, Topic

JOURNAL = "notify-journal-{channel}"


def test_the_topics_are_these():
    assert sorted(TOPICS) == [
        "call-state",
        "call-verdicts",
        "dead-letters",
        "directory",
        "missed-calls",
        JOURNAL,
        "notify-redrive",
        "partitioning",
        "preferences",
        "sip-transactions",
    ]


def test_the_first_generation_has_no_suffix():
    assert TOPICS["missed-calls"].full_name() == "missed-calls"


def test_a_later_generation_and_a_prefix_are_part_of_the_name():
    assert TOPICS["missed-calls"].full_name(prefix="acme.", generation=2) == "acme.missed-calls.g2"


def test_a_channel_has_a_journal_of_its_own():
    assert TOPICS[JOURNAL].full_name(channel="smtp", generation=3) == "notify-journal-smtp.g3"


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("missed-calls", {"prefix": "a b"}, "'a bmissed-calls'"),
        ("missed-calls", {"prefix": "x" * 240}, "1 to 249"),
        ("missed-calls", {"prefix": "ü."}, "letters, digits"),
        ("missed-calls", {"generation": 0}, "generation 0"),
        ("missed-calls", {"channel": "smtp"}, "'smtp' does not fit"),
        (JOURNAL, {}, "'' does not fit"),
    ],
)
def test_a_name_that_kafka_would_refuse_is_refused_at_once(name, arguments, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        TOPICS[name].full_name(**arguments)


def test_settings_are_given_under_kafkas_own_names():
    assert TOPICS["missed-calls"].kafka_config() == {
        "cleanup.policy": "delete",
        "retention.ms": "2592000000",
        "min.insync.replicas": "2",
    }


def test_what_goes_together_by_partition_has_the_same_count():
    assert TOPICS["call-state"].partitions == TOPICS["sip-transactions"].partitions
    assert TOPICS[JOURNAL].partitions == TOPICS["missed-calls"].partitions
    assert TOPICS["preferences"].partitions == TOPICS["missed-calls"].partitions
    assert TOPICS["directory"].partitions == TOPICS["missed-calls"].partitions


def test_a_public_topic_in_use_has_a_record_and_examples():
    for topic in TOPICS.values():
        if topic.public and topic.status == "used":
            assert topic.record
            assert topic.examples


def test_every_record_of_a_topic_has_its_codec():
    written = {topic.name: topic.value_codec for topic in TOPICS.values() if topic.record}

    assert written["missed-calls"] is CODECS["MissedCall"]
    assert TOPICS["call-state"].value_codec is None


def test_the_one_machine_pipeline_has_the_same_topics():
    here = {topic.name: topic for topic in store_file.TOPICS}

    for name, topic in here.items():
        assert topic.compacted == (TOPICS[name].cleanup == "compact")
        assert topic.text == (TOPICS[name].codec == "json")


def test_the_one_machine_pipeline_keeps_records_as_long():
    kept = msgspec.to_builtins(Retention())

    assert {name: keep["hours"] * 3600 for name, keep in kept.items()} == {
        name: topic.retention_s
        for name, topic in TOPICS.items()
        if topic.status == "used" and topic.cleanup == "delete" and name != "notify-redrive"  # on Kafka alone
    }


GOOD = """
name = "x"
summary = "s"
status = "used"
public = false
key = "k"
partitions = 1
partition_by = "key"
value = "v"
codec = "json"
cleanup = "compact"
writers = []
readers = []
compatibility = "c"
"""


def test_a_topic_file_is_a_topic():
    assert topics._read("x.toml", GOOD) == Topic(
        name="x",
        summary="s",
        status="used",
        public=False,
        key="k",
        partitions=1,
        partition_by="key",
        value="v",
        codec="json",
        cleanup="compact",
        writers=(),
        readers=(),
        compatibility="c",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace('cleanup = "compact"', 'cleanup = "shred"'), "x.toml: Invalid enum value 'shred'"),
        (GOOD.replace("partitions = 1\n", ""), "x.toml: Object missing required field `partitions`"),
        (GOOD + "partition = 1\n", "x.toml: Object contains unknown field `partition`"),
        (GOOD + "retention_s = 5\n", "x.toml: cleanup = 'compact': retention_s goes with delete"),
        (GOOD + 'record = "Missed"\n', "x.toml: record = 'Missed': expected one of CaptureBatch"),
        (
            GOOD + 'record = "CaptureBatch"\n',
            "x.toml: codec = 'json': CaptureBatch is application/vnd.msgpack",
        ),
        (GOOD.replace('name = "x"', 'name = "y"'), "x.toml: name = 'y': the file is named after the topic"),
        (GOOD + "=", "x.toml: Invalid statement"),
    ],
)
def test_half_a_topic_is_refused_and_says_why(text, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        topics._read("x.toml", text)
