"""`python -m missedcall_collector`: the collector service, configured by `MISSEDCALL_*`; see docs/collector.md."""

import asyncio
import os
import socket
import sys
from importlib import metadata

from msgspec.structs import replace

from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.runtime.events import Event, configure, emit
from missedcall_common.runtime.health import HealthError
from missedcall_common.runtime.settings import SettingsError, from_environment
from missedcall_common.runtime.telemetry import Telemetry, TelemetryError

from .binding import ListenError
from .service import Service
from .service_settings import CollectorSettings
from .spool import SpoolError

NAME = "MISSEDCALL_LISTEN_COLLECTOR"


def main() -> int:
    """Run until a signal.

    Returns:
        0: ended in order. 1: it could not start or go on. 2: the settings cannot be used.
    """
    try:
        settings = from_environment(CollectorSettings, os.environ)
        if not os.environ.get(
            NAME, ""
        ).strip():  # two collectors of one name would look like one that goes back
            settings = replace(settings, listen=replace(settings.listen, collector=socket.gethostname()[:64]))
        connection(settings.kafka, "")
        telemetry = Telemetry(
            "collector",
            metadata.version("missedcall-collector"),
            settings.listen.collector,
            os.environ,
            pulled=bool(settings.health),
        )
    except (SettingsError, KafkaUnusableError, TelemetryError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure()
    try:
        asyncio.run(_run(settings, telemetry))
    except (ListenError, HealthError, SpoolError, KafkaUnusableError, OSError, ValueError) as error:
        emit(Event.SERVICE_FAILED, error)
        sys.stderr.write(f"missedcall_collector: {error}\n")
        return 1
    return 0


async def _run(settings: CollectorSettings, telemetry: Telemetry) -> None:
    await Service(settings, telemetry).until_stopped()


if __name__ == "__main__":
    sys.exit(main())
