"""What tells transactions apart: Via with its branch, and CSeq (RFC 3261 s.17.1.3, s.17.2.3)."""

import re
from typing import Final, NamedTuple

from .field import Field
from .grammar import parse_params, split_all, split_values
from .message import SipHead
from .names import CSEQ, VIA
from .texts import TEXTS

MAGIC: Final = "z9hG4bK"
"""Begins every branch that is unique by itself (RFC 3261 s.8.1.1.7)."""


class Via(NamedTuple):
    """One hop of a Via header."""

    transport: str
    """Upper case: `UDP`, `TCP`, `TLS`, `SCTP`, `WS`, `WSS`, or what the peer calls it."""
    sent_by: str
    """`host` or `host:port`, lower case."""
    branch: str
    """As received; "" if absent."""
    params: dict[str, str]


# Blanks may stand around each slash (RFC 4475 s.3.1.1.1).
_VIA: Final = re.compile(r"\s*SIP\s*/[^/;]*/\s*([^\s;/]+)\s*([^;]*)(.*)", re.IGNORECASE | re.DOTALL)
_PLAIN_BRANCH: Final = ";branch=z9hG4bK"


def _parse_via(text: str) -> Via | None:
    match = _VIA.match(text)
    if match is None:
        return None
    params = parse_params(match[3])
    return Via(match[1].upper(), "".join(match[2].split()).lower(), params.get("branch", ""), params)


def parse_vias(head: SipHead) -> list[Via]:
    """Return the hops, the latest first; what is no Via is left out."""
    return [via for value in split_all(head.all("via")) if (via := _parse_via(value)) is not None]


def _branch_id(value: str) -> str:
    at = value.find(_PLAIN_BRANCH)
    if at >= 0 and '"' not in value:
        end = value.find(";", at + 15)
        branch = (value[at + 8 :] if end < 0 else value[at + 8 : end]).rstrip()
        if len(branch) > 7:
            return branch
    via = _parse_via(value)
    if via is None:
        return ""
    # RFC 4475 s.3.2.1: the cookie alone identifies nothing; then as with an RFC 2543 peer.
    if via.branch.startswith(MAGIC) and len(via.branch) > len(MAGIC):
        return via.branch
    return f"{via.sent_by}/{via.branch}"


def branches(head: SipHead) -> tuple[str, str, int]:
    """Return what identifies the top Via's and the next Via's transaction, and the number of Vias.

    That is the branch, or `sent-by/branch` where the peer is of RFC 2543 and the branch alone may repeat
    (RFC 3261 s.17.2.3); "" where there is no such Via.
    """
    field = head.known[VIA]
    if field is None:
        return "", "", 0
    found = _branches_of(field)
    if head.more:
        for each in head.more:
            if each.place == VIA:
                found += _branches_of(each)
    count = len(found)
    return found[0] if count else "", found[1] if count > 1 else "", count


def _branches_of(via: Field) -> tuple[str, ...]:
    """Return what identifies the transaction of each Via in a line."""
    found = via.branches
    if found is None:
        value = via.value
        if "," in value:
            values = [each for each in split_values(value) if each[:3].upper() == "SIP"]
            found = tuple([TEXTS.one(_branch_id(each)) for each in values])
        else:
            found = (TEXTS.one(_branch_id(value)),)
        via.branches = found
    return found


def cseq(head: SipHead) -> tuple[int, str]:
    """Return CSeq number and method; -1 for a number that is missing or impossible, "" for no method."""
    field = head.known[CSEQ]
    return (-1, "") if field is None else (field.number, field.method)
