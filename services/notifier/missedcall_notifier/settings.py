"""What the operator says about delivery; the table `[notify]` of the configuration, or the environment.

Rule 1: a channel is on when its target is given: `smtp.host`, `ews.url`, `graph.tenant`, `webhook.url`. All else
        has a default. Further webhooks stand in `webhooks`, by name.
Rule 2: a secret is the name of a file, read again for every attempt, so that it can be changed under us.
Rule 3: types and ranges are in the fields; what depends on several fields is in `problems`, all at once.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct
from msgspec.structs import fields, replace

from missedcall_common.runtime import settings

from .mail_address import is_mail_address
from .people import phone
from .people.checks import is_locale
from .reader import Defaults
from .retry import RetryPolicy

ENV_PREFIX = "MISSEDCALL_NOTIFY_"

_TENANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_NAME = "[a-z0-9-]{1,48}"

Seconds = Annotated[float, Meta(gt=0, le=600, description="seconds, above 0, at most 600")]
Port = Annotated[int, Meta(ge=0, le=65535, description="a port, 1 to 65535, or 0 for the usual one")]
Concurrency = Annotated[int, Meta(ge=1, le=256, description="1 to 256")]

ItemClass = Annotated[
    str,
    Meta(
        pattern=r"^IPM\.Note(\.[A-Za-z0-9_-]{1,32}){0,6}$",
        max_length=255,
        description="IPM.Note, or a class below it",
    ),
]


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
    auth: Literal["password", "oauth"] = "password"
    """`oauth`: the relay is shown a token (OAUTHBEARER, RFC 7628, or XOAUTH2) that an authority gives us."""
    username: str = ""
    """Empty: no login. With `oauth` the mailbox that sends."""
    password_file: str = ""
    """Holds the password, with `oauth` the client secret; a line end after it is ignored."""
    client_id: str = ""
    """With `oauth`: the application that is known to the authority."""
    token_url: str = ""
    """With `oauth`: where tokens are asked for (RFC 6749 s.4.4)."""
    scope: str = ""
    """With `oauth`: `https://outlook.office365.com/.default` for Exchange Online."""
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


class EwsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items in mailboxes of one Exchange organisation, over Exchange Web Services. Durations are seconds."""

    url: str = ""
    """`https://HOST/EWS/Exchange.asmx`; empty: nothing is written to Exchange. Not looked up by Autodiscover."""
    auth: Literal["ntlm", "basic", "oauth"] = "ntlm"
    """How the account logs on; never guessed, since a guess is a failed logon."""
    username: str = ""
    """The service account: `DOMAIN\\user` or `user@domain`; with `oauth` the client id."""
    password_file: str = ""
    """Holds the password, with `oauth` the client secret; a line end after it is ignored."""
    token_url: str = ""
    """With `oauth`: where tokens are asked for (RFC 6749 s.4.4)."""
    scope: str = ""
    """With `oauth`; empty: `https://HOST/.default`."""
    access: Literal["impersonation", "delegate"] = "impersonation"
    """`impersonation`: the account has the role ApplicationImpersonation, best with a management scope.
    `delegate`: it has rights to each mailbox's inbox."""
    insecure_http: bool = False
    """Whether `http:` is allowed: call data and, with `basic`, the password cross the network in clear."""
    ca_file: str = ""
    """PEM: who may have signed the server's certificate; empty: the system's."""
    timeout_s: Seconds = 30.0
    """For one whole request. Less: a server that is slow but works is asked twice. More: a dead one is noticed
    later."""
    connections: Concurrency = 4
    """Requests on their way at once, each a thread. Exchange's usual limit for one account is 27."""

    sender: str = ""
    """Mail address in From: one of yours that nobody reads. The name beside it is the caller's."""
    item_class: ItemClass = "IPM.Note.Microsoft.Missed.Voice"
    """What Outlook and phones take for a missed call (MS-OXOUM 2.2.2.1, MS-ASEMAIL 2.2.2.83)."""
    retracted: Literal["remove", "mark"] = "remove"
    """What becomes of the item of a call that was taken after all: `remove` moves it to Deleted Items, `mark`
    changes its text and marks it read."""

    recipients: dict[str, str] = {}
    """Callee's address of record -> primary mail address: "sip:bob@example.com" = "bob@example.com"."""
    pattern: str = ""
    """Mail address made of the callee's, as `smtp.pattern`. `recipients` comes first."""
    hosts: tuple[str, ...] = ()
    """Hosts of callees for whom `pattern` holds; needed with `{host}`, since callees come from the wire."""
    always: tuple[str, ...] = ()
    """Mailboxes that get every missed call."""

    retry: RetryPolicy = RetryPolicy(uncertain_attempts=1_000_000)
    """Uncertain attempts are repeated until `max_age_s`: before each the item is searched for."""

    @property
    def actual_scope(self) -> str:
        """The scope to ask a token for."""
        return self.scope or f"https://{urlsplit(self.url).hostname}/.default"


class GraphSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items in mailboxes of Exchange Online, over Microsoft Graph. Durations are seconds."""

    tenant: str = ""
    """The organisation in Entra ID: its id, or a domain of it; empty: nothing is written over Graph."""
    client_id: str = ""
    """Of the application that is registered there."""
    secret_file: str = ""
    """Holds a client secret; read again for every token."""
    certificate_file: str = ""
    """Instead of a secret: PEM with the private key (not encrypted) and the certificate that Entra ID knows."""
    authority: str = "https://login.microsoftonline.com"
    """Who gives tokens; national clouds have their own."""
    endpoint: str = "https://graph.microsoft.com"
    """Microsoft Graph; national clouds have their own."""
    ca_file: str = ""
    """PEM: who may have signed the certificates of both; empty: the system's."""
    timeout_s: Seconds = 30.0
    """For one whole request. Less: a slow answer is taken for none. More: a dead service is noticed later."""
    connections: Concurrency = 8
    """Requests on their way at once; to one mailbox never more than four, Graph's limit."""

    sender: str = ""
    """Mail address in From: one of yours that nobody reads. The name beside it is the caller's."""
    item_class: ItemClass = "IPM.Note.Microsoft.Missed.Voice"
    """As `ews.item_class`."""
    retracted: Literal["remove", "mark"] = "remove"
    """What becomes of the item of a call that was taken after all: `remove` moves it to Deleted Items, `mark`
    marks it read and puts it into `category`: Graph lets nobody change the text of a received message."""
    category: Annotated[str, Meta(min_length=1, max_length=255, description="1 to 255 characters")] = (
        "Not missed after all"
    )

    recipients: dict[str, str] = {}
    """Callee's address of record -> user principal name: "sip:bob@example.com" = "bob@example.com"."""
    pattern: str = ""
    """User principal name made of the callee's address, as `smtp.pattern`. `recipients` comes first."""
    hosts: tuple[str, ...] = ()
    """Hosts of callees for whom `pattern` holds; needed with `{host}`, since callees come from the wire."""
    always: tuple[str, ...] = ()
    """Mailboxes that get every missed call."""

    retry: RetryPolicy = RetryPolicy(uncertain_attempts=1_000_000)
    """Uncertain attempts are repeated until `max_age_s`: before each the item is searched for."""


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One HTTP endpoint, signed as Standard Webhooks 1.0 says. Durations are seconds."""

    url: str = ""
    """Empty: no webhook is called."""
    name: Annotated[str, Meta(pattern=f"^{_NAME}$", description="1 to 48 of a-z, 0-9 and -")] = "default"
    """What the endpoint is called in the journal: its channel is `webhook-NAME`, or `webhook` if this is `default`.
    It is part of webhook-id: keep it when the URL changes."""
    format: Literal["standard", "cloudevents", "adaptive-card"] = "standard"
    """What is posted: our event, a CloudEvent in structured mode, or a card for a Teams workflow."""
    secret_file: str = ""
    """One secret per line, `whsec_<base64 of 24 to 64 bytes>` (HMAC) or `whsk_<base64 of 32 bytes>` (Ed25519);
    all of them sign while one replaces another."""
    reopened: Annotated[str, Meta(max_length=100, description="at most 100 characters")] = ""
    """After the endpoint has answered 410 it is not called again, over restarts too, until its URL or this text
    is another: a date, a ticket. What waited is delivered then."""
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


class PeopleSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom the notices are for, and how they are put."""

    directory_file: str = ""
    """Users with their mailboxes, numbers, languages: CSV, or TOML if the name ends in `.toml`. Read again when it
    changes; a wrong one is refused, and what was read last holds."""
    preferences_file: str = ""
    """What users and groups have chosen: TOML, read as the directory is."""
    topics: bool = False
    """Whether users come from the topics `directory` and `preferences` in place of `directory_file`; needs Kafka.
    `preferences_file` still says what groups and everybody have chosen."""
    region: Annotated[str, Meta(pattern=r"^([A-Z]{2})?$", description="a country: DE")] = ""
    """Where telephone numbers without a country code are from, ISO 3166; empty: such numbers stay as they are."""
    language: str = "en-GB"
    """Of notices to readers for whom the directory names none, BCP 47: `de`, `en-US`, `de-AT`."""
    templates_folder: str = ""
    """Your own templates and texts; what is not in it is ours."""


class NotifierSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about delivery."""

    smtp: SmtpSettings = SmtpSettings()
    ews: EwsSettings = EwsSettings()
    graph: GraphSettings = GraphSettings()
    webhook: WebhookSettings = WebhookSettings()
    webhooks: dict[str, WebhookSettings] = {}
    """Further endpoints by name, each a channel of its own: `webhook-NAME`."""
    people: PeopleSettings = PeopleSettings()
    time_zone: str = "UTC"
    """Of the times in mails and items: an IANA name such as Europe/Berlin."""
    repeats_s: Annotated[float, Meta(ge=0, le=86400, description="seconds, 0 to 86400 (a day)")] = 0.0
    """Calls of one caller to one callee that began within so many seconds are one notice in a mailbox, brought up
    to date by each further call; 0: each call is a notice of its own. Users and groups may choose otherwise."""
    max_waiting: Annotated[int, Meta(ge=1, le=10_000_000, description="1 to 10000000")] = 100_000
    """Open deliveries of a channel; beyond it, its facts stay where they are. Less: a long outage is held in
    the topic and may run into its retention. More: disk, about 1 kB each."""
    keep_days: Annotated[float, Meta(gt=0, le=3650, description="days, above 0, at most 3650")] = 7.0
    """How long the journal remembers what has ended. Less than Exchange's seven days of duplicate detection
    wins nothing; a retraction after it is not delivered. More: personal data is kept longer."""
    stop_s: Seconds = 10.0
    """How long a stop waits for deliveries on their way; what is left is uncertain at the next start."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels that are on."""
        targets = {"smtp": self.smtp.host, "ews": self.ews.url, "graph": self.graph.tenant}
        return (*(name for name, target in targets.items() if target), *self.endpoints)

    @property
    def endpoints(self) -> dict[str, WebhookSettings]:
        """The webhooks that are on, by channel."""
        hooks = [self.webhook, *(replace(hook, name=name) for name, hook in self.webhooks.items())]
        return {
            "webhook" if hook.name == "default" else f"webhook-{hook.name}": hook
            for hook in hooks
            if hook.url
        }


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
    found.extend(_people_problems(notify.people))
    if notify.smtp.host:
        found.extend(_smtp_problems(notify.smtp, notify.people))
    if notify.ews.url:
        found.extend(_ews_problems(notify.ews, notify.people))
    if notify.graph.tenant:
        found.extend(_graph_problems(notify.graph, notify.people))
    if notify.webhook.url:
        found.extend(_webhook_problems("webhook", notify.webhook))
    for name, hook in notify.webhooks.items():
        taken = name in {"default", notify.webhook.name}
        if taken or not re.fullmatch(_NAME, name) or hook.name not in {"default", name}:
            right = "expected a name of 1 to 48 of a-z, 0-9 and -, none in the table, and each once"
            found.append(Problem(f"webhooks.{name}.name", hook.name, right))
        found.extend(_webhook_problems(f"webhooks.{name}", hook))
    return found


def zone(notify: NotifierSettings) -> tzinfo:
    """Return the time zone of the mails. `UTC` needs no time zone data on the machine.

    Raises:
        OSError, ValueError, LookupError: there is no such zone on this machine.
    """
    return UTC if notify.time_zone == "UTC" else ZoneInfo(notify.time_zone)


def defaults_of(notify: NotifierSettings) -> Defaults:
    """Return what holds for a reader whom the directory says nothing of.

    Raises:
        OSError, ValueError, LookupError: there is no such time zone on this machine.
    """
    return Defaults(notify.people.language, zone(notify), notify.people.region)


def near(notify: NotifierSettings, folder: Path) -> NotifierSettings:
    """Return the settings with the paths of files relative to `folder`."""

    def moved(part: SmtpSettings | EwsSettings | GraphSettings | WebhookSettings | PeopleSettings) -> Any:
        named = {f.name: getattr(part, f.name) for f in fields(part) if f.name.endswith(("_file", "_folder"))}
        return replace(part, **{name: str(folder / path) for name, path in named.items() if path})

    return replace(
        notify,
        smtp=moved(notify.smtp),
        ews=moved(notify.ews),
        graph=moved(notify.graph),
        webhook=moved(notify.webhook),
        webhooks={name: moved(hook) for name, hook in notify.webhooks.items()},
        people=moved(notify.people),
    )


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


def _people_problems(people: PeopleSettings) -> Iterator[Problem]:
    if people.region and people.region not in phone.REGIONS:
        yield Problem("people.region", people.region, "expected a country, ISO 3166: DE")
    if people.topics and people.directory_file:
        right = "expected none together with people.topics"
        yield Problem("people.directory_file", people.directory_file, right)
    if not is_locale(people.language):
        yield Problem("people.language", people.language, "expected a language: en-GB, de, de-AT")


def _smtp_problems(smtp: SmtpSettings, people: PeopleSettings) -> Iterator[Problem]:
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
    if smtp.auth == "oauth":
        for key in ("username", "client_id", "scope"):
            if not getattr(smtp, key):
                yield Problem(f"smtp.{key}", "", 'expected with smtp.auth = "oauth"')
        yield from _url_problems(
            "smtp", "token_url", smtp.token_url, insecure_http=_is_loopback_url(smtp.token_url)
        )
    elif smtp.client_id or smtp.token_url or smtp.scope:
        yield Problem("smtp.auth", "password", "expected oauth beside client_id, token_url and scope")
    if smtp.username and smtp.security == "none" and not _is_loopback(smtp.host):
        yield Problem(
            "smtp.security", "none", "expected starttls or tls: a login would cross the network in clear"
        )
    yield from _recipient_problems("smtp", smtp, people)


def _ews_problems(ews: EwsSettings, people: PeopleSettings) -> Iterator[Problem]:
    yield from _url_problems("ews", "url", ews.url, insecure_http=ews.insecure_http)
    if _is_exchange_online(ews.url):
        right = "expected an Exchange server of yours: Exchange Online turns EWS off, use [notify.graph]"
        yield Problem("ews.url", ews.url, right)
    if not ews.username:
        yield Problem("ews.username", "", "expected the account that writes, or its client id")
    if not ews.password_file:
        yield Problem("ews.password_file", "", "expected a file with the account's password or client secret")
    if ews.auth == "oauth":
        yield from _url_problems("ews", "token_url", ews.token_url, insecure_http=False)
    elif ews.token_url or ews.scope:
        key = "token_url" if ews.token_url else "scope"
        yield Problem(f"ews.{key}", getattr(ews, key), 'expected only with ews.auth = "oauth"')
    if not is_mail_address(ews.sender):
        yield Problem("ews.sender", ews.sender, "expected a mail address of yours: missed-calls@example.com")
    yield from _recipient_problems("ews", ews, people)


def _graph_problems(graph: GraphSettings, people: PeopleSettings) -> Iterator[Problem]:
    if not _TENANT.fullmatch(graph.tenant) or graph.tenant in {"common", "organizations", "consumers"}:
        yield Problem("graph.tenant", graph.tenant, "expected the tenant's id or a domain of it")
    if not _TENANT.fullmatch(graph.client_id):
        yield Problem("graph.client_id", graph.client_id, "expected the application's (client) id")
    if bool(graph.secret_file) == bool(graph.certificate_file):
        right = "expected it or graph.certificate_file, and not both"
        yield Problem("graph.secret_file", graph.secret_file, right)
    yield from _url_problems("graph", "authority", graph.authority, insecure_http=False)
    yield from _url_problems("graph", "endpoint", graph.endpoint, insecure_http=False)
    if not is_mail_address(graph.sender):
        right = "expected a mail address of yours: missed-calls@example.com"
        yield Problem("graph.sender", graph.sender, right)
    yield from _recipient_problems("graph", graph, people)


def _recipient_problems(
    section: str, channel: SmtpSettings | EwsSettings | GraphSettings, people: PeopleSettings
) -> Iterator[Problem]:
    if not (
        channel.recipients or channel.pattern or channel.always or people.directory_file or people.topics
    ):
        right = "expected recipients, pattern, always or a directory: nobody would be told"
        yield Problem(f"{section}.recipients", {}, right)
    for callee, address in channel.recipients.items():
        if not callee.startswith(("sip:", "sips:", "tel:")):
            right = 'expected an address of record as the key: "sip:bob@example.com" = "bob@example.com"'
            yield Problem(f"{section}.recipients", callee, right)
        if not is_mail_address(address):
            yield Problem(f'{section}.recipients."{callee}"', address, "expected a mail address")
    for address in channel.always:
        if not is_mail_address(address):
            yield Problem(f"{section}.always", address, "expected a mail address")
    pattern = channel.pattern
    if pattern and not is_mail_address(pattern.replace("{user}", "x").replace("{host}", "x")):
        right = "expected a mail address with {user} and perhaps {host}: {user}@example.com"
        yield Problem(f"{section}.pattern", pattern, right)
    if "{host}" in pattern and not channel.hosts:
        right = "expected the hosts of your users: anybody on the wire could name another"
        yield Problem(f"{section}.hosts", [], right)


def _webhook_problems(section: str, webhook: WebhookSettings) -> Iterator[Problem]:
    yield from _url_problems(section, "url", webhook.url, insecure_http=webhook.insecure_http)
    if not webhook.secret_file:
        right = "expected a file with a line whsec_... or whsk_...: receivers verify it"
        yield Problem(f"{section}.secret_file", "", right)
    for network in webhook.allow:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            right = "expected an address or a network without host bits: 10.1.2.0/24"
            yield Problem(f"{section}.allow", network, right)


def _url_problems(section: str, name: str, url: str, *, insecure_http: bool) -> Iterator[Problem]:
    key = f"{section}.{name}"
    try:
        parts = urlsplit(url)
        is_url = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_url = False
    if not is_url or parts.scheme not in {"http", "https"}:
        yield Problem(key, url, "expected https://HOST/PATH")
    elif parts.scheme == "http" and not insecure_http:
        allowed = f", or {section}.insecure_http = true" if name == "url" else ""
        yield Problem(key, url, f"expected https:{allowed}")
    elif parts.username or parts.password:
        right = "expected no user and password in the URL"
        yield Problem(key, f"{parts.scheme}://...@{parts.hostname}", right)


def _is_exchange_online(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host.endswith((".office365.com", ".office.com", ".outlook.com"))


def _is_loopback_url(url: str) -> bool:
    try:
        return _is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
