"""Who may do what on Kafka: the least with which each program works, as rows.

Rule 1: this is the only list. The chart's KafkaUser objects, docs/rights.md and what programs check of themselves
        when they start are made of it.
Rule 2: a row has no right that another of it implies: Read, Write, Delete and AlterConfigs of a topic imply
        Describe, AlterConfigs implies DescribeConfigs, and so it is for groups and transactional ids (Kafka,
        "Authorization and ACLs").
Rule 3: what `missedcall scale-partitions` makes anew under a name and `.gN` is given by prefix.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from msgspec import Struct

from missedcall_schemas.topics import TOPICS

from .cut import Cut
from .plan import OF_CUT, Found, name_of, plan
from .settings import KafkaSettings

ALL = "*"
"""Each topic of the deployment."""
APPLICATION = "{application}"
"""MISSEDCALL_APPLICATION; a notifier's with `-CHANNEL` behind it."""


class Right(Struct, frozen=True):
    """What is allowed on one resource."""

    kind: Literal["topic", "group", "transactionalId"]
    name: str
    """A topic as its file calls it, `ALL`, or `APPLICATION` with what follows."""
    operations: tuple[str, ...]
    """As Kafka's tools call them."""
    prefixed: bool = False
    """Whether it is given for all names that begin so."""


def _topic(name: str, *operations: str) -> Right:
    return Right("topic", name, operations, prefixed=name in OF_CUT)


RIGHTS: dict[str, tuple[Right, ...]] = {
    "collector": (
        _topic("sip-transactions", "Write"),
        _topic("partitioning", "Read"),
    ),
    "classifier": (
        _topic("sip-transactions", "Read", "Write"),
        _topic("call-state", "Read", "Write"),
        _topic("missed-calls", "Write"),
        _topic("call-verdicts", "Write"),
        _topic("dead-letters", "Write"),
        _topic("partitioning", "Read"),
        Right("group", APPLICATION, ("Read",), prefixed=True),
        Right("transactionalId", f"{APPLICATION}-", ("Write",), prefixed=True),
    ),
    "notifier": (
        _topic("missed-calls", "Read"),
        _topic("notify-journal-{channel}", "Read", "Write"),
        _topic("notify-redrive", "Read"),
        _topic("dead-letters", "Write"),
        _topic("directory", "Read"),
        _topic("preferences", "Read"),
        Right("group", APPLICATION, ("Read",)),
        Right("transactionalId", f"{APPLICATION}-", ("Write",), prefixed=True),
    ),
    "topics": (
        _topic(ALL, "Create", "Describe", "DescribeConfigs"),
        _topic("partitioning", "Read"),
    ),
    "test": (
        _topic("call-verdicts", "Read"),
        _topic("missed-calls", "Read"),
    ),
    "scale": (
        _topic("sip-transactions", "Create", "Delete", "Read", "Write", "AlterConfigs"),
        _topic("call-state", "Create", "Delete", "Read", "Write"),
        _topic("partitioning", "Read", "Write"),
        Right("group", APPLICATION, ("Describe",), prefixed=True),
        Right("transactionalId", f"{APPLICATION}-scale", ("Write",)),
    ),
    "audit": (
        _topic("sip-transactions", "Read"),
        _topic("missed-calls", "Read"),
        _topic("partitioning", "Read"),
        Right("group", APPLICATION, ("Describe",), prefixed=True),
    ),
    "redrive": (
        _topic("dead-letters", "Read"),
        _topic("notify-journal-{channel}", "Read"),
        _topic("notify-redrive", "Write"),
    ),
    "directory": (_topic("directory", "Read", "Write"),),
}
"""By program: the services; the jobs `topics` and `scale`; `helm test`; the commands of operators."""

_BROKERS_SAY = {"DescribeConfigs": "DESCRIBE_CONFIGS", "AlterConfigs": "ALTER_CONFIGS"}


def may_not(what: str, operation: str) -> str:
    """Return the sentence about a right that is missing.

    Args:
        what: kind and name of the resource.
        operation: as Kafka's tools call it.
    """
    return f"{what}: this user may not {operation}: grant it, see docs/rights.md"


class Lack(NamedTuple):
    """A right that is missing; `str` of it is the sentence."""

    topic: str
    """Name on the cluster."""
    operation: str

    def __str__(self) -> str:
        return may_not(f"topic {self.topic}", self.operation)


def lacking(
    program: str, settings: KafkaSettings, found: Mapping[str, Found], cut: Cut | None = None
) -> Iterator[Lack]:
    """Yield each right on a topic that brokers say this user does not have (KIP-430).

    Args:
        program: key of `RIGHTS`.
        settings: of the cluster.
        found: the topics, by their names on the cluster; of others nothing is said.
        cut: as of `plan`.
    """
    names = {topic.name: topic.topic for topic in plan(settings, cut)}
    for right in RIGHTS[program]:
        for name, topic in sorted(names.items()):
            may = found[name].may if name in found and right.kind == "topic" else None
            if may is not None and right.name in (ALL, topic):
                for operation in right.operations:
                    if _BROKERS_SAY.get(operation, operation.upper()) not in may:
                        yield Lack(name, operation)


def resource_name(right: Right, settings: KafkaSettings, application: str, channel: str = "") -> str:
    """Return the name of a right's resource on the cluster, or its beginning; not for `ALL`."""
    if right.kind != "topic":
        return right.name.replace(APPLICATION, application)
    if right.prefixed:
        return f"{settings.prefix}{right.name}"
    if "{channel}" in right.name:
        topic = TOPICS[right.name]
        return topic.full_name(prefix=settings.prefix, generation=settings.generation, channel=channel)
    return name_of(right.name, settings)
