"""The distributed pipeline under load while chance kills, freezes, scales and restarts it; then the oracle.

Collectors and classifiers are the real processes, Kafka is real. What a killed collector had not published is lost,
as it is for anybody: the oracle decides what is in `sip-transactions`.
"""

import asyncio
import random
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path

from kafka_nodes import Cluster, free_ports
from msgspec import Struct
from support.chaos_fleet import Kept, Nodes
from support.chaos_load import Agent, Load
from support.chaos_oracle import Outcome, behind, compare
from support.classifier_process import CRASHING, ClassifierProcess
from support.collector_process import CollectorProcess
from support.pipeline_process import PipelineProcess

from missedcall_classifier.stream.settings import load
from missedcall_common.kafka.__main__ import main as create_topics

STOCK = (sys.executable, str(Path(__file__).with_name("stock_classifier.py")))
PLACES = 5
"""Workers at most."""
NAMED = 3
"""Of them with a name of their own in the group (static membership); the others are dynamic members."""
COLLECTORS = 2
SESSION_S = 6.0
"""The least that Kafka takes as it comes."""
WAITING = {"SETTLE_S": "1", "OPEN_BRANCH_S": "4", "GIVE_UP_S": "10", "QUEUE_S": "12", "CLOSED_KEEP_S": "5"}
"""Of the policy: calls end soon, so that many are decided between two kills."""
QUIET_S = 20.0
"""After the last message: until time has ended every call."""
STOCK_STEPS = 10
"""Steps of the stock application for one of ours: its are in each record, ours in each transaction."""


class Run(Struct, frozen=True, kw_only=True):
    """What is to be done."""

    calls: int
    seconds: float
    seed: int
    partitions: int = 8
    every_s: tuple[float, float] = (2.0, 8.0)
    """Between two things that happen."""
    crash: float = 0.003
    """Chance of a worker to end itself, at each step of each transaction."""
    take_over: float = 0.01
    """The same, at each step of taking a partition over."""
    stock: str = ""
    """A processing guarantee of Faust: its own, in place of the classifier."""
    patience_s: float = 120.0
    """For what is in the log to be decided, after the end of all trouble."""


class Done(Struct, frozen=True, kw_only=True):
    """What was done, and what came of it."""

    outcome: Outcome
    sent: int
    behind: int
    """Records that nobody had decided when patience ended."""
    happened: dict[str, int]
    statuses: dict[int, int]
    steps: dict[str, int]
    failures: dict[str, int]
    drained_s: list[float]

    def text(self) -> str:
        """Return what a person reads."""
        facts, drained = self.outcome.facts, self.drained_s or [0.0]
        verdicts = self.outcome
        lines = (
            f"happened: {_pairs(self.happened)}",
            f"workers ended with: {_pairs(self.statuses)}",
            f"of their own at: {_pairs(self.steps)}",
            f"could not go on for: {_pairs(self.failures)}",
            f"SIGTERM to exit 0: {len(self.drained_s)} times, at most {max(drained):.2f} s",
            (
                f"log: {self.sent} frames sent, {facts.gaps} batches lost, {facts.repeats} repeated,"
                f" {facts.restarts} lives of collectors begun anew, {self.behind} records not decided"
            ),
            (
                f"verdicts: {verdicts.verdicts_repeated} repeated, {verdicts.verdicts_missing} missing,"
                f" {verdicts.verdicts_unexpected} not of the log"
            ),
            (
                f"hidden: {verdicts.hidden} facts and verdicts in {verdicts.aborted} aborted transactions,"
                f" beside {verdicts.committed} committed"
            ),
        )
        return "\n".join(lines)


class Chaos:
    """One run."""

    def __init__(self, cluster: Cluster, run: Run, say: Callable[[str], None] = lambda _: None) -> None:
        """Prepare.

        Args:
            cluster: Kafka, up; with more than one node, nodes are killed too.
            run: what to do.
            say: told of progress.
        """
        self._cluster, self._run, self._say = cluster, run, say
        self._chance = random.Random(run.seed)
        self._prefix = f"x{uuid.uuid4().hex[:8]}."
        ports = free_ports(2 * COLLECTORS)
        self._agents = [Agent(*ports[number : number + 2]) for number in range(0, 2 * COLLECTORS, 2)]
        self._kafka = {
            "MISSEDCALL_KAFKA_BOOTSTRAP": cluster.bootstrap,
            "MISSEDCALL_KAFKA_PREFIX": self._prefix,
            "MISSEDCALL_KAFKA_PARTITIONS": str(run.partitions),
            "MISSEDCALL_KAFKA_REPLICAS": str(len(cluster.ports)),
        }
        self._deciding = {
            **self._kafka,
            "MISSEDCALL_APPLICATION": f"{self._prefix}app",
            "MISSEDCALL_SESSION_S": str(SESSION_S),
            "MISSEDCALL_REPORT_S": "3600",
            **{f"MISSEDCALL_DECIDE_{name}": value for name, value in WAITING.items()},
        }
        _, self.policy = load(self._deciding)
        self._workers = [Kept(lambda n=number: self._worker(n)) for number in range(PLACES)]
        self._collectors = [Kept(lambda n=number: self._collector(n)) for number in range(COLLECTORS)]
        self._happened: Counter[str] = Counter()
        self._nodes = Nodes(cluster, self._chance)
        self._going_on: set[asyncio.Task[None]] = set()

    async def go(self) -> Done:
        """Do it all; nothing that was started outlives it but the cluster."""
        assert create_topics([], self._kafka) == 0
        run = self._run
        load = Load(self._agents, run.calls, run.calls / run.seconds)
        try:
            for kept in (*self._collectors, *self._workers[:3]):
                kept.keep()
            await asyncio.gather(*(self._listening(agent) for agent in self._agents))
            trouble = asyncio.create_task(self._trouble())
            await load.run()
            trouble.cancel()
            with suppress(asyncio.CancelledError):
                await trouble
            self._say("the load has ended; letting everything come to rest")
            await self._rest()
            behind = await self._caught_up()
        finally:
            for task in self._going_on:
                task.cancel()
            await asyncio.gather(*(kept.let_go() for kept in (*self._collectors, *self._workers)))
        self._say("reading and deciding everything again")
        workers = self._workers
        return Done(
            outcome=await asyncio.to_thread(compare, self._cluster, self._prefix, self.policy),
            sent=load.sent,
            behind=behind,
            happened=dict(self._happened),
            statuses=dict(sum((kept.statuses for kept in workers), Counter())),
            steps=dict(sum((kept.steps for kept in workers), Counter())),
            failures=dict(sum((kept.failures for kept in workers), Counter())),
            drained_s=[seconds for kept in workers for seconds in kept.drained_s],
        )

    def _worker(self, number: int) -> PipelineProcess:
        run = self._run
        environment = {
            **self._deciding,
            "CHAOS_CRASH": str(run.crash / STOCK_STEPS if run.stock else run.crash),
            "CHAOS_TAKE_OVER": str(run.take_over),
            "CHAOS_STOCK": run.stock,
        }
        if number < NAMED:
            environment["MISSEDCALL_WORKER"] = f"worker-{number}"
        return ClassifierProcess(environment, STOCK if run.stock else CRASHING)

    def _collector(self, number: int) -> PipelineProcess:
        agent = self._agents[number]
        return CollectorProcess(
            {
                **self._kafka,
                "MISSEDCALL_LISTEN_COLLECTOR": f"c{number}",
                "MISSEDCALL_LISTEN_UDP": f"127.0.0.1:{agent.udp}",
                "MISSEDCALL_LISTEN_TCP": f"127.0.0.1:{agent.tcp}",
                "MISSEDCALL_REPORT_S": "3600",
            }
        )

    async def _listening(self, agent: Agent) -> None:
        async with asyncio.timeout(60):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", agent.tcp)
                    writer.close()
                    return
                await asyncio.sleep(0.1)

    async def _trouble(self) -> None:
        """Let one thing after another happen; each kind as often as the others before any comes again."""
        kinds = [
            *(self._kill, self._kill, self._terminate, self._freeze, self._scale, self._scale),
            *(self._kill_collector, self._terminate_collector),
            *([self._kill_node] if self._nodes.several else []),
        ]
        while True:
            for kind in self._chance.sample(kinds, len(kinds)):
                await asyncio.sleep(self._chance.uniform(*self._run.every_s))
                if kind():
                    name = kind.__name__.strip("_").replace("_", "-")
                    self._happened[name] += 1
                    self._say(name)

    def _awake(self) -> list[Kept]:
        return [kept for kept in self._workers if kept.process is not None and not kept.frozen]

    def _signal(self, kept: list[Kept], number: signal.Signals) -> bool:
        return bool(kept) and self._chance.choice(kept).send(number)

    def _kill(self) -> bool:
        return self._signal(self._awake(), signal.SIGKILL)

    def _terminate(self) -> bool:
        return self._signal(self._awake(), signal.SIGTERM)

    def _freeze(self) -> bool:
        awake = self._awake()
        if len(awake) < 2:
            return False
        self._apart(self._chance.choice(awake).freeze(SESSION_S + self._chance.uniform(1.0, 4.0)))
        return True

    def _scale(self) -> bool:
        count = sum(kept.kept for kept in self._workers)
        wanted = self._chance.choice([number for number in range(1, PLACES + 1) if number != count])
        places = self._chance.sample(self._workers, PLACES)
        for kept in [kept for kept in places if not kept.kept][: max(0, wanted - count)]:
            kept.keep()
        for kept in [kept for kept in places if kept.kept][: max(0, count - wanted)]:
            self._apart(kept.let_go())
        return True

    def _kill_collector(self) -> bool:
        return self._signal(self._collectors, signal.SIGKILL)

    def _terminate_collector(self) -> bool:
        return self._signal(self._collectors, signal.SIGTERM)

    def _kill_node(self) -> bool:
        if not self._nodes.whole:
            return False
        self._apart(self._nodes.lose_one())
        return True

    def _apart(self, what: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(what)
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)

    async def _rest(self) -> None:
        """Wait until time has ended every call; nothing happens any more, and three workers are there."""
        await asyncio.gather(*self._going_on)
        for kept in self._workers[:3]:
            kept.keep()
        await asyncio.sleep(QUIET_S)
        await asyncio.gather(*(kept.let_go() for kept in self._collectors))

    async def _caught_up(self) -> int:
        """Wait until everything in the log is committed as decided; return how much is not."""
        source, group = f"{self._prefix}sip-transactions", self._deciding["MISSEDCALL_APPLICATION"]
        deadline = time.monotonic() + self._run.patience_s
        while True:
            count = await asyncio.to_thread(behind, self._cluster.bootstrap, source, group)
            if not count or time.monotonic() > deadline:
                return count
            await asyncio.sleep(0.5)


def _pairs(counts: dict) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"
