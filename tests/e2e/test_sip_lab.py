"""A real SIP system: Kamailio mirrors its calls to `missedcall run`, and their capture goes through `replay`.

Both have to say the same, and what `support.sip_lab_calls` says of each call. The programs are Debian
packages (`make lab`); where they are not, these tests are skipped and say so.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.sip_lab import Lab
from support.sip_lab_calls import CALLS, DOMAIN
from support.sip_lab_programs import LabError, cannot_capture, missing
from support.sip_lab_recording import COMMAND, decided

from missedcall_embedded.store_file import DEAD_LETTERS, FACTS, VERDICTS, StoreError, Topic, read

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(360),
    pytest.mark.xdist_group("sip-lab"),  # one worker, so that the lab runs once
    pytest.mark.skipif(bool(missing()), reason=f"no real SIP system: {missing()}"),
]

DECIDED_S = 90.0
"""Longest wait after the last call: a branch that never answered is waited for 35 s (policy open_branch_s)."""
START_S = 15.0
TIMES = ("rang_at", "ended_at", "ring_s", "decided_at")
APART_S = 0.25
"""How far Kamailio's clock reading may be from the kernel's for one packet, on a machine under load."""

CONFIG = """\
[listen]
udp = ["127.0.0.1:0"]
tcp = []
"""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Played:
    """What one run of the lab left."""

    facts: list[Record]
    verdicts: list[Record]
    dead_letters: list[Record]
    capture: Path
    """Not there if packets cannot be captured here."""
    store: Path


ATTEMPTS = 4
"""Real programs race: on a busy machine a CANCEL meant to cross an answer comes too late. That call did not go as
its script says, so the whole run is played anew; what is decided of a run that went as scripted has one try."""


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Played:
    for _ in range(ATTEMPTS - 1):
        try:
            return asyncio.run(play(tmp_path_factory.mktemp("lab")))
        except LabError as error:
            sys.stderr.write(f"played anew, for a call did not go as its script says: {error}\n")
    return asyncio.run(play(tmp_path_factory.mktemp("lab")))


async def play(folder: Path) -> Played:
    capture = folder / "run.pcap"
    store = folder / "missedcall.db"
    (folder / "missedcall.toml").write_text(CONFIG)
    async with pipeline(folder) as port:
        lab = Lab(folder / "lab", ("127.0.0.1", port), capture=None if cannot_capture() else capture)
        async with lab:
            await lab.play()
        await all_decided(store)
    return Played(
        records(store, FACTS), records(store, VERDICTS), records(store, DEAD_LETTERS), capture, store
    )


@contextlib.asynccontextmanager
async def pipeline(folder: Path) -> AsyncIterator[int]:
    """`missedcall run`, ended with SIGTERM; yields the port it listens on."""
    with (folder / "run.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(COMMAND, "run", "--config", folder / "missedcall.toml"), stdout=log, stderr=log
        )
    try:
        await until(lambda: ports(folder), START_S, "listener of missedcall run")
        yield ports(folder)[0]
    finally:
        process.terminate()
        code = await asyncio.wait_for(process.wait(), 30)
    assert code == 0, (folder / "run.log").read_text()


def ports(folder: Path) -> list[int]:
    """Read from the log which ports were opened."""
    whole = (folder / "run.log").read_text().rpartition("\n")[0]
    said = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return [line["port"] for line in said if line["event"] == "listener.opened"]


async def all_decided(store: Path) -> None:
    waiting = {f"sip:{call.callee}@{DOMAIN}" for call in CALLS}

    def done() -> bool:
        with contextlib.suppress(StoreError):
            waiting.difference_update(verdict["callee"] for verdict in records(store, VERDICTS))
        return not waiting

    await until(done, DECIDED_S, f"a verdict about {waiting}")


async def until(ready, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        await asyncio.sleep(0.2)


def records(store: Path, topic: Topic) -> list[Record]:
    return [json.loads(row.value) for row in read(store, topic)]


def untimed(record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in TIMES}


def by_id(facts: list[Record]) -> dict[str, Record]:
    return {fact["fact_id"]: fact for fact in facts}


def test_the_live_mirror_gives_the_expected_facts_once_each(played):
    told = sorted((fact["callee"], fact["cause"], fact["state"]) for fact in played.facts)

    assert told == sorted(
        (f"sip:{call.callee}@{DOMAIN}", call.decided[1], "missed")
        for call in CALLS
        if call.decided[0] == "missed"
    )


def test_every_call_has_the_expected_verdict(played):
    decisions = {v["callee"]: (v["outcome"], v.get("cause", "")) for v in played.verdicts}
    expected = {f"sip:{call.callee}@{DOMAIN}": call.decided for call in CALLS}

    assert {callee: decisions.get(callee) for callee in expected} == expected


def test_every_message_could_be_decided(played):
    assert played.dead_letters == []


@pytest.mark.skipif(bool(cannot_capture()), reason=f"no capture to replay: {cannot_capture()}")
def test_the_capture_of_the_same_run_gives_the_same_facts(played):
    live, replayed = by_id(played.facts), by_id(decided(str(played.capture)))

    assert {key: untimed(fact) for key, fact in replayed.items()} == {
        key: untimed(fact) for key, fact in live.items()
    }
    for key, fact in replayed.items():
        assert fact["rang_at"] == pytest.approx(live[key]["rang_at"], abs=APART_S)
        assert fact["ring_s"] == pytest.approx(live[key]["ring_s"], abs=APART_S)


def test_the_stored_messages_give_the_same_facts_again(played):
    again = by_id(decided(str(played.store)))

    assert again == by_id(played.facts)
