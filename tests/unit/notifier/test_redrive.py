"""Dead deliveries: chosen, shown, and made to live again in the file of the pipeline."""

import asyncio
import subprocess
import sys

import pytest
from support.notify import NOW, make_delivery, make_fact, make_retraction

from missedcall_notifier.delivery import State, encode, intent, settle
from missedcall_notifier.failure import Failed, Failure
from missedcall_notifier.journal_sqlite import SqliteJournal, redrive_file
from missedcall_notifier.redrive import Selection, lines, moment
from missedcall_notifier.retry import RetryPolicy
from missedcall_notifier.stream.letters import LetterError, letter, read_letter, read_request, request

POLICY = RetryPolicy()
ALL = Selection()


async def fill(path, *names, failure=Failure.PERMANENT_RECIPIENT):
    async with SqliteJournal(path) as journal:
        await journal.open("fake", [make_delivery(name) for name in names], position=1)
        for attempt in await journal.claim("fake", now=NOW, limit=len(names)):
            await journal.record(attempt, settle(attempt, Failed(failure, "rcpt 550 5.1.1"), POLICY, NOW))


async def states(path, *names):
    async with SqliteJournal(path) as journal:
        return [(await journal.find(make_delivery(name).delivery_id)).state for name in names]


def dead_one():
    [attempt] = [make_delivery()]
    from missedcall_notifier.delivery import begin

    return settle(begin(attempt, NOW), Failed(Failure.PERMANENT_ITEM, "no"), POLICY, NOW)


def test_what_is_planned_is_not_done(tmp_path):
    path = tmp_path / "m.db"
    asyncio.run(fill(path, "a", "b"))

    assert len(redrive_file(path, ALL, NOW + 9, execute=False)) == 2
    assert asyncio.run(states(path, "a", "b")) == [State.DEAD, State.DEAD]


def test_what_is_executed_lives_again_and_once(tmp_path):
    path = tmp_path / "m.db"
    asyncio.run(fill(path, "a", "b"))

    assert len(redrive_file(path, ALL, NOW + 9, execute=True)) == 2
    assert redrive_file(path, ALL, NOW + 10, execute=True) == []
    assert asyncio.run(states(path, "a", "b")) == [State.RETRY, State.RETRY]


def test_a_notice_of_a_call_that_was_taken_after_all_stays_dead(tmp_path):
    path = tmp_path / "m.db"
    asyncio.run(fill(path, "a"))

    async def retract():
        async with SqliteJournal(path) as journal:
            await journal.open(
                "fake", [intent(make_retraction(make_fact("a")), "fake", "bob", NOW)], position=2
            )

    asyncio.run(retract())

    assert redrive_file(path, ALL, NOW + 9, execute=True) == []


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        (ALL, 1),
        (Selection(channels=frozenset({"fake"})), 1),
        (Selection(channels=frozenset({"smtp"})), 0),
        (Selection(failures=frozenset({"permanent-item"})), 1),
        (Selection(failures=frozenset({"transient"})), 0),
        (Selection(delivery_ids=frozenset({make_delivery().delivery_id})), 1),
        (Selection(delivery_ids=frozenset({"other"})), 0),
        (Selection(since=NOW), 1),
        (Selection(since=NOW + 1), 0),
    ],
)
def test_a_selection_means_what_it_names(selection, count):
    assert selection.means(dead_one()) == bool(count)


def test_only_the_dead_are_meant():
    assert not ALL.means(make_delivery())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", NOW - 5400),
        ("12h", NOW - 43_200),
        ("3d", NOW - 259_200),
        ("2026-11-23T10:42:07", NOW),
        ("2026-11-23T11:42:07+01:00", NOW),
    ],
)
def test_a_moment_is_told_in_either_way(text, seconds):
    assert moment(text, NOW) == seconds


def test_a_line_names_nobody():
    [line] = lines([dead_one()])

    assert dead_one().delivery_id in line
    assert "permanent-item no" in line
    assert "bob" not in line
    assert "alice" not in line


def test_a_letter_and_a_request_hold_the_whole_delivery():
    dead = dead_one()
    found = read_letter(letter(dead, 5))
    asked = read_request(request(found, NOW))

    assert found.delivery() == asked.delivery() == dead
    assert (found.topic, found.error, asked.channel, asked.part) == (
        "notify-journal-fake",
        "permanent-item",
        "fake",
        5,
    )


@pytest.mark.parametrize("value", [b"", b"{}", b'{"topic": "sip-transactions", "error": "E", "record": ""}'])
def test_a_letter_of_another_kind_is_none(value):
    with pytest.raises(LetterError):
        read_letter(value)


def test_a_delivery_that_is_not_dead_is_no_letter():
    living = letter(make_delivery(), 0)

    assert encode(make_delivery())
    with pytest.raises(LetterError, match="pending"):
        read_letter(living).delivery()


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "missedcall_embedded", "redrive", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_plans_and_executes(tmp_path):
    config = tmp_path / "missedcall.toml"
    config.write_text(f'[store]\nfile = "{tmp_path / "m.db"}"\n')
    asyncio.run(fill(tmp_path / "m.db", "a"))

    planned, done, again = (
        command("--config", str(config), *more)
        for more in ([], ["--execute"], ["--execute", "--since", "3d"])
    )

    assert planned.stdout.endswith("nothing is changed; --execute does it\ndead=1 redriven=0\n")
    assert done.stdout.endswith("dead=1 redriven=1\n")
    assert again.stdout == "dead=0 redriven=0\n"
    assert (planned.returncode, done.returncode, again.returncode) == (0, 0, 0)


def test_the_command_says_what_it_cannot_do(tmp_path):
    config = tmp_path / "missedcall.toml"
    config.write_text(f'[store]\nfile = "{tmp_path / "m.db"}"\n')

    missing, moment_ = command("--config", str(config)), command("--since", "soon")

    assert (missing.returncode, moment_.returncode) == (2, 2)
    assert "no such file" in missing.stderr
    assert "--since soon" in moment_.stderr
