"""The notifier service on a real Kafka: a backlog beside fresh notices, and the whole path from SIP to a receiver.

    .venv/bin/python benchmarks/notifier_kafka.py [backlog] [path] [--lib build/compiled/lib]

A Kafka of one node, the services and the receiver share the machine, over loopback.

backlog: the receiver is away, facts of ten minutes wait; it comes back, and fresh facts come at a steady rate.
Prints how fast the backlog is drained, and how long a fresh notice takes from Kafka to its acceptance, meanwhile
and after.
path: HEP to a collector, classifier, notifier, receiver. From the last final response of a missed call, plus the
time in which a call settles, to the accepted delivery. Ends with 1 if 99 of 100 take 3 s or more.

The last lines are for programs. Everything is bounded in count and time and goes to 127.0.0.1 only.
"""

import argparse
import asyncio
import os
import re
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TREE / "tests"), str(TREE / "tools")]

from aiohttp import web  # noqa: E402 - after the line above, which it needs
from kafka_nodes import Cluster  # noqa: E402
from support import hep_calls  # noqa: E402
from support.classifier_process import ClassifierProcess  # noqa: E402
from support.collector_process import CollectorProcess  # noqa: E402
from support.notifier_process import Facts, NotifierProcess, fresh_fact, webhook  # noqa: E402
from support.webhook_sink import WebhookSink  # noqa: E402

from missedcall_common.kafka.__main__ import main as create_topics  # noqa: E402

SETTLE_S = 3.0
LIMIT_S = 3.0
MISSED = hep_calls.MISSED_OF_FOUR / len(hep_calls.LADDERS)
MOST_S = 900.0
"""What is not done by then will not be."""
TRIES = 5
CALLEE = re.compile(rb"callee(\d{6})")


class Receiver(WebhookSink):
    """Notes when each notice was first accepted, and may be away."""

    def __init__(self, port: int = 0, old: frozenset[str] = frozenset()) -> None:
        super().__init__(port=port)
        self.old = old
        self.old_left = len(old)
        self.at: dict[str, float] = {}
        """By callee."""
        self.repeats = 0

    async def _called(self, request: web.Request) -> web.Response:
        body = await request.read()
        callee = body.partition(b'"callee":"')[2].partition(b'"')[0].decode()
        if callee in self.at:
            self.repeats += 1
        else:
            self.at[callee] = time.time()
            self.old_left -= callee in self.old
        return web.Response(status=204)


def percentile(found: list[float], share: float) -> float:
    """Return the value that a share of all does not exceed."""
    return sorted(found)[min(len(found) - 1, int(len(found) * share))] if found else float("nan")


def shares(name: str, found: list[float]) -> str:
    """Return a distribution for programs."""
    return " ".join(
        f"{name}_p{share * 100:.0f}_ms={percentile(found, share) * 1000:.0f}" for share in (0.5, 0.99)
    )


def said(name: str, found: list[float]) -> None:
    """Print a distribution in milliseconds."""
    shares = "  ".join(
        f"p{share * 100:g} {percentile(found, share) * 1000:,.0f} ms" for share in (0.5, 0.9, 0.99)
    )
    print(f"{name}: {len(found):,} notices, {shares}, longest {max(found, default=0) * 1000:,.0f} ms")


@contextmanager
def topics(base: dict[str, str], partitions: int) -> Iterator[tuple[dict[str, str], Path]]:
    """Create topics of their own; yield the environment that names them."""
    environment = {
        **base,
        "MISSEDCALL_KAFKA_PREFIX": f"b{uuid.uuid4().hex[:8]}.",
        "MISSEDCALL_KAFKA_PARTITIONS": str(partitions),
        "MISSEDCALL_KAFKA_CHANNELS": "webhook",
    }
    for _ in range(TRIES):  # on a busy machine they take longer than the tool waits
        if create_topics([], environment) == 0:
            break
    with tempfile.TemporaryDirectory() as folder:
        yield environment, Path(folder)


async def until(true: Callable[[], bool], within_s: float = MOST_S) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


async def backlog(base: dict[str, str], args: argparse.Namespace) -> None:
    """Measure the end of an outage."""
    with topics(base, args.partitions) as (named, folder):
        port = free_port()
        environment = (
            named
            | webhook(port, folder)
            | {
                "MISSEDCALL_NOTIFY_WEBHOOK_CONCURRENCY": str(args.concurrency),
                "MISSEDCALL_NOTIFY_MAX_WAITING": "1000000",
            }
        )
        facts = await asyncio.to_thread(Facts, environment)
        count, now = args.backlog, time.time()
        old = (fresh_fact(n, decided_at=now - 600 * (1 - n / count)) for n in range(count))
        await asyncio.to_thread(facts.write, old)
        async with AsyncExitStack() as stack:
            for _ in range(args.workers):
                await stack.enter_async_context(NotifierProcess(environment, cpu_quiet()))
            await asyncio.sleep(args.outage_s)
            names = [f"sip:bob{n}@example.com" for n in range(count)]
            receiver = Receiver(port, frozenset(names))
            await stack.enter_async_context(receiver)
            await until(lambda: len(receiver.at) > 0)
            began = time.time()
            sent: dict[str, float] = {}
            enough = asyncio.Event()
            fresh = asyncio.create_task(write_fresh(facts, args, count, sent, enough))
            await until(lambda: receiver.old_left == 0)
            drained_s = max(receiver.at[name] for name in names) - began
            await asyncio.sleep(args.after_s)
            enough.set()
            await fresh
            await until(lambda: all(name in receiver.at for name in sent))
            await asyncio.to_thread(facts.close)
        ended = began + drained_s
        meanwhile = [receiver.at[name] - at for name, at in sent.items() if at <= ended]
        after = [receiver.at[name] - at for name, at in sent.items() if at > ended]
        print(
            f"\nbacklog of {count:,}, {args.fresh_per_s:g} fresh/s, {args.workers} workers of "
            f"{args.concurrency} calls at once, {args.partitions} partitions"
        )
        print(
            f"drained in {drained_s:.1f} s: {count / drained_s:,.0f} old notices/s; repeats: {receiver.repeats}"
        )
        said("fresh, meanwhile", meanwhile)
        said("fresh, after", after)
        print(
            f"backlog={count} drained_s={drained_s:.1f} repeats={receiver.repeats} "
            f"{shares('fresh', meanwhile)} {shares('after', after)}"
        )


def cpu_quiet() -> tuple[str, ...]:
    """Return the command of a worker."""
    return (sys.executable, "-W", "ignore", "-m", "missedcall_notifier")


async def write_fresh(
    facts: Facts, args: argparse.Namespace, first: int, sent: dict[str, float], enough: asyncio.Event
) -> None:
    """Write fresh facts at their rate, and note when Kafka was given each."""
    began, number = time.time(), 0
    while not enough.is_set():
        due = int((time.time() - began) * args.fresh_per_s)
        if due > number:
            batch = [fresh_fact(first + n) for n in range(number, due)]
            sent.update((fact.callee, time.time()) for fact in batch)
            await asyncio.to_thread(facts.write, batch)
            number = due
        await asyncio.sleep(0.02)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def path(base: dict[str, str], args: argparse.Namespace) -> bool:
    """Measure the whole path; return whether it is short enough."""
    with topics(base, args.partitions) as (environment, folder):
        receiver, lasts = Receiver(), dict[int, float]()
        lib = {"PYTHONPATH": args.lib} if args.lib else {}
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(receiver)
            services = {
                **environment,
                **lib,
                "MISSEDCALL_APPLICATION": f"{environment['MISSEDCALL_KAFKA_PREFIX']}app",
            }
            collector = await stack.enter_async_context(CollectorProcess({**environment, **lib}))
            classifier = await stack.enter_async_context(ClassifierProcess(services))
            notifier = await stack.enter_async_context(
                NotifierProcess({**services, **webhook(receiver.port, folder)}, cpu_quiet())
            )
            port = (await collector.ports())["udp"]
            await classifier.event("state.loaded", args.partitions)
            await notifier.event("state.loaded", args.partitions)
            calls = int(args.rate / MISSED * args.seconds)
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            began = time.time()
            for due_s, frame in hep_calls.frames(calls, args.rate / MISSED):
                if (wait_s := began + due_s - time.time()) > 0:
                    await asyncio.sleep(wait_s)
                now = time.time()
                sock.sendto(hep_calls.dated(frame, int(now * 1000)), ("127.0.0.1", port))
                for number in CALLEE.findall(frame)[:1]:
                    lasts[int(number)] = now
            sock.close()
            wanted = [number for number in range(calls) if number % 4 != 1]
            with suppress(TimeoutError):
                await until(lambda: len(receiver.at) >= len(wanted), SETTLE_S + 60)
        at = {int(name.removeprefix("sip:callee")[:6]): when for name, when in receiver.at.items()}
        late = [at[number] - lasts[number] - SETTLE_S for number in wanted if number in at]
        print(f"\nthe whole path, {args.rate:g} notices/s for {args.seconds:g} s, settle time taken off")
        said("from the decisive message to the accepted delivery", late)
        missing = len(wanted) - len(late)
        print(
            f"notices={len(late)} missing={missing} repeats={receiver.repeats} {shares('path', late)} "
            f"path_max_ms={max(late, default=0) * 1000:.0f}"
        )
        return not missing and percentile(late, 0.99) < LIMIT_S


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("what", nargs="*", default=["backlog", "path"])
    parser.add_argument("--backlog", type=int, default=50_000)
    parser.add_argument("--fresh-per-s", type=float, default=50.0)
    parser.add_argument("--outage-s", type=float, default=20.0)
    parser.add_argument("--after-s", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--rate", type=float, default=50.0, help="notices/s of the whole path")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the whole path")
    parser.add_argument(
        "--lib", help="folder of compiled cores (make compiled)", type=lambda name: str(Path(name).resolve())
    )
    args = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)
    status = 0
    cluster = Cluster.create(watch=os.getpid())
    base = {"MISSEDCALL_KAFKA_BOOTSTRAP": cluster.bootstrap, "MISSEDCALL_KAFKA_REPLICAS": "1"}
    try:
        if "backlog" in args.what:
            asyncio.run(backlog(base, args))
        if "path" in args.what:
            status = int(not asyncio.run(path(base, args)))
    finally:
        cluster.remove()
    return status


if __name__ == "__main__":
    sys.exit(main())
