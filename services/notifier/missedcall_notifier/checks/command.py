"""The command around the checks: what it takes and what it prints."""

import argparse
import asyncio
import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace

from missedcall_common.kafka.settings import PREFIX, KafkaSettings
from missedcall_common.runtime.settings import from_environment
from missedcall_notifier.settings import NotifierSettings

from .findings import Finding, State, line
from .probes import Wish, check_channels

NOTHING = "nothing to check: no channel is on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "--mailbox",
        default="",
        metavar="ADDRESS",
        help="whose mailbox is tried (default: the first that the settings name)",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="also write a test item and take it away again, and send webhooks a signed test event",
    )


def run(settings: NotifierSettings, wish: Wish, environment: Mapping[str, str]) -> int:
    """Print a line for each check as it ends.

    Returns:
        0: nothing fails. 1: something does, or there is nothing to check.

    Raises:
        SettingsError: Kafka's are wrong.
    """
    kafka = None
    if environment.get(f"{PREFIX}BOOTSTRAP"):
        kafka = from_environment(KafkaSettings, environment, PREFIX)
        kafka = replace(kafka, channels=settings.channels or kafka.channels)
    states: list[State] = []

    def say(finding: Finding) -> None:
        states.append(finding.state)
        sys.stdout.write(f"{line(finding)}\n")
        sys.stdout.flush()

    asyncio.run(_say_all(settings, wish, say))
    if kafka is not None:
        with contextlib.redirect_stderr(io.StringIO()):  # the library says each of its trials there
            found = list(_kafka(kafka))
        for finding in found:
            say(finding)
    if not states:
        sys.stderr.write(f"{NOTHING}\n")
    return int(not states or State.FAILS in states)


async def _say_all(settings: NotifierSettings, wish: Wish, say: Callable[[Finding], None]) -> None:
    async for finding in check_channels(settings, wish):
        say(finding)


def _kafka(settings: KafkaSettings) -> Iterator[Finding]:
    try:
        from .kafka import check_kafka  # noqa: PLC0415 an extra
    except ModuleNotFoundError as error:
        words = f"its client is not installed ({error.name} is missing)"
        return iter([Finding("kafka", "brokers", State.FAILS, words, "install the extra `kafka`")])
    return check_kafka(settings)
