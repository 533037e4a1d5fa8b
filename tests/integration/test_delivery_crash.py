"""Crashes with a real relay, receiver and file: at least once, under one name, never after a recorded success."""

import asyncio
import contextlib
import random
import signal
import sqlite3
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.notify import (
    NOW,
    CrashError,
    CrashingJournal,
    Log,
    ManualClock,
    make_fact,
    turns_until,
)
from support.smtp_sink import DROP as DROP_MAIL
from support.smtp_sink import SmtpSink
from support.webhook_sink import DROP, SECRET_LINE, WebhookSink

from missedcall_notifier.app import Notifier
from missedcall_notifier.delivery import State
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.settings import NotifierSettings, SmtpSettings, WebhookSettings
from missedcall_notifier.source import MemoryFacts

FACTS = [make_fact("fact-1"), make_fact("fact-2")]


def make_settings(smtp, webhook, secret_file):
    return NotifierSettings(
        smtp=SmtpSettings(
            host="127.0.0.1",
            port=smtp.port,
            security="none",
            helo_name="localhost",
            sender="missed-calls@example.com",
            recipients={"sip:bob@example.com": "bob@example.com"},
        ),
        webhook=WebhookSettings(
            url=f"http://127.0.0.1:{webhook.port}/hook",
            insecure_http=True,
            allow=("127.0.0.1",),
            secret_file=secret_file,
        ),
    )


async def live(settings, path, recorded, crash=None):
    """One life of a notifier: until it dies, or all four deliveries have ended.

    `recorded` gets the ids whose success is durable, in the order in which they became so.
    """
    log, clock = Log(), ManualClock(NOW + 20)

    def observe(delivery):
        if delivery.state is State.SENT:
            recorded.append(delivery.delivery_id)
        log(delivery)

    async with SqliteJournal(path) as journal:
        seen = CrashingJournal(journal, crash[0], after=crash[1]) if crash else journal
        notifier = Notifier(settings, MemoryFacts(FACTS), seen, clock, observe=observe)
        running = asyncio.ensure_future(notifier.run())
        while not running.done():
            await asyncio.wait({running}, timeout=0.02)
            clock.advance(600)
            if await count(journal, State.SENT) == 2 * len(FACTS):
                notifier.stop()
        with contextlib.suppress(ExceptionGroup, CrashError):
            running.result()


async def count(journal, state):
    query = "SELECT count(*) FROM notify_journal WHERE state = ?"
    return await journal._run(lambda db: db.execute(query, (state.value,)).fetchone()[0])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lost", [False, True], ids=["quiet", "lossy"])
def test_a_crash_at_any_call_of_the_journal_loses_nothing(tmp_path, after, lost):
    secret_file = tmp_path / "secret"
    secret_file.write_text(SECRET_LINE)

    async def play(at):
        async with SmtpSink() as smtp, WebhookSink() as webhook:
            if lost:
                smtp.answers["DATA"].append(DROP_MAIL)
                webhook.answers.append(DROP)
            settings, recorded = make_settings(smtp, webhook, str(secret_file)), []
            path = tmp_path / f"{at}.db"
            await live(settings, path, recorded, (at, after))
            done = list(recorded)
            before = Counter(call.id for call in webhook.calls), Counter(m["Message-ID"] for m in smtp.mails)
            await live(settings, path, recorded)
            afterwards = Counter(call.id for call in webhook.calls)
            bodies = {(call.id, call.body) for call in webhook.calls}
            return done, before, afterwards, smtp.mails, bodies

    for at in range(1, 15):
        done, (calls_before, _), calls, mails, bodies = asyncio.run(play(at))

        assert len(calls) == len(FACTS)
        assert len({mail["Message-ID"] for mail in mails}) == len(FACTS)
        assert len({(mail["Message-ID"], mail["Date"]) for mail in mails}) == len(FACTS)
        assert len(bodies) == len(FACTS)
        for name in set(done) & set(calls):
            assert calls[name] == calls_before[name], "called again after a recorded success"
        assert len(mails) <= len(FACTS) + 2 + lost


@pytest.mark.slow
def test_killed_at_any_moment_no_mail_is_lost_and_none_is_repeated_after_its_success(tmp_path):
    journal, count, kills = tmp_path / "notify.db", 300, 8
    moments = random.Random(20261123)

    async def main():
        async with SmtpSink() as sink:
            for _ in range(kills):
                process = await start(sink.port)
                enough = min(len(sink.mails) + 10, count)
                await turns_until(lambda: len(sink.mails) >= enough, every_s=0.005)  # noqa: B023 awaited here
                await asyncio.sleep(moments.uniform(0, 0.1))
                process.send_signal(signal.SIGKILL)
                await process.wait()
            succeeded = names("sent")
            repeated_before = Counter(mail["X-Missed-Call-Fact"] for mail in sink.mails)
            process = await start(sink.port)
            await turns_until(lambda: len(names("sent")) == count, within_s=60, every_s=0.05)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            return succeeded, repeated_before, sink.mails

    async def start(port):
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "support.notify_process",
            str(journal),
            str(port),
            str(count),
            cwd=Path(__file__).parents[1],
        )

    def names(state):
        db = sqlite3.connect(journal)
        query = "SELECT json_extract(value, '$.fact.fact_id') FROM notify_journal WHERE state = ?"
        try:
            return {name for (name,) in db.execute(query, (state,))}
        finally:
            db.close()

    succeeded, before, mails = asyncio.run(main())
    by_fact = Counter(mail["X-Missed-Call-Fact"] for mail in mails)

    assert set(by_fact) == {f"fact-{n}" for n in range(count)}
    assert all(by_fact[name] == before[name] for name in succeeded)
    assert len({(mail["X-Missed-Call-Fact"], mail["Message-ID"], mail["Date"]) for mail in mails}) == count
    assert len(mails) - count <= kills * 4  # no more than were on their way when it was killed
