"""The topics on the cluster: looked at, created where they are missing.

Rule 1: creating twice changes nothing.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from msgspec.structs import replace

from .client import KafkaUnusableError, connection
from .plan import Found, Wanted
from .rights import may_not
from .settings import KafkaSettings

CONNECT_MS = 10_000
"""To find a broker. Less: a cluster that is busy starting counts as absent. More: so long nothing is said."""
NOBODY = "nobody"
"""Not the id of any member: those end with 36 characters of the broker's own."""


class Topics:
    """The cluster's topics. Blocks: not for an event loop."""

    def __init__(self, admin: Any) -> None:
        """Take an admin client of kafka-python."""
        self._admin = admin

    def find(self, names: Iterable[str]) -> dict[str, Found]:
        """Return those of ``names`` that there are, and those that this user may not see.

        Raises:
            KafkaUnusableError: the cluster does not answer, or refuses.
        """
        with said_simply():
            described = self._admin.describe_topics(sorted(names))
        found = {}
        for topic in described:
            if topic["error_code"] == 0:
                may = topic.get("authorized_operations")
                found[topic["name"]] = Found(
                    len(topic["partitions"]), {}, None if may is None else frozenset(may)
                )
            elif topic["error_code"] == TopicAuthorizationFailedError.errno:
                found[topic["name"]] = Found(0, {}, frozenset())
        return found

    def find_with_settings(self, names: Iterable[str]) -> dict[str, Found]:
        """Return the same with the settings of each.

        Raises:
            KafkaUnusableError: the cluster does not answer, or refuses, or does not let this user see settings.
        """
        found = self.find(names)
        seen = [name for name, topic in found.items() if not topic.hidden]
        if not seen:
            return found
        with said_simply():
            asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in seen]
            configs = self._admin.describe_configs(asked, config_filter="all").get("topic", {})
        for name in seen:
            entries = configs.get(name)
            if not entries:  # a topic has some in any case; the client passes over the refusal
                raise KafkaUnusableError(may_not(f"topic {name}", "DescribeConfigs"))
            own = {key: entry["value"] for key, entry in entries.items() if _own(entry)}
            found[name] = replace(found[name], config=own)
        return found

    def may_join(self, group: str) -> bool:
        """Whether brokers let this user be of a consumer group; True where they do not say.

        Of a group that was never there they do not tell what is allowed. So one leaves who was never in it: that
        changes nothing, needs Read as joining does, and brokers look at rights before they look whose group it is.
        """
        try:
            broker = self._admin.describe_cluster()["brokers"][0]["broker_id"]
            nobody = MemberToRemove(member_id=NOBODY)
            self._admin.remove_group_members(group, [nobody], group_coordinator_id=broker)
        except GroupAuthorizationFailedError:
            return False
        except KafkaError:  # that broker has nothing to do with it, as a rule
            return True
        return True

    def create(self, wanted: Iterable[Wanted]) -> None:
        """Create topics; one that another process creates at the same moment is created.

        Raises:
            KafkaUnusableError: the cluster does not answer, or refuses.
        """
        request = {
            topic.name: {
                "num_partitions": topic.partitions,
                "replication_factor": topic.replicas,
                "configs": topic.config,
            }
            for topic in wanted
        }
        if not request:
            return
        with said_simply():
            answer = self._admin.create_topics(request, raise_errors=False)
            for topic in answer["topics"]:
                if topic["error_code"] not in (0, TopicAlreadyExistsError.errno):
                    raise for_code(topic["error_code"])(f"{topic['name']}: {topic['error_message']}")
            self._admin.wait_for_topics(list(request))


@contextmanager
def connected(settings: KafkaSettings, client_id: str) -> Iterator[Topics]:
    """Connect for the time of a `with`.

    Raises:
        KafkaUnusableError: the cluster cannot be reached.
    """
    with said_simply():
        admin = KafkaAdminClient(**connection(settings, client_id), bootstrap_timeout_ms=CONNECT_MS)
    try:
        yield Topics(admin)
    finally:
        admin.close()


def _own(entry: dict[str, Any]) -> bool:
    return bool(entry["config_source"] == "DYNAMIC_TOPIC_CONFIG")


@contextmanager
def said_simply() -> Iterator[None]:
    """Make of what the client raises what says what to look at."""
    try:
        yield
    except KafkaError as error:
        raise KafkaUnusableError(f"Kafka: {error}"[:500]) from error
