"""Cuts the log anew under load, with the job, collectors and workers killed; then decides the log again, twice.

    .venv/bin/python tests/chaos/scale_kafka.py [--partitions N] [--to N] [--calls N] [--calls-per-s N] [--seed N]

Ends with 1 unless every fact is there once, with the content that it has if nothing is cut.
"""
# ruff: noqa: T201 - a command prints

import argparse
import asyncio
import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "tools")]

from kafka_nodes import Cluster, KafkaError  # noqa: E402 - after the line above, which it needs
from support.chaos_scale import STEPS, Run, ScaleChaos  # noqa: E402


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--to", type=int, default=24)
    parser.add_argument("--calls", type=int, default=6000)
    parser.add_argument("--calls-per-s", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--only", choices=("quiet", "job", "aborts", "frozen", "spool", "all"), default="")
    args = parser.parse_args()
    try:
        cluster = Cluster.create(args.nodes, watch=os.getpid())
    except KafkaError as error:
        print(f"chaos-scale: {error}", file=sys.stderr)
        return 2
    load = {
        "calls": args.calls,
        "calls_per_s": args.calls_per_s,
        "partitions": args.partitions,
        "to": args.to,
        "seed": args.seed,
    }
    runs = {
        "quiet": Run(**load),
        "job": Run(**load, steps=STEPS),
        "aborts": Run(**load, aborts=STEPS[:-1]),
        "frozen": Run(**load, steps=("sealed",), freeze=True),
        "spool": Run(**load, steps=("sealed",), spool=True, pause_s=10.0),
        "all": Run(**load, steps=STEPS, kill_collectors=True, kill_workers=True, crash=0.003, workers=3),
    }
    exact = True
    try:
        for name, run in runs.items():
            if args.only in ("", name):
                done = asyncio.run(ScaleChaos(cluster, run, print).go())
                # A collector that was killed leaves a hole, whose time depends on the partition.
                good = done.outcome.exact and not done.behind and (not done.differ or run.kill_collectors)
                good = good and (not run.spool or (done.happened["spooled"] and not done.happened["dropped"]))
                print(f"{name}: {'exact' if good else 'NOT EXACT'}\n{done.text()}\n", flush=True)
                exact = exact and good
    finally:
        cluster.remove()
    return int(not exact)


if __name__ == "__main__":
    sys.exit(main())
