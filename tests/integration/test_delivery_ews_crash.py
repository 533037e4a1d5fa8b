"""Crashes of a notifier that writes to Exchange: every fact becomes one item, and never two."""

import asyncio
import contextlib
import random
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from ews_server.faults import BAD_GATEWAY_AFTER_COMMIT, DROPPED_AFTER_COMMIT, SILENT_AFTER_COMMIT, Fault, busy
from support import repeats
from support.ews import KEY, PASSWORD, assert_valid, facts_in, make_server, make_settings
from support.notify import (
    NOW,
    CrashError,
    CrashingJournal,
    ManualClock,
    make_fact,
    make_retraction,
    turns_until,
)

from missedcall_notifier.app import Notifier
from missedcall_notifier.delivery import State
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.settings import NotifierSettings
from missedcall_notifier.source import MemoryFacts

FACTS = [make_fact("fact-1"), make_fact("fact-2")]
TAKEN = make_fact("fact-3")


async def live(settings, path, crash=None):
    """One life of a notifier: until it dies, or nothing is open any more."""
    clock = ManualClock(NOW + 20)
    async with SqliteJournal(path) as journal:
        seen = CrashingJournal(journal, crash[0], after=crash[1]) if crash else journal
        facts = MemoryFacts([*FACTS, TAKEN, make_retraction(TAKEN)])
        notifier = Notifier(settings, facts, seen, clock)
        running = asyncio.ensure_future(notifier.run())
        while not running.done():
            await asyncio.wait({running}, timeout=0.02)
            clock.advance(600)
            if await ended(journal) == 4:
                notifier.stop()
        with contextlib.suppress(ExceptionGroup, CrashError):
            running.result()


async def ended(journal):
    query = "SELECT count(*) FROM notify_journal WHERE ended IS NOT NULL"
    return await journal._run(lambda db: db.execute(query).fetchone()[0])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lost", [False, True], ids=["quiet", "lossy"])
def test_a_crash_at_any_call_of_the_journal_leaves_one_item(tmp_path, after, lost):
    async def play(at):
        server = make_server()
        if lost:
            server.plan("CreateItem", DROPPED_AFTER_COMMIT, Fault(), BAD_GATEWAY_AFTER_COMMIT)
        async with server:
            settings = NotifierSettings(ews=make_settings(server, tmp_path))
            path = tmp_path / f"{at}.db"
            await live(settings, path, (at, after))
            await live(settings, path)
        assert_valid(server)
        return server

    for at in range(1, 15):
        server = asyncio.run(play(at))
        facts = facts_in(server)

        assert [facts.count(fact.fact_id) for fact in FACTS] == [1, 1]
        assert facts.count(TAKEN.fact_id) <= 1, "withdrawn before it was written, or one item"
        shown = [item.folder for item, fact in zip(server.store, facts, strict=True) if fact == TAKEN.fact_id]
        assert set(shown) <= {"deleteditems"}


@pytest.mark.parametrize(
    ("after", "kind", "step"),
    [(False, "paced", 1), (True, "paced", 4), (True, "lossy", 4), (False, "at-once", 4)],
)
def test_a_crash_at_any_call_of_the_journal_leaves_one_item_of_a_callers_calls(tmp_path, after, kind, step):
    at_once = kind == "at-once"

    async def play(at):
        server = make_server()
        if kind == "lossy":
            for operation in ("CreateItem", "FindItem", "DeleteItem"):
                server.plan(operation, DROPPED_AFTER_COMMIT, Fault(), BAD_GATEWAY_AFTER_COMMIT)
        async with server:
            settings = NotifierSettings(ews=make_settings(server, tmp_path))
            path = tmp_path / f"{at}.db"
            await repeats.live(settings, path, (at, after), at_once=at_once)
            await repeats.live(settings, path, at_once=at_once)
        assert_valid(server)
        return server

    for at in range(1, 20, step):
        server = asyncio.run(play(at))
        left = [item for item in server.store if item.folder == "inbox"]

        assert [item.properties[KEY] for item in left] == ["fact-3"]
        assert left[0].text("Subject").startswith("2 missed calls from ")
        assert len(facts_in(server)) == len(set(facts_in(server))), "an item was written twice"


async def start(journal, server, password_file, count, auth="basic"):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.ews_process",
        *(str(journal), server.url, str(password_file), auth, str(count)),
        cwd=Path(__file__).parents[1],
    )


def states(journal):
    with contextlib.closing(sqlite3.connect(journal)) as db:
        return [state for (state,) in db.execute("SELECT state FROM notify_journal")]


async def kill(process):
    process.send_signal(signal.SIGKILL)
    await process.wait()


@pytest.mark.parametrize("auth", ["basic", "ntlm"])
def test_killed_between_intent_and_outcome_the_item_is_found_again(tmp_path, auth):
    """The server has stored it and holds its answer back: the worst moment that there is."""
    journal, password_file = tmp_path / "notify.db", tmp_path / "password"
    password_file.write_text(PASSWORD)
    server = make_server(schemes=(auth,))
    server.plan("CreateItem", SILENT_AFTER_COMMIT)

    async def main():
        async with server:
            process = await start(journal, server, password_file, 1, auth)
            await turns_until(lambda: server.commits == 1, within_s=60, every_s=0.01)
            await kill(process)
            left = states(journal)
            process = await start(journal, server, password_file, 1, auth)
            await turns_until(lambda: states(journal) == ["sent"], within_s=60, every_s=0.05)
            await kill(process)
            return left

    assert asyncio.run(main()) == [State.ATTEMPT]
    assert facts_in(server) == ["fact-0"]
    assert [asked.operation for asked in server.asked] == ["CreateItem", "FindItem"]
    assert_valid(server)


@pytest.mark.slow
def test_killed_at_any_moment_every_fact_becomes_one_item(tmp_path):
    journal, password_file = tmp_path / "notify.db", tmp_path / "password"
    count, kills = 300, 8
    password_file.write_text(PASSWORD)
    moments = random.Random(20261127)
    server = make_server()

    async def main():
        async with server:
            for life in range(kills):
                server.plan(
                    "CreateItem", *[Fault()] * 9, DROPPED_AFTER_COMMIT, busy(50), BAD_GATEWAY_AFTER_COMMIT
                )
                process = await start(journal, server, password_file, count)
                enough = min(server.commits + 10, count)
                await turns_until(lambda: server.commits >= enough, within_s=60, every_s=0.005)  # noqa: B023
                if life == kills // 2:
                    server.plan("CreateItem", *[SILENT_AFTER_COMMIT] * 2)
                await asyncio.sleep(moments.uniform(0, 0.1))
                await kill(process)
            process = await start(journal, server, password_file, count)
            await turns_until(lambda: states(journal) == ["sent"] * count, within_s=60, every_s=0.05)
            await kill(process)

    asyncio.run(main())

    assert sorted(facts_in(server)) == sorted(f"fact-{n}" for n in range(count))
    assert server.commits == count
    assert server.count("FindItem") > 0, "no kill hit an attempt: the test proves nothing"
    assert_valid(server)


@pytest.mark.slow
def test_killed_at_any_moment_each_caller_who_rings_again_is_one_item(tmp_path):
    journal, password_file = tmp_path / "notify.db", tmp_path / "password"
    password_file.write_text(PASSWORD)
    server = make_server()
    plan = [Fault()] * 5 + [DROPPED_AFTER_COMMIT] + [Fault()] * 5 + [BAD_GATEWAY_AFTER_COMMIT]

    async def main():
        async with server:
            await repeats.kill_while_callers_ring_again(
                server,
                dict.fromkeys(("CreateItem", "FindItem", "DeleteItem"), plan),
                lambda: start(journal, server, password_file, "redials"),
                kill,
                lambda: states(journal),
            )

    asyncio.run(main())

    repeats.assert_one_item_per_caller(
        list(server.store), lambda item: item.properties[KEY], lambda item: item.text("Subject")
    )
    assert_valid(server)
