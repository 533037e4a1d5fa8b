"""SIP messages as text, the torture samples, and everything that can be read of a message.

Rule 1: `read_everything` calls every public parser of `missedcall_common.sip`, so that "survived" means all.
"""

from pathlib import Path

from missedcall_common.sip import headers as h
from missedcall_common.sip.message import SipError, SipHead, parse
from missedcall_common.sip.peek import cut, looks_like_sip, peek
from missedcall_common.sip.uri import address_of_record, parse_uri, telephone_number

TORTURE = Path(__file__).parent.parent / "data" / "sip-torture"
SAMPLES = {path.stem: path.read_bytes() for path in sorted(TORTURE.glob("*/*.dat"))}
"""RFC 4475's messages by their names there."""


def message(*lines: str, body: bytes = b"", end: str = "\r\n") -> bytes:
    """Write start line and header lines, the empty line, and the body."""
    return (end.join(lines) + end + end).encode() + body


def head(*lines: str) -> SipHead:
    """Parse an INVITE with these header lines."""
    return parse(message("INVITE sip:bob@example.com SIP/2.0", *lines))


def read_text(text: str) -> list[object]:
    """Read `text` as the value of every kind of header."""
    return [
        h.split_values(text),
        h.parse_name_addr(text),
        h.parse_params(text),
        h.unquote(text),
        h.tag(text),
        h.parse_reasons([text]),
        h.parse_warnings([text]),
        h.parse_history_info([text]),
        h.parse_diversions([text]),
        h.parse_replaces(text),
        h.parse_session_id(text),
        h.feature_tags(text),
        h.escaped_headers(text),
        parse_uri(text),
        address_of_record(text),
        telephone_number(text),
    ]


def read_head(head: SipHead) -> list[object]:
    """Read what the parsers that take a head make of it."""
    return [
        head.body,
        h.media_types(head.body),
        h.parse_vias(head),
        h.branches(head),
        h.cseq(head),
        h.parse_diagnostics(head),
        h.privacy(head),
        h.caller_identity(head),
    ]


def read_everything(data: bytes) -> list[object]:
    """Read `data` by all means; the only thing that may be raised, and is caught, is SipError."""
    found: list[object] = [peek(data), looks_like_sip(data), cut(data), h.media_types(data)]
    try:
        head = parse(data)
    except SipError as error:
        return [*found, str(error)]
    found += read_head(head)
    found += read_text(head.request_uri)
    for values in head.headers.values():
        for value in values:
            found += read_text(value)
    return found
