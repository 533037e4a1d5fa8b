"""What the classifier service is told, and whoever compares with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from missedcall_classifier.policy import Policy
from missedcall_classifier.policy_settings import DecideSettings, policy_of
from missedcall_common.kafka.cut import Cut
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.runtime.settings import PREFIX, HealthAddress, SettingsError, from_environment
from missedcall_schemas.cloudevents import DEFAULT_SOURCE


class ClassifierSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service `missedcall_classifier`. Durations are seconds."""

    kafka: KafkaSettings
    decide: DecideSettings = DecideSettings()

    application: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "missedcall-classifier"
    """Consumer group, and begin of the transactional ids: the same for all that share the partitions."""
    source: Annotated[str, Meta(min_length=1, max_length=200)] = DEFAULT_SOURCE
    """CloudEvents `source` of the facts: one per deployment."""
    worker: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = ""
    """Name of this worker, the same after a restart and no other's, as of a pod of a StatefulSet. One that is back
    within `session_s` has its partitions again and the others have noticed nothing; one that stays away keeps them
    waiting for so long. Without a name they are shared out anew at each end and each start."""
    commit_s: Annotated[float, Meta(ge=0.05, le=10)] = 0.5
    """Between two transactions of a partition. Less: more of them. More: facts are told later, and more is repeated
    after a crash."""
    session_s: Annotated[float, Meta(ge=3, le=300)] = 10.0
    """Silence after which a worker counts as dead. Less: a busy one does. More: its partitions wait for longer."""
    health: HealthAddress = ""
    """Where /livez and /readyz are answered; empty: nowhere."""
    report_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    """Between two lines of counters."""


def group_of(settings: ClassifierSettings, cut: Cut) -> str:
    """Return the consumer group of those that read a generation of the log.

    Each has its own: members that read different topics would be given what they do not read.
    """
    first = cut.generation == settings.kafka.generation
    return settings.application if first else f"{settings.application}.g{cut.generation}"


def load(environment: Mapping[str, str]) -> tuple[ClassifierSettings, Policy]:
    """Return the settings, and the policy with the users that they name.

    Args:
        environment: `os.environ` in a program, any mapping in a test.

    Raises:
        SettingsError: a value is wrong, missing or unknown, or the file of users cannot be used.
    """
    settings = from_environment(ClassifierSettings, environment, PREFIX)
    policy, wrong = policy_of(settings.decide, Path())
    if wrong:
        raise SettingsError(
            [f"{PREFIX}DECIDE_{key.upper()} = {value!r}: {right}" for key, value, right in wrong]
        )
    return settings, policy
