"""What the operator says about delivery; the table `[notify]` of the configuration, or the environment.

Rule 1: a channel is on when its target is given: `smtp.host`, `webhook.url`. Everything else has a default.
Rule 2: a secret is the name of a file, read again for every attempt, so that it can be changed under us.
Rule 3: types and ranges are in the fields; what depends on several fields is in `problems`, all at once.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct
from msgspec.structs import fields, replace

from missedcall_common.runtime import settings

from .retry import RetryPolicy
from .routing import is_mail_address

ENV_PREFIX = "MISSEDCALL_NOTIFY_"

Seconds = Annotated[float, Meta(gt=0, le=600, description="seconds, above 0, at most 600")]
Port = Annotated[int, Meta(ge=0, le=65535, description="a port, 1 to 65535, or 0 for the usual one")]
Concurrency = Annotated[int, Meta(ge=1, le=256, description="1 to 256")]


class SmtpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mail over one relay. Durations are seconds."""

    host: str = ""
    """The relay; empty: no mail is sent."""
    port: Port = 0
    """0: 587 with `starttls`, 465 with `tls`, 25 with `none`."""
    security: Literal["none", "starttls", "tls"] = "starttls"
    """`starttls` and `tls` are never given up for a relay that does not offer them (RFC 8314)."""
    ca_file: str = ""
    """PEM: who may have signed the relay's certificate; empty: the system's."""
    username: str = ""
    """Empty: no login."""
    password_file: str = ""
    """Holds the password, a line end after it is ignored."""
    helo_name: str = ""
    """Name in EHLO (RFC 5321 s.4.1.4); empty: this machine's."""
    timeout_s: Seconds = 60.0
    """For each answer of the relay. Less than a minute: relays that scan mails before they answer make
    uncertain deliveries. RFC 5321 s.4.5.3.2.6 allows 10 minutes after the last dot."""
    connections: Concurrency = 4
    """Mails on their way at once, each over a connection of its own. Relays allow 10 to 20 of one client."""

    sender: str = ""
    """Mail address in From and MAIL FROM: a service address of your own, never the caller's."""
    sender_name: str = "Missed calls"
    message_domain: str = ""
    """Right-hand side of Message-ID; empty: the sender's domain. Changing it makes repeats visible once."""

    recipients: dict[str, str] = {}
    """Callee's address of record -> mail address: "sip:bob@example.com" = "bob@example.com"."""
    pattern: str = ""
    """Mail address made of the callee's: `{user}@example.com`, `{user}@{host}`. `recipients` comes first."""
    hosts: tuple[str, ...] = ()
    """Hosts of callees for whom `pattern` holds; needed with `{host}`, since callees come from the wire."""
    always: tuple[str, ...] = ()
    """Mail addresses that are told of every missed call."""

    retry: RetryPolicy = RetryPolicy()

    @property
    def actual_port(self) -> int:
        """The port to connect to."""
        return self.port or {"none": 25, "starttls": 587, "tls": 465}[self.security]

    @property
    def actual_domain(self) -> str:
        """Right-hand side of Message-ID."""
        return self.message_domain or self.sender.rpartition("@")[2]


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One HTTP endpoint, Standard Webhooks 1.0. Durations are seconds."""

    url: str = ""
    """Empty: no webhook is called."""
    name: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}$", description="1 to 64 of a-z, 0-9 and -")] = (
        "default"
    )
    """What the endpoint is called in the journal. It is part of webhook-id: keep it when the URL changes."""
    secret_file: str = ""
    """One secret `whsec_<base64 of 24 to 64 bytes>` per line; all of them sign while one replaces another."""
    insecure_http: bool = False
    """Whether `http:` is allowed: call data crosses the network in clear."""
    ca_file: str = ""
    """PEM: who may have signed the endpoint's certificate; empty: the system's."""
    allow: tuple[str, ...] = ()
    """Networks that may be called although they are not public: `10.1.2.0/24`, `127.0.0.1`. What the URL's
    name resolves to is checked at every connection; link-local addresses are never called."""
    timeout_s: Seconds = 15.0
    """For one whole call. Standard Webhooks asks for 15 to 30 s."""
    connect_timeout_s: Seconds = 5.0
    concurrency: Concurrency = 8
    """Calls on their way at once."""

    retry: RetryPolicy = RetryPolicy(uncertain_attempts=1_000_000)
    """Uncertain calls are repeated until `max_age_s`: the receiver removes repeats by webhook-id."""


class NotifierSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about delivery."""

    smtp: SmtpSettings = SmtpSettings()
    webhook: WebhookSettings = WebhookSettings()
    time_zone: str = "UTC"
    """Of the times in mails: an IANA name such as Europe/Berlin."""
    max_waiting: Annotated[int, Meta(ge=1, le=10_000_000, description="1 to 10000000")] = 100_000
    """Open deliveries of a channel; beyond it, its facts stay where they are. Less: a long outage is held in
    the topic and may run into its retention. More: disk, about 1 kB each."""
    keep_days: Annotated[float, Meta(gt=0, le=3650, description="days, above 0, at most 3650")] = 7.0
    """How long the journal remembers what has ended. Less than Exchange's seven days of duplicate detection
    wins nothing; a retraction after it is not delivered. More: personal data is kept longer."""
    stop_s: Seconds = 10.0
    """How long a stop waits for deliveries on their way; what is left is uncertain at the next start."""


class Problem(NamedTuple):
    """A setting that cannot be."""

    key: str
    """Below `notify`: `smtp.sender`."""
    value: object
    right: str
    """What would be right: `expected ...`."""


def problems(notify: NotifierSettings) -> list[Problem]:
    """Return what is wrong with settings whose fields are right by themselves; reads no secrets."""
    found = []
    try:
        zone(notify)
    except (OSError, ValueError, LookupError):
        right = "expected the IANA name of a time zone: Europe/Berlin; is tzdata installed?"
        found.append(Problem("time_zone", notify.time_zone, right))
    if notify.smtp.host:
        found.extend(_smtp_problems(notify.smtp))
    if notify.webhook.url:
        found.extend(_webhook_problems(notify.webhook))
    return found


def zone(notify: NotifierSettings) -> tzinfo:
    """Return the time zone of the mails. `UTC` needs no time zone data on the machine.

    Raises:
        OSError, ValueError, LookupError: there is no such zone on this machine.
    """
    return UTC if notify.time_zone == "UTC" else ZoneInfo(notify.time_zone)


def near(notify: NotifierSettings, folder: Path) -> NotifierSettings:
    """Return the settings with the paths of files relative to `folder`."""

    def moved(part: SmtpSettings | WebhookSettings) -> Any:
        named = {f.name: getattr(part, f.name) for f in fields(part) if f.name.endswith("_file")}
        return replace(part, **{name: str(folder / path) for name, path in named.items() if path})

    return replace(notify, smtp=moved(notify.smtp), webhook=moved(notify.webhook))


def from_environment(environ: Mapping[str, str]) -> NotifierSettings:
    """Read `MISSEDCALL_NOTIFY_SMTP_HOST`, `MISSEDCALL_NOTIFY_SMTP_RETRY_FIRST_S` and so on.

    Raises:
        SettingsError: one line per variable that cannot be used.
    """
    found = settings.from_environment(NotifierSettings, environ, ENV_PREFIX)
    if wrong := problems(found):
        named = ((ENV_PREFIX + key.replace(".", "_").upper(), value, right) for key, value, right in wrong)
        raise settings.SettingsError([f"{name} = {value!r}: {right}" for name, value, right in named])
    return found


def _smtp_problems(smtp: SmtpSettings) -> Iterator[Problem]:
    if not is_mail_address(smtp.sender):
        yield Problem(
            "smtp.sender", smtp.sender, "expected a mail address of yours: missed-calls@example.com"
        )
    if not smtp.sender_name.isprintable():
        yield Problem("smtp.sender_name", smtp.sender_name, "expected printable characters in one line")
    if smtp.message_domain and not is_mail_address(f"x@{smtp.message_domain}"):
        yield Problem("smtp.message_domain", smtp.message_domain, "expected a domain of yours: example.com")
    if bool(smtp.username) != bool(smtp.password_file):
        yield Problem(
            "smtp.password_file", smtp.password_file, "expected together with smtp.username, or neither"
        )
    if smtp.username and smtp.security == "none" and not _is_loopback(smtp.host):
        yield Problem(
            "smtp.security", "none", "expected starttls or tls: a login would cross the network in clear"
        )
    if not (smtp.recipients or smtp.pattern or smtp.always):
        yield Problem("smtp.recipients", {}, "expected recipients, pattern or always: nobody would be told")
    for callee, address in smtp.recipients.items():
        if not callee.startswith(("sip:", "sips:", "tel:")):
            right = 'expected an address of record as the key: "sip:bob@example.com" = "bob@example.com"'
            yield Problem("smtp.recipients", callee, right)
        if not is_mail_address(address):
            yield Problem(f'smtp.recipients."{callee}"', address, "expected a mail address")
    for address in smtp.always:
        if not is_mail_address(address):
            yield Problem("smtp.always", address, "expected a mail address")
    if smtp.pattern and not is_mail_address(smtp.pattern.replace("{user}", "x").replace("{host}", "x")):
        right = "expected a mail address with {user} and perhaps {host}: {user}@example.com"
        yield Problem("smtp.pattern", smtp.pattern, right)
    if "{host}" in smtp.pattern and not smtp.hosts:
        right = "expected the hosts of your users: anybody on the wire could name another"
        yield Problem("smtp.hosts", [], right)


def _webhook_problems(webhook: WebhookSettings) -> Iterator[Problem]:
    try:
        parts = urlsplit(webhook.url)
        is_url = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_url = False
    if not is_url or parts.scheme not in {"http", "https"}:
        yield Problem("webhook.url", webhook.url, "expected https://HOST/PATH")
    elif parts.scheme == "http" and not webhook.insecure_http:
        yield Problem("webhook.url", webhook.url, "expected https:, or webhook.insecure_http = true")
    elif parts.username or parts.password:
        right = "expected no user and password in the URL; receivers verify the signature"
        yield Problem("webhook.url", f"{parts.scheme}://...@{parts.hostname}", right)
    if not webhook.secret_file:
        yield Problem("webhook.secret_file", "", "expected a file with a line whsec_...: receivers verify it")
    for network in webhook.allow:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            right = "expected an address or a network without host bits: 10.1.2.0/24"
            yield Problem("webhook.allow", network, right)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
