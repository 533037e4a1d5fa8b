"""How a call came to its target: History-Info (RFC 4244, RFC 7044, Lync's form) and Diversion (RFC 5806).

Rule 1: entries come in the order of the header lines; trees are the reader's business (`index`).
Rule 2: an entry's Reason and Privacy are headers escaped inside its URI, in any of three spellings:
        `?Reason=SIP%3Bcause%3D302`, `?Reason=SIP;cause=302` and Lync's `?Reason=SIP&cause=302&text=...`.
"""

from typing import Final, final
from urllib.parse import unquote as percent_decoded

from mypy_extensions import mypyc_attr

from .grammar import number, parse_params, split_all, split_name_addr
from .reason import Reason, parse_reasons
from .uri import address_of_record, parse_uri

MAX_ENTRIES: Final = 64
"""Entries read per message; one per retargeting, and Max-Forwards ends a call after 70."""


@final
@mypyc_attr(acyclic=True)
class HistoryEntry:
    """One hi-entry: a target that the request was sent to, and why it left it again."""

    __slots__ = (
        "aor", "cause", "index", "mp", "np", "params", "privacy", "rc", "reasons", "retarget_reason", "uri"
    )  # fmt: skip

    def __init__(
        self,
        uri: str,
        aor: str,
        reasons: list[Reason],
        cause: int,
        privacy: frozenset[str],
        params: dict[str, str],
    ) -> None:
        self.uri: Final = uri
        """As received, without the escaped headers."""
        self.aor: Final = aor
        """Address of record of `uri`; "" if it is unusable (anonymised entries)."""
        self.index: Final = params.get("index", "")
        """`1`, `1.1`, `1.2.1` (RFC 7044 s.5); "" if absent."""
        self.rc: Final = params.get("rc", "")
        """Index of the entry whose registered contact this is: the same user (RFC 7044)."""
        self.mp: Final = params.get("mp", "")
        """Index of the entry that was mapped to this, another user."""
        self.np: Final = params.get("np", "")
        """Index of the entry whose target did not change."""
        self.reasons: Final = reasons
        self.cause: Final = cause
        """`cause=` of the URI (RFC 4458), else the first SIP reason's cause, else 0."""
        self.retarget_reason: Final = params.get("ms-retarget-reason", "").lower()
        """Lync's `ms-retarget-reason` in lower case: `forwarding`, `team-call`, `delegation`, `acd` ..."""
        self.privacy: Final = privacy
        """Values of the escaped Privacy header, lower case."""
        self.params: Final = params


@final
@mypyc_attr(acyclic=True)
class Diversion:
    """One diversion: who passed the call on, and why."""

    __slots__ = ("aor", "counter", "display_name", "params", "privacy", "reason", "uri")

    def __init__(self, uri: str, display_name: str, params: dict[str, str]) -> None:
        self.aor: Final = address_of_record(uri)
        self.reason: Final = params.get("reason", "").lower()
        """Lower case: `no-answer`, `user-busy`, `unconditional`, `send_to_vm` ...; "" if absent."""
        self.counter: Final = max(number(params.get("counter", ""), 1000), 1)
        """How many diversions this entry stands for, at least 1."""
        self.uri: Final = uri
        self.display_name: Final = display_name
        self.privacy: Final = params.get("privacy", "").lower()
        """`full`, `name`, `uri`, `off` or ""."""
        self.params: Final = params


_NO_PRIVACY: Final[frozenset[str]] = frozenset()


def escaped_headers(text: str) -> list[tuple[str, str]]:
    """Return the headers behind a URI's question mark, names in lower case, values unescaped.

    Lync's loose `cause` and `text` are put back into the Reason before them.
    """
    found: list[tuple[str, str]] = []
    for piece in text.split("&", MAX_ENTRIES)[:MAX_ENTRIES]:
        name, _, value = piece.partition("=")
        name = (percent_decoded(name) if "%" in name else name).strip().lower()
        value = (percent_decoded(value) if "%" in value else value).strip()
        if name in ("cause", "text") and found and found[-1][0] == "reason":
            found[-1] = ("reason", f"{found[-1][1]};{name}={value}")
        elif name:
            found.append((name, value))
    return found


def parse_history_info(values: list[str]) -> list[HistoryEntry]:
    """Read History-Info header lines in order."""
    return [_history_entry(value) for value in split_all(values)[:MAX_ENTRIES]]


def _history_entry(value: str) -> HistoryEntry:
    _, text, header_params = split_name_addr(value)
    uri = parse_uri(text)
    reasons: list[Reason] = []
    privacy = _NO_PRIVACY
    at = len(text)
    if uri.headers:
        at = text.rfind("?" + uri.headers)
        given: list[str] = []
        hidden: list[str] = []
        for name, content in escaped_headers(uri.headers):
            if name == "reason":
                given.append(content)
            elif name == "privacy":
                hidden += [word.strip().lower() for word in content.replace(",", ";").split(";")]
        reasons = parse_reasons(given)
        if hidden:
            privacy = frozenset([word for word in hidden if word])
    cause = number(uri.params["cause"], 1000) if "cause" in uri.params else -1
    if cause < 0:
        cause = 0
        for reason in reasons:
            if reason.protocol == "SIP":
                cause = reason.cause
                break
    return HistoryEntry(
        text[:at] if at >= 0 else text,
        address_of_record(uri),
        reasons,
        cause,
        privacy,
        parse_params(header_params),
    )


def parse_diversions(values: list[str]) -> list[Diversion]:
    """Read Diversion header lines: the latest diverter first, the first called last (RFC 5806 s.4)."""
    diversions: list[Diversion] = []
    for value in split_all(values)[:MAX_ENTRIES]:
        display_name, uri, params = split_name_addr(value)
        if uri:
            diversions.append(Diversion(uri, display_name, parse_params(params)))
    return diversions
