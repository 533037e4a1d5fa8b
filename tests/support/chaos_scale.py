"""The log is cut anew under load, while chance and intent kill the job, collectors and workers; then two oracles.

The first decides what is in the log, generation after generation, as `missedcall audit` does. The second decides
the same messages as if nothing had been cut: the batches of all generations on the partitions of the first.
"""

import asyncio
import heapq
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from kafka_nodes import Cluster, free_ports
from msgspec import Struct
from msgspec.structs import replace
from support.chaos_fleet import Kept
from support.chaos_load import Agent, Load
from support.chaos_oracle import Outcome, behind, compare, records, state
from support.classifier_process import CRASHING, SERVICE, ClassifierProcess, values
from support.collector_process import CollectorProcess
from support.kafka_rights import Place

from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_classifier.stream.settings import load
from missedcall_classifier.stream.unit import NEXT
from missedcall_common.kafka.__main__ import main as create_topics
from missedcall_common.kafka.cut import Cut, Partitioning
from missedcall_common.kafka.partitioning import look
from missedcall_common.placing import heirs
from missedcall_schemas.codec import decode_batch, decode_missed_call
from missedcall_schemas.records import CaptureBatch, MissedCall, SipMessage

JOB = (sys.executable, "-W", "ignore", str(Path(__file__).with_name("crashing_scale.py")), "scale-partitions")
STEPS = (
    "is-creating", "created", "is-moving", "sealed", "marked", "decided", "copied-one", "copied", "verified",
    "is-running",
)  # fmt: skip
"""Where a job may die; at the last nothing is left to do."""
ABORTED = ("is-aborting", "unsealed")
SESSION_S = 6.0
WAITING = {"SETTLE_S": "1", "OPEN_BRANCH_S": "4", "GIVE_UP_S": "10", "QUEUE_S": "12", "CLOSED_KEEP_S": "5"}
JOB_S = 180.0
"""For one life of the job."""
PATIENCE_S = 120.0

Log = dict[int, list[CaptureBatch]]
"""Partition -> batches, in order."""


class Run(Struct, frozen=True, kw_only=True):
    """What is to be done."""

    calls: int
    calls_per_s: float
    partitions: int
    to: int
    steps: tuple[str, ...] = ()
    """At each of these the job is killed, and resumed."""
    aborts: tuple[str, ...] = ()
    """Before that: at each of these a job is killed, and aborted."""
    collectors: int = 2
    workers: int = 2
    kill_collectors: bool = False
    kill_workers: bool = False
    crash: float = 0.0
    """Chance of a worker to end itself, at each step of a transaction and of taking a partition over."""
    freeze: bool = False
    """Whether the first collector stands still (SIGSTOP) from before the first job until after the last."""
    spool: bool = False
    """Whether collectors have little memory and a disk, so that what they hold back goes there."""
    seed: int = 1
    pause_s: float = 0.0
    """Between a job's death and the next."""
    before_s: float = 3.0
    """Of load, before the first job."""
    quiet_s: float = 20.0
    """After the last message: until time has ended every call."""


class Done(Struct, frozen=True, kw_only=True):
    """What came of it."""

    outcome: Outcome
    cuts: tuple[Cut, ...]
    differ: int
    """Facts that are not those of the undisturbed run, by id, revision, and all of their content."""
    late: int
    """Calls of which something came after time had ended them, from a collector that had stood still."""
    late_differ: int
    """Facts about these that differ, which `differ` does not count: whether what is late still finds its call is a
    matter of ticks, one each second, which are not those of a log that is not cut."""
    sample: str
    """Of these: names of the fields that differ."""
    facts: int
    sent: int
    behind: int
    held_s: list[float]
    """For how long each collector was told to hold back."""
    still_s: float
    """The longest time from one commit of a partition to the next, of the cut and its heirs."""
    jobs: list[str]
    """How each life of the job ended."""
    happened: dict[str, int]

    def text(self) -> str:
        """Return what a person reads."""
        facts = self.outcome.facts
        return "\n".join(
            (
                f"cuts: {', '.join(f'{cut.partitions} (generation {cut.generation})' for cut in self.cuts)}",
                f"jobs: {', '.join(self.jobs)}",
                f"happened: {self.happened}",
                f"collectors held back for: {self.held_s} s",
                f"a partition stood still for at most {self.still_s:.1f} s",
                (
                    f"log: {self.sent} frames sent, {facts.gaps} batches lost, {facts.repeats} repeated, "
                    f"{self.behind} records not decided"
                ),
                f"{self.outcome}",
                (
                    f"undisturbed: {self.facts} facts, {self.differ} differ; of {self.late} calls something came "
                    f"after time had ended them, {self.late_differ} of these differ{self.sample}"
                ),
            )
        )


class ScaleChaos:
    """One run."""

    def __init__(
        self,
        cluster: Cluster,
        run: Run,
        say: Callable[[str], None] = lambda _: None,
        place: Place | None = None,
    ) -> None:
        """Prepare.

        Args:
            cluster: Kafka, up.
            run: what to do.
            say: told of progress.
            place: has so many partitions, and users, each with his rights; None: everybody may do everything.
        """
        self._cluster, self._run, self._say = cluster, run, say
        self._as: Callable[[str], Mapping[str, str]] = place.of if place else lambda _: {}
        self._chance = random.Random(run.seed)
        self._folder = Path(tempfile.mkdtemp(prefix="missedcall-spool-"))
        self._prefix = place.prefix if place else f"s{uuid.uuid4().hex[:8]}."
        ports = free_ports(2 * run.collectors)
        self._agents = [Agent(*ports[number : number + 2]) for number in range(0, 2 * run.collectors, 2)]
        self._kafka = {
            "MISSEDCALL_KAFKA_BOOTSTRAP": cluster.bootstrap,
            "MISSEDCALL_KAFKA_PREFIX": self._prefix,
            "MISSEDCALL_KAFKA_PARTITIONS": str(run.partitions),
            "MISSEDCALL_KAFKA_REPLICAS": str(len(cluster.ports)),
        }
        self.environment = {
            **self._kafka,
            "MISSEDCALL_APPLICATION": f"{self._prefix}app",
            "MISSEDCALL_SESSION_S": str(SESSION_S),
            **{f"MISSEDCALL_DECIDE_{name}": value for name, value in WAITING.items()},
        }
        self.settings, self.policy = load(self.environment)
        self._collectors = [Kept(lambda n=number: self._collector(n)) for number in range(run.collectors)]
        self._workers = [Kept(lambda n=number: self._worker(n)) for number in range(run.workers)]
        self._made: list[CollectorProcess] = []
        self._jobs: list[str] = []
        self._happened: Counter[str] = Counter()

    async def go(self) -> Done:
        """Do it all."""
        assert create_topics([], self._kafka) == 0
        run = self._run
        load = Load(self._agents, run.calls, run.calls_per_s)
        try:
            for kept in (*self._collectors, *self._workers):
                kept.keep()
            await asyncio.gather(*(kept.begun("listener.opened") for kept in self._collectors))
            if not run.crash:  # else it may not live for so long
                await self._workers[0].begun("state.loaded")
            loading = asyncio.create_task(load.run())
            await asyncio.sleep(run.before_s)
            trouble = asyncio.create_task(self._trouble())
            if run.freeze:
                self._collectors[0].send(signal.SIGSTOP)
            cut = await self._scale()
            if run.freeze:
                await asyncio.sleep(1.0)
                self._collectors[0].thaw()
                self._happened["thawed"] += 1
            await loading
            trouble.cancel()
            with suppress(asyncio.CancelledError):
                await trouble
            await asyncio.sleep(run.quiet_s)
            await asyncio.gather(*(kept.let_go() for kept in self._collectors))
            self._happened["spooled"] = sum(self._last(process, "spooled") for process in self._made)
            self._happened["dropped"] = sum(
                self._last(process, name)
                for process in self._made
                for name in ("dropped.kernel", "dropped.queue-full", "dropped.refused", "dropped.unsent")
            )
            left = await self._caught_up(cut.cut)
        finally:
            await asyncio.gather(*(kept.let_go() for kept in (*self._collectors, *self._workers)))
            shutil.rmtree(self._folder, ignore_errors=True)
        return await asyncio.to_thread(self._compare, cut, load.sent, left)

    def _compare(self, found: Partitioning, sent: int, left: int) -> Done:
        bootstrap, prefix = self._cluster.bootstrap, self._prefix
        published = {
            (fact.fact_id, fact.revision): fact
            for fact in map(decode_missed_call, values(bootstrap, f"{prefix}missed-calls"))
        }
        logs = [self._log(cut) for cut in found.cuts]
        expected = {(fact.fact_id, fact.revision): fact for fact in self._undisturbed(found.cuts, logs)}
        keys = published.keys() | expected.keys()
        differ = [key for key in keys if published.get(key) != expected.get(key)]
        late = too_late(logs, self.policy)
        of_late = sum((published.get(key) or expected[key]).call_id in late for key in differ)
        return Done(
            outcome=compare(self._cluster, prefix, self.policy, found.cuts),
            cuts=found.cuts,
            differ=len(differ) - of_late,
            late=len(late),
            late_differ=of_late,
            sample=": ".join(["", *_differences(published, expected)])[:2000],
            facts=len(expected),
            sent=sent,
            behind=left,
            held_s=sorted(
                event["wait_s"] for process in self._made for event in process.named("partitions.resumed")
            ),
            still_s=self._still(found.cuts),
            jobs=self._jobs,
            happened=dict(self._happened),
        )

    def _undisturbed(self, cuts: Sequence[Cut], logs: Sequence[Log]) -> Iterator[MissedCall]:
        for partition in range(cuts[0].partitions):
            engine = Engine(self.policy)
            numbers: dict[tuple[str, int], int] = {}
            for log, cut in zip(logs, cuts, strict=True):
                parts = [log[heir] for heir in heirs(partition, cuts[0].partitions, cut.partitions)]
                for batch in one(parts, numbers):
                    for decision in engine.feed(batch):
                        yield from decision.facts

    def _log(self, cut: Cut) -> Log:
        log: Log = defaultdict(list)
        for partition, value in records(self._cluster.bootstrap, self._topic("sip-transactions", cut)):
            log[partition].append(decode_batch(value))
        return log

    def _still(self, cuts: Sequence[Cut]) -> float:
        times: dict[int, list[int]] = defaultdict(list)
        for cut in cuts:
            for key, partition, at_ms in state(self._cluster.bootstrap, self._topic("call-state", cut)):
                if key == NEXT.encode():
                    times[partition % cuts[0].partitions].append(at_ms)
        return max(later - sooner for at in times.values() for sooner, later in pairwise(sorted(at))) / 1000

    def _topic(self, name: str, cut: Cut) -> str:
        return f"{self._prefix}{name}" + (f".g{cut.generation}" if cut.generation > 1 else "")

    async def _scale(self) -> Partitioning:
        """Let jobs come and die until one is through."""
        run = self._run
        for step in run.aborts:
            await self._job("execute", step)
            await self._job("abort", self._chance.choice((*ABORTED, "")))
            if (await self._there()).next is not None:
                await self._job("abort")
            assert (await self._there()).cut.partitions == run.partitions
        await self._job("execute", *run.steps[:1])
        for step in run.steps[1:]:
            if (await self._there()).next is not None:
                await asyncio.sleep(run.pause_s)
                await self._job("resume", step)
        if (await self._there()).next is not None:
            await self._job("resume")
        return await self._there()

    async def _there(self) -> Partitioning:
        return (await asyncio.to_thread(look, self.settings.kafka, "test")).partitioning

    async def _job(self, verb: str, step: str = "") -> None:
        to = ["--to", str(self._run.to)] if verb == "execute" else []
        job = await asyncio.create_subprocess_exec(
            *JOB,
            f"--{verb}",
            *to,
            env={**os.environ, **self.environment, **self._as("scale"), "CHAOS_STEP": step},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(JOB_S):
                out, err = await job.communicate()
        finally:
            if job.returncode is None:
                job.kill()
        said = out.decode()
        self._say(said + err.decode())
        held = re.search(r"held for ([0-9.]+) s", said)
        ended = (
            f"{verb} killed at {step}" if job.returncode == -signal.SIGKILL else f"{verb} {job.returncode}"
        )
        self._jobs.append(ended + (f" (held for {held[1]} s)" if held else ""))
        # A job may be through before the step comes at which it was to die.
        assert job.returncode in ((0, -signal.SIGKILL) if step else (0,)), said + err.decode()

    async def _trouble(self) -> None:
        kinds = [
            *([self._collectors] if self._run.kill_collectors else []),
            *([self._workers] if self._run.kill_workers else []),
        ]
        while kinds:
            await asyncio.sleep(self._chance.uniform(1.0, 4.0))
            places = self._chance.choice(kinds)
            number = self._chance.choice((signal.SIGKILL, signal.SIGTERM))
            if self._chance.choice(places).send(number):
                self._happened["collector" if places is self._collectors else "worker"] += 1

    def _last(self, process: CollectorProcess, name: str) -> int:
        """Return a counter as a process said it when it ended."""
        lines = process.named("counters.reported")
        return int(lines[-1]["counts"].get(name, 0)) if lines else 0

    def _collector(self, number: int) -> CollectorProcess:
        agent = self._agents[number]
        disk = {
            "MISSEDCALL_LISTEN_QUEUE_MB": "1",
            "MISSEDCALL_SPOOL_FOLDER": str(self._folder / f"c{number}"),
            "MISSEDCALL_SPOOL_MB": "64",
        }
        made = CollectorProcess(
            {
                **self._kafka,
                **self._as("collector"),
                "MISSEDCALL_LISTEN_COLLECTOR": f"c{number}",
                "MISSEDCALL_LISTEN_UDP": f"127.0.0.1:{agent.udp}",
                "MISSEDCALL_LISTEN_TCP": f"127.0.0.1:{agent.tcp}",
                "MISSEDCALL_REPORT_S": "3600",
                **(disk if self._run.spool else {}),
            }
        )
        self._made.append(made)
        return made

    def _worker(self, number: int) -> ClassifierProcess:
        crash = str(self._run.crash)
        return ClassifierProcess(
            {
                **self.environment,
                **self._as("classifier"),
                "MISSEDCALL_WORKER": f"worker-{number}",
                "MISSEDCALL_REPORT_S": "3600",
                "CHAOS_CRASH": crash,
                "CHAOS_TAKE_OVER": crash,
            },
            CRASHING if self._run.crash else SERVICE,
        )

    async def _caught_up(self, cut: Cut) -> int:
        source, group = self._topic("sip-transactions", cut), self.environment["MISSEDCALL_APPLICATION"]
        if cut.generation > 1:
            group += f".g{cut.generation}"
        deadline = time.monotonic() + PATIENCE_S
        while True:
            count = await asyncio.to_thread(behind, self._cluster.bootstrap, source, group)
            if not count or time.monotonic() > deadline:
                return count
            await asyncio.sleep(0.5)


def too_late(logs: Sequence[Log], policy: Policy) -> set[str]:
    """Return the Call-IDs of calls that heard nothing for longer than a branch may be open, and then something."""
    received_ms: dict[str, list[int]] = defaultdict(list)
    for log in logs:
        for batches in log.values():
            for batch in batches:
                for message in batch.messages:
                    received_ms[message.call_id].append(message.received_ms)
    longest_ms = policy.open_branch_s * 1000
    return {
        call_id
        for call_id, times in received_ms.items()
        if any(after - before > longest_ms for before, after in pairwise(sorted(times)))
    }


def one(
    parts: Sequence[Sequence[CaptureBatch]], numbers: dict[tuple[str, int], int]
) -> Iterator[CaptureBatch]:
    """Make one partition of several, as collectors would have written it: a batch holds what came until its clock.

    Collectors follow each other in the order of their clocks, as where nobody has to hold back what he has.

    Args:
        parts: the batches of each.
        numbers: of each collector and incarnation the sequence number that is next; goes on from call to call.
    """
    ways: dict[str, list[list[CaptureBatch]]] = defaultdict(lambda: [[] for _ in parts])
    nobodys = []
    for number, batches in enumerate(parts):
        for batch in batches:
            if batch.collector:
                ways[batch.collector][number].append(batch)
            elif batch.clock_ms:  # a mark of the job says nothing
                nobodys.append(batch)
    nobodys.sort(key=_clock)
    yield from heapq.merge(nobodys, *(_one_way(own, numbers) for own in ways.values()), key=_clock)


def _one_way(
    parts: Sequence[Sequence[CaptureBatch]], numbers: dict[tuple[str, int], int]
) -> Iterator[CaptureBatch]:
    """Yield one collector's batches of several partitions as of one, with numbers that keep holes.

    Its clock must not pass what it had received and put into another partition's batch.
    """
    messages = deque(
        heapq.merge(*([m for batch in part for m in batch.messages] for part in parts), key=_received)
    )
    expected: dict[tuple[int, str, int], int] = {}
    for part, batch in heapq.merge(
        *([(number, batch) for batch in part] for number, part in enumerate(parts)),
        key=lambda found: found[1].clock_ms,
    ):
        life = (batch.collector, batch.incarnation)
        hole = max(0, batch.sequence - expected.get((part, *life), batch.sequence))
        expected[(part, *life)] = batch.sequence + 1
        number = numbers.get(life, batch.sequence) + hole
        numbers[life] = number + 1
        came = []
        while messages and messages[0].received_ms <= batch.clock_ms:
            came.append(messages.popleft())
        yield replace(batch, sequence=number, messages=tuple(came))


def _clock(batch: CaptureBatch) -> int:
    return batch.clock_ms


def _received(message: SipMessage) -> int:
    return message.received_ms


def _differences(
    published: dict[tuple[str, int], MissedCall], expected: dict[tuple[str, int], MissedCall]
) -> Iterator[str]:
    for key in published.keys() | expected.keys():
        one, other = published.get(key), expected.get(key)
        if one is None or other is None:
            yield f"{key[0][:8]} {'not published' if one is None else 'not expected'} {one or other}"
        elif one != other:
            names = [name for name in one.__struct_fields__ if getattr(one, name) != getattr(other, name)]
            yield f"{key[0][:8]} " + ", ".join(
                f"{name} {getattr(one, name)!r}, expected {getattr(other, name)!r}" for name in names
            )


__all__ = ["STEPS", "Done", "Policy", "Run", "ScaleChaos"]
