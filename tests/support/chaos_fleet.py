"""Processes that are started again whenever they end, as Kubernetes does, and what chance does to them."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from kafka_nodes import Cluster
from support.pipeline_process import PipelineProcess

AGAIN_S = 0.2
"""Between an end and the next start."""
NODE_DOWN_S = (2.0, 8.0)
IN_SYNC_S = 15.0
"""Until the partitions of a node that came back are in sync: before that no other may go."""


class Kept:
    """One place of a deployment: a process is in it, or will be soon, until it is let go."""

    def __init__(self, make: Callable[[], PipelineProcess]) -> None:
        """Prepare.

        Args:
            make: returns a new process, not yet started.
        """
        self.statuses: Counter[int] = Counter()
        """How its processes ended; negative: by that signal."""
        self.steps: Counter[str] = Counter()
        """At which steps they ended themselves."""
        self.failures: Counter[str] = Counter()
        """What they named when they could not go on."""
        self.drained_s: list[float] = []
        """From each SIGTERM to the end."""
        self.frozen = False
        self._make = make
        self._keeping: asyncio.Task[None] | None = None
        self._process: PipelineProcess | None = None
        self._asked_at = 0.0

    @property
    def kept(self) -> bool:
        """Whether a process is wanted here."""
        return self._keeping is not None

    @property
    def process(self) -> PipelineProcess | None:
        """The process that is here now."""
        there = self._process
        return there if there is not None and there.process.returncode is None else None

    def keep(self) -> None:
        """Want a process here."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())

    async def begun(self, event: str, after: PipelineProcess | None = None) -> None:
        """Wait until a process is here that is not the one before, and has logged an event."""
        while self.process in (None, after):  # noqa: ASYNC110 - a process that starts tells nobody
            await asyncio.sleep(0.05)
        assert self.process is not None
        await self.process.event(event)

    async def let_go(self, patience_s: float = 60.0) -> None:
        """Ask the process to end and want no other."""
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return
        self.thaw()
        if self.process is None:
            keeping.cancel()
        else:
            self.send(signal.SIGTERM)
        with suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(patience_s):
                await asyncio.shield(keeping)
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping

    def send(self, number: signal.Signals) -> bool:
        """Signal the process; return whether one was here."""
        if (there := self.process) is None:
            return False
        if number == signal.SIGTERM:
            self._asked_at = time.monotonic()
        there.process.send_signal(number)
        return True

    async def freeze(self, seconds: float) -> None:
        """Let the process stand still for so long."""
        if (there := self.process) is None:
            return
        self.frozen = True
        there.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.frozen = False
            if there.process.returncode is None:
                there.process.send_signal(signal.SIGCONT)

    def thaw(self) -> None:
        """End a freeze early."""
        self.frozen = False
        self.send(signal.SIGCONT)

    async def _keep(self) -> None:
        me = asyncio.current_task()
        while True:
            self._asked_at = 0.0
            async with self._make() as process:
                self._process = process
                status = await process.process.wait()
            self.statuses[status] += 1
            self.steps.update(event["step"] for event in process.named("test.crashed"))
            self.failures.update(
                f"{event.get('error')} at {(event.get('trace') or ['?'])[-1]}"
                for event in process.named("service.failed")
            )
            if self._asked_at and status == 0:
                self.drained_s.append(time.monotonic() - self._asked_at)
            if self._keeping is not me:
                return
            await asyncio.sleep(AGAIN_S)


class Nodes:
    """The nodes of Kafka, one of which at a time is killed, and started again: two of three in sync are needed."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        """Take a cluster that is up."""
        self.several = len(cluster.ports) > 1
        self.whole = True
        self._cluster, self._chance = cluster, chance

    async def lose_one(self) -> None:
        """Kill a node, start it again, and give it time."""
        self.whole = False
        node = self._chance.choice(sorted(self._cluster.ports))
        await asyncio.to_thread(self._cluster.kill, node)
        await asyncio.sleep(self._chance.uniform(*NODE_DOWN_S))
        await asyncio.to_thread(self._cluster.start, node)
        await asyncio.sleep(IN_SYNC_S)
        self.whole = True
