"""A SIP head as a passive listener reads it: start line, headers by name, where the body begins.

Rule 1: what is not needed to decide about a call is never a reason to refuse a message. Refused are only
        bytes whose start line cannot be read and heads beyond MAX_HEAD_BYTES; any other oddity costs the
        header line it stands in, and the loss is counted in `SipHead.skipped`.
Rule 2: every step is linear in the input, whatever the sender chose to write.
Rule 3: an error names position and expectation, and quotes nothing that could be an address.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

from .field import END_PLACE, KEPT_BYTES, LINES, MAX_VALUE_CHARS, Field, decoded, is_fold
from .names import CONTENT_LENGTH, CSEQ, METHODS, OTHER, PLACES, TOKEN
from .texts import TEXTS

MAX_HEAD_BYTES: Final = 65_536
"""A head longer than any datagram. Below: long but honest heads over TCP are lost. Above: one sender can make
us split megabytes."""

MAX_HEADER_LINES: Final = 256
"""Lines read per head. Two headers that grow per hop (Via, Record-Route) times 70 hops (Max-Forwards,
RFC 3261 s.8.1.1.6) fit. Below: they do not. Above: lines of `a:` cost memory out of proportion."""

MAX_METHOD_CHARS: Final = 64
"""RFC 4475 s.3.1.1.2 sends a method of 44. Above: methods stop being fit for a metric label."""


class SipError(ValueError):
    """The bytes are no SIP message that can be read; says what was found, where, and what was expected."""


KEPT_STARTS: Final = 4_096
"""Start lines that are remembered. Below: the requests of calls that ring are read again and again."""


@final
@mypyc_attr(acyclic=True)
class SipHead:
    """One message's head. Headers of one name keep their order; their values are unfolded, otherwise raw."""

    __slots__ = (
        "_data", "_lines", "_offset", "complete", "known", "method", "more", "others", "reason_phrase",
        "request_uri", "skipped", "status",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        start: "StartLine",
        known: list[Field | None],
        others: dict[str, Field],
        more: list[Field],
        skipped: int,
        complete: bool,
        data: bytes,
        offset: int,
        lines: list[bytes],
    ) -> None:
        self.method: Final = method
        """A request's method in upper case; for a response the method in its CSeq, "" if that is missing."""
        self.request_uri: Final = start.request_uri
        """As received, without the angle brackets that some add (RFC 4475 s.3.1.2.7); "" for a response."""
        self.status: Final = start.status
        """100 to 699; 0 for a request."""
        self.reason_phrase: Final = start.phrase
        self.known: Final = known
        """The first header line of each name that has a place in `names`; None where there is none such."""
        self.others: Final = others
        """Long name in lower case -> the first header line of any other name; none of `names.UNREAD`."""
        self.more: Final = more
        """The header lines after the first of their names."""
        self.skipped: Final = skipped
        """Header lines that were left out: without a colon, with an impossible name, or beyond a limit."""
        self.complete: Final = complete
        """The empty line after the headers was there; if not, the capture may have cut the last header short."""
        self._data = data
        self._offset = offset
        self._lines = lines

    def field(self, name: str) -> Field | None:
        """Return the first header line of `name` (long form, lower case)."""
        place = PLACES.get(name)
        return self.others.get(name) if place is None else self.known[place]

    def first(self, name: str) -> str:
        """Return the first value of `name` (long form, lower case), "" if it is absent."""
        field = self.field(name)
        return "" if field is None else field.value

    def all(self, name: str) -> list[str]:
        """Return the values of `name` (long form, lower case), one per header line; empty if it is absent."""
        field = self.field(name)
        return [] if field is None else self.all_of(field)

    def all_of(self, first: Field) -> list[str]:
        """Return the values of the lines that have the name of `first`, which is the first of them."""
        values = [first.value]
        for field in self.more:
            if field.name == first.name:
                values.append(field.value)
        return values

    @property
    def headers(self) -> dict[str, list[str]]:
        """Long name in lower case -> values in order of appearance, one per header line."""
        kept = [field for field in (*self.known, *self.others.values()) if field is not None]
        return {field.name: self.all_of(field) for field in kept}

    @property
    def body(self) -> bytes:
        """What follows the empty line, as far as a believable Content-Length says (RFC 3261 s.18.3).

        Without one, or with one that claims more than there is, it is everything to the end.
        """
        data = self._data
        at = self._offset
        for line in self._lines:
            at += len(line) + 1
            if line == b"\r" or not line:
                break
        else:
            at = head_end(data.decode("latin-1"), self._offset)[1]
        length = self.known[CONTENT_LENGTH]
        claimed = "" if length is None else length.value
        if len(claimed) < 10 and claimed.isdigit() and claimed.isascii():
            return data[at : at + int(claimed)]
        return data[at:]

    def __repr__(self) -> str:
        start = f"{self.status} {self.method}" if self.status else self.method
        return f"<SipHead {start}, {len(self.headers)} headers>"


@final
@mypyc_attr(acyclic=True)
class StartLine:
    """A start line, read."""

    __slots__ = ("method", "phrase", "request_uri", "status")

    def __init__(self, method: str, request_uri: str, status: int, phrase: str) -> None:
        self.method: Final = method
        self.request_uri: Final = TEXTS.one(request_uri)
        self.status: Final = status
        self.phrase: Final = phrase


_BLANK: Final = " \t\r"
_STATUS: Final[dict[str, int]] = {str(code): code for code in range(100, 700)}
_STARTS: Final[dict[bytes, StartLine]] = {}


def parse(data: bytes) -> SipHead:
    """Read one message; what follows the first one's body is ignored.

    Raises:
        SipError: no readable start line, or a head of more than MAX_HEAD_BYTES.
    """
    offset = leading_lines(data)
    if len(data) > MAX_HEAD_BYTES:
        end, _ = head_end(data.decode("latin-1"), offset)
        if end - offset > MAX_HEAD_BYTES:
            raise SipError(
                f"a head of {end - offset} bytes at offset {offset}, expected at most {MAX_HEAD_BYTES}"
            )
    # One split of everything costs less than looking for the end of the head first: bodies are short.
    lines = (data[offset:] if offset else data).split(b"\n", MAX_HEADER_LINES + 1)
    start = _STARTS.get(lines[0])
    if start is None:
        start = _start_line(lines[0], offset)
    beyond = lines.pop() if len(lines) == MAX_HEADER_LINES + 2 else b""
    if not lines[-1]:
        del lines[-1]  # what follows the last line's end is not an empty line

    known: list[Field | None] = [None] * OTHER
    others: dict[str, Field] = {}
    more: list[Field] = []
    last: Field | None = None  # where a folded line goes on; None after a line that was left out
    skipped = 0
    complete = False
    late = LINES.late
    for line in lines[1:]:
        field = late.get(line)
        if field is None:
            field = LINES.read(line)
        if field is None:
            if last is None or not is_fold(line):
                last = None
                skipped += 1
            elif last.name:
                longer = last.folded(line)
                if longer is None:
                    skipped += 1
                else:
                    if more and more[-1] is last:
                        more[-1] = longer
                    elif last.place == OTHER:
                        others[last.name] = longer
                    else:
                        known[last.place] = longer
                    last = longer
            continue
        place = field.place
        if place >= 0:
            if place == OTHER and field.name not in others:
                others[field.name] = field
            elif place != OTHER and known[place] is None:
                known[place] = field
            else:
                more.append(field)
        elif place == END_PLACE:
            complete = True
            break
        last = field
    else:
        for line in beyond.removesuffix(b"\n").split(b"\n") if beyond else ():
            if line == b"\r" or not line:
                complete = True
                break
            skipped += 1

    method = start.method
    if start.status:
        cseq = known[CSEQ]
        if cseq is not None:
            method = cseq.method
    return SipHead(method, start, known, others, more, skipped, complete, data, offset, lines)


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


def _start_line(line: bytes, offset: int) -> StartLine:
    """Read a start line; `offset` is where it stands, for the error."""
    start = _read_start_line(decoded(line), offset)
    if len(line) <= KEPT_BYTES:
        if len(_STARTS) >= KEPT_STARTS:
            _STARTS.clear()
        _STARTS[line] = start
    return start


def _read_start_line(line: str, offset: int) -> StartLine:
    if len(line) > MAX_VALUE_CHARS:
        raise SipError(
            f"a start line of {len(line)} characters at offset {offset}, expected {MAX_VALUE_CHARS}"
        )
    if line.startswith("SIP/2.0 "):
        status = _STATUS.get(line[8:11])
        if status is not None and line[11:12] in " \r":
            return StartLine("", "", status, line[12:].strip(_BLANK))
    else:
        blank = line.find(" ")
        method = line[: max(blank, 0)]
        if method in METHODS:
            rest = line[blank + 1 : -1] if line.endswith(" SIP/2.0\r") else line[blank + 1 :].rstrip(_BLANK)
            if rest.endswith(" SIP/2.0"):
                uri = rest[:-8].strip(" \t<>")
                if uri:
                    return StartLine(method, uri, 0, "")
    return _odd_start_line(line, offset)


def _odd_start_line(line: str, offset: int) -> StartLine:
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
        return StartLine("", "", status, " ".join(words[2:]))
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
    return StartLine(method.upper(), uri, 0, "")


def _check_version(version: str, offset: int) -> None:
    if version.upper() != "SIP/2.0":  # RFC 3261 s.7.1: in any case, nothing else
        raise SipError(f"version {version[:12]!r} at offset {offset}, expected SIP/2.0")
