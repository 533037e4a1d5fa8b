"""The topics on the cluster: looked at, created where they are missing.

Rule 1: creating twice changes nothing.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from .client import KafkaUnusableError, connection
from .plan import Found, Wanted
from .settings import KafkaSettings

CONNECT_MS = 10_000
"""To find a broker. Less: a cluster that is busy starting counts as absent. More: so long nothing is said."""


class Topics:
    """The cluster's topics. Blocks: not for an event loop."""

    def __init__(self, admin: Any) -> None:
        """Take an admin client of kafka-python."""
        self._admin = admin

    def find(self, names: Iterable[str]) -> dict[str, Found]:
        """Return those of ``names`` that there are.

        Raises:
            KafkaUnusableError: the cluster does not answer, or refuses.
        """
        with said_simply():
            described = self._admin.describe_topics(sorted(names))
            partitions = {
                topic["name"]: len(topic["partitions"]) for topic in described if topic["error_code"] == 0
            }
            if not partitions:
                return {}
            asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in partitions]
            configs = self._admin.describe_configs(asked).get("topic", {})
        return {
            name: Found(
                count, {key: entry["value"] for key, entry in configs.get(name, {}).items() if _own(entry)}
            )
            for name, count in partitions.items()
        }

    def operations(self, names: Iterable[str]) -> dict[str, frozenset[str] | None]:
        """Return what this user may do with topics (KIP-430): `READ`, `WRITE`, ...; None where it is not said.

        Raises:
            KafkaUnusableError: the cluster does not answer, or refuses.
        """
        with said_simply():
            described = self._admin.describe_topics(sorted(names))
        said = {topic["name"]: topic.get("authorized_operations") for topic in described}
        return {name: None if may is None else frozenset(may) for name, may in said.items()}

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
