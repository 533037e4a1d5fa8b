"""Tokens of Entra ID for an application of its own (OAuth 2.0 client credentials), by way of msal.

Rule 1: msal keeps tokens and renews them in time; it is asked again every LOOK_AGAIN_S.
Rule 2: the credential is read from its file whenever msal is asked: what changed there holds from then on.
Rule 3: msal blocks: it runs in a thread, one call at a time, over our own connection: no proxies or cookies of
        the machine, no redirects, only the authorities that the channel believes, and no more than TOKEN_LIMIT.
"""

import asyncio
import json
import ssl
import time
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msal

from missedcall_common.runtime.settings import read_secret
from missedcall_notifier.settings import GraphSettings

from .threads import in_daemon

LOOK_AGAIN_S = 60.0
"""How long a token is used before msal is asked for it again. Less: a thread for every item. More: msal renews
five minutes ahead, so ten times as much would still be in time; but a new credential holds only from then on."""

TOKEN_LIMIT = 1 << 18
"""Bytes of an answer. A token with many roles has some kB."""


class TokenError(Exception):
    """There is no token; the text names the error and Entra's number, and nothing that is secret."""


class Tokens:
    """One application's tokens."""

    def __init__(self, settings: GraphSettings) -> None:
        """Name the application. Nothing is asked yet."""
        self._settings = settings
        self._one_at_a_time = asyncio.Lock()
        self._app: Any = None
        self._credential: object = None
        self._token = ""
        self._good_until = 0.0
        self.asked = 0
        """How often msal was asked."""

    async def get(self, trust: ssl.SSLContext) -> str:
        """Return a token.

        Raises:
            TokenError: Entra gives none, or cannot be reached.
            OSError, ValueError: the credential cannot be read.
        """
        async with self._one_at_a_time:
            if not self._token or time.monotonic() >= self._good_until:
                self._token = await in_daemon("notify-graph-token", lambda: self._ask(trust))
                self._good_until = time.monotonic() + LOOK_AGAIN_S
            return self._token

    async def refused(self, token: str) -> None:
        """Forget a token that Graph does not believe (any more)."""
        async with self._one_at_a_time:
            if token == self._token:
                self._token = ""
                if self._app is not None:
                    self._app.remove_tokens_for_client()

    def forget(self) -> None:
        """Forget everything: the channel was down."""
        self._token, self._app = "", None

    def _ask(self, trust: ssl.SSLContext) -> str:
        settings = self._settings
        self.asked += 1
        credential = _credential(settings)
        try:
            app = self._app
            if app is None or credential != self._credential:
                app = self._app = msal.ConfidentialClientApplication(
                    settings.client_id,
                    authority=f"{settings.authority.rstrip('/')}/{settings.tenant}",
                    client_credential=credential,
                    http_client=_Http(trust, settings.timeout_s),
                    instance_discovery=False,  # the operator has said where it is
                )
                self._credential = credential
            answer = app.acquire_token_for_client([f"{settings.endpoint.rstrip('/')}/.default"])
        except Exception as error:
            # whatever the library or those below it raise; a key that cannot be read is among it
            self._app = None
            raise TokenError(_kind(error)) from error
        token = answer.get("access_token")
        if isinstance(token, str) and token.isascii() and token.isprintable() and token:
            return token
        raise TokenError(_refusal(answer))


def _credential(settings: GraphSettings) -> Any:
    if settings.secret_file:
        return read_secret(Path(settings.secret_file), "graph.secret_file")
    pem = read_secret(Path(settings.certificate_file), "graph.certificate_file")
    return {"private_key": pem, "public_certificate": pem}


def _refusal(answer: dict[str, Any]) -> str:
    """Return `invalid_client 7000215`: the error and Entra's number for it (AADSTS...)."""
    error, numbers = answer.get("error"), answer.get("error_codes")
    words = [error if isinstance(error, str) and error.isidentifier() and len(error) <= 64 else "no token"]
    if isinstance(numbers, list) and numbers and isinstance(numbers[0], int):
        words.append(str(numbers[0])[:12])
    return " ".join(words)


def _kind(error: BaseException | None) -> str:
    """Return `certificate`, or the class of the error at the bottom."""
    name = type(error).__name__
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return "certificate"
        name = type(error).__name__
        reason = getattr(error, "reason", None)
        error = error.__cause__ or (reason if isinstance(reason, BaseException) else None)
    return name


class _Answer:
    """What msal reads of an answer."""

    def __init__(self, status_code: int, text: str, headers: dict[str, str]) -> None:
        self.status_code = status_code
        self.text = text
        self.headers = headers

    def raise_for_status(self) -> None:
        """Raise if the status says that it failed."""
        if self.status_code >= 400:
            raise HTTPException(f"status {self.status_code}")


class _Http:
    """What msal asks with."""

    def __init__(self, trust: ssl.SSLContext, timeout_s: float) -> None:
        # with a single handler: no proxy, no cookie, no redirect; a status is no error
        self._opener = urllib.request.OpenerDirector()
        self._opener.add_handler(urllib.request.HTTPSHandler(context=trust))
        self._timeout_s = timeout_s

    def get(
        self,
        url: str,
        *,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        **_: Any,
    ) -> _Answer:
        return self._ask(url, params, headers, None)

    def post(
        self,
        url: str,
        *,
        params: dict[str, str] | None = None,
        data: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        **_: Any,
    ) -> _Answer:
        return self._ask(url, params, headers, urlencode(data or {}).encode())

    def close(self) -> None:
        """Do nothing: no connection outlives its request."""

    def _ask(
        self, url: str, params: dict[str, str] | None, headers: dict[str, str] | None, body: bytes | None
    ) -> _Answer:
        deadline = time.monotonic() + self._timeout_s
        url = f"{url}?{urlencode(params)}" if params else url
        request = urllib.request.Request(url, body, headers or {})  # noqa: S310 only https: has a handler
        answer = self._opener.open(request, timeout=self._timeout_s)
        if answer is None:
            raise HTTPException("not https")
        with answer:
            text = _read(answer, deadline).decode("utf-8", "replace")
        try:
            json.loads(text)
        except ValueError:  # msal would write all of it into the log
            raise HTTPException(f"status {answer.status}, no JSON") from None
        return _Answer(answer.status, text, dict(answer.headers.items()))


def _read(answer: HTTPResponse, deadline: float) -> bytes:
    body = b""
    while chunk := answer.read1(65536):
        body += chunk
        if len(body) > TOKEN_LIMIT:
            raise HTTPException("longer than any token")
        if time.monotonic() > deadline:
            raise TimeoutError
    return body
