"""Kills, freezes and scales notifiers on a real Kafka while their targets fail, then counts what was told.

    .venv/bin/python tests/chaos/run_notify.py [--facts N] [--seconds N] [--seed N] [--nodes 1|3] [--channels A,B]
        [--calls N]

The last line is for programs. Ends with 1 unless every fact was told over every channel, repeats bear the same id
and are signed, and Exchange has one item of each. Of three nodes of Kafka one at a time is killed, too.
With --calls each caller rings so often, and Exchange alone is told, by one item of all the caller's calls.
"""
# ruff: noqa: T201 - a command prints

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "tools")]

from kafka_nodes import Cluster, KafkaError  # noqa: E402 - after the line above, which it needs
from support.chaos_notify import Chaos, Run  # noqa: E402


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--facts", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--channels", default="webhook,smtp,ews")
    parser.add_argument("--calls", type=int, default=0, choices=range(21), metavar="0..20")
    args = parser.parse_args()
    try:
        cluster = Cluster.create(args.nodes, watch=os.getpid())
    except KafkaError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    began = time.monotonic()
    run = Run(
        facts=args.facts,
        seconds=args.seconds,
        seed=args.seed,
        channels=("ews",) if args.calls else tuple(args.channels.split(",")),
        calls=args.calls,
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            chaos = Chaos(
                cluster,
                run,
                Path(folder),
                lambda what: print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True),
            )
            done = asyncio.run(chaos.go())
    finally:
        cluster.remove()
    print(done.text())
    return int(not done.right)


if __name__ == "__main__":
    sys.exit(main())
