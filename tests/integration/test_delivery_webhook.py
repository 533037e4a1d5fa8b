"""A webhook over a real socket to a receiver that follows a script."""

import asyncio
import ssl
from contextlib import suppress

import pytest
import trustme
from aiohttp import web
from support.notify import (
    NOW,
    Log,
    ManualClock,
    Running,
    make_delivery,
    make_fact,
    make_notices,
    make_retraction,
    turns_until,
)
from support.webhook_sink import DROP, SECRET_LINE, SILENCE, WebhookSink

from missedcall_notifier.app import Notifier
from missedcall_notifier.channels.webhook import WebhookChannel, gone_mark
from missedcall_notifier.delivery import State, begin, intent
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.settings import NotifierSettings, WebhookSettings
from missedcall_notifier.source import MemoryFacts

DELIVERY = begin(intent(make_fact(), "webhook", "default", NOW), NOW)


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "webhook.secret"
    path.write_text(SECRET_LINE)
    return str(path)


def make_settings(sink, secret_file, **changes):
    given = {
        "url": f"http://127.0.0.1:{sink.port}/hook",
        "insecure_http": True,
        "allow": ("127.0.0.1",),
        "secret_file": secret_file,
        "timeout_s": 5.0,
    }
    return WebhookSettings(**(given | changes))


def make_channel(settings, clock=None):
    return WebhookChannel(settings, clock or ManualClock(), make_notices())


def attempt(sink, secret_file, **changes):
    """Make one call."""

    async def main():
        async with sink:
            channel = WebhookChannel(
                make_settings(sink, secret_file, **changes), ManualClock(NOW + 20.7), make_notices()
            )
            try:
                return await channel.send(DELIVERY, channel.render(DELIVERY))
            finally:
                await channel.close()

    return asyncio.run(main())


def test_a_call_is_signed_and_says_what_happened(secret_file):
    sink = WebhookSink()

    report = attempt(sink, secret_file)

    [call] = sink.calls
    assert report == Sent("204")
    assert call.signed
    assert (call.id, call.timestamp) == (DELIVERY.delivery_id, int(NOW) + 20)
    assert call.headers["Content-Type"] == "application/json"
    assert call.event["type"] == "missed_call.missed"
    assert call.event["data"]["callee"] == "sip:bob@example.com"


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        (200, Sent("200")),
        (500, Failed(Failure.TRANSIENT, "500")),
        (404, Failed(Failure.TRANSIENT, "404")),
        (401, Failed(Failure.CHANNEL_DOWN, "401")),
        ((429, {"Retry-After": "7"}), Failed(Failure.THROTTLED, "429", 7.0)),
        ((503, {"Retry-After": "99999999999"}), Failed(Failure.TRANSIENT, "503", 99999999999.0)),
        ((429, {"Retry-After": "after lunch"}), Failed(Failure.THROTTLED, "429")),
        (DROP, Failed(Failure.UNCERTAIN, "ServerDisconnectedError")),
    ],
    ids=str,
)
def test_an_answer_is_told_by_its_status(secret_file, answer, report):
    assert attempt(WebhookSink(answer), secret_file) == report


def test_a_redirect_is_not_followed(secret_file):
    sink = WebhookSink((302, {"Location": "/elsewhere"}))

    assert attempt(sink, secret_file) == Failed(Failure.CHANNEL_DOWN, "302")
    assert sink.elsewhere == 0


def test_a_receiver_that_does_not_answer_may_have_it(secret_file):
    sink = WebhookSink(SILENCE)

    report = attempt(sink, secret_file, timeout_s=0.3)

    assert report.failure is Failure.UNCERTAIN
    assert len(sink.calls) == 1


def test_an_answer_without_end_is_not_listened_to(secret_file):
    async def forever(sink, request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        with suppress(ConnectionError):
            while not sink.closing.is_set():
                await answer.write(b"x" * 65536)
        return answer

    assert attempt(WebhookSink(forever), secret_file) == Sent("200")


def test_a_body_that_drips_does_not_change_the_status(secret_file):
    async def drip(sink, request):
        answer = web.StreamResponse(status=200, headers={"Content-Length": "100"})
        await answer.prepare(request)
        await sink.closing.wait()
        return answer

    assert attempt(WebhookSink(drip), secret_file, timeout_s=0.3) == Sent("200")


def test_a_receiver_that_is_not_there_is_a_channel_that_is_down(secret_file):
    async def main():
        async with WebhookSink() as sink:
            settings = make_settings(sink, secret_file)
        channel = make_channel(settings)
        try:
            return await channel.send(DELIVERY, b"{}")
        finally:
            await channel.close()

    assert asyncio.run(main()) == Failed(Failure.CHANNEL_DOWN, "ClientConnectorError")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1", "127.1", "2130706433"]
)
def test_loopback_is_not_reached_under_any_name_unless_it_is_listed(secret_file, host):
    async def main():
        async with WebhookSink() as sink:
            url = f"http://{host}:{sink.port}/hook"
            channel = WebhookChannel(
                make_settings(sink, secret_file, url=url, allow=()), ManualClock(), make_notices()
            )
            try:
                return await channel.send(DELIVERY, b"{}"), sink.calls
            finally:
                await channel.close()

    report, calls = asyncio.run(main())
    assert report.failure is Failure.CHANNEL_DOWN
    assert calls == []


def test_a_blocked_address_is_named_as_such(secret_file):
    assert attempt(WebhookSink(), secret_file, allow=()) == Failed(Failure.CHANNEL_DOWN, "blocked address")


def test_proxy_variables_are_not_believed(secret_file, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")

    assert attempt(WebhookSink(), secret_file) == Sent("204")


@pytest.mark.parametrize("text", ["", "no secret", "whsec_AAAA"])
def test_a_secret_that_cannot_be_used_is_a_channel_that_is_down(tmp_path, text):
    path = tmp_path / "secret"
    path.write_text(text)
    sink = WebhookSink()

    report = attempt(sink, str(path))

    assert report.failure is Failure.CHANNEL_DOWN
    assert sink.calls == []


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def test_https_with_an_authority_of_ones_own(secret_file, tls, authority, tmp_path):
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))

    async def main():
        async with WebhookSink(tls=tls) as sink:
            url = f"https://localhost:{sink.port}/hook"
            settings = make_settings(
                sink, secret_file, url=url, ca_file=str(ca_file), allow=("127.0.0.1", "::1")
            )
            channel = make_channel(settings)
            try:
                return await channel.send(DELIVERY, channel.render(DELIVERY)), len(sink.calls)
            finally:
                await channel.close()

    assert asyncio.run(main()) == (Sent("204"), 1)


def test_a_certificate_of_a_stranger_is_refused(secret_file, tls):
    async def main():
        async with WebhookSink(tls=tls) as sink:
            url = f"https://localhost:{sink.port}/hook"
            settings = make_settings(sink, secret_file, url=url, allow=("127.0.0.1", "::1"))
            channel = make_channel(settings)
            try:
                return await channel.send(DELIVERY, b"{}"), len(sink.calls)
            finally:
                await channel.close()

    report, calls = asyncio.run(main())
    assert (report.failure, calls) == (Failure.CHANNEL_DOWN, 0)
    assert report.detail == "ClientConnectorCertificateError"


def notified(sink, facts, secret_file, tmp_path, drive):
    """Run a whole notifier over SQLite; `drive(log, clock, source)` ends when the test has seen enough."""

    async def main():
        async with sink, SqliteJournal(tmp_path / "notify.db") as journal:
            log, clock, source = Log(), ManualClock(NOW + 20), MemoryFacts(facts)
            settings = NotifierSettings(webhook=make_settings(sink, secret_file))
            notifier = Notifier(settings, source, journal, clock, observe=log)
            async with Running(notifier):
                return await drive(log, clock, source)

    return asyncio.run(main())


def test_every_attempt_has_the_same_id_and_body_and_its_own_time(secret_file, tmp_path):
    sink = WebhookSink(500, DROP, (429, {"Retry-After": "60"}))

    async def drive(log, clock, _source):
        for count in (1, 2, 3):
            await log.until(State.RETRY, State.UNCERTAIN, count=count)
            clock.advance(600)
        await log.until(State.SENT)

    notified(sink, [make_fact()], secret_file, tmp_path, drive)

    assert {(call.id, call.body) for call in sink.calls} == {(sink.calls[0].id, sink.calls[0].body)}
    assert [call.timestamp - int(NOW) for call in sink.calls] == [20, 620, 1220, 1820]
    assert all(call.signed for call in sink.calls)


def lives(sink, secret_file, tmp_path, *stories):
    """Run one notifier after the other over one journal; a story is what changes in the settings, and its play."""

    async def main():
        source, clock = MemoryFacts([make_fact("fact-1")]), ManualClock(NOW + 20)
        async with sink, SqliteJournal(tmp_path / "notify.db") as journal:
            for changes, play in stories:
                log = Log()
                settings = NotifierSettings(webhook=make_settings(sink, secret_file, **changes))
                async with Running(Notifier(settings, source, journal, clock, observe=log)) as notifier:
                    await play(log, clock, source, notifier)

    asyncio.run(main())


async def is_gone(log, _clock, _source, notifier):
    await log.until(State.RETRY)
    assert notifier.paused == ["webhook"]


async def stays_gone(_log, clock, source, notifier):
    source.add(make_fact(f"fact-{len(source._facts) + 1}"))
    await turns_until(lambda: notifier.paused)
    for _ in range(3):
        clock.advance(3600)
        for _ in range(20):
            await asyncio.sleep(0)


async def all_arrive(log, _clock, source, notifier):
    await log.until(State.SENT, count=len(source._facts))
    assert notifier.paused == []


def test_a_receiver_that_is_gone_is_not_called_again_over_restarts_too(secret_file, tmp_path):
    sink = WebhookSink(410)

    lives(sink, secret_file, tmp_path, ({}, is_gone), ({}, stays_gone), ({}, stays_gone))

    assert len(sink.calls) == 1


def test_a_receiver_that_is_reopened_gets_what_waited(secret_file, tmp_path):
    sink, reopened = WebhookSink(410), {"reopened": "2026-11-28"}

    lives(sink, secret_file, tmp_path, ({}, is_gone), ({}, stays_gone), (reopened, all_arrive))

    assert len({call.id for call in sink.calls}) == 2
    assert len(sink.calls) == 3


def test_another_url_is_another_endpoint():
    marks = {
        gone_mark(WebhookSettings(url=url, reopened=reopened)) for url in "ab" for reopened in ("", "today")
    }

    assert len(marks) == 4
    assert all(mark.startswith("410 ") for mark in marks)


def test_each_endpoint_has_its_own_format_breaker_and_id(secret_file, tmp_path):
    async def main():
        async with (
            WebhookSink() as good,
            WebhookSink(*[401] * 9) as bad,
            SqliteJournal(tmp_path / "notify.db") as journal,
        ):
            settings = NotifierSettings(
                webhook=make_settings(good, secret_file),
                webhooks={
                    "crm": make_settings(good, secret_file, format="cloudevents"),
                    "lost": make_settings(bad, secret_file),
                },
            )
            log, source = Log(), MemoryFacts([make_fact()])
            notifier = Notifier(settings, source, journal, ManualClock(NOW + 20), observe=log)
            async with Running(notifier):
                await log.until(State.SENT, count=2)
                await log.until(State.RETRY)
                return good.calls, bad.calls, notifier.paused

    good, bad, paused = asyncio.run(main())

    assert paused == ["webhook-lost"]
    assert len(bad) == 1
    assert sorted(call.headers["Content-Type"] for call in good) == [
        "application/cloudevents+json",
        "application/json",
    ]
    assert len({call.id for call in (*good, *bad)}) == 3


@pytest.mark.parametrize("form", ["standard", "cloudevents", "adaptive-card"])
def test_a_ping_is_signed_and_cannot_be_taken_for_a_call(secret_file, form):
    sink = WebhookSink()

    async def main():
        async with sink:
            channel = WebhookChannel(
                make_settings(sink, secret_file, format=form), ManualClock(NOW), make_notices()
            )
            try:
                return await channel.ping()
            finally:
                await channel.close()

    report = asyncio.run(main())

    [call] = sink.calls
    assert report == Sent("204")
    assert call.signed
    assert b"test" in call.body
    assert b"fact_id" not in call.body


def test_a_name_that_changes_its_answer_gains_nothing(secret_file, monkeypatch):
    """The first look-up gives the address that is listed, the next another one, on which somebody listens."""

    async def main():
        async with WebhookSink() as allowed, WebhookSink(host="127.0.0.2", port=allowed.port) as victim:
            answers = ["127.0.0.1", "127.0.0.2"]
            loop = asyncio.get_running_loop()
            real = loop.getaddrinfo

            async def look_up(host, port, **how):
                return await real(answers.pop(0) if host == "rebinding.example" else host, port, **how)

            monkeypatch.setattr(loop, "getaddrinfo", look_up)
            url = f"http://rebinding.example:{allowed.port}/hook"
            settings = make_settings(allowed, secret_file, url=url)
            reports = []
            for _ in range(2):
                channel = make_channel(settings)
                reports.append(await channel.send(DELIVERY, b"{}"))
                await channel.close()
            return reports, len(allowed.calls), len(victim.calls)

    reports, allowed, victim = asyncio.run(main())

    assert reports == [Sent("204"), Failed(Failure.CHANNEL_DOWN, "blocked address")]
    assert (allowed, victim) == (1, 0)


def test_no_receiver_can_make_us_wait_longer_than_an_hour(secret_file, tmp_path):
    sink = WebhookSink((429, {"Retry-After": "31536000"}))

    async def drive(log, _clock, _source):
        [retry] = await log.until(State.RETRY)
        return retry.next_at - retry.changed_at

    wait_s = notified(sink, [make_fact()], secret_file, tmp_path, drive)

    assert 3600 <= wait_s <= 3600 * 1.25


def test_a_retraction_is_an_event_after_its_notice(secret_file, tmp_path):
    sink = WebhookSink()

    async def drive(log, _clock, source):
        await log.until(State.SENT)
        source.add(make_retraction(make_fact()))
        await log.until(State.SENT, count=2)

    notified(sink, [make_fact()], secret_file, tmp_path, drive)

    assert [call.event["type"] for call in sink.calls] == ["missed_call.missed", "missed_call.retracted"]
    assert sink.calls[0].id == make_delivery(channel="webhook", recipient="default").delivery_id
