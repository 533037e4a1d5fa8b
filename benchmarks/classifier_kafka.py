"""The classifier service on a real Kafka: messages per second and worker, the way back after a crash, latency.

    .venv/bin/python benchmarks/classifier_kafka.py [throughput] [recovery] [latency] [--lib build/compiled/lib]

A Kafka of one node shares the machine with what is measured, over loopback. Beside the throughput the limits, from
the same run: the same cores over the same records without a broker, and kafka-python that only reads the records.

throughput: workers find a log of calls and decide it, with transactions.
recovery: calls ring, the worker is killed, and one of the same name takes its partitions over.
latency: HEP to a collector at a steady rate. From the last final response of a missed call, plus the time in which
a call settles, until a read_committed consumer has the fact.

Everything is bounded in count and time and goes to 127.0.0.1 only.
"""

import argparse
import asyncio
import os
import queue
import socket
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import traffic
from classify import POLICY, ringing
from collector_kafka import broker
from flood import used
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from support import hep_calls
from support.classifier_process import ClassifierProcess
from support.collector_process import CollectorProcess
from support.scenarios import load

from missedcall_classifier.engine import Engine
from missedcall_collector.batching import Batch, Batcher
from missedcall_common.kafka.__main__ import main as create_topics
from missedcall_schemas.codec import decode_batch, decode_missed_call, encode_batch
from missedcall_schemas.records import SipMessage

CALLS_PER_S = 4_000.0
"""Some 12,000 messages/s: what a collector that is busy puts into a record."""
PARTITIONS = 8
MOST_S = 300.0
"""What is not done by then will not be."""
END_S = 400
"""Seconds of clock after the last message: every call is decided by then."""

Environment = dict[str, str]


def topics(base: Environment, lib: str | None) -> Environment:
    """Create topics of their own; return the environment of a service that uses them."""
    prefix = f"b{uuid.uuid4().hex[:8]}."
    environment = {
        **base,
        "MISSEDCALL_KAFKA_PREFIX": prefix,
        "MISSEDCALL_KAFKA_PARTITIONS": str(PARTITIONS),
    }
    create_topics([], environment)
    if lib:
        environment["PYTHONPATH"] = str(Path(lib).resolve())
    return environment


def worker(environment: Environment, **more: str) -> ClassifierProcess:
    """Return a worker of the application that belongs to the topics."""
    application = f"{environment['MISSEDCALL_KAFKA_PREFIX']}app"
    return ClassifierProcess({**environment, "MISSEDCALL_APPLICATION": application, **more})


def source(environment: Environment) -> str:
    """Return the name of the topic that the classifier reads."""
    return f"{environment['MISSEDCALL_KAFKA_PREFIX']}sip-transactions"


def in_batches(messages: Iterable[SipMessage], end_s: int = END_S) -> Iterator[Batch]:
    """Yield what one collector would publish."""
    batcher = Batcher("bench", 1, PARTITIONS)
    for message in messages:
        yield from batcher.add(message, message.received_ms)
    end_ms = batcher.clock_ms
    yield from batcher.flush(end_ms)
    for second in range(1, end_s + 1):
        yield from batcher.due(end_ms + second * 1000)


def publish(environment: Environment, batches: Iterable[Batch]) -> tuple[list[list[bytes]], int]:
    """Write batches to the topic; return the records of each partition and how many messages they hold."""
    producer = KafkaProducer(
        bootstrap_servers=environment["MISSEDCALL_KAFKA_BOOTSTRAP"], acks="all", linger_ms=5
    )
    records: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    messages = 0
    for number, batch in batches:
        value = encode_batch(batch)
        records[number].append(value)
        messages += len(batch.messages)
        producer.send(source(environment), value=value, partition=number)
    producer.flush()
    producer.close()
    return records, messages


# -- throughput --------------------------------------------------------------------------------------


async def decide_all(environment: Environment, workers: int, messages: int) -> tuple[float, float, float]:
    """Start workers on the topic; return messages/s of the middle of the way, and cpu s and peak MB of all."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(worker(environment)) for _ in range(workers)]
        seen: list[tuple[float, int]] = []
        until = loop.time() + MOST_S
        while loop.time() < until:
            await asyncio.sleep(0.1)
            accepted = sum(
                reports[-1]["counts"].get("accepted", 0)
                for one in running
                if (reports := one.named("counters.reported"))
            )
            if not seen or accepted != seen[-1][1]:
                seen.append((loop.time(), accepted))
            if accepted >= messages:
                break
        cpu_s, peak_mb = map(sum, zip(*(used(one.process.pid) for one in running), strict=True))
        for one in running:
            await one.terminate()
    middle = [(at, count) for at, count in seen if messages * 0.1 <= count <= messages * 0.95]
    (begin, low), (end, high) = middle[0], middle[-1]
    return (high - low) / (end - begin), cpu_s, peak_mb


def cores_alone(records: list[list[bytes]]) -> float:
    """Return the processor seconds that this process needs to decide the records, with their state rows."""
    began = time.process_time()
    for values in records:
        engine = Engine(POLICY)
        for value in values:
            engine.feed(decode_batch(value))
            for _ in engine.changes():
                pass
    return time.process_time() - began


def only_read(environment: Environment) -> float:
    """Return the seconds that a consumer needs for the records."""
    consumer = KafkaConsumer(
        bootstrap_servers=environment["MISSEDCALL_KAFKA_BOOTSTRAP"], isolation_level="read_committed"
    )
    found = [TopicPartition(source(environment), number) for number in range(PARTITIONS)]
    consumer.assign(found)
    consumer.seek_to_beginning(*found)
    ends = consumer.end_offsets(found)
    began = time.perf_counter()
    while any(consumer.position(one) < ends[one] for one in found):
        consumer.poll(timeout_ms=500, max_records=10_000)
    took = time.perf_counter() - began
    consumer.close()
    return took


def throughput(base: Environment, lib: str | None, calls: int) -> None:
    """Measure one worker and two."""
    environment = topics(base, lib)
    records, messages = publish(environment, in_batches(load(1, calls, calls_per_s=CALLS_PER_S)))
    print(
        f"\n{messages:,} messages of {calls:,} calls, {sum(map(len, records)):,} records, {PARTITIONS} partitions"
    )
    for workers in (1, 2):
        one = dict(environment)
        if workers > 1:
            one = topics(base, lib)
            publish(one, in_batches(load(1, calls, calls_per_s=CALLS_PER_S)))
        rate, cpu_s, peak_mb = asyncio.run(decide_all(one, workers, messages))
        print(
            f"{workers} worker(s): {rate:>10,.0f} messages/s, {cpu_s:.1f} cpu s, {peak_mb:.0f} MB", flush=True
        )
    alone = cores_alone(records)
    print(f"the cores alone, one core, this interpreter: {messages / alone:,.0f} messages/s")
    print(f"kafka-python that only reads: {messages / only_read(environment):,.0f} messages/s")


# -- recovery ----------------------------------------------------------------------------------------


async def killed(environment: Environment, messages: int) -> None:
    """Let a worker take up the calls, kill it, and time the next."""
    name = {"MISSEDCALL_WORKER": "bench-0"}  # as a pod of a StatefulSet has one
    async with worker(environment, **name) as first:
        async with asyncio.timeout(MOST_S):
            while True:
                reports = first.named("counters.reported")
                if reports and reports[-1]["counts"].get("accepted", 0) >= messages:
                    break
                await asyncio.sleep(0.2)
        await asyncio.sleep(2)  # the last commit
        open_calls = first.named("counters.reported")[-1]["open_calls"]
        _, peak_mb = used(first.process.pid)
        await first.kill()
    began = time.monotonic()
    async with worker(environment, **name) as second:
        loaded = await second.event("state.loaded", PARTITIONS)
        took = time.monotonic() - began
        await second.terminate()
    calls = sum(event["open_calls"] for event in loaded)
    slowest = max(event["load_s"] for event in loaded)
    print(
        f"\n{open_calls:,} open calls in {peak_mb:.0f} MB; after kill -9 the next worker has {calls:,} of them "
        f"{took:.1f} s after its start, {slowest:.1f} s of it to load",
        flush=True,
    )


def recovery(base: Environment, lib: str | None, calls: int) -> None:
    """Measure how long state is out of work after a crash."""
    environment = topics(base, lib)
    _, messages = publish(environment, in_batches(ringing(list(traffic.messages(5)), calls), 1))
    asyncio.run(killed(environment, messages))


# -- latency -----------------------------------------------------------------------------------------


class Facts(threading.Thread):
    """Reads facts as a subscriber does and notes when it has them."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(daemon=True)
        self.at: dict[str, float] = {}
        self._ended = threading.Event()
        self.ready: queue.Queue[None] = queue.Queue()
        self._consumer = KafkaConsumer(
            bootstrap_servers=environment["MISSEDCALL_KAFKA_BOOTSTRAP"],
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
        )
        name = f"{environment['MISSEDCALL_KAFKA_PREFIX']}missed-calls"
        self._consumer.assign([TopicPartition(name, number) for number in range(PARTITIONS)])

    def run(self) -> None:
        """Read until `end`."""
        while not self._ended.is_set():
            for records in self._consumer.poll(timeout_ms=100).values():
                now = time.time()
                for record in records:
                    self.at.setdefault(decode_missed_call(record.value).call_id, now)
        self._consumer.close()

    def end(self) -> None:
        """End, and wait until it has."""
        self._ended.set()
        self.join()


def send(port: int, rate: float, seconds: float) -> dict[str, float]:
    """Send calls at that rate; return when the last final response of each missed one was sent, by Call-ID."""
    per_call = sum(map(len, hep_calls.templates())) / len(hep_calls.LADDERS)
    calls = int(rate / per_call * seconds)
    frames = list(hep_calls.frames(calls, rate / per_call))
    messages = list(hep_calls.in_time(calls, rate / per_call))
    decisive: dict[str, float] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        began = time.time()
        for (due, frame), message in zip(frames, messages, strict=True):
            if (wait := began + due - time.time()) > 0.001:
                time.sleep(wait)
            now = time.time()
            sock.send(hep_calls.dated(frame, int(now * 1000)))
            if message.head.startswith((b"SIP/2.0 4", b"SIP/2.0 6")):
                decisive[message.call_id] = now
    return decisive


async def told(environment: Environment, rate: float, seconds: float) -> None:
    """Run a collector and a worker, send, and print the delays."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            CollectorProcess({**environment, "TMPDIR": folder}) as collector,
            worker(environment) as one,
        ):
            await one.event("state.loaded", PARTITIONS)
            port = (await collector.ports())["udp"]
            facts = Facts(environment)
            facts.start()
            await asyncio.sleep(2)
            decisive = await asyncio.to_thread(send, port, rate, seconds)
            await asyncio.sleep(POLICY.settle_s + 5)
            await asyncio.to_thread(facts.end)
            await one.terminate()
            await collector.terminate()
    delays = sorted(
        facts.at[call_id] - at - POLICY.settle_s for call_id, at in decisive.items() if call_id in facts.at
    )
    cut = statistics.quantiles(delays, n=100)
    print(
        f"{rate:>10,.0f} messages/s: {len(delays):,} of {len(decisive):,} facts, p50 {cut[49]:.2f} s, "
        f"p99 {cut[98]:.2f} s, longest {delays[-1]:.2f} s",
        flush=True,
    )


def latency(base: Environment, lib: str | None, rates: list[float], seconds: float) -> None:
    """Measure at each rate."""
    print("\nfrom the last final response to the fact, settle time taken off")
    for rate in rates:
        asyncio.run(told(topics(base, lib), rate, seconds))


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("what", nargs="*", default=["throughput", "recovery", "latency"])
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--open", type=int, default=100_000)
    parser.add_argument("--rates", default="1000,20000")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--lib", help="folder of compiled cores (make compiled)")
    args = parser.parse_args()
    if args.lib:
        sys.path.insert(0, str(Path(args.lib).resolve()))
    os.environ.pop("PYTHONPATH", None)
    with broker() as base:
        if "throughput" in args.what:
            throughput(base, args.lib, args.calls)
        if "recovery" in args.what:
            recovery(base, args.lib, args.open)
        if "latency" in args.what:
            latency(base, args.lib, [float(rate) for rate in args.rates.split(",")], args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
