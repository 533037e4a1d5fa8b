"""What a caller wrote, made fit to be shown to a person.

Rule 1: every string that comes from the signalling passes here once, at the boundary, before anything renders
        it. Callers choose their display names; some choose them with care.
Rule 2: it never fails and never returns more than `limit` characters, whatever it is given.
Rule 3: what it returns has no control character, no line end, no invisible or direction-changing character,
        and nothing that a mail program takes for an encoded word (RFC 2047) or for a link.
"""

import math
import re
import unicodedata

NAME_LIMIT = 80
"""Characters of a display name. Less: real company names are cut. More: a name fills the screen of a phone."""

ADDRESS_LIMIT = 120
"""Characters of an address of record or number; longer ones are no addresses that a person could use."""

MARKS_LIMIT = 2
"""Combining marks on one letter. Less: Vietnamese breaks. More: names that overprint the lines above them."""

_SPACE = frozenset({"Cc", "Zl", "Zp", "Zs"})
_NOTHING = frozenset({"Cf", "Cs", "Co", "Cn"})
_BLANKS = re.compile(r"\s+")
_DOT_BEFORE_WORD = re.compile(r"\.(?=\w)")


_LATEST = 4102444800.0  # 2100-01-01: beyond it a clock was wrong, and some calendars break


def is_time(at: float) -> bool:
    """Whether POSIX seconds can be a time of a call: between 1970 and 2100."""
    return math.isfinite(at) and 0.0 < at < _LATEST


def clean(text: str, limit: int = NAME_LIMIT) -> str:
    """Return `text` in one plain line of at most `limit` characters."""
    text = unicodedata.normalize("NFKC", text[: 4 * limit])  # one character may become 18
    kept = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if category in _SPACE:
            kept.append(" ")
        elif category not in _NOTHING and marks <= MARKS_LIMIT:
            kept.append(character)
    line = _BLANKS.sub(" ", "".join(kept)).replace("=?", "= ?").strip()
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def clean_name(text: str) -> str:
    """Return a display name that no mail program turns into a link and that stays within its quotes."""
    name = clean(text, NAME_LIMIT)
    name = name.translate(_QUOTES)
    name = name.replace("//", "/ /").replace("@", " (at) ")
    name = _BLANKS.sub(" ", _DOT_BEFORE_WORD.sub(". ", name)).strip()
    return clean(name, NAME_LIMIT)


def clean_address(text: str) -> str:
    """Return an address of record or number as one word, without a second scheme in it."""
    return clean(text, ADDRESS_LIMIT).replace(" ", "").replace("//", "/").translate(_QUOTES)


_QUOTES = {ord(character): None for character in '"“”„‟«»<>'}  # fmt: skip
"""What could end the quotes that we put around a name, or begin a tag or an angle address."""
