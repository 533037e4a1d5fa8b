"""How much HEP the collector service brings to Kafka: UDP at several rates, TCP as fast as it goes.

    .venv/bin/python benchmarks/collector_kafka.py [--rates 20000,50000] [--seconds 5] [--lib build/compiled/lib]

A Kafka of one node, the collector and the sender share this machine, over loopback. A message counts when Kafka has
acknowledged it. Beside it the limit, from the same run: Kafka's own producer (kafka-producer-perf-test), and
kafka-python alone, with records of the size that the collector wrote.

At most `MOST_SECONDS` per rate and `MOST_RATE` frames/s, to 127.0.0.1 only.
"""

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import traffic  # noqa: F401 - puts tests/ on the path
from flood import used
from kafka import KafkaProducer
from support import hep_calls
from support.collector_process import CollectorProcess

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from kafka_nodes import Cluster, java

from missedcall_common.kafka.__main__ import main as create_topics

MOST_RATE = 300_000
MOST_SECONDS = 30
CALLS = 4_000
"""Sent over and over: the collector keeps nothing of a call, so their number does not matter to it."""
TICK_S = 0.001
CHUNK = 131_072
"""Bytes of one write over TCP."""
SETTLE_S = 20.0
AFTER_RATE = 10_000.0
"""Frames/s after an overload: all of them must arrive."""
PARTITIONS = 48

Counts = dict[str, int]


class Sent(NamedTuple):
    """What the sender did."""

    frames: int
    seconds: float
    cpu_s: float


_frames: list[bytes] = []  # of the sender's process


def prepare() -> int:
    """Make the frames; return their average size."""
    now_ms = time.time_ns() // 1_000_000
    _frames[:] = [hep_calls.dated(frame, now_ms) for _, frame in hep_calls.frames(CALLS, 1000.0)]
    return sum(map(len, _frames)) // len(_frames)


def send_udp(port: int, rate: float, seconds: float) -> Sent:
    """Send datagrams, each millisecond those that are due."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        send, frames, size = sock.send, _frames, len(_frames)
        total = int(rate * seconds)
        cpu_s, begin = time.process_time(), time.perf_counter()
        at = 0
        while at < total:
            due = min(total, int((time.perf_counter() - begin) * rate) + 1)
            for number in range(at, due):
                send(frames[number % size])
            at = due
            time.sleep(TICK_S)
        return Sent(total, time.perf_counter() - begin, time.process_time() - cpu_s)


def send_tcp(port: int, seconds: float) -> Sent:
    """Send as fast as the other side reads."""
    chunks, counts = _chunks()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        cpu_s, begin = time.process_time(), time.perf_counter()
        at = sent = 0
        while time.perf_counter() - begin < seconds:
            sock.sendall(chunks[at])
            sent += counts[at]
            at = (at + 1) % len(chunks)
        return Sent(sent, time.perf_counter() - begin, time.process_time() - cpu_s)


def _chunks() -> tuple[list[bytes], list[int]]:
    chunks: list[bytes] = []
    counts: list[int] = []
    held: list[bytes] = []
    for frame in _frames:
        held.append(frame)
        if sum(map(len, held[-400:])) >= CHUNK:
            chunks.append(b"".join(held))
            counts.append(len(held))
            held = []
    return chunks, counts


class Row(NamedTuple):
    """What came of one run."""

    sent: Sent
    counts: Counts
    seconds: float
    """From the first frame to the last acknowledgement."""
    cpu_s: float
    peak_mb: float
    batches: int
    """With messages, about: those beyond one tick per partition and second."""


async def run(
    environment: dict[str, str], sender: ProcessPoolExecutor, rate: float | None, seconds: float
) -> Row:
    """Start a collector, send, wait until everything is acknowledged or was lost, and end it."""
    async with CollectorProcess(environment) as collector:
        ports = await collector.ports()
        await collector.counted(published_batches=PARTITIONS)
        row = await phase(collector, ports, sender, rate, seconds, {})
        await collector.terminate()
    return row


async def phase(
    collector: CollectorProcess,
    ports: dict[str, int],
    sender: ProcessPoolExecutor,
    rate: float | None,
    seconds: float,
    before: Counts,
) -> Row:
    """Send to a collector that runs, and wait; `before` are its counts until now."""
    loop = asyncio.get_running_loop()
    begin = time.monotonic()
    cpu_before, _ = used(collector.process.pid)
    if rate is None:
        sent = await loop.run_in_executor(sender, send_tcp, ports["tcp"], seconds)
    else:
        sent = await loop.run_in_executor(sender, send_udp, ports["udp"], rate, seconds)
    totals, ended = await _settled(collector, sent.frames, before)
    counts = {name: count - before.get(name, 0) for name, count in totals.items()}
    cpu_s, peak_mb = used(collector.process.pid)
    ticks = PARTITIONS * int(ended - begin + 1)
    return Row(
        sent, counts, ended - begin, cpu_s - cpu_before, peak_mb, max(1, counts["published-batches"] - ticks)
    )


async def overloaded(
    environment: dict[str, str], sender: ProcessPoolExecutor, rate: float, seconds: float
) -> int:
    """Send more than the collector can take, then little; return how many frames were lost uncounted."""
    uncounted = 0
    before: Counts = {}
    async with CollectorProcess(environment) as collector:
        ports = await collector.ports()
        await collector.counted(published_batches=PARTITIONS)
        for name, one in (("twice", rate), ("after", AFTER_RATE)):
            row = await phase(collector, ports, sender, one, seconds, before)
            uncounted += show(name, row)
            before = collector.named("counters.reported")[-1]["counts"]
        await collector.terminate()
    return uncounted


async def _settled(collector: CollectorProcess, frames: int, before: Counts) -> tuple[Counts, float]:
    """Wait until what was received is acknowledged and no more comes; return all counts and since when."""
    deadline = time.monotonic() + SETTLE_S
    counts: Counts = {}
    since, seen = time.monotonic(), -1
    while time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        counts = collector.named("counters.reported")[-1]["counts"]
        published = counts.get("published", 0)
        if published != seen:
            since, seen = time.monotonic(), published
        new = {name: count - before.get(name, 0) for name, count in counts.items()}
        done = new.get("received", 0) + new.get("dropped.kernel", 0) >= frames
        if (
            done and new.get("published", 0) >= new["received"] - dropped(new)
        ) or time.monotonic() - since > 3:
            break
    return counts, since


def dropped(counts: Counts) -> int:
    """Return how many received frames were dropped later on."""
    return sum(n for name, n in counts.items() if name.startswith("dropped.") and name != "dropped.kernel")


def perf_test(bootstrap: str, topic: str, size: int, seconds: float) -> str:
    """Run Kafka's own producer for about that long; return what it says last."""
    records = int(60e6 / size * seconds)
    command = [
        *java("-Xmx256m", "org.apache.kafka.tools.ProducerPerformance"),
        *("--topic", topic, "--num-records", str(records), "--record-size", str(size), "--throughput", "-1"),
        *(
            "--producer-props",
            f"bootstrap.servers={bootstrap}",
            "acks=all",
            "linger.ms=2",
            "batch.size=524288",
        ),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - ours
    return ended.stdout.strip().splitlines()[-1] if ended.stdout.strip() else ended.stderr[-300:]


def bare_producer(bootstrap: str, topic: str, size: int, seconds: float) -> float:
    """Return records per second of kafka-python alone, with the publisher's settings."""
    under_way = 0
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        linger_ms=2,
        batch_size=500_000,
        max_request_size=4_000_000,
        metrics_enabled=False,
    )
    value = os.urandom(size)
    room = threading.Semaphore(max(8, 16_000_000 // size))
    producer.partitions_for(topic)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        room.acquire()
        producer.send(topic, value=value, partition=under_way % PARTITIONS).add_both(lambda _: room.release())
        under_way += 1
    producer.flush()
    took = time.perf_counter() - begin
    producer.close()
    return under_way / took


@contextmanager
def broker() -> Iterator[dict[str, str]]:
    """Start a Kafka with the topics; yield the collector's environment."""
    cluster = Cluster.create(watch=os.getpid())
    try:
        environment = {
            "MISSEDCALL_KAFKA_BOOTSTRAP": cluster.bootstrap,
            "MISSEDCALL_KAFKA_PARTITIONS": str(PARTITIONS),
            "MISSEDCALL_KAFKA_REPLICAS": "1",
        }
        create_topics([], environment)
        yield environment
    finally:
        cluster.remove()


def show(name: str, row: Row) -> int:
    """Print a line; return how many frames were lost without being counted."""
    lost = row.sent.frames - row.counts.get("published", 0)
    uncounted = lost - row.counts.get("dropped.kernel", 0) - dropped(row.counts)
    published = row.counts.get("published", 0)
    print(
        f"{name:>6}{row.sent.frames / row.sent.seconds:>10,.0f}{published / row.seconds:>11,.0f}"
        f"{lost / row.sent.frames:>9.3%}{row.counts.get('dropped.kernel', 0):>9,}{uncounted:>11,}"
        f"{published / row.batches:>7.0f}{row.cpu_s / published * 1e6:>9.1f}{row.cpu_s / row.seconds:>7.0%}"
        f"{row.sent.cpu_s / row.sent.seconds:>8.0%}{row.peak_mb:>6.0f}",
        flush=True,
    )
    return uncounted


def main() -> int:
    """Measure and print; return 1 if something was lost without being counted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rates", default="20000,40000,60000,80000,100000", help="UDP; empty: none")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--no-tcp", action="store_true")
    parser.add_argument("--overload", type=float, default=0.0, help="UDP frames/s that are too many; 0: not")
    parser.add_argument("--no-limit", action="store_true")
    parser.add_argument("--lib", help="folder of compiled cores (make compiled)")
    parser.add_argument("--buffer-kb", default="32768", help="receive buffer of the UDP socket")
    args = parser.parse_args()
    rates = [float(rate) for rate in args.rates.split(",") if rate]
    if args.seconds > MOST_SECONDS or max(args.overload, *rates) > MOST_RATE:
        parser.error(f"at most {MOST_SECONDS} s and {MOST_RATE:,} frames/s")
    status = 0
    row = None
    with broker() as environment, ProcessPoolExecutor(1, get_context("spawn")) as sender:
        size = sender.submit(prepare).result()
        service: dict[str, Any] = {**environment, "MISSEDCALL_LISTEN_RECEIVE_BUFFER_KB": args.buffer_kb}
        if args.lib:
            service["PYTHONPATH"] = str(Path(args.lib).resolve())
        print(f"frames of {size} bytes, {PARTITIONS} partitions, {args.seconds:.0f} s each\n")
        print(
            f"{'':>6}{'sent/s':>10}{'in Kafka/s':>11}{'lost':>9}{'kernel':>9}{'uncounted':>11}"
            f"{'/batch':>7}{'us each':>9}{'cpu':>7}{'sender':>8}{'MB':>6}"
        )
        for rate in [*rates, *([] if args.no_tcp else [None])]:
            row = asyncio.run(run(service, sender, rate, args.seconds))
            status |= int(show("tcp" if rate is None else "udp", row) != 0)
        if args.overload:
            status |= int(asyncio.run(overloaded(service, sender, args.overload, args.seconds)) != 0)
        if row is not None and not args.no_limit:
            limit(environment["MISSEDCALL_KAFKA_BOOTSTRAP"], row, size, args.seconds)
    return status


def limit(bootstrap: str, row: Row, size: int, seconds: float) -> None:
    """Print what the producers do alone with records of the size of the last run."""
    each = max(1, row.counts["published"] // row.batches)
    record = each * size
    print(f"\nrecords of {record:,} bytes ({each} messages), alone:")
    rate = bare_producer(bootstrap, "sip-transactions", record, seconds)
    print(
        f"kafka-python: {rate:,.0f} records/s, {rate * each:,.0f} messages/s, {rate * record / 1e6:,.0f} MB/s"
    )
    said = perf_test(bootstrap, "sip-transactions", record, seconds)
    found = re.search(r"([\d.]+) records/sec", said)
    theirs = float(found[1]) if found else 0.0
    print(f"kafka-producer-perf-test: {theirs:,.0f} records/s, {theirs * each:,.0f} messages/s\n  {said}")
    ours = row.counts["published"] / row.seconds
    if theirs:
        print(f"the collector's last row is {ours / (theirs * each):.0%} of that")


if __name__ == "__main__":
    sys.exit(main())
