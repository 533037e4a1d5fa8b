"""Directory, preferences and languages on the whole way to a relay, over the embedded pipeline's journal."""

import asyncio
import email.policy

from support.notify import NOW, Log, ManualClock, Running, make_fact, make_retraction
from support.smtp_sink import SmtpSink

from missedcall_notifier.app import Notifier
from missedcall_notifier.delivery import State
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.settings import NotifierSettings, PeopleSettings, SmtpSettings
from missedcall_notifier.source import MemoryFacts
from missedcall_schemas.records import Party

DIRECTORY = """\
addresses,name,mailbox,numbers,extension,locale,time_zone,groups
sip:bob@example.com,Bob Berg,bob.berg@example.com,+49 30 23125002,612,de-AT,Europe/Vienna,sales
sip:alice@example.com,Alice Miller,alice@example.com,+49 30 23125001,613,en,,
"""
INSIDE = Party(uri="sip:613@example.com", number="613", display_name="The Boss", source="from")
# 10:42 UTC is 11:42 in Vienna
PREFERENCES = """
[group.sales]
quiet_hours = "11:00-12:00"

[user."sip:alice@example.com"]
notices = false
"""


def delivered(tmp_path, facts, preferences="", states=(State.SENT,), count=1, wait_s=0.0):
    """Return the mails, the counts and the deliveries when `count` of them have ended, or after `wait_s` more."""
    (tmp_path / "people.csv").write_text(DIRECTORY)
    (tmp_path / "preferences.toml").write_text(preferences)

    async def main():
        sink, log, clock = SmtpSink(), Log(), ManualClock(NOW + 20)
        async with sink, SqliteJournal(tmp_path / "journal.db") as journal:
            settings = NotifierSettings(
                smtp=SmtpSettings(
                    host="127.0.0.1",
                    port=sink.port,
                    security="none",
                    sender="m@example.com",
                    helo_name="n.example",
                ),
                people=PeopleSettings(
                    directory_file=str(tmp_path / "people.csv"),
                    preferences_file=str(tmp_path / "preferences.toml") if preferences else "",
                    region="DE",
                ),
            )
            notifier = Notifier(settings, MemoryFacts(facts), journal, clock, observe=log)
            async with Running(notifier):
                if wait_s:
                    await log.until(State.PENDING)
                    clock.advance(wait_s - 1)
                    await asyncio.sleep(0)
                    assert not sink.mails
                    clock.advance(1)
                ended = await log.until(*states, count=count)
            return sink.mails, notifier.counts["smtp"], ended

    return asyncio.run(main())


def test_a_colleagues_call_is_told_by_name_in_the_callees_language_and_time(tmp_path):
    [mail], _, _ = delivered(tmp_path, [make_fact(caller=INSIDE)])

    assert mail["To"] == "bob.berg@example.com"
    assert mail["Subject"] == "Verpasster Anruf von Alice Miller (613)"
    assert mail["Reply-To"] == "alice@example.com"
    text = mail.get_body(("plain",)).get_content()
    assert "11:42:07 (MEZ)" in text
    assert "Angerufen: Bob Berg (sip:bob@example.com)" in text
    assert "Boss" not in mail.as_string(policy=email.policy.default)


def test_a_notice_waits_for_the_end_of_the_quiet_hours(tmp_path):
    until = 17 * 60 + 53

    mails, counts, [sent] = delivered(tmp_path, [make_fact()], PREFERENCES, wait_s=until - 20)

    assert len(mails) == 1
    assert sent.not_before == NOW + until
    assert sent.changed_at >= sent.not_before
    assert counts["pending"] == 1


def test_a_call_that_was_taken_after_all_is_never_told_if_its_notice_still_waits(tmp_path):
    fact = make_fact()
    states = (State.SUPPRESSED,)

    mails, _, ended = delivered(tmp_path, [fact, make_retraction(fact)], PREFERENCES, states, count=2)

    assert mails == []
    assert sorted(delivery.detail for delivery in ended) == ["no-notice-sent", "retracted"]


def test_who_wants_no_notices_is_counted(tmp_path):
    facts = [make_fact(callee="sip:alice@example.com"), make_fact("fact-2")]

    mails, counts, _ = delivered(tmp_path, facts, PREFERENCES, wait_s=1200)

    assert [mail["To"] for mail in mails] == ["bob.berg@example.com"]
    assert counts["unrouted:opted-out"] == 1
