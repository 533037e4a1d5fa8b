"""`python -m missedcall_notifier`: the notifier service, configured by `MISSEDCALL_*`; see docs/notifier.md."""

import asyncio
import os
import sys
from importlib import metadata
from uuid import uuid4

from missedcall_common.kafka.client import KafkaUnusableError
from missedcall_common.runtime.events import Event, configure, emit
from missedcall_common.runtime.health import HealthError
from missedcall_common.runtime.settings import SettingsError
from missedcall_common.runtime.telemetry import Telemetry, TelemetryError

from .stream.service import Service
from .stream.settings import ServiceSettings, load

CRASHED = 70
"""Exit status when it cannot go on; a restart resumes."""


def main() -> int:
    """Run until a signal.

    Returns:
        0: ended in order. 1: it cannot start. 2: the settings cannot be used. 70: it cannot go on.
    """
    try:
        settings = load(os.environ)
        telemetry = Telemetry(
            "notifier",
            metadata.version("missedcall-notifier"),
            settings.worker or str(uuid4()),
            os.environ,
            pulled=bool(settings.health),
        )
    except (SettingsError, TelemetryError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure()
    try:
        asyncio.run(_run(settings, telemetry))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (HealthError, KafkaUnusableError) as error:
        emit(Event.SERVICE_FAILED, error)
        sys.stderr.write(f"missedcall_notifier: {error}\n")
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it is: what counts is in the journal
        emit(Event.SERVICE_FAILED, error, detail="a restart resumes")
        return CRASHED
    return 0


async def _run(settings: ServiceSettings, telemetry: Telemetry) -> None:
    await Service(settings, telemetry).until_stopped()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # threads that wait for Kafka are not waited for
