"""The page about the topics, for people: made of the topic files and the vocabularies."""

from collections.abc import Iterator

from .records import MissedCall, Verdict
from .topics import TOPICS, Topic
from .vocabularies import READ_UNKNOWN_AS, vocabularies

_PARTITION_BY = {
    "key": "Kafka's default partitioner over the key",
    "correlation-key": "crc32(key of the message) modulo the count, given explicitly; one for all legs of a call",
    "source": "the number of the partition that was read",
}
_DAY_S = 86_400


_HEAD = """# The contract

Written by `python -m missedcall_schemas.generate` from the topic files and the records; a test checks that it is
fresh.

What others build on is `missed-calls` and `call-verdicts`:
[JSON Schema of a missed call](json-schema/missed-call.v1.json), [of a verdict](json-schema/verdict.v1.json),
[AsyncAPI](asyncapi.yaml) of all topics, and [examples](examples) that every release reads.

| topic | a record is | value | partitions | kept | written by | read by |
|---|---|---|---|---|---|---|"""

_ACROSS_RELEASES = """
Every name takes a prefix and, from the second on, a generation: `acme.missed-calls.g2`.

## Reading across releases

Ignore a field that you do not know; a missing one has the default that the schema names. A value that a newer
release added to a vocabulary is read as:

| field | values today | a newer one is read as |
|---|---|---|"""


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    for topic in TOPICS.values():
        yield _row(topic)
    yield _ACROSS_RELEASES
    for name, values in vocabularies(MissedCall, Verdict).items():
        stand_in = READ_UNKNOWN_AS[name]
        known = ", ".join(f"`{value}`" for value in values if value)
        read_as = "refused" if stand_in is None else f"`{stand_in}`" if stand_in else "empty"
        yield f"| `{name}` | {known} | {read_as} |"
    for topic in TOPICS.values():
        yield from (
            "",
            f"## {topic.name}",
            "",
            topic.summary,
            "",
            " ".join(topic.value.split()),
            "",
            f"- Key: {topic.key}.",
            f"- Partition: {_PARTITION_BY[topic.partition_by]}.",
            f"- Settings: {', '.join(f'`{key}={value}`' for key, value in topic.kafka_config().items())}.",
            f"- Compatibility: {' '.join(topic.compatibility.split())}",
        )


def _row(topic: Topic) -> str:
    name = f"[`{topic.name}`](#{topic.name.replace('{', '').replace('}', '')})"
    value = topic.record or ("private" if topic.status == "used" else "not settled")
    kept = f"{topic.retention_s / _DAY_S:g} d" if topic.retention_s else "latest per key"
    written = (
        ", ".join(topic.writers) if topic.status == "used" else f"nobody yet ({', '.join(topic.writers)})"
    )
    cells = (
        name,
        topic.summary,
        f"{value}, {topic.codec}",
        topic.partitions,
        kept,
        written,
        ", ".join(topic.readers),
    )
    return f"| {' | '.join(map(str, cells))} |"
