"""exchangelib's way to the wire, held to our rules.

Rule 1: a call is one request (NTLM's handshake aside) and is never repeated. The library would: after a lost
        connection it sends a CreateItem again, and the user sees two items. So its loops are cut off.
Rule 2: what came of a request is noted at the socket, below the library, which translates some answers of
        proxies and lost connections into codes that Exchange never sent.
Rule 3: nothing is guessed: neither the version nor how to log on, both of which the library would try out.
Rule 4: no environment variable, no .netrc, no cookie and no redirect changes where a request goes.
"""

import ssl
import threading
import time
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests
from exchangelib import (
    BASIC,
    NTLM,
    OAUTH2,
    Build,
    Configuration,
    Credentials,
    FailFast,
    OAuth2Credentials,
    Version,
)
from exchangelib.protocol import Protocol
from exchangelib.services import CreateItem, DeleteItem, FindItem, UpdateItem
from requests.adapters import HTTPAdapter
from requests_oauthlib import OAuth2Session
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from missedcall_notifier.settings import EwsSettings

from .exchange_answers import Answer, read_answer

VERSION = Version(Build(15, 1), "Exchange2016")
"""RequestServerVersion, of the official schema. Exchange Server 2016, 2019 and SE take it."""

ANSWER_LIMIT = 1 << 20
"""Bytes read of an answer; ours have some hundred. More is no answer to us."""

IDLE_S = 10.0
"""Seconds after which a connection that idled is not used again. Less: NTLM shakes hands for nothing. More: the
server, or a firewall without a word, has closed it under the next request, which is uncertain for nothing."""

USER_AGENT = "missedcall"


def open_protocol(settings: EwsSettings, secret: str, trust: ssl.SSLContext) -> Any:
    """Return the library's way into one Exchange organisation; nothing is opened yet.

    Args:
        settings: where, and who we are.
        secret: the account's password or client secret.
        trust: whose certificates are believed.
    """
    protocol = type.__call__(  # past a cache that would keep another's policy, trust and secret
        _Protocol,
        config=Configuration(
            service_endpoint=settings.url,
            credentials=_credentials(settings, secret),
            auth_type={"ntlm": NTLM, "basic": BASIC, "oauth": OAUTH2}[settings.auth],
            version=VERSION,
            retry_policy=FailFast(),
            max_connections=settings.connections,
        ),
    )
    protocol.trust = trust
    protocol.TIMEOUT = settings.timeout_s
    return protocol


class _Once:
    """What the four services have in common: ask once, with the version that we were told to use."""

    def _get_elements(self, payload: Any) -> Iterator[Any]:
        yield from self._response_generator(payload=payload)  # type: ignore[attr-defined]

    def _api_versions_to_try(self) -> tuple[str, ...]:
        return (VERSION.api_version,)

    def _update_api_version(self, api_version: str, header: object) -> None:
        """Believe nobody who says that another version would be better."""


class CreateItemOnce(_Once, CreateItem):
    """CreateItem, once."""


class FindItemOnce(_Once, FindItem):
    """FindItem, once."""


class UpdateItemOnce(_Once, UpdateItem):
    """UpdateItem, once."""


class DeleteItemOnce(_Once, DeleteItem):
    """DeleteItem, once."""


def _credentials(settings: EwsSettings, secret: str) -> Any:
    if settings.auth != "oauth":
        return Credentials(settings.username, secret)
    return _ClientCredentials(
        client_id=settings.username,
        client_secret=secret,
        token_url=settings.token_url,
        scope=settings.actual_scope,
    )


class _ClientCredentials(OAuth2Credentials):
    """RFC 6749 s.4.4, from a token endpoint of the operator's."""

    def __init__(self, *, token_url: str, scope: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._token_url = token_url
        self._scope = scope

    @property
    def token_url(self) -> str:
        return self._token_url

    @property
    def scope(self) -> list[str]:
        return [self._scope]

    def session_params(self) -> dict[str, Any]:
        """Leave out refresh tokens: this grant has none, and asking for one fails."""
        return {"token": self.access_token}


class _Protocol(Protocol):
    trust: ssl.SSLContext
    USERAGENT = USER_AGENT

    def raw_session(
        self,
        prefix: str,  # noqa: ARG002 the same adapter serves all
        oauth2_client: Any = None,
        oauth2_session_params: dict[str, Any] | None = None,
        oauth2_token_endpoint: str | None = None,
    ) -> requests.Session:
        """Return a session that reaches its endpoint and heeds nothing of the machine's."""
        session: requests.Session
        if oauth2_client:
            session = OAuth2Session(client=oauth2_client, **(oauth2_session_params or {}))
        else:
            session = requests.Session()
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.headers.update(
            {
                "Content-Type": "text/xml; charset=utf-8",
                "Accept-Encoding": "identity",
                "User-Agent": USER_AGENT,
            }
        )
        adapter = _Adapter(self.trust, oauth2_token_endpoint)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def get_session(self) -> Any:
        """Return a session whose connection has not idled for long."""
        session = super().get_session()
        if time.monotonic() - getattr(session, "used_at", 0.0) > IDLE_S:
            session.close()  # its connection; the next request opens another
        return session

    def release_session(self, session: Any) -> None:
        """Take a session back."""
        session.used_at = time.monotonic()
        super().release_session(session)

    def retire_session(self, session: Any) -> None:
        """Close a session and let the next request make one.

        The library makes one at once; if that fails (no token), its place is lost for ever, and when all are
        lost every thread waits for ever.
        """
        self.close_session(session)
        with self._session_pool_lock:
            self._session_pool_size -= 1


class Attempt(threading.local):
    """How far this thread's request has come."""

    def __init__(self) -> None:
        self.begin(0.0)

    def begin(self, timeout_s: float) -> Self:
        """Note that nothing has happened yet."""
        self.deadline = time.monotonic() + timeout_s
        self.begun = False
        """Whether anything was handed to the socket, be it for a token."""
        self.asked = False
        """Whether the last of it was for Exchange. Whatever is no request for a token is."""
        self.answer = Answer()
        self.kind = ""
        """Class of the error that ended it at the socket."""
        return self

    def left_s(self) -> float:
        """Return the seconds left.

        Raises:
            requests.Timeout: none are.
        """
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise requests.Timeout
        return left_s


ATTEMPT: Final = Attempt()


class _Noting:
    """A connection that notes when the first byte leaves."""

    sock: Any

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        if ATTEMPT.asked:
            ATTEMPT.answer = Answer(sent=True)
        super().send(data)  # type: ignore[misc]


class _HttpConnection(_Noting, HTTPConnection):
    pass


class _HttpsConnection(_Noting, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _Adapter(HTTPAdapter):
    """One connection, checked against one trust, and a note of what came of the request."""

    def __init__(self, trust: ssl.SSLContext, token_url: str | None) -> None:
        self._trust = trust
        self._token_url = requests.Request("POST", token_url).prepare().url if token_url else ""
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def build_connection_pool_key_attributes(
        self,
        request: Any,
        verify: Any,  # noqa: ARG002 the trust is ours
        cert: Any = None,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """Return our trust instead of the library's own list of authorities."""
        parts = urlsplit(request.url)
        host = {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}
        return host, {"ssl_context": self._trust} if parts.scheme == "https" else {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Add no authorities to ours."""

    def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
        """Send one request and note what comes of it, unless it is for a token."""
        ATTEMPT.begun = True
        ATTEMPT.asked = request.url != self._token_url
        ATTEMPT.answer = Answer()
        try:
            left_s = ATTEMPT.left_s()
            timeout: Any = Timeout(total=left_s)  # connecting included; its types know no total
            response = super().send(request, stream=True, timeout=timeout, verify=True)
            if response.status_code == 401 and "Authorization" not in request.headers:
                _note(response, b"")  # unread: NTLM takes the server's certificate from its socket
                return response
            body = b"".join(_read(response))
        except requests.RequestException as error:
            ATTEMPT.kind = "certificate" if _is_certificate(error) else type(error).__name__
            raise
        response._content = body  # noqa: SLF001 as `requests` itself does when it has read it all
        response._content_consumed = True  # noqa: SLF001
        _note(response, body)
        return response


def _is_certificate(error: BaseException | None) -> bool:
    """Whether a certificate that we do not believe is at the bottom of an error."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _note(response: requests.Response, body: bytes) -> None:
    if ATTEMPT.asked:
        asked = response.headers.get("Retry-After", "")
        retry_after_s = float(asked) if asked.isascii() and asked.isdigit() and len(asked) <= 12 else None
        ATTEMPT.answer = read_answer(response.status_code, body, retry_after_s)


def _read(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it comes, up to ANSWER_LIMIT and the attempt's deadline."""
    left = ANSWER_LIMIT
    try:
        while chunk := response.raw.read1(65536):
            left -= len(chunk)
            if left < 0:
                raise requests.ConnectionError("longer than any answer to us")
            yield chunk
            ATTEMPT.left_s()
    except requests.RequestException:
        response.close()
        raise
    except (HTTPError, OSError) as error:
        response.close()
        raise requests.ConnectionError(type(error).__name__) from error
