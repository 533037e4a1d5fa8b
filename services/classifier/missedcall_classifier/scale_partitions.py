"""`missedcall scale-partitions`, here also as `python -m`: more partitions for a log that goes on.

Rule 1: exit 0: done, or it could be. 3: refused, nothing was changed. 2: it cannot be said or was not brought to
        its end: standard error tells why and what to do.
"""
# ruff: noqa: T201 - a command prints

import argparse
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stream.scale import Plan

REFUSED = 3
"""Not 1, with which Python ends on what nobody foresaw: that is tried again."""

DESCRIPTION = """\
Cuts sip-transactions and call-state into more partitions. The services go on: collectors hold what they receive
for some seconds, classifiers begin anew by themselves, subscribers notice nothing. See docs/scaling.md.

Give it the environment of the classifier: MISSEDCALL_KAFKA_* and MISSEDCALL_APPLICATION. They stay as they are,
MISSEDCALL_KAFKA_PARTITIONS too: how the log is cut now is kept on the topic `partitioning`."""
EPILOG = """\
It may be killed at any moment: --resume or --abort take over from there, until one has, collectors hold back.

exit status: 0 done, or nothing is in the way; 3 refused, nothing was changed; 2 not brought to its end"""


def takes_step(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--to", type=int, metavar="N", help="how many: a multiple of what there are")
    parser.add_argument("--bootstrap", metavar="HOST:PORT,...", help="instead of MISSEDCALL_KAFKA_BOOTSTRAP")
    step = parser.add_mutually_exclusive_group()
    for name, text in (
        ("plan", "look and say, change nothing (default)"),
        ("execute", "do it"),
        ("resume", "bring to its end what an earlier one has begun"),
        ("abort", "go on with the partitions that there were"),
        ("ensure", "execute, or resume, or do nothing if there are so many: for jobs that are started again"),
    ):
        step.add_argument(f"--{name}", dest="step", action="store_const", const=name, help=text)
    parser.set_defaults(step="plan")


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    try:
        from kafka.errors import KafkaError  # noqa: PLC0415 - an extra

        from missedcall_common.kafka.client import KafkaUnusableError  # noqa: PLC0415
        from missedcall_common.runtime.settings import SettingsError  # noqa: PLC0415

        from .stream.scale import RefusedError, Scaling  # noqa: PLC0415
        from .stream.settings import load  # noqa: PLC0415
    except ModuleNotFoundError as error:
        print(
            f"scale-partitions needs Kafka's client ({error.name} is missing): pip install 'missedcall[kafka]'",
            file=sys.stderr,
        )
        return 2
    if args.step in ("plan", "execute", "ensure") and args.to is None:
        print(f"--{args.step} needs --to", file=sys.stderr)
        return 2
    environment = dict(os.environ)
    if args.bootstrap:
        environment["MISSEDCALL_KAFKA_BOOTSTRAP"] = args.bootstrap
    began = time.monotonic()

    def say(step: str, text: str) -> None:
        if step != "copied-one":
            print(f"{time.monotonic() - began:7.1f} s  {step:<12} {text}", flush=True)

    try:
        settings, _ = load(environment)
        with Scaling(settings, say) as scaling:
            if args.step == "plan":
                found = scaling.plan(args.to)
                sys.stdout.writelines(f"{line}\n" for line in _lines(found))
                return REFUSED if found.refusals else 0
            if args.step == "execute":
                scaling.execute(args.to)
            elif args.step == "ensure":
                scaling.ensure(args.to)
            elif args.step == "resume":
                scaling.resume()
            else:
                scaling.abort()
    except RefusedError as error:
        print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    except (SettingsError, KafkaUnusableError) as error:
        print(error, file=sys.stderr)
        return 2
    except KafkaError as error:
        print(f"Kafka: {error}: --resume or --abort, if it has begun", file=sys.stderr)
        return 2
    return 0


def _lines(plan: "Plan") -> Iterator[str]:
    cut = plan.partitioning.cut
    yield f"{cut.partitions} partitions, generation {cut.generation}; {plan.to} wanted"
    yield f"{plan.messages_s:>14,.0f}  messages a second, {plan.bytes_s / 1e6:,.2f} MB"
    yield f"{plan.lag:>14,}  records that the classifiers have not committed"
    yield f"{plan.rows:>14,}  rows of state, {plan.state_bytes / 1e6:,.1f} MB"
    yield f"{plan.pause_s:>14,.0f}  seconds for which facts will wait, about"
    yield f"{plan.buffer_bytes / 1e6:>14,.1f}  MB that all collectors together will hold meanwhile, about"
    if plan.refusals:
        yield from (f"refused: {refusal}" for refusal in plan.refusals)
    else:
        yield "nothing is in the way: --execute does it"


if __name__ == "__main__":
    own = argparse.ArgumentParser(
        prog="python -m missedcall_classifier.scale_partitions",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    takes_step(own)
    sys.exit(main(own.parse_args()))
