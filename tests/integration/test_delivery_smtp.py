"""Mail over a real socket to a relay that follows a script."""

import asyncio
import ssl

import pytest
import trustme
from support import repeats
from support.notify import (
    NOW,
    Log,
    ManualClock,
    Running,
    make_fact,
    make_notices,
    make_retraction,
    turns_until,
)
from support.smtp_sink import DROP, SILENCE, SmtpSink

from missedcall_notifier.app import Notifier
from missedcall_notifier.channels import smtp
from missedcall_notifier.channels.mail import message_id
from missedcall_notifier.channels.smtp import SmtpChannel
from missedcall_notifier.delivery import State, begin, intent
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.settings import NotifierSettings, SmtpSettings
from missedcall_notifier.source import MemoryFacts

BOB = "bob@mail.example.com"


def make_settings(sink, **changes):
    given = {
        "host": "127.0.0.1",
        "port": sink.port,
        "security": "none",
        "helo_name": "notifier.example.com",
        "sender": "missed-calls@example.com",
        "recipients": {"sip:bob@example.com": BOB},
        "timeout_s": 5.0,
    }
    return SmtpSettings(**(given | changes))


def attempt(sink, fact=None, recipient=BOB, **changes):
    """Make one attempt to deliver one fact."""

    async def main():
        async with sink:
            channel = SmtpChannel(make_settings(sink, **changes), make_notices())
            delivery = begin(intent(fact or make_fact(), "smtp", recipient, NOW), NOW)
            try:
                return await channel.send(delivery, channel.render(delivery))
            finally:
                await channel.close()

    return asyncio.run(main())


def one_after_another(sink, count, between=None):
    """Make attempts over one channel; return the reports. `between` is done after each."""

    async def main():
        reports = []
        async with sink:
            channel = SmtpChannel(make_settings(sink), make_notices())
            for number in range(count):
                delivery = begin(intent(make_fact(f"fact-{number}"), "smtp", BOB, NOW), NOW)
                reports.append(await channel.send(delivery, channel.render(delivery)))
                if between is not None:
                    await between(sink)
            await channel.close()
        return reports

    return asyncio.run(main())


def scripted(**answers):
    sink = SmtpSink()
    for command, answer in answers.items():
        sink.answers[command].append(answer)
    return sink


def test_a_mail_arrives_as_it_was_written():
    sink = SmtpSink()

    report = attempt(sink)

    [mail] = sink.mails
    assert report == Sent("4XyZ12")
    assert sink.envelopes == [("missed-calls@example.com", [BOB])]
    assert sink.ehlo_names[0] == "notifier.example.com"
    assert mail["Subject"] == "Missed call from +49 30 123 (“Alice”)"
    assert mail["Message-ID"] == message_id(make_fact(), "example.com")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "hung up after 9 s of ringing on 2 devices" in mail.get_body(("plain",)).get_content()


@pytest.mark.parametrize("answer", ["250 ok", "550 5.1.1 unknown"])
def test_the_session_ends_as_it_should(answer):
    async def main():
        async with scripted(RCPT=answer) as sink:
            channel = SmtpChannel(make_settings(sink), make_notices())
            delivery = begin(intent(make_fact(), "smtp", BOB, NOW), NOW)
            await channel.send(delivery, channel.render(delivery))
            await channel.close()
            await turns_until(lambda: sink.quits == 1)

    asyncio.run(main())


def test_a_line_that_begins_with_a_dot_arrives_with_it():
    sink = SmtpSink()

    async def main():
        async with sink:
            channel = SmtpChannel(make_settings(sink), make_notices())
            delivery = begin(intent(make_fact(), "smtp", BOB, NOW), NOW)
            await channel.send(delivery, b".a: b\r\n\r\n.\r\n..\r\n.x\r\n")
            await channel.close()

    asyncio.run(main())

    assert sink.raw == [b".a: b\r\n\r\n.\r\n..\r\n.x\r\n"]


@pytest.mark.parametrize(
    ("sink", "report"),
    [
        (scripted(CONNECT="421 too busy"), Failed(Failure.CHANNEL_DOWN, "connect 421")),
        (scripted(MAIL="451 4.3.0 later"), Failed(Failure.TRANSIENT, "mail 451 4.3.0")),
        (scripted(MAIL="550 5.7.60 not as this sender"), Failed(Failure.CHANNEL_DOWN, "mail 550 5.7.60")),
        (scripted(RCPT="450 4.2.0 greylisted"), Failed(Failure.TRANSIENT, "rcpt 450 4.2.0")),
        (scripted(RCPT="550 5.1.1 bob is unknown"), Failed(Failure.PERMANENT_RECIPIENT, "rcpt 550 5.1.1")),
        (scripted(RCPT="552 5.2.2 mailbox full"), Failed(Failure.SLOW, "rcpt 552 5.2.2")),
        (scripted(DATA="451 4.3.0 disk"), Failed(Failure.TRANSIENT, "body 451 4.3.0")),
        (scripted(DATA="554 5.6.0 bad content"), Failed(Failure.PERMANENT_ITEM, "body 554 5.6.0")),
        (scripted(MAIL=DROP), Failed(Failure.TRANSIENT, "mail SMTPServerDisconnected")),
        (scripted(RCPT=DROP), Failed(Failure.TRANSIENT, "rcpt SMTPServerDisconnected")),
        (scripted(DATA=DROP), Failed(Failure.UNCERTAIN, "body SMTPServerDisconnected")),
    ],
    ids=lambda value: getattr(value, "detail", ""),
)
def test_a_refusal_is_told_by_its_phase(sink, report):
    assert attempt(sink) == report
    assert not any(address in report.detail for address in ("bob", "example"))


def test_a_relay_that_does_not_answer_before_the_dot_has_nothing():
    assert attempt(scripted(RCPT=SILENCE), timeout_s=0.2) == Failed(
        Failure.TRANSIENT, "rcpt SMTPReadTimeoutError"
    )


def test_a_relay_that_does_not_answer_after_the_dot_may_have_it():
    sink = scripted(DATA=SILENCE)

    assert attempt(sink, timeout_s=0.2) == Failed(Failure.UNCERTAIN, "body SMTPReadTimeoutError")
    assert len(sink.mails) == 1


def test_mails_go_over_one_connection_up_to_a_number(monkeypatch):
    monkeypatch.setattr(smtp, "MAILS", 3)
    sink = SmtpSink()

    reports = one_after_another(sink, 7)

    assert reports == [Sent("4XyZ12")] * 7
    assert len(sink.ehlo_names) == 3
    assert len(sink.mails) == 7


async def closed_by_the_relay(sink):
    sink.close_all()
    await turns_until(lambda: not sink.open)


@pytest.mark.parametrize("answer", ["421 4.4.2 you were idle", DROP], ids=str)
def test_a_kept_connection_that_the_relay_ends_is_no_failure(answer):
    sink = SmtpSink()
    sink.answers["MAIL"].extend(["250 ok", answer])

    assert one_after_another(sink, 2) == [Sent("4XyZ12")] * 2
    assert len(sink.ehlo_names) == 2
    assert len({mail["Message-ID"] for mail in sink.mails}) == len(sink.mails) == 2


def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure():
    sink = SmtpSink()

    assert one_after_another(sink, 3, closed_by_the_relay) == [Sent("4XyZ12")] * 3
    assert len(sink.ehlo_names) == 3


def test_a_relay_that_ends_the_new_connection_too_is_asked_no_further():
    sink = SmtpSink()
    sink.answers["MAIL"].extend(["250 ok", "421 4.3.2 going down", "421 4.3.2 going down"])

    reports = one_after_another(sink, 2)

    assert reports == [Sent("4XyZ12"), Failed(Failure.TRANSIENT, "mail 421 4.3.2")]
    assert len(sink.ehlo_names) == 2


@pytest.mark.parametrize(
    ("command", "answer", "report"),
    [
        ("MAIL", "451 4.3.0 later", Failed(Failure.TRANSIENT, "mail 451 4.3.0")),
        ("RCPT", "550 5.1.1 unknown", Failed(Failure.PERMANENT_RECIPIENT, "rcpt 550 5.1.1")),
        ("RCPT", DROP, Failed(Failure.TRANSIENT, "rcpt SMTPServerDisconnected")),
        ("DATA", "421 4.3.2 closing", Failed(Failure.TRANSIENT, "body 421 4.3.2")),
        ("DATA", DROP, Failed(Failure.UNCERTAIN, "body SMTPServerDisconnected")),
    ],
    ids=str,
)
def test_what_goes_wrong_over_a_kept_connection_is_told_by_its_phase_and_ends_it(command, answer, report):
    sink = SmtpSink()
    sink.answers[command].extend(["250 ok", answer])

    assert one_after_another(sink, 3) == [Sent("4XyZ12" if command != "DATA" else ""), report, Sent("4XyZ12")]
    assert len(sink.ehlo_names) == 2


def test_a_connection_that_no_mail_comes_for_is_closed(monkeypatch):
    monkeypatch.setattr(smtp, "KEPT_S", 0.05)

    async def until_quit(sink):
        await turns_until(lambda: sink.quits == 1)

    assert one_after_another(SmtpSink(), 1, until_quit) == [Sent("4XyZ12")]


def test_a_relay_that_is_not_there_is_a_channel_that_is_down():
    sink = SmtpSink()

    async def main():
        async with sink:
            pass
        channel = SmtpChannel(make_settings(sink), make_notices())
        delivery = begin(intent(make_fact(), "smtp", BOB, NOW), NOW)
        return await channel.send(delivery, channel.render(delivery))

    assert asyncio.run(main()) == Failed(Failure.CHANNEL_DOWN, "connect SMTPConnectError")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority, tmp_path):
    """A server's context, and the file a client trusts it by."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return context, str(ca_file)


def test_starttls_encrypts_and_greets_again(tls):
    context, ca_file = tls
    sink = SmtpSink(tls=context)

    assert isinstance(attempt(sink, security="starttls", ca_file=ca_file), Sent)
    assert sink.encrypted == [False, True]


def test_tls_from_the_start(tls):
    context, ca_file = tls
    sink = SmtpSink(tls=context, implicit_tls=True)

    assert isinstance(attempt(sink, security="tls", ca_file=ca_file), Sent)
    assert sink.encrypted == [True]


def test_a_relay_without_starttls_is_not_used_in_clear():
    sink = SmtpSink()

    assert attempt(sink, security="starttls") == Failed(Failure.CHANNEL_DOWN, "starttls SMTPException")
    assert sink.mails == []


@pytest.mark.filterwarnings("ignore:.*sslv3 alert|.*unknown ca:")
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_a_stranger_is_refused(tls, security):
    context, _ = tls
    sink = SmtpSink(tls=context, implicit_tls=security == "tls")

    report = attempt(sink, security=security)

    assert report.failure is Failure.CHANNEL_DOWN
    assert report.detail.endswith(" certificate")
    assert sink.mails == []


def test_a_login_uses_the_file_as_it_is_at_that_moment(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("geheim\n")
    sink = SmtpSink(login=("notifier", "geheim"))

    assert isinstance(attempt(sink, username="notifier", password_file=str(secret)), Sent)


def test_a_wrong_password_is_a_channel_that_is_down_and_is_tried_once(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("falsch")
    sink = SmtpSink(login=("notifier", "geheim"))

    report = attempt(sink, username="notifier", password_file=str(secret))

    assert report == Failed(Failure.CHANNEL_DOWN, "auth 535 5.7.8")
    assert sink.logins == 1


def test_a_relay_that_offers_no_login_is_a_channel_that_is_down(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("geheim")

    report = attempt(SmtpSink(), username="notifier", password_file=str(secret))

    assert report == Failed(Failure.CHANNEL_DOWN, "auth SMTPNotSupported")


def test_a_password_file_that_is_not_there_is_a_channel_that_is_down(tmp_path):
    report = attempt(SmtpSink(login=("n", "g")), username="n", password_file=str(tmp_path / "none"))

    assert report == Failed(Failure.CHANNEL_DOWN, "auth SettingsError")


def notified(sink, facts, tmp_path, drive):
    """Run a whole notifier over SQLite; `drive(log, clock, source)` ends when the test has seen enough."""

    async def main():
        async with sink, SqliteJournal(tmp_path / "notify.db") as journal:
            log, clock, source = Log(), ManualClock(NOW + 20), MemoryFacts(facts)
            notifier = Notifier(
                NotifierSettings(smtp=make_settings(sink)), source, journal, clock, observe=log
            )
            async with Running(notifier):
                return await drive(log, clock, source)

    return asyncio.run(main())


def test_a_mail_lost_after_the_dot_is_repeated_under_the_same_message_id_and_date(tmp_path):
    sink = scripted(DATA=DROP)

    async def drive(log, clock, _source):
        await log.until(State.UNCERTAIN)
        clock.advance(60)
        [sent] = await log.until(State.SENT)
        return sent.lost

    lost = notified(sink, [make_fact()], tmp_path, drive)

    first, second = sink.raw
    assert lost == 1
    assert first == second


def test_an_outage_ends_and_every_mail_arrives_once(tmp_path):
    sink = scripted(CONNECT="421 closed for lunch")

    async def drive(log, clock, _source):
        await log.until(State.RETRY)
        clock.advance(600)
        await log.until(State.SENT, count=12)

    notified(sink, [make_fact(f"fact-{n}") for n in range(12)], tmp_path, drive)

    assert len({mail["Message-ID"] for mail in sink.mails}) == len(sink.mails) == 12


def test_a_retracted_call_is_corrected_in_the_same_thread(tmp_path):
    sink = SmtpSink()

    async def drive(log, _clock, source):
        await log.until(State.SENT)
        source.add(make_retraction(make_fact()))
        await log.until(State.SENT, count=2)

    notified(sink, [make_fact()], tmp_path, drive)

    notice, correction = sink.mails
    assert correction["In-Reply-To"] == notice["Message-ID"]
    assert correction["Subject"].startswith("Not missed after all")


def told_of_repeats(tmp_path, *, at_once):
    sink = SmtpSink()

    async def main():
        async with sink:
            settings = NotifierSettings(smtp=make_settings(sink))
            await repeats.live(settings, tmp_path / "notify.db", at_once=at_once)

    asyncio.run(main())
    return sink.mails


def test_each_mail_about_a_caller_who_rings_again_tells_all_and_stands_below_the_one_before(tmp_path):
    mails = told_of_repeats(tmp_path, at_once=False)

    caller = "+49 30 123 (“Alice”)"
    assert [mail["Subject"] for mail in mails] == [
        f"Missed call from {caller}",
        f"2 missed calls from {caller}",
        f"Missed call from {caller}",
        f"2 missed calls from {caller}",
    ]
    assert "was taken after all" in mails[2].get_body(("plain",)).get_content()
    assert [mail["In-Reply-To"] for mail in mails] == [None, *(mail["Message-ID"] for mail in mails[:-1])]


def test_calls_that_waited_together_are_one_mail(tmp_path):
    (mail,) = told_of_repeats(tmp_path, at_once=True)

    assert mail["Subject"] == "2 missed calls from +49 30 123 (“Alice”)"
