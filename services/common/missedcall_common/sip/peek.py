"""The little that the collector has to know of each message, read without parsing it.

Rule 1: what is read here is what `message.parse` would read, for every message that has one Call-ID and one
        CSeq and ends all its lines alike; a message with two has no right answer (RFC 3261 s.7.3.1).
Rule 2: nothing raises and nothing is quadratic; whoever sends garbage gets `NOT_SIP`.
"""

import re
from typing import Final, NamedTuple, TypeAlias

from .field import ERRORS
from .message import MAX_HEAD_BYTES, head_end, leading_lines
from .names import METHODS
from .sdp import media_lines

MAX_START_LINE_BYTES: Final = 8_192
"""Where looking for the end of a start line stops: what `parse` refuses (`MAX_VALUE_CHARS`) is not looked for."""


class Peek(NamedTuple):
    """What routing and the noise filter need."""

    method: str
    """A request's method; for a response the method in its CSeq. Upper case."""
    status: int
    """100 to 699; 0 for a request."""
    cseq_method: str
    """Upper case; "" if there is no readable CSeq."""
    call_id: str
    """Without blanks around it; "" if there is none."""

    @property
    def is_sip(self) -> bool:
        """Whether there was a start line of SIP."""
        return self.status > 0 or self.method != ""


NOT_SIP = Peek("", 0, "", "")

_LF: Final = 10
_CR: Final = 13
_C: Final = 67
_BLANK: Final = 32
_TAB: Final = 9
_FIRST_BYTES: Final = frozenset(bytes([byte]) for byte in b"-.!%*_+`'~0123456789") | frozenset(
    bytes([byte]) for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_TOKEN: Final = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]{1,64}")
# SIP/7.0 looks like SIP too: to be counted as malformed, not as some other protocol.
_VERSION: Final = re.compile(rb"SIP/[0-9.]{1,8}", re.IGNORECASE)
_RESPONSE: Final = re.compile(rb"SIP/[0-9.]{1,8}[ \t]+[0-9]", re.IGNORECASE)
_STATUS_LINE: Final = re.compile(rb"SIP/[0-9.]{1,8}[ \t]+([0-9]{3})(?![0-9])", re.IGNORECASE)
_CALL_ID: Final = re.compile(rb"\n(?:Call-ID|i)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)
_CSEQ: Final = re.compile(rb"\nCSeq[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)
_FROM: Final = re.compile(rb"\n(?:From|f)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)
_TO: Final = re.compile(rb"\n(?:To|t)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)
_CONTENT_TYPE: Final = re.compile(rb"\n(?:Content-Type|c)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)
_CONTENT_LENGTH: Final = re.compile(
    r"\n(?:Content-Length|l)[ \t]*:[ \t]*([0-9]{1,9})[ \t]*\r?\n", re.IGNORECASE | re.ASCII
)
_BLANKS: Final = frozenset({b" ", b"\t"})
_FOLD: Final = re.compile(r"\r?\n[ \t]+")
_KNOWN: Final = {method.encode(): method for method in METHODS}
_STATUS: Final = {str(code): code for code in range(100, 700)}
_STATUS_BYTES: Final = frozenset(code.encode() for code in _STATUS)
_AFTER_STATUS: Final = frozenset({b" ", b"\r", b"\n"})


def _request_method(data: bytes) -> str:
    """Return the method if `data` begins with a Request-Line of any SIP version, else ""."""
    end = data.find(b"\n", 0, MAX_START_LINE_BYTES)
    line = data[:end] if end >= 0 else data[:MAX_START_LINE_BYTES]
    method, _, rest = line.partition(b" ")
    known = _KNOWN.get(method)
    if known is not None and rest.endswith((b" SIP/2.0\r", b" SIP/2.0")):
        return known
    words = line.split()
    if len(words) < 3 or not _VERSION.fullmatch(words[-1]) or not _TOKEN.fullmatch(words[0]):
        return ""
    return words[0].decode("ascii").upper()


def looks_like_sip(data: bytes) -> bool:
    """Whether `data` begins like a SIP message of any version, empty lines before it allowed.

    Meant for any port: it is quick to say no.
    """
    if data[:8] == b"SIP/2.0 " and data[8:11] in _STATUS_BYTES and data[11:12] in _AFTER_STATUS:
        return True
    first = data[:1]
    if first in b"\r\n":
        data = data.lstrip(b"\r\n")
        first = data[:1]
    if first not in _FIRST_BYTES:
        return False
    return _RESPONSE.match(data) is not None or _request_method(data) != ""


def peek(data: bytes) -> Peek:
    """Read start line, Call-ID and CSeq method."""
    method, status, cseq_method, call_id, _, _ = look(data)
    return Peek(method, status, cseq_method, call_id)


Look: TypeAlias = tuple[str, int, str, str, int, int]
"""The fields of `Peek`, then what `head_end` says; -1 twice if it was not asked. A tuple: one per message."""


def look(data: bytes) -> Look:
    """Read what `peek` reads, and say where the head ends if it was found on the way: `cut_at` wants to know."""
    # As text, where every offset is the bytes': compiled, looking in a str costs half of looking in bytes.
    text = data.decode("latin-1")
    line_end = text.find("\n", 0, MAX_START_LINE_BYTES)
    status = 0
    method = ""
    if text.startswith("SIP/2.0 "):
        if text[11:12] in {" ", "\r", "\n"}:
            status = _STATUS.get(text[8:11], 0)
    elif text[line_end - 9 : line_end] == " SIP/2.0\r":
        method = text[: text.find(" ")]
        if method not in METHODS:
            method = ""
    if not method and not status:
        return _odd_look(data)

    # The way nearly everyone writes: long names, each header on one line, and both before the empty line. One pass
    # over the lines finds the three; by the first letter, since an item of bytes costs a tenth of a search.
    size = len(data)
    id_at = id_end = cseq_at = cseq_end = -1
    at, end, body_at = line_end, size, size
    while 0 <= at < size - 1:
        first = data[at + 1]
        if first == _LF:
            end, body_at = at, at + 2
            break
        if first == _CR and at + 2 < size and data[at + 2] == _LF:
            end, body_at = at, at + 3
            break
        if at > MAX_HEAD_BYTES:
            return _odd_look(data)
        next_at = text.find("\n", at + 1)
        if first == _C and next_at >= 0:
            if id_at < 0 and text[at + 1 : at + 10] == "Call-ID: ":
                id_at, id_end = at + 10, next_at
            elif (cseq_at < 0 or cseq_at < id_at) and text[at + 1 : at + 7] == "CSeq: ":
                cseq_at, cseq_end = at + 7, next_at
        at = next_at
    if id_at < 0 or cseq_at < 0 or id_end > size - 2 or end > MAX_HEAD_BYTES:
        return _odd_look(data)
    if data[id_end + 1] == _BLANK or data[id_end + 1] == _TAB:  # it goes on in the next line
        return _odd_look(data)
    number_end = text.find(" ", cseq_at, cseq_end)
    cseq_method = text[number_end + 1 : cseq_end - 1 if data[cseq_end - 1] == _CR else cseq_end]
    if cseq_method not in METHODS or number_end < 0 or not text[cseq_at:number_end].isdecimal():
        return _odd_look(data)
    call_id = text[id_at:id_end].strip()
    if not call_id.isascii():
        call_id = data[id_at:id_end].decode("utf-8", ERRORS).strip()
    return method or cseq_method, status, cseq_method, call_id, end, body_at


def _odd_look(data: bytes) -> Look:
    """Read a message that is not spelled as usual, or is none."""
    if leading_lines(data):
        data = data.lstrip(b"\r\n")
    method = _request_method(data)
    status = 0
    if not method:
        match = _STATUS_LINE.match(data)
        status = _STATUS.get(match[1].decode("ascii"), 0) if match else 0
        if not status:
            return "", 0, "", "", -1, -1
    end, _ = head_end(data.decode("latin-1"))
    end = min(end + 1, MAX_HEAD_BYTES)
    words = _value(_CSEQ, data, end).split()
    cseq_method = words[1].upper() if len(words) > 1 else ""
    return method or cseq_method, status, cseq_method, _value(_CALL_ID, data, end), -1, -1


def _value(pattern: re.Pattern[bytes], data: bytes, end: int) -> str:
    """Return the header value that `pattern` finds before `end`, unfolded; "" if there is none."""
    match = pattern.search(data, 0, end)
    if match is None:
        return ""
    text = str(match[1], "utf-8", ERRORS).strip()
    return _FOLD.sub(" ", text) if "\n" in text else text


def from_value(head: bytes) -> str:
    """Return the value of From, unfolded; "" if there is none."""
    return _plain_value(b"\nFrom: ", head) or _value(_FROM, head, len(head))


def to_value(head: bytes) -> str:
    """Return the value of To, unfolded; "" if there is none."""
    return _plain_value(b"\nTo: ", head) or _value(_TO, head, len(head))


def _plain_value(name: bytes, head: bytes) -> str:
    """Return the value of a header that is spelled as usual, on one line; "" if it is not."""
    at = head.find(name)
    if at < 0:
        return ""
    at += len(name)
    end = head.find(b"\n", at)
    if end < 0 or head[end + 1 : end + 2] in _BLANKS:
        return ""
    return str(head[at:end], "utf-8", ERRORS).strip()


def cut(data: bytes) -> bytes:
    """Return start line and headers as received, the empty line, and of the body only its `m=` lines.

    A head beyond MAX_HEAD_BYTES ends with the last whole line before; a head without its empty line stays so.
    """
    if leading_lines(data):
        data = data.lstrip(b"\r\n")
    end, body_at = head_end(data.decode("latin-1"))
    return cut_at(data, end, body_at)


def cut_at(data: bytes, end: int, body_at: int) -> bytes:
    """Return `cut` of a message without empty lines before it, of which `look` has said where the head ends."""
    if end > MAX_HEAD_BYTES:
        return data[: data.rfind(b"\n", 0, MAX_HEAD_BYTES) + 1] or data[:MAX_HEAD_BYTES]
    if body_at == len(data):
        return data
    text = data[: end + 1].decode("latin-1")
    at = text.rfind("\nContent-Length: ", 0, end)
    if at >= 0:
        length = text[at + 17 : text.find("\n", at + 17)].strip()
    else:
        match = _CONTENT_LENGTH.search(text)
        length = match[1] if match else ""
    if length.isdigit() and len(length) < 10 and length.isascii():
        body = data[body_at : body_at + int(length)]
    else:
        body = data[body_at:]
    content_type = "" if body.startswith(b"v=") else _value(_CONTENT_TYPE, data, end + 1).lower()
    return data[:body_at] + media_lines(body, content_type)
