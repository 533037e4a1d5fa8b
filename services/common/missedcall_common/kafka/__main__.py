"""`python -m missedcall_common.kafka`: create the topics that are missing, and say what is wrong with the rest.

    MISSEDCALL_KAFKA_BOOTSTRAP=host:9092 python -m missedcall_common.kafka [--check]

Settings are the variables `MISSEDCALL_KAFKA_*`, the same that the services read.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from missedcall_common.runtime.settings import SettingsError, from_environment

from .client import KafkaUnusableError
from .cut import first_cut
from .partitioning import look
from .plan import differences, plan, refusals
from .rights import lacking
from .settings import PREFIX, KafkaSettings
from .topics import connected


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run the command.

    Returns:
        0: every topic is there and can be used. 1: not so, or Kafka cannot be reached. 2: the settings are wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m missedcall_common.kafka", description=__doc__)
    parser.add_argument("--check", action="store_true", help="create nothing; exit 1 if a topic is missing")
    checking = parser.parse_args(arguments).check
    try:
        settings = from_environment(KafkaSettings, environment, PREFIX)
        return _run(settings, checking=checking)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KafkaUnusableError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(settings: KafkaSettings, *, checking: bool) -> int:
    partitioning = look(settings, "missedcall-topics").partitioning
    cut = partitioning.cut
    wanted = plan(settings, cut)
    if cut != first_cut(settings):
        sys.stdout.write(f"the log is cut into {cut.partitions} partitions, generation {cut.generation}\n")
    if partitioning.next is not None:
        sys.stdout.write(
            f"scale-partitions to {partitioning.next.partitions} is not finished: --resume or --abort\n"
        )
    with connected(settings, "missedcall-topics") as topics:
        found = topics.find(topic.name for topic in wanted)
        problems = [str(lack) for lack in lacking("topics", settings, found, cut)]
        if not problems:
            found = topics.find_with_settings(found)
        missing = [topic for topic in wanted if topic.name not in found]
        problems += refusals(wanted, found)
        if not checking and not problems:
            topics.create(missing)
    for topic in missing:
        done = "is missing" if checking or problems else "created"
        sys.stdout.write(
            f"topic {topic.name} {done}: {topic.partitions} partitions, {topic.replicas} replicas\n"
        )
    sys.stdout.writelines(f"{line}\n" for line in differences(wanted, found))
    sys.stderr.writelines(f"{line}\n" for line in problems)
    return int(bool(problems) or (checking and bool(missing)))


if __name__ == "__main__":
    sys.exit(main())
