"""How a call came to its target: History-Info (RFC 4244, RFC 7044, Lync's form) and Diversion (RFC 5806).

Rule 1: entries come in the order of the header lines; trees are the reader's business (`index`).
Rule 2: an entry's Reason and Privacy are headers escaped inside its URI, in any of three spellings:
        `?Reason=SIP%3Bcause%3D302`, `?Reason=SIP;cause=302` and Lync's `?Reason=SIP&cause=302&text=...`.
"""

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote as percent_decoded

from .grammar import number, parse_name_addr, split_all
from .reason import Reason, parse_reasons
from .uri import address_of_record, parse_uri

MAX_ENTRIES = 64
"""Entries read per message; one per retargeting, and Max-Forwards ends a call after 70."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One hi-entry: a target that the request was sent to, and why it left it again."""

    uri: str
    """As received, without the escaped headers."""
    aor: str
    """Address of record of `uri`; "" if it is unusable (anonymised entries)."""
    index: str
    """`1`, `1.1`, `1.2.1` (RFC 7044 s.5); "" if absent."""
    rc: str
    """Index of the entry whose registered contact this is: the same user (RFC 7044)."""
    mp: str
    """Index of the entry that was mapped to this, another user."""
    np: str
    """Index of the entry whose target did not change."""
    reasons: list[Reason]
    cause: int
    """`cause=` of the URI (RFC 4458), else the first SIP reason's cause, else 0."""
    retarget_reason: str
    """Lync's `ms-retarget-reason` in lower case: `forwarding`, `team-call`, `delegation`, `acd` ..."""
    privacy: frozenset[str]
    """Values of the escaped Privacy header, lower case."""
    params: dict[str, str]


class Diversion(NamedTuple):
    """One diversion: who passed the call on, and why."""

    aor: str
    reason: str
    """Lower case: `no-answer`, `user-busy`, `unconditional`, `send_to_vm` ...; "" if absent."""
    counter: int
    """How many diversions this entry stands for, at least 1."""
    uri: str
    display_name: str
    privacy: str
    """`full`, `name`, `uri`, `off` or ""."""
    params: dict[str, str]


def escaped_headers(text: str) -> list[tuple[str, str]]:
    """Return the headers behind a URI's question mark, names in lower case, values unescaped.

    Lync's loose `cause` and `text` are put back into the Reason before them.
    """
    found: list[tuple[str, str]] = []
    for piece in text.split("&", MAX_ENTRIES)[:MAX_ENTRIES]:
        name, _, value = piece.partition("=")
        name, value = percent_decoded(name).strip().lower(), percent_decoded(value).strip()
        if name in ("cause", "text") and found and found[-1][0] == "reason":
            found[-1] = ("reason", f"{found[-1][1]};{name}={value}")
        elif name:
            found.append((name, value))
    return found


def parse_history_info(values: list[str]) -> list[HistoryEntry]:
    """Read History-Info header lines in order."""
    return [_history_entry(value) for value in split_all(values)[:MAX_ENTRIES]]


def _history_entry(value: str) -> HistoryEntry:
    _, text, params = parse_name_addr(value)
    uri = parse_uri(text)
    reasons: list[Reason] = []
    privacy: frozenset[str] = frozenset()
    at = len(text)
    if uri.headers:
        at = text.rfind("?" + uri.headers)
        escaped = escaped_headers(uri.headers)
        reasons = parse_reasons([content for name, content in escaped if name == "reason"])
        privacy = frozenset(
            word.strip().lower()
            for name, content in escaped
            if name == "privacy"
            for word in content.replace(",", ";").split(";")
            if word.strip()
        )
    cause = number(uri.params.get("cause", ""), 1000)
    if cause < 0:
        cause = next((reason.cause for reason in reasons if reason.protocol == "SIP"), 0)
    return HistoryEntry(
        text[:at] if at >= 0 else text,
        address_of_record(uri),
        params.get("index", ""),
        params.get("rc", ""),
        params.get("mp", ""),
        params.get("np", ""),
        reasons,
        cause,
        params.get("ms-retarget-reason", "").lower(),
        privacy,
        params,
    )


def parse_diversions(values: list[str]) -> list[Diversion]:
    """Read Diversion header lines: the latest diverter first, the first called last (RFC 5806 s.4)."""
    diversions = []
    for value in split_all(values)[:MAX_ENTRIES]:
        display_name, uri, params = parse_name_addr(value)
        if uri:
            diversions.append(
                Diversion(
                    address_of_record(uri),
                    params.get("reason", "").lower(),
                    max(number(params.get("counter", ""), 1000), 1),
                    uri,
                    display_name,
                    params.get("privacy", "").lower(),
                    params,
                )
            )
    return diversions
