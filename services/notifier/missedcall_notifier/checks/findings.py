"""What a check found, and what to do about it: words for the causes that channels report.

Rule 1: pure. A cause is what a channel says in `Failed.detail`, or a probe in the same form: no free text of a
        server, no address.
Rule 2: what a cause means is a row of ROWS; the first that matches wins, the last of a channel matches all.
Rule 3: the row names the step that failed. Steps before it went well, steps after it were not tested.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """What a step came to."""

    OK = "ok"
    FAILS = "fails"
    UNTESTED = "not tested"


class Finding(NamedTuple):
    """One line."""

    channel: str
    """As the settings call it; `kafka`, `files`."""
    step: str
    state: State
    words: str = ""
    """What was found, or why nothing was."""
    todo: str = ""
    """The next step; "" if there is none."""


class Row(NamedTuple):
    """What a cause means."""

    channel: str
    cause: str
    """Regular expression for the whole of it."""
    step: str
    words: str
    todo: str


STEPS = {
    "smtp": ("connect", "tls", "login", "sender", "recipient"),
    "ews": ("reach", "login", "mailbox", "write"),
    "graph": ("token", "permission", "reach", "mailbox", "write"),
    "webhook": ("secret", "name", "address", "connect", "tls", "ping"),
}
"""In the order in which they are taken. A relay is heard as `connect` until it has answered EHLO."""

_NETWORK = r"(?:.*Connect.*|.*Timeout.*|.*Disconnected.*|gaierror|OSError|ConnectionError|Proxy.*)"

# fmt: off
ROWS: tuple[Row, ...] = (
    Row("smtp", r"(connect|starttls) certificate", "tls", "the relay's certificate is not believed",
        "name the authority that signed it in smtp.ca_file; smtp.host has to be the name in the certificate"),
    Row("smtp", r"connect .*Timeout.*", "connect", "nobody answers",
        'check smtp.host and smtp.port, and whether a firewall stands between; with security = "tls" on a port that'
        " speaks STARTTLS nobody answers either"),
    Row("smtp", r"connect \d+.*", "connect", "the relay refuses to talk to this machine",
        "ask the relay's operator to let this machine in"),
    Row("smtp", r"connect .*", "connect", "the relay cannot be reached",
        "check smtp.host and smtp.port: is the name right, does a relay listen there, does it speak TLS if"
        " smtp.security says so?"),
    Row("smtp", r"ehlo .*", "connect", "the relay refuses our EHLO",
        "set smtp.helo_name to the full name of this machine"),
    Row("smtp", r"starttls .*", "tls", "the relay speaks no STARTTLS",
        'set smtp.security = "tls" if the relay has a TLS port (465); "none" only on a network of your own'),
    Row("smtp", r"auth SettingsError", "login", "the password cannot be read",
        "smtp.password_file has to be a file that this user can read, and not empty"),
    Row("smtp", r"auth SMTPNotSupported", "login", "the relay offers no login that we speak",
        'PLAIN, LOGIN or CRAM-MD5, with smtp.auth = "oauth" OAUTHBEARER or XOAUTH2. Relays offer it over TLS: check'
        " smtp.security; or leave smtp.username empty"),
    Row("smtp", r"auth certificate", "login", "the certificate of smtp.token_url is not believed",
        "name the authority that signed it in smtp.ca_file, beside that of the relay's"),
    Row("smtp", r"auth (?!SMTP).*(Connect|Timeout|Disconnected).*", "login", "smtp.token_url cannot be reached",
        "check its host, and that this machine may connect to it without a proxy"),
    Row("smtp", r"auth token .*", "login", "the authority gives no token",
        "check smtp.token_url, smtp.client_id, smtp.scope and the client secret in smtp.password_file"),
    Row("smtp", r"auth .*", "login", "the relay refuses user name or password",
        "check smtp.username and smtp.password_file, and whether the account may send by SMTP; with a token,"
        " whether the application may send as smtp.username"),
    Row("smtp", r"mail 53.*", "login", "the relay wants a login",
        "set smtp.username and smtp.password_file"),
    Row("smtp", r"mail .*", "sender", "the relay takes no mail from smtp.sender",
        "smtp.sender has to be an address that this account, or this machine, may send as"),
    Row("smtp", r"(rcpt|data) 53.*", "login", "the relay wants a login",
        "set smtp.username and smtp.password_file"),
    Row("smtp", r"rcpt 4.*", "recipient", "the relay does not take the recipient now",
        "often greylisting, which passes in minutes: run the check again; else look into the relay's log"),
    Row("smtp", r"rcpt .*", "recipient", "the relay refuses the recipient",
        "is the address right, and may this machine relay to it? The relay's log says which"),
    Row("smtp", r".*", "connect", "something else went wrong", "look into the relay's log"),

    Row("ews", r"settings SettingsError", "login", "the password cannot be read",
        "ews.password_file has to be a file that this user can read, and not empty"),
    Row("ews", r"settings .*", "reach", "ews.ca_file cannot be used",
        "it has to be a file with certificates in PEM"),
    Row("ews", r"\w+ certificate", "reach", "the server's certificate is not believed",
        "name the authority that signed it in ews.ca_file; the host in ews.url has to be in the certificate"),
    Row("ews", r"\w+ 401", "login", "Exchange refuses the account",
        "check ews.username, ews.password_file and ews.auth; is that kind of logon on for EWS in IIS?"),
    Row("ews", r"\w+ (30\d|403|404|405|407)", "reach", "there is no EWS at this address",
        "ews.url has to be https://HOST/EWS/Exchange.asmx, reached without a proxy or login page"),
    Row("ews", r"\w+ ErrorImpersonat\w+", "mailbox", "the account may not act for this mailbox",
        "give it the role ApplicationImpersonation with a scope that holds the mailbox: docs/exchange.md"),
    Row("ews", r"\w+ (ErrorAccessDenied|ErrorFolderNotFound|ErrorCreateItemAccessDenied)", "mailbox",
        "the account has no right to this mailbox",
        'with ews.access = "delegate" it needs rights to the inbox; else use impersonation: docs/exchange.md'),
    Row("ews", r"\w+ (ErrorNonExistentMailbox|ErrorNonPrimarySmtpAddress|ErrorMissingEmailAddress|"
        r"ErrorInvalidSmtpAddress|ErrorMailRecipientNotFound|ErrorCannotFindUser|ErrorInvalidMailbox)", "mailbox",
        "there is no such mailbox, or this is not its primary address",
        "check ews.recipients and ews.pattern, or give --mailbox"),
    Row("ews", r"\w+ (ErrorServerBusy|ErrorExceeded\w+|ErrorTooManyObjectsOpened|429)", "mailbox",
        "Exchange is busy, or throttles the account", "run it again; give the account a throttling policy"),
    Row("ews", r"\w+ (ErrorMailbox(Move|Store)\w+|ErrorAD\w+|ErrorInternalServer\w+|5\d\d)",
        "mailbox", "Exchange has trouble of its own", "run it again; look at the health of the server"),
    Row("ews", r"(create|remove) ErrorQuotaExceeded", "write", "the mailbox is full", "make room, or try another"),
    Row("ews", r"(create|remove) .*", "write", "Exchange did not take the test item",
        "the code says why: docs/exchange.md"),
    Row("ews", r"find " + _NETWORK, "reach", "the server cannot be reached",
        "check the host and port in ews.url, and whether a firewall stands between"),
    Row("ews", r".*", "mailbox", "the mailbox could not be read", "the code says why: docs/exchange.md"),

    Row("graph", r"settings SettingsError", "token", "the credential cannot be read",
        "graph.secret_file or graph.certificate_file has to be a file that this user can read, and not empty"),
    Row("graph", r"settings .*", "token", "graph.ca_file cannot be used",
        "it has to be a file with certificates in PEM"),
    Row("graph", r"token certificate", "token", "the server's certificate is not believed",
        "a proxy that opens TLS? Name its authority in graph.ca_file"),
    Row("graph", r"token invalid_client 7000215", "token", "the client secret is wrong",
        "put the secret's value, not its id, into graph.secret_file"),
    Row("graph", r"token invalid_client 7000222", "token", "the client secret has expired",
        "make a new one in Entra ID and put its value into graph.secret_file"),
    Row("graph", r"token invalid_client 7000\d\d", "token", "Entra ID does not know the certificate",
        "upload the certificate of graph.certificate_file to the application; is it still valid?"),
    Row("graph", r"token (unauthorized_client.*|invalid_request 900023)", "token",
        "this tenant does not know the application", "check graph.client_id and graph.tenant"),
    Row("graph", r"token (invalid_scope|invalid_resource).*", "token", "this cloud has no such Graph",
        "graph.authority and graph.endpoint have to be of the same cloud: docs/graph.md"),
    Row("graph", r"token ValueError", "token", "there is no such tenant, or the certificate file is none",
        "check graph.tenant, graph.authority, and that graph.certificate_file holds key and certificate in PEM"),
    Row("graph", r"token " + _NETWORK, "token", "Entra ID cannot be reached",
        "check graph.authority, and that this machine may connect to it on port 443 without a proxy"),
    Row("graph", r"token .*", "token", "Entra ID gives no token", "the number says why: docs/graph.md"),
    Row("graph", r"\w+ certificate", "reach", "the server's certificate is not believed",
        "a proxy that opens TLS? Name its authority in graph.ca_file"),
    Row("graph", r"\w+ 401.*", "reach", "Graph does not believe the token",
        "graph.authority and graph.endpoint have to be of the same cloud; is this machine's clock right?"),
    Row("graph", r"\w+ 403.*", "mailbox", "the application may not open this mailbox",
        "grant Mail.ReadWrite (application) with admin consent, or widen the scope that leaves this mailbox out;"
        " changes take up to two hours: docs/graph.md"),
    Row("graph", r"\w+ 404 (ErrorInvalidUser|ResourceNotFound|Request_ResourceNotFound|ErrorNonExistentMailbox)",
        "mailbox", "there is no such user",
        "graph.recipients, graph.pattern or --mailbox has to give the user principal name"),
    Row("graph", r"\w+ 404 Mailbox\w+", "mailbox", "the user has no mailbox in Exchange Online",
        "is it on premises (then the channel is ews), or without a licence?"),
    Row("graph", r"\w+ (30\d|404|405|407)", "reach", "there is no Graph at this address",
        "check graph.endpoint: docs/graph.md"),
    Row("graph", r"(\w+ 429.*|\w+ 50[39].*|pause)", "mailbox", "Graph asks for a pause",
        "run it again in a minute"),
    Row("graph", r"(create|remove) .*Quota.*", "write", "the mailbox is full", "make room, or try another"),
    Row("graph", r"(create|remove) .*", "write", "Exchange did not take the test item",
        "the code says why: docs/graph.md"),
    Row("graph", r"(find|read) " + _NETWORK, "reach", "Graph cannot be reached",
        "check graph.endpoint, and that this machine may connect to it on port 443 without a proxy"),
    Row("graph", r".*", "mailbox", "the mailbox could not be read", "the code says why: docs/graph.md"),

    Row("webhook", r"secret .*", "secret", "the secrets, or webhook.ca_file, cannot be read",
        "webhook.secret_file has to hold a line whsec_... that this user can read"),
    Row("webhook", r"name .*", "name", "the host in webhook.url has no address",
        "check the name, and that this machine can ask the DNS that knows it"),
    Row("webhook", r"address .*", "address", "the host is on an address that must not be called",
        "if it is a receiver of yours, list its network in webhook.allow"),
    Row("webhook", r"(connect|ping) .*Timeout.*", "connect", "nobody answers",
        "check the port in webhook.url, and whether a firewall stands between"),
    Row("webhook", r"connect .*", "connect", "the receiver cannot be reached",
        "check the port in webhook.url; does the receiver run?"),
    Row("webhook", r"tls certificate", "tls", "the receiver's certificate is not believed",
        "name who signed it in webhook.ca_file; the host in webhook.url has to be in the certificate"),
    Row("webhook", r"tls .*", "tls", "the receiver speaks no TLS that we speak",
        "is it https: at all on this port?"),
    Row("webhook", r"ping 401|ping 403", "ping", "the receiver refuses our signature",
        "it has to know the secret of webhook.secret_file; are both clocks right?"),
    Row("webhook", r"ping 404|ping 405", "ping", "there is nobody for POST at this path", "check webhook.url"),
    Row("webhook", r"ping 410.*", "ping", "the receiver says that the endpoint is gone",
        "it will not be called any more; ask its operator for the new URL"),
    Row("webhook", r"ping 3\d\d", "ping", "the receiver sends us elsewhere",
        "redirects are not followed: set webhook.url to it"),
    Row("webhook", r".*", "ping", "the receiver did not accept the test event", "look into the receiver's log"),
)
# fmt: on


def explain(channel: str, cause: str) -> Row:
    """Return what a cause means."""
    return next(row for row in ROWS if row.channel == channel and re.fullmatch(row.cause, cause, re.ASCII))


def tell(channel: str, steps: tuple[str, ...], cause: str = "", name: str = "") -> Iterator[Finding]:
    """Yield a finding for each of `steps`, some of the channel's, that one probe has taken.

    Args:
        channel: a key of STEPS.
        steps: in order.
        cause: why it went no further; "" if it went well to the end.
        name: what the channel is called in the findings; "": the same.
    """
    name = name or channel
    if not cause:
        yield from (Finding(name, step, State.OK) for step in steps)
        return
    row = explain(channel, cause)
    failing = row.step if row.step in steps else steps[-1]
    for step in steps[: steps.index(failing)]:
        yield Finding(name, step, State.OK)
    yield Finding(name, failing, State.FAILS, f"{row.words} ({cause})", row.todo)
    yield from untested(name, steps[steps.index(failing) + 1 :], f"{failing} comes first")


def untested(name: str, steps: tuple[str, ...], why: str) -> Iterator[Finding]:
    """Yield a finding for each step that was not taken."""
    yield from (Finding(name, step, State.UNTESTED, why) for step in steps)


def line(finding: Finding) -> str:
    """Return a finding as one line of text."""
    words = f": {finding.words}" if finding.words else ""
    todo = f"; {finding.todo}" if finding.todo else ""
    return f"{finding.channel + ' ' + finding.step:<20} {finding.state}{words}{todo}"
