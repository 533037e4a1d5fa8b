"""One header line, read; and the lines of late, so that what repeats is read once.

The messages of a call repeat their From, To, Via and Call-ID, those of all calls their CSeq and Content-Type.

Rule 1: a line is read by itself: what it means does not depend on the lines around it.
Rule 2: decoding never raises: UTF-8 (RFC 3261 s.7), and where a byte is not UTF-8 the rest of its non-ASCII run
        is ISO 8859-1, as RFC 2543 peers write umlauts.
Rule 3: a remembered `Field` is never changed, but for what its readers note in it to find it again.
"""

import codecs
import re
from typing import Final, final

from mypy_extensions import mypyc_attr

from .grammar import cseq_value
from .grammar import tag as read_tag
from .names import CALL_ID, CSEQ, KNOWN, MAX_NAME_CHARS, OTHER, PLACES, UNKEPT, UNREAD, long_name
from .texts import TEXTS

MAX_VALUE_CHARS: Final = 8_192
"""One header line's value. An Identity token or a long History-Info has 4,000. Below: those are lost. Above:
every parser of values has to be fast on longer text."""

KEPT_LINES: Final = 8_192
"""Lines of late that are looked among, and as many before them: some 10 MB. Below: a busy proxy's calls are not all
there from INVITE to the answer. Above: it takes longer to find a line than to read it."""

KEPT_BYTES: Final = 256
"""Lines up to this length are remembered, so that they cannot be megabytes."""

_HIGH_RUN: Final = re.compile(rb"[\x80-\xff]+")


def _as_latin1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    run = _HIGH_RUN.match(error.object, error.start)
    end = run.end() if run else error.end
    return error.object[error.start : end].decode("latin-1"), end


ERRORS: Final = "missedcall-latin-1"
"""Name of the decoding error handler of Rule 2, for `bytes.decode`."""
codecs.register_error(ERRORS, _as_latin1)


def decoded(line: bytes) -> str:
    """Return a line as text."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("utf-8", ERRORS)


@final
@mypyc_attr(acyclic=True)
class Field:
    """A header line, its value unfolded and otherwise raw."""

    __slots__ = ("_lowered", "_tag", "branches", "method", "name", "number", "place", "value")

    def __init__(self, name: str, value: str, place: int) -> None:
        self.name: Final = name
        """Long name in lower case; "" for a header that is not kept, and for `END`."""
        self.place: Final = place
        """Where it stands in `SipHead.known`; `names.OTHER`, `names.UNKEPT` or `END_PLACE`."""
        self.value: Final = value
        self.number = -1
        """Of a CSeq, -1 if it is missing or impossible."""
        self.method = ""
        """Of a CSeq, upper case; "" if it is missing."""
        self.branches: tuple[str, ...] | None = None
        """Of a Via: noted by `transaction.branches`."""
        self._tag: str | None = None
        self._lowered: str | None = None
        if place == CSEQ:
            self.number, self.method = cseq_value(value)

    def tag(self) -> str:
        """Return the tag of a From or To, "" if it has none."""
        found = self._tag
        if found is None:
            found = self._tag = TEXTS.one(read_tag(self.value))
        return found

    def lowered(self) -> str:
        """Return the value in lower case."""
        found = self._lowered
        if found is None:
            found = self._lowered = self.value.lower()
        return found

    def folded(self, line: bytes) -> "Field | None":
        """Return what this field and a line that goes on with it are; None if they are too long for one."""
        text = decoded(line)
        if len(self.value) + len(text) > MAX_VALUE_CHARS:
            return None
        return Field(self.name, f"{self.value} {text.strip()}".strip(), self.place)


END_PLACE: Final = -2
END: Final = Field("", "", END_PLACE)
"""The empty line after the headers."""
_UNKEPT: Final = Field("", "", UNKEPT)
"""A header that nobody reads."""


def is_fold(line: bytes) -> bool:
    """Whether a line goes on with the one before (RFC 3261 s.7.3.1: a fold is one space)."""
    return line[:1] in (b" ", b"\t") and len(decoded(line)) <= MAX_VALUE_CHARS


def _read(line: bytes) -> Field | None:
    """Read a header line; None if it is none by itself."""
    text = decoded(line)
    colon = text.find(":")
    name = KNOWN.get(text[:colon]) if colon > 0 else None
    if name is None:
        if text in ("\r", ""):
            return END
        if colon < 0 or colon > MAX_NAME_CHARS or text.startswith((" ", "\t")):
            return None
        name = long_name(text[:colon])
        if not name:
            return None
        if name in UNREAD:
            name = ""
    if len(text) > MAX_VALUE_CHARS:
        return None
    if not name:
        return _UNKEPT
    value = text[colon + 1 :].strip()
    place = PLACES.get(name, OTHER)
    return Field(name, TEXTS.one(value) if place == CALL_ID else value, place)


@final
@mypyc_attr(acyclic=True)
class Lines:
    """The header lines of late."""

    __slots__ = ("_before", "late")

    def __init__(self) -> None:
        self.late: dict[bytes, Field] = {}
        """To be looked in first."""
        self._before: dict[bytes, Field] = {}

    def read(self, line: bytes) -> Field | None:
        """Read a line that is not in `late`; None if it is no header by itself."""
        field = self._before.get(line)
        if field is None:
            field = _read(line)
            if field is None or len(line) > KEPT_BYTES:
                return field
        if len(self.late) >= KEPT_LINES:
            self._before = self.late
            self.late = {}
        self.late[line] = field
        return field


LINES: Final = Lines()
