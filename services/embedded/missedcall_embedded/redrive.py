"""`missedcall redrive`: notices that were given up are tried again.

Rule 1: nothing is changed without `--execute`.
Rule 2: a notice is shown by its id and by what happened to it; whom it was for is nobody's business here.
Rule 3: the last line is for programs: `name=number`, in a fixed order.
"""

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from missedcall_common.runtime.settings import SettingsError, from_environment
from missedcall_notifier.delivery import Delivery
from missedcall_notifier.journal_sqlite import redrive_file
from missedcall_notifier.redrive import Selection, lines, moment

from .config import Config, ConfigError, load


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    now = time.time()
    try:
        since = moment(args.since, now) if args.since else 0.0
    except ValueError:
        return _refuse(f"--since {args.since}: expected 90m, 12h, 3d, or a date and time: 2026-11-28T09:30")
    selection = Selection(
        channels=frozenset(args.channel),
        failures=frozenset(args.failure),
        delivery_ids=frozenset(args.delivery),
        since=since,
    )
    if args.bootstrap:
        return _on_kafka(args, selection, now)
    return _on_this_machine(args, selection, now)


def _on_this_machine(args: argparse.Namespace, selection: Selection, now: float) -> int:
    try:
        config = Config() if args.config is None else load(args.config)
    except ConfigError as error:
        return _refuse(str(error))
    path = Path(config.store.file)
    if not path.is_file():
        return _refuse(f"{path}: no such file; is this the configuration of the pipeline?")
    try:
        dead = redrive_file(path, selection, now, execute=args.execute)
    except sqlite3.Error as error:
        return _refuse(f"{path}: {error}")
    return _say(dead, len(dead) if args.execute else 0, "is tried again within half a minute", args)


def _on_kafka(args: argparse.Namespace, selection: Selection, now: float) -> int:
    try:
        from missedcall_common.kafka.client import KafkaUnusableError  # noqa: PLC0415 - an extra
        from missedcall_common.kafka.settings import PREFIX, KafkaSettings  # noqa: PLC0415
        from missedcall_notifier.stream.redrive_topics import DeadLetters  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _refuse(
            f"redrive --bootstrap needs Kafka's client ({error.name} is missing): pip install 'missedcall[kafka]'"
        )
    environment = {**os.environ, f"{PREFIX}BOOTSTRAP": args.bootstrap}
    try:
        letters = DeadLetters(from_environment(KafkaSettings, environment, PREFIX), selection)
        done = letters.ask(now) if args.execute else 0
    except (SettingsError, KafkaUnusableError) as error:
        return _refuse(str(error))
    dead = sorted((one for _, one in letters.dead.values()), key=lambda one: one.changed_at)
    return _say(dead, done, "is asked for, and tried again by the notifier of its channel", args)


def _say(dead: Iterable[Delivery], done: int, what: str, args: argparse.Namespace) -> int:
    shown = list(lines(dead))
    for line in shown:
        print(line)
    if shown:
        print(f"each of them {what}" if args.execute else "nothing is changed; --execute does it")
    print(f"dead={len(shown)} redriven={done}")
    return 0


def _refuse(text: str) -> int:
    print(text, file=sys.stderr)
    return 2
