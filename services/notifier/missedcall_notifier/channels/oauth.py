"""Tokens for an application of its own, by OAuth 2.0 client credentials (RFC 6749 s.4.4), and how SMTP shows them.

Rule 1: a token is asked for when there is none that holds for another MARGIN_S, and after it was refused.
Rule 2: the client secret is read from its file whenever a token is asked for.
Rule 3: no redirects, no proxies or cookies of the machine, and no more than TOKEN_LIMIT of the answer.
"""

import asyncio
import base64
import ssl
from pathlib import Path

import aiohttp
import msgspec
from msgspec import Struct

from missedcall_common.runtime.settings import read_secret

MARGIN_S = 60.0
"""A token is renewed this long before it ends. Less: it ends on its way. More: short ones are asked for in vain."""

TOKEN_LIMIT = 1 << 18
"""Bytes of an answer. A token with many roles has some kB."""


class TokenError(ValueError):
    """There is no token; the text names the status, and nothing that is secret."""


class _Answer(Struct):
    access_token: str
    expires_in: float = 0.0


class ClientCredentials:
    """One application's tokens from one authority."""

    def __init__(self, url: str, client_id: str, secret_file: str, scope: str, timeout_s: float) -> None:
        """Name the application. Nothing is asked yet."""
        self._url = url
        self._client_id = client_id
        self._secret_file = secret_file
        self._scope = scope
        self._timeout_s = timeout_s
        self._one_at_a_time = asyncio.Lock()
        self._token = ""
        self._good_until = 0.0

    async def get(self, trust: ssl.SSLContext) -> str:
        """Return a token.

        Raises:
            TokenError: the authority gives none.
            OSError, aiohttp.ClientError: it cannot be reached.
            SettingsError: the secret cannot be read.
        """
        async with self._one_at_a_time:
            now = asyncio.get_running_loop().time()
            if not self._token or now >= self._good_until:
                answer = await self._ask(trust)
                self._token = answer.access_token
                self._good_until = now + answer.expires_in - MARGIN_S
            return self._token

    def refused(self) -> None:
        """Forget the token: it was not accepted."""
        self._token = ""

    async def _ask(self, trust: ssl.SSLContext) -> _Answer:
        secret = await asyncio.to_thread(read_secret, Path(self._secret_file), "smtp.password_file")
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": secret,
            "scope": self._scope,
        }
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            ) as session,
            session.post(self._url, data=form, ssl=trust, allow_redirects=False) as answer,
        ):
            raw = await answer.content.read(TOKEN_LIMIT)
            if answer.status != 200:
                raise TokenError(f"token {answer.status}")
        try:
            return msgspec.json.decode(raw, type=_Answer)
        except msgspec.DecodeError as error:
            raise TokenError("token answer") from error


def oauthbearer(username: str, token: str) -> bytes:
    """Return the argument of `AUTH OAUTHBEARER` (RFC 7628 s.3.1)."""
    name = username.replace("=", "=3D").replace(",", "=2C")  # RFC 5801 s.4
    return base64.b64encode(f"n,a={name},\x01auth=Bearer {token}\x01\x01".encode())


def xoauth2(username: str, token: str) -> bytes:
    """Return the argument of `AUTH XOAUTH2`, which Exchange Online and Gmail take."""
    return base64.b64encode(f"user={username}\x01auth=Bearer {token}\x01\x01".encode())
