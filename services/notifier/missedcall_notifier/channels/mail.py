"""A notice as an Internet message (RFC 5322), written byte by byte.

Rule 1: Message-ID and Date are functions of the fact, never of the attempt: Exchange drops a second message
        with both the same, Sieve (RFC 7352) and Cyrus one with the same Message-ID.
Rule 2: one place writes header lines, and it takes printable ASCII only. What a caller put into a display name
        can be wrong there, but it cannot be a line end. The standard library's `email` could be made to write
        one (CVE-2024-6923), so it is not asked.
Rule 3: the message is 7-bit: any relay takes it, with or without 8BITMIME and SMTPUTF8.
Rule 4: an answer goes to a caller whom the directory knows, and to nobody whom only the signalling names.
"""

import base64
import quopri
import re
from datetime import datetime

from missedcall_notifier.delivery import Delivery, name_of
from missedcall_notifier.mail_address import is_mail_address
from missedcall_notifier.notice import Notice, moment
from missedcall_notifier.notices import Notices
from missedcall_notifier.settings import SmtpSettings
from missedcall_schemas.records import MissedCall

from .port import UnrenderableError
from .thread import thread_headers

ENCODED_WORD_BYTES = 45
"""Bytes of text in one encoded word: 60 characters of base64, below the 75 of RFC 2047 s.2."""

LINE_LIMIT = 998
"""RFC 5322 s.2.1.1. Our longest header is far below; one that is not is a mistake, not a mail."""

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""RFC 5322 s.3.3, whatever the process's locale."""

_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_TOKEN = re.compile(r"[^A-Za-z0-9._-]+")


def write(delivery: Delivery, settings: SmtpSettings, notices: Notices) -> bytes:
    """Return the message to the delivery's recipient, lines ended by CRLF.

    Raises:
        UnrenderableError: the fact cannot be put into a message.
    """
    fact = delivery.fact
    try:
        notice = notices.render(delivery)
        at = fact.decided_at if fact.state == "retracted" else fact.ended_at
        date = moment((at, fact.decided_at), notices.zone(delivery))
    except ValueError as error:
        raise UnrenderableError(str(error)) from error
    # RFC 2045 s.6.7: no quoted-printable text has "=_" in it
    boundary = f"=_{name_of(fact.fact_id, fact.revision, 'boundary')}"
    headers = [
        ("Date", rfc5322_date(date)),
        ("From", f"{_phrase(settings.sender_name)} <{settings.sender}>"),
        ("To", f"<{delivery.recipient}>"),
        ("Message-ID", message_id(fact, settings.actual_domain)),
        ("Subject", unstructured(notice.subject)),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/alternative; boundary="{boundary}"'),
        ("Auto-Submitted", "auto-generated"),  # RFC 3834 s.5: no vacation notice answers
        ("X-Auto-Response-Suppress", "All"),  # MS-OXCMAIL 2.1.3.2.20: nor does Exchange
        ("X-Missed-Call-Fact", f"{_TOKEN.sub('-', fact.fact_id)[:128]}"),
        ("X-Missed-Call-Reason", delivery.calls[-1].cause),
    ]
    if fact.urgent:
        headers.append(("Importance", "high"))  # RFC 2156 s.5.3.6
    caller = notices.caller(delivery)
    if caller.known and is_mail_address(caller.mailbox):
        headers.append(("Reply-To", f"<{caller.mailbox}>"))
    for name, value in thread_headers(fact, settings.actual_domain, _answered(delivery, settings)):
        headers.append((name, unstructured(value) if name == "Thread-Topic" else value))
    return b"".join(_line(name, value) for name, value in headers) + b"\r\n" + _body(notice, boundary)


def message_id(fact: MissedCall, domain: str, revision: int | None = None) -> str:
    """Return the Message-ID of the fact's revision; its own if none is given.

    The same for all recipients: a mailbox that is reached on two ways shows one notice.
    """
    return _message_id(fact.fact_id, fact.revision if revision is None else revision, domain)


def _message_id(fact_id: str, revision: int, domain: str) -> str:
    return f"<{name_of(fact_id, revision, 'mail')}@{domain}>"


def _answered(delivery: Delivery, settings: SmtpSettings) -> str:
    """Return the Message-ID of the mail that this one corrects or goes on from; "" if there is none."""
    if delivery.replaces:
        last = delivery.replaces[0]
        return _message_id(last.fact_id, last.revision, settings.actual_domain)
    if delivery.corrects:
        return message_id(delivery.fact, settings.actual_domain, delivery.fact.revision - 1)
    return ""


def rfc5322_date(at: datetime) -> str:
    """Return `Mon, 23 Nov 2026 10:42:07 +0100` (RFC 5322 s.3.3)."""
    return f"{WEEKDAYS[at.weekday()]}, {at.day} {MONTHS[at.month - 1]} {at.year} {at:%H:%M:%S %z}"


def unstructured(text: str) -> str:
    """Return `text` for an unstructured header: as it is, or as encoded words (RFC 2047)."""
    return text if _PRINTABLE.fullmatch(text) and "=?" not in text else _encoded_words(text)


def _phrase(name: str) -> str:
    """Return a display name as a quoted string, or as encoded words, which must not stand in quotes."""
    if _PRINTABLE.fullmatch(name) and "=?" not in name:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return _encoded_words(name)


def _encoded_words(text: str) -> str:
    """Return `text` in as many encoded words as it takes, no character cut in two (RFC 2047 s.5)."""
    words, chunk = [], b""
    for character in text:
        encoded = character.encode("utf-8", "replace")
        if len(chunk) + len(encoded) > ENCODED_WORD_BYTES:
            words.append(chunk)
            chunk = b""
        chunk += encoded
    words.append(chunk)
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in words)


def _line(name: str, value: str) -> bytes:
    """Return one header; only encoded words may be folded into several lines."""
    for line in value.split("\r\n =?utf-8?b?"):
        if not _PRINTABLE.fullmatch(line) or len(line) + len(name) + 2 > LINE_LIMIT:
            raise UnrenderableError(f"header {name} has a character that no header may have, or is too long")
    return f"{name}: {value}\r\n".encode("ascii")


def _body(notice: Notice, boundary: str) -> bytes:
    """Return the text in both forms, the plainer first (RFC 2046 s.5.1.4)."""
    parts = (("plain", notice.text), ("html", notice.html))
    return b"".join(
        f"--{boundary}\r\n"
        f"Content-Type: text/{kind}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n".encode("ascii")
        + _quoted(text)
        + b"\r\n"
        for kind, text in parts
    ) + f"--{boundary}--\r\n".encode("ascii")


def _quoted(text: str) -> bytes:
    encoded = quopri.encodestring(text.encode("utf-8", "replace"))
    return encoded.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
