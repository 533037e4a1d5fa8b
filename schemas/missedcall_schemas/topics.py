"""The topics, read from `topics/*.toml`: one file is one topic.

Rule 1: whatever two services must agree on about a topic stands in its file: key, partitions, value,
        cleanup, writers, readers. The AsyncAPI document, the chart and the embedded pipeline read it there.
Rule 2: a file with an unknown or a missing line is refused at import: half a topic is no topic.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

import msgspec
from msgspec import Struct

from .codec import CODECS, Codec

_LEGAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""Kafka's rule for topic names; `.` and `..` are refused by the broker as well."""


class Topic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One topic: its settings and its contract."""

    name: str
    """Without prefix and generation; `{channel}` stands for the name of a delivery channel."""
    summary: str
    """What one record is, in a sentence."""
    status: Literal["used", "reserved"]
    """reserved: the name and the settings are agreed, but no release writes it yet."""
    public: bool
    """Whether others may build on the value: then it has a schema, examples and a compatibility promise."""
    key: str
    """What the record key is; UTF-8 on the wire."""
    partitions: int
    """Default count. It is part of the data format: changing it takes a new generation."""
    partition_by: Literal["key", "correlation-key", "source"]
    """key: Kafka's default partitioner, murmur2 of the key. correlation-key: crc32(the message's key) % n,
    given explicitly. source: the same number as the partition that was read."""
    value: str
    """What the value is; where `record` is set, only what the record does not say itself."""
    record: str = ""
    """Name of the struct in `records` and of its codec; "" if the value is private to its writer."""
    codec: Literal["msgpack", "json"]
    envelope: Literal["none", "cloudevents-binary"] = "none"
    """cloudevents-binary: CloudEvents 1.0 attributes as record headers, see `cloudevents`."""
    cleanup: Literal["delete", "compact"]
    retention_s: int | None = None
    """Seconds a record is kept, with cleanup `delete` only."""
    replicas: int = 3
    config: dict[str, int | float | str] = {}
    """Further settings of the topic under Kafka's own names."""
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    compatibility: str
    """What a newer release may change and what not."""
    examples: tuple[str, ...] = ()
    """Files in `schemas/examples/<name>/` that every release must decode."""

    def full_name(self, *, prefix: str = "", generation: int = 1, channel: str = "") -> str:
        """Return the name on the broker.

        Args:
            prefix: put in front as it is, for several deployments on one cluster (`acme.`).
            generation: 1 has no suffix; 2 and above append `.g2`, for another partition count.
            channel: which delivery channel, for the topics that have one each.

        Raises:
            ValueError: the name would not be legal, or `channel` is missing or superfluous.
        """
        if generation < 1:
            raise ValueError(f"generation {generation}: generations count from 1")
        if bool(channel) != ("{channel}" in self.name):
            raise ValueError(f"topic {self.name}: channel {channel!r} does not fit this name")
        suffix = f".g{generation}" if generation > 1 else ""
        name = prefix + self.name.replace("{channel}", channel) + suffix
        if not _LEGAL_NAME.fullmatch(name):
            raise ValueError(f"topic name {name!r}: Kafka takes 1 to 249 of letters, digits, `.`, `_`, `-`")
        return name

    def kafka_config(self) -> dict[str, str]:
        """Return the topic's settings as Kafka's admin API takes them."""
        settings: dict[str, int | float | str] = {"cleanup.policy": self.cleanup}
        if self.retention_s is not None:
            settings["retention.ms"] = self.retention_s * 1000
        return {key: str(value) for key, value in {**settings, **self.config}.items()}

    @property
    def value_codec(self) -> Codec | None:
        """How the value is written; None if it is private to its writer."""
        return CODECS[self.record] if self.record else None


def _read(name: str, text: str) -> Topic:
    """Read one topic file.

    Raises:
        ValueError: the file is not a topic; the text names the file and what is wrong.
    """
    try:
        topic = msgspec.convert(tomllib.loads(text), Topic)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{name}: {error}") from error
    if (topic.cleanup == "delete") != (topic.retention_s is not None):
        raise ValueError(
            f"{name}: cleanup = {topic.cleanup!r}: retention_s goes with delete and only with it"
        )
    if topic.record and topic.record not in CODECS:
        raise ValueError(f"{name}: record = {topic.record!r}: expected one of {', '.join(sorted(CODECS))}")
    codec = topic.value_codec
    if codec and not codec.content_type.endswith(topic.codec):
        raise ValueError(f"{name}: codec = {topic.codec!r}: {topic.record} is {codec.content_type}")
    if name != f"{topic.name.replace('-{channel}', '')}.toml":
        raise ValueError(f"{name}: name = {topic.name!r}: the file is named after the topic")
    return topic


def _load() -> Iterator[tuple[str, Topic]]:
    folder = files(__package__).joinpath("topics")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            topic = _read(file.name, file.read_text(encoding="utf-8"))
            yield topic.name, topic


TOPICS: Mapping[str, Topic] = MappingProxyType(dict(_load()))
"""Every topic by its name without prefix and generation."""
