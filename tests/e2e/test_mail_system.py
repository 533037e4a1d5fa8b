"""Facts through our SMTP channel into a real Postfix and Dovecot, and back over IMAP.

The programs are Debian packages (`make lab`); where they are not, these tests are skipped and say so.
"""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from support.mail_system import USER, Cutter, MailSystem, missing
from support.notify import (
    NOW,
    CrashError,
    CrashingJournal,
    Log,
    ManualClock,
    Running,
    make_fact,
    make_retraction,
    turns_until,
)

from missedcall_notifier.app import Notifier
from missedcall_notifier.delivery import State
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.settings import NotifierSettings, SmtpSettings
from missedcall_notifier.source import MemoryFacts
from missedcall_schemas.records import Party

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("mail-system"),
    pytest.mark.skipif(bool(missing()), reason=f"no real mail system: {missing()}"),
]

BOB = "bob@example.com"
FACTS = int(os.environ.get("MISSEDCALL_MAILS", "200"))
KILLS = int(os.environ.get("MISSEDCALL_MAIL_KILLS", "5"))


def make_settings(system, port=0):
    return SmtpSettings(
        host="127.0.0.1",
        port=port or system.port,
        ca_file=system.ca_file,
        username=USER,
        password_file=system.password_file,
        helo_name="notifier.example.com",
        sender="missed-calls@example.com",
        sender_name="Verpasste Anrufe für Köln",
        always=(BOB,),
    )


def delivered(*facts):
    """Deliver facts in order; return what a mail program shows then."""

    async def main():
        async with MailSystem(BOB) as system, SqliteJournal(system.folder / "notify.db") as journal:
            log, source = Log(), MemoryFacts()
            settings = NotifierSettings(smtp=make_settings(system))
            async with Running(Notifier(settings, source, journal, ManualClock(NOW + 20), observe=log)):
                for count, fact in enumerate(facts, 1):
                    source.add(fact)
                    await log.until(State.SENT, count=count)
            await system.settled()
            return await asyncio.to_thread(system.mails, BOB)

    return asyncio.run(main())


def test_a_mail_is_read_back_as_it_was_written():
    name = "Jürgen Müßig-Čapek 李小龍 🦊 " * 4
    caller = Party(uri="sip:juergen@example.net", number="+4930123", display_name=name, source="from")

    [mail] = delivered(
        make_fact(caller=caller, also_rang=tuple(f"sip:{n:0>60}@example.com" for n in range(20)))
    )

    plain, html = mail.iter_parts()
    assert mail["From"].addresses[0].display_name == "Verpasste Anrufe für Köln"
    assert "Jürgen Müßig-Čapek 李小龍 🦊" in mail["Subject"]
    assert mail["Return-Path"] == "<missed-calls@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Missed-Call-Fact"] == "fact-1"
    assert mail["Date"].datetime == datetime.fromtimestamp(int(NOW + 9.4), mail["Date"].datetime.tzinfo)
    assert "Jürgen Müßig-Čapek 李小龍 🦊" in plain.get_content()
    assert "Jürgen Müßig-Čapek 李小龍 🦊" in html.get_content()
    assert "from notifier.example.com" in mail.get_all("Received")[-1]
    assert "with ESMTPSA id" in mail.get_all("Received")[-1]  # RFC 3848: over TLS, logged in
    assert mail.defects == plain.defects == html.defects == []


def test_a_correction_and_a_second_call_join_the_conversation():
    notice, correction, second = delivered(
        make_fact(), make_retraction(make_fact()), make_fact("fact-2", caller=make_fact().caller)
    )

    assert correction["In-Reply-To"] == notice["Message-ID"]
    assert notice["References"] == second["References"] == correction["References"].split()[0]
    assert notice["Thread-Index"] == correction["Thread-Index"] == second["Thread-Index"]


async def life(settings, path, crash=None):
    """One life of a notifier with two facts, which dies at a call of the journal or delivers both."""
    facts, clock = [make_fact("fact-1"), make_fact("fact-2")], ManualClock(NOW + 20)
    log = Log()
    async with SqliteJournal(path) as journal:
        seen = CrashingJournal(journal, crash[0], after=crash[1]) if crash else journal
        running = asyncio.ensure_future(
            Notifier(settings, MemoryFacts(facts), seen, clock, observe=log).run()
        )
        while not running.done():
            await asyncio.wait({running}, timeout=0.02)
            clock.advance(600)
            sent = "SELECT count(*) FROM notify_journal WHERE state = 'sent'"
            if await journal._run(lambda db: db.execute(sent).fetchone()[0]) == len(facts):  # noqa: B023
                running.cancel()
        with contextlib.suppress(ExceptionGroup, CrashError, asyncio.CancelledError):
            running.result()


def test_a_crash_at_any_boundary_of_a_stage_leaves_one_visible_mail():
    boundaries = [(at, after) for at in range(1, 9) for after in (False, True)]
    users = [f"u{number}@example.com" for number in range(len(boundaries))]

    async def main():
        async with MailSystem(*users) as system:
            for number, crash in enumerate(boundaries):
                path = system.folder / f"{number}.db"
                mail = make_settings(system)
                settings = NotifierSettings(
                    smtp=SmtpSettings(
                        **{name: getattr(mail, name) for name in mail.__struct_fields__}
                        | {"always": (users[number],)}
                    )
                )
                await life(settings, path, crash)
                await life(settings, path)
            await system.settled()
            shown = [await asyncio.to_thread(system.mails, user) for user in users]
            return shown, system.stored()

    shown, stored = asyncio.run(main())

    for mails in shown:
        assert sorted(mail["X-Missed-Call-Fact"] for mail in mails) == ["fact-1", "fact-2"]
    assert stored > 2 * len(users), "no crash made a repeat: the test proves nothing"


def test_killed_at_any_moment_over_a_relay_that_breaks_every_fact_is_one_visible_mail(tmp_path):
    journal, chance = tmp_path / "notify.db", random.Random(20261128)

    def sent():
        try:
            with contextlib.closing(sqlite3.connect(journal)) as db:
                return db.execute("SELECT count(*) FROM notify_journal WHERE state = 'sent'").fetchone()[0]
        except sqlite3.OperationalError:
            return 0

    async def main():
        async with MailSystem(BOB) as system, Cutter(system.port, 0.03, chance) as relay:

            async def start():
                files = (system.ca_file, system.password_file)
                command = ("-m", "support.notify_process", str(journal), str(relay.port), str(FACTS), *files)
                return await asyncio.create_subprocess_exec(
                    sys.executable, *command, cwd=Path(__file__).parents[1]
                )

            for _ in range(KILLS):
                process = await start()
                enough = min(sent() + max(FACTS // (2 * KILLS), 1), FACTS)
                await turns_until(lambda: sent() >= enough, within_s=120, every_s=0.01)  # noqa: B023
                await asyncio.sleep(chance.uniform(0, 0.05))
                process.send_signal(signal.SIGKILL)
                await process.wait()
            process = await start()
            await turns_until(lambda: sent() == FACTS, within_s=60 + FACTS / 10, every_s=0.05)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await system.settled()
            mails = await asyncio.to_thread(system.mails, BOB)
            return mails, system.stored(), relay.cut

    mails, stored, cut = asyncio.run(main())
    sys.stderr.write(
        f"{FACTS} facts, {KILLS} kills, {cut} connections cut: "
        f"{stored} mails handed over, {len(mails)} visible\n"
    )

    assert Counter(mail["X-Missed-Call-Fact"] for mail in mails) == Counter(f"fact-{n}" for n in range(FACTS))
    assert cut > 0
    assert stored > FACTS, "nothing made a repeat: the test proves nothing"
