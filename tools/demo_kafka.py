"""The distributed pipeline at work: Kafka, a collector, two classifiers, a notifier, sample calls, and mails.

    .venv/bin/python tools/demo_kafka.py

Rule 1: nothing is simulated: processes of their own, HEP over TCP, a real Kafka; all of it on loopback, the data
        in a folder that is removed afterwards.
Rule 2: what is shown is what a reader of the topics sees, with `read_committed`.
Rule 3: exit 0 only if the facts are those that the samples promise, each once, each is one mail in a mail server of
        ours, and `missedcall audit` agrees.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from kafka import KafkaConsumer
from kafka_nodes import Cluster, KafkaError

from missedcall_embedded.demo import SAMPLES, SPEED, DemoError, Sample, load_samples
from missedcall_embedded.demo_sinks import Sinks
from missedcall_embedded.send import Pace, play
from missedcall_embedded.source import Sources
from missedcall_embedded.target import Target
from missedcall_schemas import codec
from missedcall_schemas.records import MissedCall, Verdict

PARTITIONS = 6
START_S = 60.0
"""For a process to be ready. Two seconds as a rule; all of it on a machine that does something else too."""
DECIDE_S = 60.0
"""After the last message. The longest timer that a sample waits for is 3 s."""
QUIET_S = 2.0
"""After the last verdict: time for one too many."""
STOP_S = 30.0
POLL_S = 0.2
LOG_LINES = 10


class Service:
    """One process of ours, and its log."""

    def __init__(self, name: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log = log
        self.process = process

    def events(self, name: str) -> list[dict[str, object]]:
        """Return the log lines of an event so far."""
        found = []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                event = json.loads(line)
                if event.get("event") == name:
                    found.append(event)
        return found

    async def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait until `done`.

        Raises:
            DemoError: it is not in time, or the process has ended.
        """
        end = time.monotonic() + START_S
        while not done():
            if self.process.returncode is not None:
                raise DemoError(f"{self.name} ended with exit status {self.process.returncode}")
            if time.monotonic() > end:
                raise DemoError(f"{self.name}: {what} not within {START_S:.0f} s")
            await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def service(
    name: str, module: str, folder: Path, environment: dict[str, str]
) -> AsyncIterator[Service]:
    """Run a service; end it with SIGTERM, as Kubernetes would.

    Raises:
        DemoError: it does not end, or not in order.
    """
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module), env=environment, stdout=output, stderr=output
        )
    try:
        yield Service(name, log, process)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_S):
            if status := await process.wait():
                raise DemoError(f"{name} ended with exit status {status}")
    except TimeoutError:
        raise DemoError(f"{name} did not end within {STOP_S:.0f} s of SIGTERM") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Reader:
    """What a subscriber does: everything on both public topics from the beginning, `read_committed`."""

    def __init__(self, bootstrap: str) -> None:
        self.facts: list[MissedCall] = []
        self.verdicts: list[Verdict] = []
        self._consumer = KafkaConsumer(
            *("missed-calls", "call-verdicts"),
            bootstrap_servers=bootstrap,
            group_id="demo",
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )

    def read(self) -> None:
        """Take what there is; print the facts."""
        for records in self._consumer.poll(timeout_ms=int(POLL_S * 1000)).values():
            for record in records:
                if record.topic == "call-verdicts":
                    self.verdicts.append(codec.decode_verdict(record.value))
                    continue
                fact = codec.decode_missed_call(record.value)
                self.facts.append(fact)
                identity = dict(record.headers)["ce_id"].decode()
                print(
                    f"  partition {record.partition} offset {record.offset}  {identity[:12]}...  {fact.state} "
                    f"{fact.cause:<16}  {fact.callee.removeprefix('sip:')}"
                )

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def differences(samples: tuple[Sample, ...], facts: list[MissedCall], verdicts: list[Verdict]) -> list[str]:
    """Return a sentence per difference between what was promised and what is on the topics."""
    promised = {
        (s.call_id, v.callee): (v.outcome, v.cause if v.is_told else "") for s in samples for v in s.verdicts
    }
    decided = {(v.call_id, v.callee): (v.outcome, v.cause) for v in verdicts}
    wrong = [
        f"{key[1]}: promised {promised.get(key)}, decided {decided.get(key)}"
        for key in sorted(promised.keys() | decided.keys())
        if promised.get(key) != decided.get(key)
    ]
    if len(verdicts) != len(decided):
        wrong.append(f"{len(verdicts)} verdicts on {len(decided)} calls and users")
    told = sorted((s.call_id, v.callee, v.cause) for s in samples for v in s.verdicts if v.is_told)
    if sorted((f.call_id, f.callee, f.cause) for f in facts) != told:
        wrong.append(f"{len(facts)} facts, promised {len(told)}, or others")
    return wrong


async def demo(cluster: Cluster, folder: Path) -> None:
    """Show it.

    Raises:
        DemoError: something is not as promised.
    """
    samples = load_samples()
    kafka = {
        "PATH": os.environ["PATH"],
        "MISSEDCALL_KAFKA_BOOTSTRAP": cluster.bootstrap,
        "MISSEDCALL_KAFKA_PARTITIONS": str(PARTITIONS),
        "MISSEDCALL_KAFKA_REPLICAS": "1",
        "MISSEDCALL_KAFKA_CHANNELS": "smtp",
    }
    listening = {
        "MISSEDCALL_LISTEN_UDP": "127.0.0.1:0",
        "MISSEDCALL_LISTEN_TCP": "127.0.0.1:0",
        "MISSEDCALL_LISTEN_COLLECTOR": "collector-1",
    }
    await command(kafka, "-m", "missedcall_common.kafka")
    async with Sinks(os.urandom(32)) as sinks, contextlib.AsyncExitStack() as stack:
        mailing = {
            "MISSEDCALL_CHANNEL": "smtp",
            "MISSEDCALL_NOTIFY_SMTP_HOST": "127.0.0.1",
            "MISSEDCALL_NOTIFY_SMTP_PORT": str(sinks.smtp_port),
            "MISSEDCALL_NOTIFY_SMTP_SECURITY": "none",
            "MISSEDCALL_NOTIFY_SMTP_HELO_NAME": "localhost",
            "MISSEDCALL_NOTIFY_SMTP_SENDER": "missed-calls@example.com",
            "MISSEDCALL_NOTIFY_SMTP_PATTERN": "{user}@mail.example",
        }
        notifier = await stack.enter_async_context(
            service("notifier", "missedcall_notifier", folder, kafka | mailing)
        )
        classifiers = [
            await stack.enter_async_context(service(name, "missedcall_classifier", folder, kafka))
            for name in ("classifier-1", "classifier-2")
        ]
        collector = await stack.enter_async_context(
            service("collector", "missedcall_collector", folder, kafka | listening)
        )
        await collector.until(lambda: len(collector.events("listener.opened")) == 2, "listening")
        (port,) = [e["port"] for e in collector.events("listener.opened") if e["transport"] == "tcp"]
        for each in (*classifiers, notifier):
            await each.until(lambda one=each: bool(one.events("state.loaded")), "having a partition")
        print(
            f"One Kafka node on {cluster.bootstrap}, one collector on tcp://127.0.0.1:{port}, two classifiers, one "
            "notifier.\n"
        )

        sources = Sources([SAMPLES / sample.file for sample in samples])
        summary = await play(
            sources.messages(), Target("tcp", "127.0.0.1", int(str(port))), Pace(speed=SPEED)
        )
        print(
            f"Sent {summary.sent} SIP messages of {len(samples)} calls as HEP v3 in {summary.seconds:.1f} s."
        )
        print("Facts on missed-calls, as a read_committed consumer sees them:")
        await show(samples, cluster.bootstrap)
        await mailed(samples, sinks, notifier)
        audited = await command(kafka, "-m", "missedcall_embedded", "audit")
        print(f"\nmissedcall audit: {audited.splitlines()[-1]}")


async def show(samples: tuple[Sample, ...], bootstrap: str) -> None:
    """Read until every promised verdict is there, and a while longer.

    Raises:
        DemoError: one is missing, or is different, or is one too many.
    """
    count = sum(len(sample.verdicts) for sample in samples)
    reader = await asyncio.to_thread(Reader, bootstrap)
    try:
        end = time.monotonic() + DECIDE_S
        while len(reader.verdicts) < count and time.monotonic() < end:
            await asyncio.to_thread(reader.read)
        end = time.monotonic() + QUIET_S
        while time.monotonic() < end:
            await asyncio.to_thread(reader.read)
    finally:
        await asyncio.to_thread(reader.close)
    if wrong := differences(samples, reader.facts, reader.verdicts):
        raise DemoError("\n".join(wrong))
    print(f"{len(reader.verdicts)} verdicts on call-verdicts; everything as the samples promise, each once.")


async def mailed(samples: tuple[Sample, ...], sinks: Sinks, notifier: Service) -> None:
    """Wait until every fact is a mail, and a while longer; print them.

    Raises:
        DemoError: one is missing, or is one too many.
    """
    callees = [v.callee.removeprefix("sip:") for s in samples for v in s.verdicts if v.is_told]
    promised = sorted(callee.partition("@")[0] for callee in callees)
    await notifier.until(lambda: len(sinks.mails) >= len(promised), f"{len(promised)} mails")
    await asyncio.sleep(QUIET_S)
    print("\nMails that the notifier handed to a mail server:")
    for mail in sinks.mails:
        print(f"  to {mail.recipient:<27}  {mail.subject}")
    if sorted(mail.recipient.partition("@")[0] for mail in sinks.mails) != promised:
        raise DemoError(f"{len(sinks.mails)} mails, promised {len(promised)}, or to others")


async def command(environment: dict[str, str], *words: str) -> str:
    """Run a command of ours to its end and return what it said.

    Raises:
        DemoError: it did not end with 0.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", *words),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        raise DemoError(f"{' '.join(words)} ended with {process.returncode}:\n{out.decode()}{err.decode()}")
    return out.decode()


def main() -> int:
    """Run the demo; return its exit status."""
    print("Starting Kafka (the first time, Maven fetches it) ...")
    try:
        cluster = Cluster.create(watch=os.getpid(), quick=True)
    except KafkaError as error:
        print(f"no Kafka here: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="missedcall-demo-") as folder:
        try:
            asyncio.run(demo(cluster, Path(folder)))
        except DemoError as error:
            print(f"\nThe demo failed: {error}", file=sys.stderr)
            for log in sorted(Path(folder).glob("*.log")):
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
                sys.stderr.writelines(f"  {log.stem}: {line}\n" for line in lines)
            return 1
        finally:
            cluster.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
