"""Who asks: Basic, Bearer, and NTLM with a real challenge and response."""

import base64
import binascii
import os
import secrets
import struct
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

import spnego
from aiohttp import web
from spnego.channel_bindings import GssChannelBindings


class Authenticator:
    """The schemes that a server offers, and the accounts that it knows.

    NTLM authenticates a connection, not a request (MS-NTHT): its state hangs on the transport.
    """

    def __init__(self, accounts: Mapping[str, str], schemes: tuple[str, ...]) -> None:
        """Name the accounts, `DOMAIN\\user` and password, and the schemes: basic, ntlm, bearer."""
        self.accounts = dict(accounts)
        self.schemes = schemes
        self.certificate_hash = b""
        """If set, NTLM has to name it: the server's certificate (RFC 5929 s.4), "Extended Protection" in IIS."""
        self.tokens: set[str] = set()
        self.lifetimes_s: deque[int] = deque()
        """Of the next tokens; then an hour."""
        self.token_requests = 0
        self.token_status = 200
        self._contexts: WeakKeyDictionary[object, spnego.ContextProxy] = WeakKeyDictionary()
        self._known: WeakKeyDictionary[object, str] = WeakKeyDictionary()

    def forget(self) -> None:
        """Let every connection log on anew."""
        self._contexts.clear()
        self._known.clear()

    def issue(self, client_id: str, secret: str, grant: str) -> web.Response:
        """Answer a token request (RFC 6749 s.4.4)."""
        self.token_requests += 1
        if self.token_status != 200:
            return web.Response(status=self.token_status)
        if grant != "client_credentials" or self.accounts.get(client_id) != secret:
            return web.json_response({"error": "invalid_client"}, status=401)
        token = secrets.token_urlsafe(16)
        lifetime_s = self.lifetimes_s.popleft() if self.lifetimes_s else 3600
        self.tokens.add(token)
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": lifetime_s})

    def who(self, request: web.Request) -> str | web.Response:
        """Return the account that asks, or what to answer instead."""
        if not self.schemes:
            return next(iter(self.accounts), "")
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        scheme = scheme.lower()
        if scheme == "negotiate":
            scheme = "ntlm"
        if scheme not in self.schemes:
            known = self._known.get(request.transport) if "ntlm" in self.schemes else None
            return known or self._refuse()
        try:
            return getattr(self, f"_{scheme}")(request, credentials)
        except (ValueError, binascii.Error):
            return self._refuse()

    def _basic(self, _request: web.Request, credentials: str) -> str | web.Response:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        return user if self.accounts.get(user) == password else self._refuse()

    def _bearer(self, _request: web.Request, credentials: str) -> str | web.Response:
        return next(iter(self.accounts)) if credentials in self.tokens else self._refuse()

    def _ntlm(self, request: web.Request, credentials: str) -> str | web.Response:
        token = base64.b64decode(credentials, validate=True)
        transport = request.transport
        with self._user_file():
            context = self._contexts.get(transport)
            if context is None or token[8:9] == b"\x01":  # MS-NLMP 2.2.1.1: NEGOTIATE_MESSAGE begins anew
                context = self._contexts[transport] = spnego.server(
                    protocol="ntlm", channel_bindings=self._bound()
                )
                self._known.pop(transport, None)
            try:
                answer = context.step(token)
            except (spnego.exceptions.SpnegoError, struct.error):  # refused, or no NTLM message at all
                self._contexts.pop(transport, None)
                return self._refuse()
        if not context.complete:
            challenge = base64.b64encode(answer or b"").decode()
            return web.Response(status=401, headers={"WWW-Authenticate": f"NTLM {challenge}"})
        user = context.client_principal or ""
        self._known[transport] = user
        return user

    def _bound(self) -> GssChannelBindings | None:
        if not self.certificate_hash:
            return None
        return GssChannelBindings(application_data=b"tls-server-end-point:" + self.certificate_hash)

    def _refuse(self) -> web.Response:
        response = web.Response(status=401)
        for scheme, challenge in (("ntlm", "NTLM"), ("basic", 'Basic realm="ews"'), ("bearer", "Bearer")):
            if scheme in self.schemes:
                response.headers.add("WWW-Authenticate", challenge)
        return response

    @contextmanager
    def _user_file(self) -> Iterator[None]:
        """Show pyspnego the accounts in the file that it wants, for no longer than it looks."""
        lines = [
            f"{user.replace(chr(92), ':')}:{password}\n"
            for user, password in self.accounts.items()
            if "\\" in user
        ]
        handle, name = tempfile.mkstemp()
        with os.fdopen(handle, "w") as file:
            file.writelines(lines)
        before = os.environ.get("NTLM_USER_FILE")
        os.environ["NTLM_USER_FILE"] = name
        try:
            yield
        finally:
            Path(name).unlink()
            if before is None:
                del os.environ["NTLM_USER_FILE"]
            else:
                os.environ["NTLM_USER_FILE"] = before
