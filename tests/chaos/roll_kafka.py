"""Restarts every worker of the classifier in turn, under load, and says for how long partitions stood still.

    .venv/bin/python tests/chaos/roll_kafka.py [--workers N] [--calls-per-s N] [--partitions N] [--only scale]

A partition stands still from one committed position to the next; with nothing wrong that is the time between two
commits, or between two batches. Once with names (static membership), once without, once killed instead of asked.
Then one worker more comes, and goes again.
Ends with 1 unless every fact and verdict is there once.
"""
# ruff: noqa: T201, ASYNC110 - a command prints, and waits for what tells nobody

import argparse
import asyncio
import os
import signal
import statistics
import sys
import time
import uuid
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "tools")]

from kafka_nodes import Cluster, KafkaError, free_ports  # noqa: E402 - after the line above, which it needs
from support.chaos_fleet import Kept  # noqa: E402
from support.chaos_load import Agent, Load  # noqa: E402
from support.chaos_oracle import behind, compare, state  # noqa: E402
from support.classifier_process import ClassifierProcess  # noqa: E402
from support.collector_process import CollectorProcess  # noqa: E402

from missedcall_classifier.policy import Policy  # noqa: E402
from missedcall_classifier.stream.unit import NEXT  # noqa: E402
from missedcall_common.kafka.__main__ import main as create_topics  # noqa: E402

BEFORE_S = 10.0
"""Undisturbed, for comparison."""
BETWEEN_S = 3.0
SETTLED_S = 15.0
"""After a change: until its last consequence is seen."""
SESSION_S = 10.0


async def roll(
    cluster: Cluster, args: argparse.Namespace, *, named: bool, number: signal.Signals | None
) -> bool:
    """Restart all once, or scale out and in, and print a line; return whether everything was exact."""
    bootstrap, prefix = cluster.bootstrap, f"r{uuid.uuid4().hex[:8]}."
    kafka = {
        "MISSEDCALL_KAFKA_BOOTSTRAP": bootstrap,
        "MISSEDCALL_KAFKA_PREFIX": prefix,
        "MISSEDCALL_KAFKA_PARTITIONS": str(args.partitions),
        "MISSEDCALL_KAFKA_REPLICAS": "1",
        "MISSEDCALL_REPORT_S": "3600",
    }
    assert create_topics([], kafka) == 0
    deciding = {**kafka, "MISSEDCALL_APPLICATION": f"{prefix}app", "MISSEDCALL_SESSION_S": str(SESSION_S)}
    agent = Agent(*free_ports(2))
    hearing = {
        **kafka,
        "MISSEDCALL_LISTEN_UDP": f"127.0.0.1:{agent.udp}",
        "MISSEDCALL_LISTEN_TCP": f"127.0.0.1:{agent.tcp}",
    }

    def worker(place: int) -> ClassifierProcess:
        name = {"MISSEDCALL_WORKER": f"worker-{place}"} if named else {}
        return ClassifierProcess({**deciding, **name})

    *workers, more = (Kept(lambda n=place: worker(n)) for place in range(args.workers + 1))
    async with CollectorProcess(hearing) as collector:
        await collector.ports()
        try:
            for kept in workers:
                kept.keep()
            await caught_up(bootstrap, prefix)
            loading = asyncio.create_task(Load([agent], 10_000_000, args.calls_per_s).run())
            await asyncio.sleep(BEFORE_S)
            began = time.time()
            half = began
            for kept in workers if number is not None else []:
                gone = kept.process
                kept.send(number)
                await kept.begun("state.loaded", after=gone)
                await asyncio.sleep(BETWEEN_S)
            if number is None:
                more.keep()
                await more.begun("state.loaded")
                await asyncio.sleep(SETTLED_S)
                half = time.time()
                await more.let_go()
                await asyncio.sleep(SESSION_S)
            ended = time.time()
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await collector.terminate()
            await caught_up(bootstrap, prefix)
        finally:
            await asyncio.gather(*(kept.let_go() for kept in (*workers, more)))
    usual, rolling = (
        pauses(bootstrap, prefix, began - BEFORE_S + 2, began),
        pauses(bootstrap, prefix, half, ended + SETTLED_S),
    )
    if number is None:
        out = pauses(bootstrap, prefix, began, half)
        print(
            f"one more, {'named' if named else 'unnamed'}: longest {max(out.values()):.1f} s, median "
            f"{statistics.median(out.values()):.1f} s"
        )
    outcome = await asyncio.to_thread(compare, cluster, prefix, Policy())
    drained = [seconds for kept in workers for seconds in kept.drained_s]
    print(
        f"{number.name if number else 'one less'}, {'named' if named else 'unnamed'}:"
        f" {args.workers} workers, {args.partitions} partitions,"
        f" {args.calls_per_s:.0f} calls/s: longest pause of a partition {max(rolling.values()):.1f} s,"
        f" median {statistics.median(rolling.values()):.1f} s, before the roll {max(usual.values()):.1f} s;"
        f" SIGTERM to exit at most {max(drained, default=0.0):.2f} s;"
        f" repeated {outcome.facts.duplicate + outcome.verdicts_repeated},"
        f" missing {outcome.facts.missing + outcome.verdicts_missing}",
        flush=True,
    )
    return outcome.exact


async def caught_up(bootstrap: str, prefix: str) -> None:
    """Wait until everything in the log is committed, and there is something in it."""
    async with asyncio.timeout(60):
        await asyncio.sleep(2)
        while await asyncio.to_thread(behind, bootstrap, f"{prefix}sip-transactions", f"{prefix}app") > 100:
            await asyncio.sleep(0.5)


def pauses(bootstrap: str, prefix: str, since: float, until: float) -> dict[int, float]:
    """Return the longest time between two positions of each partition, of those after which it was in a time."""
    times: dict[int, list[float]] = defaultdict(list)
    for key, partition, time_ms in state(bootstrap, f"{prefix}call-state"):
        if key == NEXT.encode():
            times[partition].append(time_ms / 1000)
    return {
        partition: max((b - a for a, b in pairwise(at) if since <= b <= until), default=0.0)
        for partition, at in times.items()
    }


def main() -> int:
    """Measure; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--calls-per-s", type=float, default=50.0)
    parser.add_argument("--only", choices=("restart", "scale"), default="")
    args = parser.parse_args()
    try:
        cluster = Cluster.create(1, watch=os.getpid())
    except KafkaError as error:
        print(f"roll: {error}", file=sys.stderr)
        return 2
    try:
        exact = [
            asyncio.run(roll(cluster, args, named=named, number=number))
            for named, number in (
                (True, signal.SIGTERM),
                (False, signal.SIGTERM),
                (True, signal.SIGKILL),
                (False, signal.SIGKILL),
                (True, None),
                (False, None),
            )
            if args.only in ("", "scale" if number is None else "restart")
        ]
    finally:
        cluster.remove()
    return int(not all(exact))


if __name__ == "__main__":
    sys.exit(main())
