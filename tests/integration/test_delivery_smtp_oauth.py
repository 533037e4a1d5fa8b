"""A relay that wants a token instead of a password, and the authority that gives it."""

import asyncio

import pytest
from support.notify import NOW, make_fact, make_notices
from support.smtp_sink import SmtpSink
from support.smtp_tokens import Authority, TokenSink

from missedcall_notifier.channels.smtp import SmtpChannel
from missedcall_notifier.delivery import begin, intent
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.settings import SmtpSettings

BOX = "missed-calls@example.com"


def attempts(sink, tmp_path, count=1, secret="geheim", expires_in=3600):
    (tmp_path / "secret").write_text(secret)

    async def main():
        async with sink, Authority(expires_in) as authority:
            settings = SmtpSettings(
                host="127.0.0.1",
                port=sink.port,
                security="none",
                helo_name="localhost",
                sender=BOX,
                auth="oauth",
                username=BOX,
                password_file=str(tmp_path / "secret"),
                client_id="app-1",
                token_url=authority.url,
                scope="https://outlook.office365.com/.default",
                timeout_s=5.0,
            )
            channel = SmtpChannel(settings, make_notices())
            delivery = begin(intent(make_fact(), "smtp", "bob@example.com", NOW), NOW)
            content = channel.render(delivery)
            reports = []
            for _ in range(count):
                reports.append(await channel.send(delivery, content))
                await channel.close()  # another connection, another login
            return reports, authority.asked

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("mechanism", "shown"),
    [
        ("OAUTHBEARER", f"n,a={BOX},\x01auth=Bearer token-1\x01\x01"),  # RFC 7628 s.4.1
        ("XOAUTH2", f"user={BOX}\x01auth=Bearer token-1\x01\x01"),
    ],
)
def test_a_token_is_asked_for_once_and_shown_as_the_relay_wants_it(tmp_path, mechanism, shown):
    sink = TokenSink(mechanism)

    reports, asked = attempts(sink, tmp_path, count=2)

    assert [type(report) for report in reports] == [Sent, Sent]
    assert sink.shown == [shown, shown]
    assert asked == [
        {
            "grant_type": "client_credentials",
            "client_id": "app-1",
            "client_secret": "geheim",
            "scope": "https://outlook.office365.com/.default",
        }
    ]


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_a_token_that_is_refused_is_asked_for_anew(tmp_path, mechanism):
    reports, asked = attempts(TokenSink(mechanism, good="token-2"), tmp_path, count=2)

    assert reports[0] == Failed(Failure.CHANNEL_DOWN, "auth 535 5.7.8")
    assert isinstance(reports[1], Sent)
    assert len(asked) == 2


def test_a_token_about_to_end_is_renewed(tmp_path):
    _, asked = attempts(TokenSink("XOAUTH2"), tmp_path, count=2, expires_in=30)

    assert len(asked) == 2


def test_a_wrong_client_secret_is_a_channel_that_is_down_and_is_not_shown(tmp_path):
    reports, _ = attempts(TokenSink("XOAUTH2"), tmp_path, secret="falsch")

    assert reports == [Failed(Failure.CHANNEL_DOWN, "auth token 401")]


def test_a_relay_without_tokens_is_a_channel_that_is_down(tmp_path):
    reports, _ = attempts(SmtpSink(login=("a", "b")), tmp_path)

    assert reports == [Failed(Failure.CHANNEL_DOWN, "auth SMTPNotSupported")]
