"""What metrics and traces cost collector and classifier, in processor time per message, on a real Kafka.

    .venv/bin/python benchmarks/telemetry_kafka.py [--rounds 15] [--lib build/compiled/lib]

The same work with telemetry and without, in turn, many times. With: metrics and traces go to a receiver of OTLP on
loopback, one of a hundred calls is traced, and `/metrics` is read each second. Without: `OTEL_SDK_DISABLED=true`.
What is compared is user and system time of the process from its first message to its last; the wall clock, and so
whoever else works on this machine, has no part in it. A round is a pair, its order changes from one to the next.

collector: HEP over TCP, as many frames in each run.
classifier: a log of calls that is decided from its beginning.
"""

import argparse
import asyncio
import os
import statistics
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import classifier_kafka
from classifier_kafka import in_batches, publish, topics, worker
from collector_kafka import broker
from flood import used
from kafka_nodes import free_ports
from support import hep_calls
from support.collector_process import CollectorProcess, send_tcp
from support.otlp_sink import OtlpSink
from support.scenarios import load

CALLS_PER_S = 1_000.0
"""Some 3,000 messages/s: no queue fills."""


def telemetry(sink: OtlpSink | None, health: int) -> dict[str, str]:
    """Return the variables of a service: with telemetry as it is installed, or without."""
    probes = {"MISSEDCALL_HEALTH": f"127.0.0.1:{health}"}
    if sink is None:
        return probes | {"OTEL_SDK_DISABLED": "true"}
    return probes | {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.environment["OTEL_EXPORTER_OTLP_ENDPOINT"]}


async def read_each_second(health: int, path: str) -> None:
    """Be Prometheus, or ask for the probe, so that both sides answer as often."""

    def read() -> None:
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{health}{path}", timeout=5) as answer,
        ):
            answer.read()

    while True:
        await asyncio.sleep(1.0)
        await asyncio.to_thread(read)


async def collecting(environment: dict[str, str], sink: OtlpSink | None, frames: list[bytes]) -> float:
    """Return microseconds per message of a collector."""
    (health,) = free_ports(1)
    async with CollectorProcess({**environment, **telemetry(sink, health)}) as collector:
        port = (await collector.ports())["tcp"]
        await collector.counted(published_batches=1)
        reading = asyncio.create_task(read_each_second(health, "/metrics" if sink else "/livez"))
        before, _ = used(collector.process.pid)
        await send_tcp(port, frames)
        await collector.counted(published=len(frames))
        after, _ = used(collector.process.pid)
        reading.cancel()
        await collector.terminate()
    return (after - before) / len(frames) * 1e6


async def deciding(environment: dict[str, str], sink: OtlpSink | None, messages: int, number: int) -> float:
    """Return microseconds per message of a worker that has a group, and a state, of its own."""
    (health,) = free_ports(1)
    prefix = environment["MISSEDCALL_KAFKA_PREFIX"]
    own = {"MISSEDCALL_APPLICATION": f"{prefix}app-{number}"}
    async with worker(environment, **telemetry(sink, health), **own) as one:
        await one.event("state.loaded", classifier_kafka.PARTITIONS)
        before, _ = used(one.process.pid)
        reading = asyncio.create_task(read_each_second(health, "/metrics" if sink else "/livez"))
        await one.until(
            lambda: any(
                event["counts"].get("accepted", 0) >= messages for event in one.named("counters.reported")
            )
        )
        after, _ = used(one.process.pid)
        reading.cancel()
        await one.terminate()
    return (after - before) / messages * 1e6


def show(what: str, pairs: list[tuple[float, float]]) -> None:
    """Print what came of the pairs (with, without)."""
    ratios = sorted(with_ / without - 1 for with_, without in pairs)
    low, _, high = statistics.quantiles(ratios, n=4)
    print(
        f"{what}: {statistics.median(one for _, one in pairs):.1f} us per message without, "
        f"{statistics.median(one for one, _ in pairs):.1f} with; ratio of a pair: "
        f"median {statistics.median(ratios):+.1%}, "
        f"half of {len(pairs)} between {low:+.1%} and {high:+.1%}",
        flush=True,
    )


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--frames", type=int, default=300_000)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--lib", help="folder of compiled cores (make compiled)")
    args = parser.parse_args()
    lib = {"PYTHONPATH": str(Path(args.lib).resolve())} if args.lib else {}
    os.environ.pop("PYTHONPATH", None)
    per_call = sum(map(len, hep_calls.templates())) / len(hep_calls.LADDERS)
    frames = [frame for _, frame in hep_calls.frames(int(args.frames / per_call), CALLS_PER_S)]
    with broker() as base, OtlpSink() as sink:
        found: list[tuple[float, float]] = []
        for number in range(args.rounds):
            pair = {
                on: asyncio.run(collecting({**base, **lib}, sink if on else None, frames))
                for on in ((True, False) if number % 2 else (False, True))
            }
            found.append((pair[True], pair[False]))
        show("collector", found)
        found = []
        for number in range(args.rounds):
            pair = {}
            for on in (True, False) if number % 2 else (False, True):
                environment = topics(base, args.lib)
                _, messages = publish(environment, in_batches(load(1, args.calls, calls_per_s=CALLS_PER_S)))
                pair[on] = asyncio.run(deciding(environment, sink if on else None, messages, 0))
            found.append((pair[True], pair[False]))
        show("classifier", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
