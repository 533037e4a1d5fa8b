"""A SIP head as a passive listener reads it: start line, headers by name, where the body begins.

Rule 1: what is not needed to decide about a call is never a reason to refuse a message. Refused are only
        bytes whose start line cannot be read and heads beyond MAX_HEAD_BYTES; any other oddity costs the
        header line it stands in, and the loss is counted in `SipHead.skipped`.
Rule 2: decoding never raises and never depends on its surroundings: UTF-8 (RFC 3261 s.7), and where a byte is
        not UTF-8 the rest of its non-ASCII run is ISO 8859-1, as RFC 2543 peers write umlauts.
Rule 3: every step is linear in the input, whatever the sender chose to write.
Rule 4: an error names position and expectation, and quotes nothing that could be an address.
"""

import codecs
import re

from .names import KNOWN, MAX_NAME_CHARS, METHODS, TOKEN, long_name

MAX_HEAD_BYTES = 65_536
"""A head longer than any datagram. Below: long but honest heads over TCP are lost. Above: one sender can make
us split megabytes."""

MAX_HEADER_LINES = 256
"""Lines read per head. Two headers that grow per hop (Via, Record-Route) times 70 hops (Max-Forwards,
RFC 3261 s.8.1.1.6) fit. Below: they do not. Above: lines of `a:` cost memory out of proportion."""

MAX_VALUE_CHARS = 8_192
"""One header line's value. An Identity token or a long History-Info has 4,000. Below: those are lost. Above:
every parser of values has to be fast on longer text."""

MAX_METHOD_CHARS = 64
"""RFC 4475 s.3.1.1.2 sends a method of 44. Above: methods stop being fit for a metric label."""


class SipError(ValueError):
    """The bytes are no SIP message that can be read; says what was found, where, and what was expected."""


class SipHead:
    """One message's head. Headers of one name keep their order; their values are unfolded, otherwise raw."""

    __slots__ = (
        "_data",
        "complete",
        "headers",
        "method",
        "reason_phrase",
        "request_uri",
        "skipped",
        "status",
    )

    method: str
    """A request's method in upper case; for a response the method in its CSeq, "" if that is missing."""
    request_uri: str
    """As received, without the angle brackets that some add (RFC 4475 s.3.1.2.7); "" for a response."""
    status: int
    """100 to 699; 0 for a request."""
    reason_phrase: str
    headers: dict[str, list[str]]
    """Long name in lower case -> values in order of appearance, one per header line."""
    skipped: int
    """Header lines that were left out: without a colon, with an impossible name, or beyond a limit."""
    complete: bool
    """The empty line after the headers was there; if not, the capture may have cut the last header short."""

    def __init__(
        self,
        method: str,
        request_uri: str,
        status: int,
        reason_phrase: str,
        headers: dict[str, list[str]],
        skipped: int,
        complete: bool,
        data: bytes,
    ) -> None:
        self.method = method
        self.request_uri = request_uri
        self.status = status
        self.reason_phrase = reason_phrase
        self.headers = headers
        self.skipped = skipped
        self.complete = complete
        self._data = data

    def first(self, name: str) -> str:
        """Return the first value of `name` (long form, lower case), "" if it is absent."""
        values = self.headers.get(name)
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        """Return the values of `name` (long form, lower case), one per header line; empty if it is absent."""
        return self.headers.get(name, [])

    @property
    def body(self) -> bytes:
        """What follows the empty line, as far as a believable Content-Length says (RFC 3261 s.18.3).

        Without one, or with one that claims more than there is, it is everything to the end.
        """
        _, at = head_end(self._data, len(self._data) - len(self._data.lstrip(b"\r\n")))
        claimed = self.first("content-length")
        if claimed.isascii() and claimed.isdigit() and len(claimed) < 10:
            return self._data[at : at + int(claimed)]
        return self._data[at:]

    def __repr__(self) -> str:
        start = f"{self.status} {self.method}" if self.status else self.method
        return f"<SipHead {start}, {len(self.headers)} headers>"


_EMPTY = frozenset({"", "\r"})
_TOO_LONG = "-"  # stands for a line beyond MAX_VALUE_CHARS: without a colon, so left out and counted
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_BLANK = " \t\r"
_EMPTY_LINE = re.compile(rb"\n\r?\n").search  # a third of the time of looking for each of the two

_STATUS = {str(code): code for code in range(100, 700)}


def _as_latin1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    run = _HIGH_RUN.match(error.object, error.start)
    end = run.end() if run else error.end
    return error.object[error.start : end].decode("latin-1"), end


ERRORS = "missedcall-latin-1"
"""Name of the decoding error handler of Rule 2, for `bytes.decode`."""
codecs.register_error(ERRORS, _as_latin1)


def parse(data: bytes) -> SipHead:
    """Read one message; what follows the first one's body is ignored.

    Raises:
        SipError: no readable start line, or a head of more than MAX_HEAD_BYTES.
    """
    offset = 0
    if data[:1] in b"\r\n":  # RFC 3261 s.7.5: empty lines before the start line are to be ignored
        offset = len(data) - len(data.lstrip(b"\r\n"))
    text = _text(data, offset)
    # One split of everything costs less than looking for the end of the head first: bodies are short.
    lines = text.split("\n", MAX_HEADER_LINES + 1)
    method, request_uri, status, phrase = _start_line(lines[0], offset)
    beyond = lines.pop().split("\n") if len(lines) == MAX_HEADER_LINES + 2 else []
    if not lines[-1]:
        del lines[-1]  # what follows the last line's end is not an empty line
    if len(text) > MAX_VALUE_CHARS:
        lines = [line if len(line) <= MAX_VALUE_CHARS else _TOO_LONG for line in lines]

    headers: dict[str, list[str]] = {}
    last: list[str] = []  # where a folded line goes on; empty after a line that was left out
    skipped = 0
    complete = False
    following = iter(lines)
    next(following, None)
    for line in following:
        name, colon, value = line.partition(":")
        if name in KNOWN:
            name = KNOWN[name]
        elif line in _EMPTY:
            complete = True
            break
        elif line[0] in " \t":  # RFC 3261 s.7.3.1: a fold is one space
            if last and len(last[-1]) + len(line) <= MAX_VALUE_CHARS:
                last[-1] = f"{last[-1]} {line.strip()}".strip()
            else:
                skipped += 1
            continue
        else:
            name = long_name(name) if colon and len(name) <= MAX_NAME_CHARS else ""
            if not name:
                last = []
                skipped += 1
                continue
        if name in headers:
            last = headers[name]
            last.append(value.strip())
        else:
            headers[name] = last = [value.strip()]
    else:
        for line in beyond:
            if line in _EMPTY:
                complete = True
                break
            skipped += 1

    if status and "cseq" in headers:
        cseq = headers["cseq"][0].split()
        method = cseq[1].upper() if len(cseq) > 1 else ""
    return SipHead(method, request_uri, status, phrase, headers, skipped, complete, data)


def head_end(data: bytes, start: int = 0) -> tuple[int, int]:
    """Return where the last header line ends and where the body begins; both len(data) without an empty line.

    The former is the offset of the line feed that ends the last header line.
    """
    blank = _EMPTY_LINE(data, start)
    return blank.span() if blank else (len(data), len(data))


def _text(data: bytes, offset: int) -> str:
    """Decode the message, only its head if that saves work."""
    if len(data) <= MAX_HEAD_BYTES:
        try:
            return str(data[offset:] if offset else data, "utf-8")
        except UnicodeDecodeError:
            pass  # a binary body, or a sender that writes ISO 8859-1
    end, body_at = head_end(data, offset)
    if end - offset > MAX_HEAD_BYTES:
        raise SipError(
            f"a head of {end - offset} bytes at offset {offset}, expected at most {MAX_HEAD_BYTES}"
        )
    return data[offset:body_at].decode("utf-8", ERRORS)


def _start_line(line: str, offset: int) -> tuple[str, str, int, str]:
    """Return method, Request-URI, status and phrase; `offset` is where the line stands, for the error."""
    if len(line) > MAX_VALUE_CHARS:
        raise SipError(
            f"a start line of {len(line)} characters at offset {offset}, expected {MAX_VALUE_CHARS}"
        )
    first, _, rest = line.partition(" ")
    if first == "SIP/2.0":
        status = _STATUS.get(rest[:3])
        if status is not None and rest[3:4] in " \r":
            return "", "", status, rest[4:].strip(_BLANK)
    elif first in METHODS:
        uri, _, version = rest.rstrip(_BLANK).rpartition(" ")
        uri = uri.strip(" \t<>")
        if version == "SIP/2.0" and uri:
            return first, uri, 0, ""
    return _odd_start_line(line, offset)


def _odd_start_line(line: str, offset: int) -> tuple[str, str, int, str]:
    """Read a start line that is not spelled as usual."""
    words = line.split()
    if not words:
        raise SipError(f"nothing at offset {offset}, expected a start line")
    if words[0][:4].upper() == "SIP/":
        _check_version(words[0], offset)
        status = _STATUS.get(words[1]) if len(words) > 1 else None
        if status is None:
            found = repr(words[1][:12]) if len(words) > 1 else "nothing"
            raise SipError(f"status {found} at offset {offset + len(words[0]) + 1}, expected 100 to 699")
        return "", "", status, " ".join(words[2:])
    method = words[0]
    if len(method) > MAX_METHOD_CHARS or not TOKEN.fullmatch(method):
        raise SipError(
            f"no method of at most {MAX_METHOD_CHARS} token characters at offset {offset}, expected one"
        )
    if len(words) < 3 or words[-1][:4].upper() != "SIP/":
        raise SipError(
            f"a start line of {len(line.strip())} characters at offset {offset}, expected SIP/2.0 at its end"
        )
    _check_version(words[-1], offset + line.rindex(words[-1]))
    uri = " ".join(words[1:-1]).strip(" <>")
    if not uri:
        raise SipError(f"an empty Request-URI at offset {offset + len(method) + 1}, expected a URI")
    return method.upper(), uri, 0, ""


def _check_version(version: str, offset: int) -> None:
    if version.upper() != "SIP/2.0":  # RFC 3261 s.7.1: in any case, nothing else
        raise SipError(f"version {version[:12]!r} at offset {offset}, expected SIP/2.0")
