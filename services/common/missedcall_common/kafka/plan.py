"""Which topics there have to be on the cluster, and what is wrong with those that there are.

Rule 1: a topic is as its file in `missedcall_schemas/topics` says; settings choose name, count and replicas.
Rule 2: a partition count is never changed: keys would move and state would not. Another count is another
        generation, see `cut`.
Rule 3: an existing topic's settings are the operator's; where they differ it is said, not changed.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from missedcall_schemas.topics import TOPICS, Topic

from .cut import Cut, first_cut
from .settings import KafkaSettings

_INSYNC = "min.insync.replicas"
_BY_PARTITION = TOPICS["sip-transactions"].partitions
"""Topics of this default count follow the setting."""
OF_CUT = ("sip-transactions", "call-state")
"""The log and what its classifiers keep of it."""


class Wanted(Struct, frozen=True):
    """A topic as it has to be."""

    topic: str
    """What its file calls it."""
    name: str
    partitions: int
    replicas: int
    config: dict[str, str]


class Found(Struct, frozen=True):
    """A topic as it is."""

    partitions: int
    config: dict[str, str]
    """What is set for this topic alone, if that was asked for."""
    may: frozenset[str] | None = None
    """What this user may do with it (KIP-430): `READ`, `WRITE`, ...; None where brokers do not say."""

    @property
    def hidden(self) -> bool:
        """Whether this user may not even see it; then it may be there or not."""
        return not self.partitions


def plan(settings: KafkaSettings, cut: Cut | None = None) -> list[Wanted]:
    """Return every topic in use, by name; ``cut`` says how the log is cut, None: as the settings say."""
    wanted = []
    for topic in TOPICS.values():
        if topic.status == "used":
            channels = settings.channels if "{channel}" in topic.name else ("",)
            wanted += [_wanted(topic, settings, cut or first_cut(settings), channel) for channel in channels]
    return sorted(wanted, key=lambda topic: topic.name)


def name_of(topic: str, settings: KafkaSettings, cut: Cut | None = None) -> str:
    """Return the name on the cluster of a topic that has no channel; ``cut`` as of `plan`."""
    generation = cut.generation if cut is not None and is_of_cut(TOPICS[topic]) else settings.generation
    return TOPICS[topic].full_name(prefix=settings.prefix, generation=generation)


def is_of_cut(topic: Topic) -> bool:
    """Whether the topic's partitions are those of the log."""
    return topic.name in OF_CUT


def refusals(wanted: list[Wanted], found: Mapping[str, Found]) -> Iterator[str]:
    """Yield a sentence per topic that must not be used as it is."""
    for topic in wanted:
        there = found.get(topic.name)
        if there is not None and not there.hidden and there.partitions != topic.partitions:
            yield (
                f"topic {topic.name} has {there.partitions} partitions, expected {topic.partitions}: the count "
                f"decides which partition a call belongs to and is never changed. Set MISSEDCALL_KAFKA_PARTITIONS="
                f"{there.partitions}, or begin anew with the next MISSEDCALL_KAFKA_GENERATION. More partitions of "
                "a log that goes on: `missedcall scale-partitions`"
            )


def differences(wanted: list[Wanted], found: Mapping[str, Found]) -> Iterator[str]:
    """Yield a sentence per setting of an existing topic that is not what the topic's file says."""
    for topic in wanted:
        there = found.get(topic.name)
        if there is not None:
            for name, value in sorted(topic.config.items()):
                if there.config.get(name, value) != value:
                    yield f"topic {topic.name}: {name} is {there.config[name]}, the release says {value}"


def _count(topic: Topic, settings: KafkaSettings, cut: Cut) -> int:
    if is_of_cut(topic):
        return cut.partitions
    return settings.partitions if topic.partitions == _BY_PARTITION else topic.partitions


def _wanted(topic: Topic, settings: KafkaSettings, cut: Cut, channel: str) -> Wanted:
    config = topic.kafka_config()
    if _INSYNC in config:  # more than there are replicas would refuse every write
        config[_INSYNC] = str(min(int(config[_INSYNC]), settings.replicas))
    return Wanted(
        topic=topic.name,
        name=topic.full_name(
            prefix=settings.prefix,
            generation=cut.generation if is_of_cut(topic) else settings.generation,
            channel=channel,
        ),
        partitions=_count(topic, settings, cut),
        replicas=settings.replicas,
        config=config,
    )
