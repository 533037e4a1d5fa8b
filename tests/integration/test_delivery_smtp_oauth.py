"""A relay that wants a token instead of a password, and the authority that gives it."""

import asyncio
import base64

import pytest
from aiohttp import web
from aiosmtpd.smtp import AuthResult
from support.notify import NOW, make_fact, make_notices
from support.smtp_sink import SmtpSink

from missedcall_notifier.channels.smtp import SmtpChannel
from missedcall_notifier.delivery import begin, intent
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.settings import SmtpSettings

BOX = "missed-calls@example.com"


class Authority:
    """Gives tokens `token-1`, `token-2` ... for one client secret."""

    def __init__(self, expires_in=3600):
        self.asked = []
        self.url = ""
        self._expires_in = expires_in

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/token", self._give)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/token"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _give(self, request):
        form = dict(await request.post())
        self.asked.append(form)
        if form["client_secret"] != "geheim":
            return web.json_response({"error": "invalid_client"}, status=401)
        token = f"token-{len(self.asked)}"
        return web.json_response({"access_token": token, "expires_in": self._expires_in})


class TokenSink(SmtpSink):
    """A relay that takes tokens, shown as `mechanism` wants it."""

    def __init__(self, mechanism, good="token-1"):
        super().__init__(login=("", ""))
        self.shown = []
        setattr(self, f"auth_{mechanism}", self._auth)
        self._good = good

    async def _auth(self, server, args):
        self.shown.append(base64.b64decode(args[1]).decode())
        if f"auth=Bearer {self._good}\x01" in self.shown[-1]:
            return AuthResult(success=True)
        await server.challenge_auth(b'{"status":"invalid_token"}')
        return AuthResult(success=False, handled=False)


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
