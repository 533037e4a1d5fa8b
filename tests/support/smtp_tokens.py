"""A relay that wants a token instead of a password, and the authority that gives it, on loopback."""

import base64

from aiohttp import web
from aiosmtpd.smtp import AuthResult
from support.smtp_sink import SmtpSink


class Authority:
    """Gives tokens `token-1`, `token-2` ... for one client secret."""

    def __init__(self, expires_in=3600, secret="geheim"):
        self.asked = []
        self.url = ""
        self._expires_in = expires_in
        self._secret = secret

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
        if form["client_secret"] != self._secret:
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
