"""Notifiers on a real Kafka while chance kills, freezes, scales and restarts them, and their targets fail.

Facts are written as the classifier writes them; of several nodes of Kafka one at a time is killed, too. The
targets are real servers on loopback which keep what they were given and now and then do not answer, or answer that
it failed.
"""

import asyncio
import random
import signal
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web
from ews_server.faults import BAD_GATEWAY_AFTER_COMMIT, DROPPED_AFTER_COMMIT, Fault, busy
from kafka_nodes import Cluster
from msgspec import Struct
from standardwebhooks import Webhook, WebhookVerificationError
from support.chaos_fleet import Kept, Nodes
from support.ews import ACCOUNT, KEY, PASSWORD, facts_in, make_server
from support.notifier_process import CRASHING, Facts, NotifierProcess, ews, fresh_fact, smtp, webhook
from support.smtp_sink import DROP as DROP_MAIL
from support.smtp_sink import SmtpSink
from support.webhook_sink import CUT, DROP, SECRET_LINE, SILENCE, WebhookSink

from missedcall_common.kafka.__main__ import main as create_topics
from missedcall_common.kafka.client import connection
from missedcall_notifier.delivery import State
from missedcall_notifier.ledger import Ledger
from missedcall_notifier.stream.settings import load
from missedcall_notifier.stream.writer import read
from missedcall_schemas.records import MissedCall

PLACES = 3
"""Workers of a channel at most."""
SESSION_S = 6.0
"""The least that Kafka takes as it comes."""
LOOK_S = 0.25
SLOW_S = 0.5
"""An answer that comes in time."""


class Run(Struct, frozen=True, kw_only=True):
    """What is to be done."""

    facts: int
    seconds: float
    seed: int
    channels: tuple[str, ...] = ("webhook", "smtp", "ews")
    calls: int = 0
    """Of each caller, told as one notice, at most 20; 0: every fact is a notice. For the channel `ews` alone."""
    named: int = 1
    """Workers of a channel with a name of their own in the group (static membership)."""
    partitions: int = 6
    every_s: tuple[float, float] = (1.0, 5.0)
    """Between two things that happen."""
    crash: float = 0.002
    """Chance of a worker to end itself, at each step of a transaction or an attempt."""
    take_over: float = 0.01
    fault: float = 0.05
    """Share of requests that a target fails."""
    freeze: bool = True
    settle_s: float = 2.0
    """How long an item is given to appear before it is searched for: our server stores at once, or never."""
    patience_s: float = 180.0
    """For everything to be told, after the end of all trouble."""


class Told(Struct, frozen=True, kw_only=True):
    """What a channel's target has."""

    lost: int
    """Facts of which it knows nothing."""
    repeated: int
    """Copies beyond the first of a fact, under the same id."""
    unlike: int
    """Facts that came under two ids, or with two contents under one: never to be."""


class Done(Struct, frozen=True, kw_only=True):
    """What was done, and what came of it."""

    facts: int
    told: dict[str, Told]
    left: dict[str, dict[str, int]]
    """By channel: deliveries by state, where that is not `sent`, and facts that are no delivery."""
    happened: dict[str, int]
    statuses: dict[int, int]
    steps: dict[str, int]
    failures: dict[str, int]
    violations: int
    """Of the EWS schemas."""
    unsigned: int
    """Calls of the webhook that the reference library does not believe."""

    @property
    def right(self) -> bool:
        """Whether nothing is lost, nothing came twice under two names, and Exchange has one item of each."""
        told = self.told.values()
        exact = "ews" not in self.told or not self.told["ews"].repeated
        return (
            exact
            and not (any(self.left.values()) or self.violations or self.unsigned)
            and not any(one.lost or one.unlike for one in told)
        )

    def text(self) -> str:
        """Return what a person reads, and the last line for programs."""
        pairs = [
            f"happened: {_pairs(self.happened)}",
            f"workers ended with: {_pairs(self.statuses)}",
            f"of their own at: {_pairs(self.steps)}",
            f"could not go on for: {_pairs(self.failures)}",
            f"left in the journals: { {name: left for name, left in self.left.items() if left} }",
        ]
        line = [f"facts={self.facts}"]
        for name, one in self.told.items():
            line += [
                f"{name}_lost={one.lost}",
                f"{name}_repeated={one.repeated}",
                f"{name}_unlike={one.unlike}",
            ]
        line += [f"violations={self.violations}", f"unsigned={self.unsigned}", f"right={int(self.right)}"]
        return "\n".join([*pairs, " ".join(line)])


class Receiver(WebhookSink):
    """Lets the reference library verify each call when it comes, as a receiver does."""

    def __init__(self) -> None:
        super().__init__()
        self.unsigned = 0
        self._verifier = Webhook(SECRET_LINE.strip())

    async def _called(self, request: web.Request) -> web.StreamResponse:
        try:
            self._verifier.verify(await request.read(), dict(request.headers))
        except (WebhookVerificationError, ValueError):
            self.unsigned += 1
        return await super()._called(request)


async def slow(_sink: WebhookSink, _request: web.Request) -> web.Response:
    """Answer late, but in time."""
    await asyncio.sleep(SLOW_S)
    return web.Response(status=204)


class Chaos:
    """One run."""

    def __init__(
        self, cluster: Cluster, run: Run, folder: Path, say: Callable[[str], None] = lambda _: None
    ) -> None:
        """Prepare.

        Args:
            cluster: Kafka, up; with more than one node, nodes are killed too.
            run: what to do.
            folder: for secrets.
            say: told of progress.
        """
        self._run, self._folder, self._say = run, folder, say
        self._chance = random.Random(run.seed)
        self._nodes = Nodes(cluster, self._chance)
        self._kafka = {
            "MISSEDCALL_KAFKA_BOOTSTRAP": cluster.bootstrap,
            "MISSEDCALL_KAFKA_PREFIX": f"n{uuid.uuid4().hex[:8]}.",
            "MISSEDCALL_KAFKA_PARTITIONS": str(run.partitions),
            "MISSEDCALL_KAFKA_REPLICAS": str(len(cluster.ports)),
            "MISSEDCALL_KAFKA_CHANNELS": ",".join(run.channels),
        }
        self._webhook, self._smtp, self._ews = Receiver(), SmtpSink(), make_server()
        self._workers: dict[str, list[Kept]] = {}
        self._happened: Counter[str] = Counter()
        self._going_on: set[asyncio.Task[None]] = set()
        self._calm = False

    async def go(self) -> Done:
        """Do it all; nothing that was started outlives it but the cluster."""
        assert create_topics([], self._kafka) == 0
        run = self._run
        async with AsyncExitStack() as stack:
            for target in (self._webhook, self._smtp, self._ews):
                await stack.enter_async_context(target)
            self._workers = {
                name: [Kept(lambda name=name, n=number: self._worker(name, n)) for number in range(PLACES)]
                for name in run.channels
            }
            failing = asyncio.create_task(self._fail_targets())
            facts = await asyncio.to_thread(Facts, self._kafka)
            try:
                for places in self._workers.values():
                    for kept in places[:2]:
                        kept.keep()
                trouble = asyncio.create_task(self._trouble())
                await self._write(facts)
                trouble.cancel()
                await asyncio.gather(trouble, return_exceptions=True)
                self._say("all facts are written; letting everything come to rest")
                await asyncio.gather(*self._going_on)
                for places in self._workers.values():
                    for kept in places[:2]:
                        kept.keep()
                self._calm = True
                left = await self._until_told()
                await asyncio.sleep(2.0)  # for repeats that must not be
            finally:
                failing.cancel()
                for task in self._going_on:
                    task.cancel()
                await asyncio.gather(*(kept.let_go() for kept in self._all()))
                await asyncio.to_thread(facts.close)
        return Done(
            facts=run.facts,
            told={name: self._told(name) for name in run.channels},
            left=left,
            happened=dict(self._happened),
            statuses=dict(sum((kept.statuses for kept in self._all()), Counter())),
            steps=dict(sum((kept.steps for kept in self._all()), Counter())),
            failures=dict(sum((kept.failures for kept in self._all()), Counter())),
            violations=len(self._ews.violations) + len(self._ews.mistakes),
            unsigned=self._webhook.unsigned,
        )

    def _all(self) -> list[Kept]:
        return [kept for places in self._workers.values() for kept in places]

    def _channel(self, name: str) -> dict[str, str]:
        if name == "webhook":
            return webhook(self._webhook.port, self._folder) | {
                "MISSEDCALL_NOTIFY_WEBHOOK_TIMEOUT_S": "2",
                "MISSEDCALL_NOTIFY_WEBHOOK_RETRY_THROTTLED_S": "0.5",
                "MISSEDCALL_NOTIFY_WEBHOOK_RETRY_UNCERTAIN_ATTEMPTS": "1000",
            }
        if name == "smtp":
            return smtp(self._smtp.port) | {"MISSEDCALL_NOTIFY_SMTP_RETRY_UNCERTAIN_ATTEMPTS": "1000"}
        repeats = {"MISSEDCALL_NOTIFY_REPEATS_S": "86400"} if self._run.calls else {}
        return ews(self._ews.url, self._folder, ACCOUNT, PASSWORD) | repeats

    def _worker(self, name: str, number: int) -> NotifierProcess:
        # A worker that dies again and again at each step of its start would never come to deliver anything.
        crash = 0.0 if self._calm else self._run.crash
        environment = {
            **self._kafka,
            **self._channel(name),
            "MISSEDCALL_APPLICATION": f"{self._kafka['MISSEDCALL_KAFKA_PREFIX']}app",
            "MISSEDCALL_SESSION_S": str(SESSION_S),
            "MISSEDCALL_REPORT_S": "3600",
            "CHAOS_CRASH": str(crash),
            "CHAOS_SETTLE_S": str(self._run.settle_s),
            "CHAOS_TAKE_OVER": str(0.0 if self._calm else self._run.take_over),
        }
        if number < self._run.named:
            environment["MISSEDCALL_WORKER"] = f"{name}-{number}"
        return NotifierProcess(environment, CRASHING)

    async def _write(self, facts: Facts) -> None:
        run = self._run
        began, written = asyncio.get_running_loop().time(), 0
        while written < run.facts:
            due = min(
                run.facts, int((asyncio.get_running_loop().time() - began) / run.seconds * run.facts) + 1
            )
            if due > written:
                await asyncio.to_thread(facts.write, [self._fact(number) for number in range(written, due)])
                written = due
            await asyncio.sleep(0.05)

    def _fact(self, number: int) -> MissedCall:
        if not self._run.calls:
            return fresh_fact(number)
        return fresh_fact(number, callee=f"sip:bob{self._series_of(number)}@example.com")

    def _series_of(self, number: int) -> int:
        return number % (self._run.facts // self._run.calls)

    # -- trouble -------------------------------------------------------------------------------------

    async def _fail_targets(self) -> None:
        """Keep some failures among the answers that the targets give next."""
        share = int(1 / self._run.fault)
        while True:
            chance = self._chance
            if len(self._webhook.answers) < share:
                kinds = [CUT, DROP, SILENCE, slow, 500, 502, 503, (429, {"Retry-After": "1"})]
                self._webhook.answers.extend([204] * chance.randrange(share) + [chance.choice(kinds)])
            if len(self._smtp.answers["DATA"]) < share:
                kinds = [DROP_MAIL, "451 4.3.0 later", "421 4.3.2 closing"]
                fine = ["250 2.0.0 Ok"] * chance.randrange(share)
                self._smtp.answers["DATA"].extend([*fine, chance.choice(kinds)])
            kinds = [DROPPED_AFTER_COMMIT, BAD_GATEWAY_AFTER_COMMIT, busy(50)]
            for operation in ("CreateItem", "FindItem", "DeleteItem") if self._run.calls else ("CreateItem",):
                self._ews.plan(operation, *[Fault()] * chance.randrange(share), chance.choice(kinds))
            await asyncio.sleep(LOOK_S)

    async def _trouble(self) -> None:
        kinds = [self._kill, self._kill, self._kill, self._terminate, self._scale, self._scale]
        kinds += [self._freeze] if self._run.freeze else []
        kinds += [self._kill_node] if self._nodes.several else []
        while True:
            for kind in self._chance.sample(kinds, len(kinds)):
                await asyncio.sleep(self._chance.uniform(*self._run.every_s))
                if to_whom := kind():
                    what = kind.__name__.strip("_")
                    self._happened[what] += 1
                    self._say(f"{what} {to_whom}")

    def _some(self) -> tuple[str, list[Kept]]:
        """Return a channel, and its workers that run."""
        name = self._chance.choice(self._run.channels)
        return name, [kept for kept in self._workers[name] if kept.process is not None and not kept.frozen]

    def _kill(self) -> str:
        return self._signal(signal.SIGKILL)

    def _terminate(self) -> str:
        return self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> str:
        name, awake = self._some()
        return name if awake and self._chance.choice(awake).send(number) else ""

    def _freeze(self) -> str:
        name, awake = self._some()
        if len(awake) < 2:
            return ""
        self._apart(self._chance.choice(awake).freeze(SESSION_S + self._chance.uniform(1.0, 4.0)))
        return name

    def _scale(self) -> str:
        name = self._chance.choice(self._run.channels)
        places = self._workers[name]
        count = sum(kept.kept for kept in places)
        wanted = self._chance.choice([number for number in range(1, PLACES + 1) if number != count])
        chosen = self._chance.sample(places, PLACES)
        for kept in [kept for kept in chosen if not kept.kept][: max(0, wanted - count)]:
            kept.keep()
        for kept in [kept for kept in chosen if kept.kept][: max(0, count - wanted)]:
            self._apart(kept.let_go())
        return name

    def _kill_node(self) -> str:
        if not self._nodes.whole:
            return ""
        self._apart(self._nodes.lose_one())
        return "of Kafka"

    def _apart(self, what: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(what)
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)

    # -- what came of it -------------------------------------------------------------------------------

    def _copies(self, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the fact of each copy that a target has, and what must be the same of all its copies."""
        if name == "webhook":
            for call in self._webhook.calls:
                yield call.event["data"]["fact_id"], (call.id, call.body.decode())
        elif name == "smtp":
            for mail in self._smtp.mails:
                yield mail["X-Missed-Call-Fact"], (mail["Message-ID"], mail["Date"])
        else:
            for fact in facts_in(self._ews):
                yield fact, ()

    def _told_as_one(self) -> Told:
        """Return what the inbox tells of each caller; an item of one call says so in other words."""
        shown: defaultdict[int, list[int]] = defaultdict(list)
        for item in self._ews.store:
            if item.folder == "inbox":
                number, count = item.properties[KEY].removeprefix("fact-"), item.text("Subject").split()[0]
                shown[self._series_of(int(number))].append(int(count) if count.isdigit() else 1)
        keys = facts_in(self._ews)
        return Told(
            lost=self._run.facts - sum(max(counts) for counts in shown.values()),
            repeated=sum(len(counts) - 1 for counts in shown.values()),
            unlike=len(keys) - len(set(keys)),
        )

    def _told(self, name: str) -> Told:
        if self._run.calls:
            return self._told_as_one()
        copies = defaultdict(list)
        for fact, same in self._copies(name):
            copies[fact].append(same)
        return Told(
            lost=sum(f"fact-{number}" not in copies for number in range(self._run.facts)),
            repeated=sum(len(found) - 1 for found in copies.values()),
            unlike=sum(len(set(found)) > 1 for found in copies.values()),
        )

    async def _until_told(self) -> dict[str, dict[str, int]]:
        """Wait until all is told, and recorded as told; return what is not when patience is at its end."""
        deadline = asyncio.get_running_loop().time() + self._run.patience_s
        while True:
            left = {name: await asyncio.to_thread(self._left, name) for name in self._run.channels}
            lost = {name: self._told(name).lost for name in self._run.channels}
            if not any(left.values()) and not any(lost.values()):
                return left
            if asyncio.get_running_loop().time() > deadline:
                return left
            self._say(f"left: {left}, not told: {lost}")
            await asyncio.sleep(3.0)

    def _left(self, name: str) -> dict[str, int]:
        settings = load({**self._kafka, **self._channel(name)})
        kafka, states = settings.kafka, Counter()
        for part in range(kafka.partitions):
            rows = read(connection(kafka, "test"), f"{kafka.prefix}notify-journal-{name}", part)
            states.update(one.state.value for one in Ledger(rows.deliveries)._held.values())
        missing = self._run.facts - states.total()
        well = {State.SENT.value, State.SUPPRESSED.value} if self._run.calls else {State.SENT.value}
        found = {state: count for state, count in states.items() if state not in well}
        return found | ({"missing": missing} if missing else {})


def _pairs(counts: dict) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"
