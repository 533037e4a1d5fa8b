"""What share of the interpreter's time collector and classifier spend on metrics and traces, on a real Kafka.

    .venv/bin/python benchmarks/telemetry_kafka.py [--seconds 70] [--lib build/compiled/lib]

A service works as fast as it can, with telemetry as it is installed: metrics and traces go to a receiver of OTLP
on loopback, one of two hundred calls is traced, and `/metrics` is read as the chart asks for. py-spy looks `RATE`
times a second at the thread that has the interpreter: that is what messages wait for. A look counts as telemetry if
a function of OpenTelemetry, of Prometheus' client or one of ours that only tells (`OURS`) is being called, whatever
it calls in turn.

Shares of one process need no second one that works without: two processes that do the same differ by more than is
asked here. What a look does not show: the room in caches that telemetry takes from the rest.

collector: HEP over TCP. classifier: a log of calls that is decided from its beginning.
"""

import argparse
import asyncio
import math
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from classifier_kafka import MOST_S, in_batches, publish, topics, worker
from collector_kafka import broker
from kafka_nodes import free_ports
from support import hep_calls
from support.collector_process import CollectorProcess
from support.otlp_sink import OtlpSink
from support.pipeline_process import PipelineProcess
from support.scenarios import load

CALLS_PER_S = 1_000.0
"""Some 3,000 messages/s: what a record holds."""
CALLS = 4_000
"""Sent over and over to the collector, which keeps nothing of a call."""
SCRAPE_S = 30.0
"""`metrics.podMonitor.interval`."""
RATE = 200
"""Looks a second."""
OURS = (
    r"missedcall_common/runtime/(telemetry|tracing|sampling|metrics)\.py",
    r"\b_(trace|readings) \(.*missedcall_collector/service\.py",
    r"\b_answer \(.*missedcall_common/runtime/health\.py",
    r"\b(_note|_tell|readings) \(.*missedcall_classifier/stream/",
)
"""Frames as py-spy writes them: the function, and its path. Of compiled functions it has the name in C."""
TELLING = re.compile("|".join((r"site-packages/(opentelemetry|prometheus_client)/", "CPyDef_sampl", *OURS)))
EACH_SECOND = re.compile(
    r"\b(_?readings|Telemetry\.tell|exposition|_answer) \(|sdk/metrics/_internal/export/"
)
"""Of these, what is done once in so many seconds; of the rest there is more the more there is to do."""


def share(stacks: str) -> tuple[int, Counter[str]]:
    """Return how many looks there were, and how many of them met what of telemetry.

    Args:
        stacks: lines `function (path:line);... count`, outermost function first.
    """
    looks, met = 0, Counter[str]()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        looks += int(count)
        telling = [frame for frame in stack.split(";") if TELLING.search(frame)]
        if telling:
            seldom = any(EACH_SECOND.search(frame) for frame in telling)
            met["totals" if seldom else "calls and transactions"] += int(count)
    return looks, met


@asynccontextmanager
async def looked_at(process: PipelineProcess, into: list[str]) -> AsyncIterator[None]:
    """Look at a process meanwhile; what was seen is added afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stacks"
        spy = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(process.process.pid)),
            *(
                "--native",
                "--gil",
                "--rate",
                str(RATE),
                "--format",
                "raw",
                "--full-filenames",
                "--output",
                str(path),
            ),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                spy.send_signal(signal.SIGINT)
            _, said = await spy.communicate()
        if not path.exists():
            sys.exit(f"py-spy: {said.decode(errors='replace')}")
        into.append(path.read_text())


async def read_now_and_then(health: int) -> None:
    """Be Prometheus."""

    def read() -> None:
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{health}/metrics", timeout=5) as answer,
        ):
            answer.read()

    while True:
        await asyncio.sleep(SCRAPE_S)
        await asyncio.to_thread(read)


@asynccontextmanager
async def at_work(process: PipelineProcess, health: int, into: list[str]) -> AsyncIterator[None]:
    """Read its metrics and look at it meanwhile."""
    reading = asyncio.create_task(read_now_and_then(health))
    try:
        async with looked_at(process, into):
            yield
    finally:
        reading.cancel()


def telemetry(sink: OtlpSink, health: int) -> dict[str, str]:
    """Return the variables of a service."""
    return {
        "MISSEDCALL_HEALTH": f"127.0.0.1:{health}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.environment["OTEL_EXPORTER_OTLP_ENDPOINT"],
    }


def flood(port: int, data: bytes, stop: threading.Event) -> None:
    """Send over one connection, as fast as it is taken."""
    with socket.create_connection(("127.0.0.1", port)) as sender:
        while not stop.is_set():
            sender.sendall(data)


async def collecting(environment: dict[str, str], sink: OtlpSink, seconds: float) -> list[str]:
    """Return what was seen of a collector."""
    (health,) = free_ports(1)
    seen: list[str] = []
    data = b"".join(frame for _, frame in hep_calls.frames(CALLS, CALLS_PER_S))
    stop = threading.Event()
    async with CollectorProcess({**environment, **telemetry(sink, health)}) as collector:
        sending = asyncio.create_task(asyncio.to_thread(flood, (await collector.ports())["tcp"], data, stop))
        try:
            await collector.counted(published=CALLS)
            before = await collector.counted()
            async with at_work(collector, health, seen):
                await asyncio.sleep(seconds)
            after = await collector.counted()
        finally:
            stop.set()
        await sending
        await collector.terminate()
    print(f"collector: {(after['published'] - before['published']) / seconds:,.0f} messages/s", flush=True)
    return seen


async def deciding(environment: dict[str, str], sink: OtlpSink, messages: int) -> list[str]:
    """Return what was seen of a worker that finds the log."""
    (health,) = free_ports(1)
    seen: list[str] = []
    async with worker(environment, **telemetry(sink, health)) as one, asyncio.timeout(MOST_S):
        await one.event("state.loaded")
        async with at_work(one, health, seen):
            while not any(  # noqa: ASYNC110 - it tells nobody
                event["counts"].get("accepted", 0) >= messages * 0.95  # and not the end, where it idles
                for event in one.named("counters.reported")
            ):
                await asyncio.sleep(0.1)
        await one.terminate()
    return seen


def show(service: str, seen: list[str]) -> None:
    """Print the share of telemetry, and of its parts."""
    looks, met = 0, Counter[str]()
    for stacks in seen:
        found, telling = share(stacks)
        looks, met = looks + found, met + telling
    ratio = met.total() / looks
    error = 1.96 * math.sqrt(ratio * (1 - ratio) / looks)
    parts = ", ".join(f"{what} {count / looks:.2%}" for what, count in met.most_common())
    print(f"{service}: {ratio:.2%} of {looks:,} looks (95 %: +-{error:.2%}): {parts}", flush=True)


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--seconds", type=float, default=70.0, help="of the collector")
    parser.add_argument("--rounds", type=int, default=5, help="of the classifier")
    parser.add_argument("--calls", type=int, default=20_000, help="in each of its logs")
    parser.add_argument("--lib", help="folder of compiled cores (make compiled)")
    args = parser.parse_args()
    lib = {"PYTHONPATH": str(Path(args.lib).resolve())} if args.lib else {}
    os.environ.pop("PYTHONPATH", None)
    with broker() as base, OtlpSink() as sink:
        show("collector", asyncio.run(collecting({**base, **lib}, sink, args.seconds)))
        seen: list[str] = []
        for _ in range(args.rounds):
            environment = topics(base, args.lib)
            _, messages = publish(environment, in_batches(load(1, args.calls, calls_per_s=CALLS_PER_S)))
            seen += asyncio.run(deciding(environment, sink, messages))
        show("classifier", seen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
