"""kill -9 of the running pipeline under load, at random moments: nothing accepted is lost or repeated.

What was accepted stands in the file itself, in `sip-transactions`. An engine that nobody disturbed, fed with
that log, has to come to the very facts, verdicts and state that the killed and restarted pipeline wrote.
MISSEDCALL_KILLS and MISSEDCALL_SEED choose a longer run and repeat one.
"""

import asyncio
import os
import random
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from support import hep_calls
from support.pipeline_process import PipelineProcess

from missedcall_classifier.engine import Engine
from missedcall_embedded.config import load
from missedcall_embedded.store import Store, read_batches
from missedcall_embedded.store_file import FACTS, STATE, VERDICTS, read
from missedcall_schemas import codec

KILLS = int(os.environ.get("MISSEDCALL_KILLS", "5"))
SEED = int(os.environ.get("MISSEDCALL_SEED", "1"))
CALLS_PER_S = 200.0
WHILE_STARTING_S = (0.0, 0.4)
UNDER_LOAD_S = (0.05, 1.0)
"""From the moment at which it listens to its kill; every fourth kill comes while it starts."""

CONFIG = """
[listen]
udp = ["127.0.0.1:{udp}"]
tcp = ["127.0.0.1:{tcp}"]
[store]
file = "missedcall.db"
[decide]                # calls end soon, so that many are decided between two kills
settle_s = 0.3
open_branch_s = 1.0
give_up_s = 2.0
closed_keep_s = 1.0
"""


class Load:
    """Calls over UDP and TCP by turns, from now on until it is cancelled."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.sent = 0
        self._ports = ports
        self._writer: asyncio.StreamWriter | None = None
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    async def run(self) -> None:
        """Send; what meets a dead pipeline is lost, as it would be for a capture agent."""
        start = time.monotonic()
        try:
            for due_s, undated in hep_calls.frames(1_000_000, CALLS_PER_S):
                wait_s = start + due_s - time.monotonic()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                frame = hep_calls.dated(undated, time.time_ns() // 1_000_000)
                self.sent += 1
                if self.sent % 3:
                    self._datagrams.sendto(frame, ("127.0.0.1", self._ports["udp"]))
                else:
                    with suppress(OSError):
                        await self._send_tcp(frame)
        finally:
            self._datagrams.close()
            if self._writer is not None:
                self._writer.close()

    async def _send_tcp(self, frame: bytes) -> None:
        if self._writer is None or self._writer.is_closing():
            self._writer = None
            _, self._writer = await asyncio.open_connection("127.0.0.1", self._ports["tcp"])
        self._writer.write(frame)
        await self._writer.drain()


def write_config(path: Path, ports: dict[str, int]) -> None:
    path.write_text(CONFIG.format(**ports))


async def killed_often(config: Path, chance: random.Random) -> tuple[int, int]:
    """Run, kill and restart under load; return messages sent and exit status of the last, undisturbed run."""
    write_config(config, {"udp": 0, "tcp": 0})
    async with PipelineProcess(config) as first:
        ports = await first.ports()
        write_config(config, ports)
        load = Load(ports)
        loading = asyncio.create_task(load.run())
        try:
            await asyncio.sleep(chance.uniform(*UNDER_LOAD_S))
            await first.kill()
            for number in range(1, KILLS):
                async with PipelineProcess(config) as again:
                    if number % 4 == 3:
                        await asyncio.sleep(chance.uniform(*WHILE_STARTING_S))
                    else:
                        await again.ports()
                        await asyncio.sleep(chance.uniform(*UNDER_LOAD_S))
                    await again.kill()
            async with PipelineProcess(config) as last:
                await last.ports()
                await asyncio.sleep(1.0)
                loading.cancel()
                await asyncio.sleep(2.5)  # the timers of the last calls
                return load.sent, await last.terminate()
        finally:
            loading.cancel()
            with suppress(asyncio.CancelledError):
                await loading


@pytest.mark.timeout(60 + 10 * KILLS)
def test_a_pipeline_killed_at_any_moment_says_what_its_log_says(tmp_path):
    config = tmp_path / "kill.toml"
    sent, status = asyncio.run(killed_often(config, random.Random(SEED)))
    path = tmp_path / "missedcall.db"
    log = list(read_batches(path))
    engine = Engine(load(config).policy)
    facts, verdicts, state = [], [], {}
    for batch in log:
        for decision in engine.feed(batch):
            facts += [codec.encode_missed_call(fact) for fact in decision.facts]
            verdicts += [codec.encode_verdict(verdict) for verdict in decision.verdicts]
        state.update(engine.changes())
    with Store(path) as store:
        rows = {key: row for key, row in store.values(STATE) if key not in {"__next__", "__format__"}}
    accepted = sum(len(batch.messages) for batch in log)
    published = Counter((fact.fact_id, fact.revision) for fact in map(codec.decode_missed_call, facts))

    assert status == 0
    assert len({batch.incarnation for batch in log}) > KILLS / 2, "hardly a run lived long enough to commit"
    assert 0 < accepted < sent, "the kills cost nothing: they did not come under load"
    assert len(facts) > 10
    assert max(published.values()) == 1
    assert [row.value for row in read(path, FACTS)] == facts
    assert [row.value for row in read(path, VERDICTS)] == verdicts
    assert rows == {key: row for key, row in state.items() if row is not None}
