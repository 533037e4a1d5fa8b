"""Why something ended, as the signalling says: Reason (RFC 3326), Microsoft's diagnostics, Warning.

Rule 1: the deciding parts are numbers; texts are evidence for people and never decide.
Rule 2: a value that carries no number one could decide on says nothing, and is left out or has cause 0.
"""

import re
from typing import Final, final

from mypy_extensions import mypyc_attr

from .grammar import number, parse_params, split_all, unquote
from .message import SipHead
from .names import MS_CLIENT_DIAGNOSTICS, MS_DIAGNOSTICS, MS_DIAGNOSTICS_PUBLIC, TOKEN

MAX_REASONS: Final = 16
"""Reasons read per message; a proxy that merges forks writes one per protocol and fork."""


@final
@mypyc_attr(acyclic=True)
class Reason:
    """One reason-value of RFC 3326."""

    __slots__ = ("cause", "protocol", "text")

    def __init__(self, protocol: str, cause: int, text: str) -> None:
        self.protocol: Final = protocol
        """Upper case: `SIP`, `Q.850`, ..."""
        self.cause: Final = cause
        """0 if absent or unreadable; Q.850 has a cause 0 too, which means as little."""
        self.text: Final = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reason) and (self.protocol, self.cause, self.text) == (
            other.protocol,
            other.cause,
            other.text,
        )

    def __hash__(self) -> int:
        return hash((self.protocol, self.cause, self.text))

    def __repr__(self) -> str:
        return f"Reason({self.protocol!r}, {self.cause}, {self.text!r})"


@final
@mypyc_attr(acyclic=True)
class Diagnostic:
    """One of Lync's diagnostic headers: `5002;reason="Request was cancelled";source="fe.example.com"`."""

    __slots__ = ("header", "id", "params", "reason", "source", "sub")

    def __init__(self, id_: int, sub: str, params: dict[str, str], header: str) -> None:
        self.id: Final = id_
        self.sub: Final = sub
        """What follows the dot in `13004.1`; "" mostly."""
        self.reason: Final = params.get("reason", "")
        self.source: Final = params.get("source", "")
        self.params: Final = params
        """All parameters, names in lower case (`appuri`, `component`, `hresult` ...)."""
        self.header: Final = header
        """`ms-diagnostics`, `ms-diagnostics-public` or `ms-client-diagnostics`."""


@final
@mypyc_attr(acyclic=True)
class SipWarning:
    """One warning-value (RFC 3261 s.20.43)."""

    __slots__ = ("agent", "code", "text")

    def __init__(self, code: int, text: str, agent: str) -> None:
        self.code: Final = code
        self.text: Final = text
        self.agent: Final = agent


DIAGNOSTIC_PLACES: Final = (MS_DIAGNOSTICS, MS_DIAGNOSTICS_PUBLIC, MS_CLIENT_DIAGNOSTICS)
"""Of the headers, the enterprise's own first."""

_CAUSE: Final = re.compile(r"([0-9]{1,4})(?![0-9])")  # `200 text=...`: some forget the semicolon
_ID: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9A-Za-z.]{1,32}))?")


def parse_reasons(values: list[str]) -> list[Reason]:
    """Read Reason header lines in order: repeated, comma-joined, any case, blanks anywhere."""
    reasons = []
    for value in split_all(values)[:MAX_REASONS]:
        protocol, semicolon, rest = value.partition(";")
        protocol = protocol.strip()
        if not semicolon or not TOKEN.fullmatch(protocol):
            continue  # the tail of an unquoted text with a comma in it
        params = parse_params(rest)
        cause = _CAUSE.match(params.get("cause", ""))
        reasons.append(Reason(protocol.upper(), int(cause[1]) if cause else 0, params.get("text", "")))
    return reasons


def parse_diagnostics(head: SipHead) -> list[Diagnostic]:
    """Read the three diagnostic headers, the enterprise's own first."""
    found: list[Diagnostic] = []
    for place in DIAGNOSTIC_PLACES:
        field = head.known[place]
        if field is None:
            continue
        for value in split_all(head.all_of(field))[:MAX_REASONS]:
            text, _, rest = value.partition(";")
            match = _ID.fullmatch(text.strip())
            if match:
                params = parse_params(rest)
                found.append(Diagnostic(int(match[1]), match[2] or "", params, field.name))
    return found


def parse_warnings(values: list[str]) -> list[SipWarning]:
    """Read Warning header lines: `391 fe.example.com "Does not want to be disturbed"`."""
    warnings = []
    for value in split_all(values)[:MAX_REASONS]:
        code, _, rest = value.partition(" ")
        agent, _, text = rest.strip().partition(" ")
        if len(code) == 3 and number(code) >= 100:  # RFC 4475 s.3.1.2.5 sends 1812
            warnings.append(SipWarning(int(code), unquote(text), agent))
    return warnings
