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
from typing import Final, final

from .grammar import cseq_value
from .names import KNOWN, MAX_NAME_CHARS, METHODS, TOKEN, UNREAD, long_name

MAX_HEAD_BYTES: Final = 65_536
"""A head longer than any datagram. Below: long but honest heads over TCP are lost. Above: one sender can make
us split megabytes."""

MAX_HEADER_LINES: Final = 256
"""Lines read per head. Two headers that grow per hop (Via, Record-Route) times 70 hops (Max-Forwards,
RFC 3261 s.8.1.1.6) fit. Below: they do not. Above: lines of `a:` cost memory out of proportion."""

MAX_VALUE_CHARS: Final = 8_192
"""One header line's value. An Identity token or a long History-Info has 4,000. Below: those are lost. Above:
every parser of values has to be fast on longer text."""

MAX_METHOD_CHARS: Final = 64
"""RFC 4475 s.3.1.1.2 sends a method of 44. Above: methods stop being fit for a metric label."""


class SipError(ValueError):
    """The bytes are no SIP message that can be read; says what was found, where, and what was expected."""


@final
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
    """Long name in lower case -> values in order of appearance, one per header line; none of `names.UNREAD`."""
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
        data = self._data
        _, at = head_end(data.decode("latin-1"), leading_lines(data))
        claimed = self.first("content-length")
        if len(claimed) < 10 and claimed.isdigit() and claimed.isascii():
            return data[at : at + int(claimed)]
        return data[at:]

    def __repr__(self) -> str:
        start = f"{self.status} {self.method}" if self.status else self.method
        return f"<SipHead {start}, {len(self.headers)} headers>"


_TOO_LONG: Final = "-"  # stands for a line beyond MAX_VALUE_CHARS: without a colon, so left out and counted
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_BLANK: Final = " \t\r"
_STATUS: Final[dict[str, int]] = {str(code): code for code in range(100, 700)}


def _as_latin1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    run = _HIGH_RUN.match(error.object, error.start)
    end = run.end() if run else error.end
    return error.object[error.start : end].decode("latin-1"), end


ERRORS: Final = "missedcall-latin-1"
"""Name of the decoding error handler of Rule 2, for `bytes.decode`."""
codecs.register_error(ERRORS, _as_latin1)


def parse(data: bytes) -> SipHead:
    """Read one message; what follows the first one's body is ignored.

    Raises:
        SipError: no readable start line, or a head of more than MAX_HEAD_BYTES.
    """
    offset = leading_lines(data)
    text = _text(data, offset)
    size = len(text)
    end = text.find("\n")
    if end < 0:
        end = size
    method, request_uri, status, phrase = _start_line(text[:end], offset)

    headers: dict[str, list[str]] = {}
    last: list[str] | None = None  # where a folded line goes on; None after a line that was left out
    unread = False  # whether that line is one that nobody reads: no loss
    skipped = 0
    complete = False
    # Two texts per line are made, its name and its value: nothing costs more than making texts.
    for _ in range(MAX_HEADER_LINES):
        begin = end + 1
        if begin >= size:
            break
        end = text.find("\n", begin)
        if end < 0:
            end = size
        colon = text.find(":", begin, end)
        name = KNOWN.get(text[begin:colon]) if colon > begin else None
        if name is None:
            if end == begin or (end == begin + 1 and text[begin] == "\r"):
                complete = True
                break
            if text[begin] == " " or text[begin] == "\t":  # RFC 3261 s.7.3.1: a fold is one space
                if end - begin > MAX_VALUE_CHARS:
                    last = None
                    unread = False
                    skipped += 1
                elif last is not None and len(last[-1]) + end - begin <= MAX_VALUE_CHARS:
                    last[-1] = f"{last[-1]} {text[begin:end].strip()}".strip()
                elif last is not None or not unread:
                    skipped += 1
                continue
            name = long_name(text[begin:colon]) if begin <= colon <= begin + MAX_NAME_CHARS else ""
            if not name:
                last = None
                unread = False
                skipped += 1
                continue
            if name in UNREAD:
                name = ""
        if end - begin > MAX_VALUE_CHARS:
            last = None
            unread = False
            skipped += 1
        elif not name:
            last = None
            unread = True
        else:
            colon += 1
            if colon + 1 < end and text[colon] == " " and text[end - 1] == "\r":
                value = text[colon + 1 : end - 1].strip()
            else:
                value = text[colon:end].strip()
            last = headers.get(name)
            if last is None:
                headers[name] = last = [value]
            else:
                last.append(value)
    else:
        for line in text[end + 1 :].removesuffix("\n").split("\n"):
            if line in {"\r", ""}:
                complete = True
                break
            skipped += 1

    if status:
        cseq = headers.get("cseq")
        if cseq is not None:
            method = cseq_value(cseq[0])[1]
    return SipHead(method, request_uri, status, phrase, headers, skipped, complete, data)


def leading_lines(data: bytes) -> int:
    """Return how many bytes of empty lines come first: they are to be ignored (RFC 3261 s.7.5)."""
    return len(data) - len(data.lstrip(b"\r\n")) if data and data[0] <= 13 else 0


def head_end(text: str, start: int = 0) -> tuple[int, int]:
    """Return where the last header line ends and where the body begins; both len(text) without an empty line.

    The former is the offset of the line feed that ends the last header line. `text` is the message as ISO 8859-1,
    so that offsets are the bytes'.
    """
    blank = text.find("\n\r\n", start)
    # Some end their lines with LF alone; mostly there is none such, and the search goes two characters a step.
    bare = text.find("\n\n", start, blank + 1 if blank >= 0 else len(text))
    if bare >= 0:
        return bare, bare + 2
    return (blank, blank + 3) if blank >= 0 else (len(text), len(text))


def _text(data: bytes, offset: int) -> str:
    """Decode the message, only its head if that saves work."""
    if len(data) <= MAX_HEAD_BYTES:
        try:
            return (data[offset:] if offset else data).decode("utf-8")
        except UnicodeDecodeError:
            pass  # a binary body, or a sender that writes ISO 8859-1
    end, body_at = head_end(data.decode("latin-1"), offset)
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
    if line.startswith("SIP/2.0 "):
        status = _STATUS.get(line[8:11])
        if status is not None and line[11:12] in " \r":
            return "", "", status, line[12:].strip(_BLANK)
    else:
        blank = line.find(" ")
        method = line[: max(blank, 0)]
        if method in METHODS:
            rest = line[blank + 1 :].rstrip(_BLANK)
            if rest.endswith(" SIP/2.0"):
                uri = rest[:-8].strip(" \t<>")
                if uri:
                    return method, uri, 0, ""
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
