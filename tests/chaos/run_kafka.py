"""Kills, freezes and scales the distributed pipeline on a real Kafka under load, then decides the log again.

    .venv/bin/python tests/chaos/run_kafka.py [--calls N] [--seconds N] [--seed N] [--nodes 1|3]
    .venv/bin/python tests/chaos/run_kafka.py --stock exactly_once|at_least_once ...

The last line is for programs. Ends with 1 unless every fact and verdict is there once and no other is; with
`--stock`, the negative control, it is Faust's own guarantee that is tried, and 1 says that it held.
"""
# ruff: noqa: T201 - a command prints

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "tools")]

from kafka_nodes import Cluster, KafkaError  # noqa: E402 - after the line above, which it needs
from support.chaos_kafka import Chaos, Run  # noqa: E402


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=3)
    parser.add_argument("--stock", choices=("exactly_once", "at_least_once"), default="")
    args = parser.parse_args()
    try:
        cluster = Cluster.create(args.nodes, watch=os.getpid())
    except KafkaError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    began = time.monotonic()
    run = Run(calls=args.calls, seconds=args.seconds, seed=args.seed, stock=args.stock)
    try:
        chaos = Chaos(
            cluster, run, lambda what: print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)
        )
        done = asyncio.run(chaos.go())
    finally:
        cluster.remove()
    print(done.text())
    print(done.outcome.line())
    return int(done.outcome.exact == bool(args.stock) or not (args.stock or done.outcome.aborted))


if __name__ == "__main__":
    sys.exit(main())
