"""One HTTP endpoint, called as Standard Webhooks 1.0 says.

Rule 1: 2xx is success and nothing else is. A redirect is not followed: it would lead past the guard and the
        operator's intent.
Rule 2: everything else is tried again: a receiver that answers 404 for an hour has lost nothing. After a 410
        nothing is called any more until the operator says so; what waits is kept.
Rule 3: whether the request had left when the connection broke tells uncertain from safe.
Rule 4: of the answer nothing is believed but the status and Retry-After, and of that no more than an hour.
"""

import hashlib
import ipaddress
import uuid
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from missedcall_notifier.clock import Clock
from missedcall_notifier.delivery import Delivery
from missedcall_notifier.failure import Failed, Failure, Report, Sent
from missedcall_notifier.notices import Notices
from missedcall_notifier.settings import WebhookSettings

from .egress import BlockedAddressError, guard
from .event import CONTENT_TYPES, body, ping_body
from .http import Progress, session
from .secret_file import SecretFile
from .signature import read_secrets, sign
from .trust import Trust

ANSWER_BYTES = 4096
"""Read of an answer, and thrown away. Less: a polite receiver sees its answer reset. More: a stranger decides
how long we listen."""

# fmt: off
STATUSES: tuple[tuple[range, Failure], ...] = (
    (range(300, 400), Failure.CHANNEL_DOWN),         # the URL is wrong: for every call
    (range(401, 402), Failure.CHANNEL_DOWN),
    (range(403, 404), Failure.CHANNEL_DOWN),
    (range(407, 408), Failure.CHANNEL_DOWN),
    (range(410, 411), Failure.GONE),                 # Standard Webhooks: call no more
    (range(429, 430), Failure.THROTTLED),
    (range(502, 503), Failure.THROTTLED),            # Standard Webhooks: 502 and 504 ask for fewer calls
    (range(504, 505), Failure.THROTTLED),
    (range(100, 600), Failure.TRANSIENT),
)
# fmt: on
"""Statuses that are no success; the first row that matches wins. A status beyond 599 is transient too."""


def classify(status: int) -> Failure | None:
    """Return what a status means; None is success."""
    if 200 <= status < 300:
        return None
    return next((failure for statuses, failure in STATUSES if status in statuses), Failure.TRANSIENT)


def gone_mark(settings: WebhookSettings) -> str:
    """Return the detail of a 410 from this endpoint: another URL, or another `reopened`, is another endpoint."""
    named = f"{settings.url}\n{settings.reopened}".encode()
    return f"410 {hashlib.sha256(named).hexdigest()[:16]}"


def retry_after_s(value: str, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110 s.10.2.3); None if it says nothing."""
    value = value.strip()[:64]
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


class WebhookChannel:
    """Calls one endpoint."""

    def __init__(
        self, settings: WebhookSettings, clock: Clock, notices: Notices, *, name: str = "webhook"
    ) -> None:
        self.name = name
        self.gone = gone_mark(settings)
        self._settings = settings
        self._clock = clock
        self._notices = notices
        self._trust = Trust(settings.ca_file)
        self._secret = SecretFile(settings.secret_file, "webhook.secret_file")
        self._session: aiohttp.ClientSession | None = None

    def render(self, delivery: Delivery) -> bytes:
        """Return the body in the endpoint's format.

        Raises:
            UnrenderableError: the fact cannot be put into it.
        """
        return body(delivery, self._settings.format, self._notices)

    async def send(self, delivery: Delivery, content: bytes) -> Report:
        """Make one call."""
        report = await self._attempt(delivery.delivery_id, content)
        self._trust.heard(report)
        self._secret.heard(report)
        return report

    async def ping(self) -> Report:
        """Make one call with a test event, signed as any other, under an id that never was; for `check`."""
        test_id = str(uuid.uuid4())
        at = datetime.fromtimestamp(self._clock.now(), UTC)
        return await self._attempt(test_id, ping_body(self._settings.format, test_id, at))

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _attempt(self, webhook_id: str, content: bytes) -> Report:
        now = self._clock.now()
        try:
            secrets = read_secrets(await self._secret.read())
            trust = await self._trust.context()
        except (OSError, ValueError) as error:
            return Failed(Failure.CHANNEL_DOWN, f"settings {type(error).__name__}")
        headers = {"Content-Type": CONTENT_TYPES[self._settings.format]} | sign(
            secrets, webhook_id, int(now), content
        )
        progress = Progress()
        try:
            async with self._open().post(
                self._settings.url,
                ssl=trust,
                data=content,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as answer:
                status, asked = answer.status, answer.headers.get("Retry-After", "")
                await _swallow(answer)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _without_answer(error, sent=progress.sent)
        failure = classify(status)
        if failure is None:
            return Sent(ref=str(status))
        if failure is Failure.GONE:
            return Failed(failure, self.gone)
        return Failed(failure, str(status), retry_after_s(asked, now) if asked else None)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            self._session = session(
                aiohttp.TCPConnector(
                    socket_factory=guard([ipaddress.ip_network(network) for network in settings.allow]),
                    limit=settings.concurrency,
                    force_close=True,  # one that idles may be closed under a request: uncertain for nothing
                ),
                aiohttp.ClientTimeout(total=settings.timeout_s, sock_connect=settings.connect_timeout_s),
            )
        return self._session


async def _swallow(answer: aiohttp.ClientResponse) -> None:
    """Read a little of the body. The status has decided: what goes wrong from here on changes nothing."""
    try:
        await answer.content.read(ANSWER_BYTES)
    except (aiohttp.ClientError, OSError):
        return


def _without_answer(error: Exception, *, sent: bool) -> Failed:
    """Return what a call without an answer means. The text of the error is not kept: it names the endpoint."""
    if sent:
        return Failed(Failure.UNCERTAIN, type(error).__name__)
    blocked = isinstance(error, BlockedAddressError) or isinstance(
        getattr(error, "os_error", None), BlockedAddressError
    )
    return Failed(Failure.CHANNEL_DOWN, "blocked address" if blocked else type(error).__name__)
