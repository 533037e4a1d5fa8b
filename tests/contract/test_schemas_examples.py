"""The golden examples: what releases have written, and every later one must read.

The files are never written by the code under test. A new field gets a new example; an old file stays.
"""

import json
from collections import Counter
from pathlib import Path

import jsonschema
import msgspec
import pytest

from missedcall_schemas import generate
from missedcall_schemas.codec import CODECS, decode_missed_call
from missedcall_schemas.topics import TOPICS

EXAMPLES = generate.ROOT / "examples"
LISTED = [(topic, name) for topic in TOPICS.values() for name in topic.examples]
JSON_FILES = [(topic, name) for topic, name in LISTED if topic.codec == "json"]
TODAYS = [(topic, name) for topic, name in JSON_FILES if not name.startswith("from-the-")]
VERSION_NAMES = {record.__name__: name for name, record in generate.PUBLIC.items()}


def _bytes(topic, name):
    file = EXAMPLES / topic.name / name
    return bytes.fromhex(file.read_text()) if name.endswith(".hex") else file.read_bytes()


def _id(value):
    return value if isinstance(value, str) else value.name


@pytest.mark.parametrize("topic", [topic for topic in TOPICS.values() if topic.record], ids=_id)
def test_a_topic_lists_exactly_the_examples_in_its_folder(topic):
    there = {
        path.name for path in (EXAMPLES / topic.name).iterdir() if not path.name.endswith(".read-as.json")
    }

    assert there == set(topic.examples)


def test_every_folder_of_examples_is_a_topic():
    assert {path.name for path in EXAMPLES.iterdir()} == {topic.name for topic, _ in LISTED}


@pytest.mark.parametrize(("topic", "name"), LISTED, ids=_id)
def test_every_example_is_read(topic, name):
    codec = CODECS[topic.record]

    assert isinstance(codec.decode(_bytes(topic, name)), codec.record)


@pytest.mark.parametrize(
    ("topic", "name"), [(topic, name) for topic, name in LISTED if topic.codec == "msgpack"], ids=_id
)
def test_a_binary_example_is_read_as_the_file_beside_it_says(topic, name):
    beside = EXAMPLES / topic.name / name.replace(".msgpack.hex", ".read-as.json")

    read = CODECS[topic.record].decode(_bytes(topic, name))

    fields = {field: getattr(read, field) for field in read.__struct_fields__}
    fields["messages"] = [
        {field: getattr(message, field) for field in message.__struct_fields__}
        | {"head": message.head.decode()}
        for message in read.messages
    ]
    assert fields == json.loads(beside.read_text())


@pytest.mark.parametrize(("topic", "name"), JSON_FILES, ids=_id)
def test_every_json_example_fits_the_published_schema(topic, name):
    file = generate.ROOT / "json-schema" / f"{VERSION_NAMES[topic.record]}.json"
    schema = json.loads(file.read_text())
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())

    validator.validate(json.loads(_bytes(topic, name)))


@pytest.mark.parametrize(("topic", "name"), TODAYS, ids=_id)
def test_an_example_of_today_is_written_as_it_was_read(topic, name):
    codec = CODECS[topic.record]
    data = _bytes(topic, name)

    assert json.loads(codec.encode(codec.decode(data))) == json.loads(data)


@pytest.mark.parametrize(("topic", "name"), TODAYS, ids=_id)
def test_an_example_of_today_has_every_field_of_the_record(topic, name):
    assert set(json.loads(_bytes(topic, name))) == set(CODECS[topic.record].record.__struct_fields__)


def test_a_batch_of_today_is_written_as_it_was_read():
    topic = TOPICS["sip-transactions"]
    for name in ("batch-of-two.msgpack.hex", "tick.msgpack.hex"):
        data = _bytes(topic, name)
        codec = CODECS[topic.record]

        assert codec.encode(codec.decode(data)) == data


def test_a_fact_from_the_future_is_kept_and_its_newer_values_counted():
    unknown = Counter()

    fact = decode_missed_call(_bytes(TOPICS["missed-calls"], "from-the-future.json"), unknown)

    assert (fact.cause, fact.role, fact.confidence, fact.caller.source) == ("no-answer", "primary", "low", "")
    assert unknown == {"cause": 1, "role": 1, "confidence": 1, "source": 1}


def test_a_fact_from_the_past_takes_the_defaults():
    fact = decode_missed_call(_bytes(TOPICS["missed-calls"], "from-the-past.json"))

    assert (fact.revision, fact.state, fact.ring_s, fact.suppressed) == (1, "missed", 0.0, "")


def test_a_retraction_speaks_of_the_same_fact_with_a_higher_revision():
    topic = TOPICS["missed-calls"]
    missed = decode_missed_call(_bytes(topic, "missed.json"))
    retracted = decode_missed_call(_bytes(topic, "retracted.json"))

    assert retracted.fact_id == missed.fact_id
    assert (retracted.state, retracted.revision) == ("retracted", missed.revision + 1)


def test_an_anonymous_caller_has_neither_address_nor_number_nor_name():
    fact = decode_missed_call(_bytes(TOPICS["missed-calls"], "anonymous.json"))

    assert fact.caller == msgspec.structs.replace(fact.caller, uri="", number="", display_name="")
    assert fact.caller.anonymous


def test_examples_use_only_names_and_numbers_that_nobody_has():
    for path in Path(EXAMPLES).rglob("*.json"):
        for word in path.read_text().replace(";", " ").replace(">", " ").split():
            host = word.rpartition("@")[2].strip('",')
            legal = ("example.org", "example.net", "192.0.2.", "198.51.100.", "anna.berg%40example.org")

            assert "@" not in word or host.startswith(("gw.", "pc33.")) or host.startswith(legal), word
