"""What the notifier service is told: `MISSEDCALL_*`, among it `MISSEDCALL_NOTIFY_*` as the embedded one has it.

Rule 1: one process serves one channel, so that none waits for another; whose settings name several says which.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.runtime.settings import PREFIX, HealthAddress, SettingsError, from_environment
from missedcall_notifier.settings import ENV_PREFIX, NotifierSettings, problems

DAY_S = 86_400.0


class ServiceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service `missedcall_notifier`. Durations are seconds."""

    kafka: KafkaSettings
    notify: NotifierSettings = NotifierSettings()

    channel: Annotated[str, Meta(pattern=r"^[a-z0-9-]{0,64}$", description="the name of a channel")] = ""
    """The one that this process serves; needed only if `notify` has more than one."""
    application: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "missedcall-notifier"
    """With the channel's name behind it: consumer group, and begin of the transactional ids."""
    worker: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = ""
    """Name of this worker, the same after a restart and no other's, as of a pod of a StatefulSet. Without a name
    the partitions are shared out anew at each end and each start."""
    session_s: Annotated[float, Meta(ge=3, le=300)] = 10.0
    """Silence after which a worker counts as dead. Less: a busy one does. More: its notices wait for longer."""
    health: HealthAddress = ""
    """Where /livez and /readyz are answered; empty: nowhere."""
    report_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    """Between two lines of counters."""

    @property
    def group(self) -> str:
        """The consumer group."""
        return f"{self.application}-{self.channel}"


def load(environment: Mapping[str, str]) -> ServiceSettings:
    """Return the settings, with the channel filled in.

    Args:
        environment: `os.environ` in a program, any mapping in a test.

    Raises:
        SettingsError: one line per variable that cannot be used.
    """
    found = from_environment(ServiceSettings, environment, PREFIX)
    wrong = [
        f"{ENV_PREFIX}{key.replace('.', '_').upper()} = {value!r}: {right}"
        for key, value, right in problems(found.notify)
    ]
    channels = found.notify.channels
    if not channels:
        wrong.append(f"no channel is on: set the target of one, {ENV_PREFIX}SMTP_HOST for example")
    elif not found.channel and len(channels) > 1:
        wrong.append(f"{PREFIX}CHANNEL is not set: expected one of {', '.join(channels)}")
    elif found.channel and found.channel not in channels:
        wrong.append(f"{PREFIX}CHANNEL = {found.channel!r}: expected one of {', '.join(channels)}")
    if wrong:
        raise SettingsError(wrong)
    channel = found.channel or channels[0]
    return replace(found, channel=channel, kafka=replace(found.kafka, channels=(channel,)))
