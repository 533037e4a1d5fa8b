"""A language: the texts of a notice, and how dates and times are written.

Rule 1: pure. A language is a table of texts; that none is missing and none asks for what it is not given is
        checked when it is made, so that no notice finds out.
Rule 2: what is filled into a text is never read as a text itself.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from string import Formatter
from typing import Any

from babel import Locale
from babel.dates import format_date, format_time, get_timezone_name

Texts = Mapping[str, str]
"""By section and name: `reason.no-answer.rang`."""

NARROW_SPACE = "\u202f"
"""CLDR puts it before AM and PM; some mail programs show a box."""


FORMS = frozenset({"zero", "one", "two", "few", "many"})
OTHER = "other"
"""Forms of a text about several things; only `other` has to be there. `few` and `many` are for those languages that
have them, such as Polish."""


class TextError(ValueError):
    """A file of texts that cannot be used."""

    def __init__(self, line: int, expectation: str) -> None:
        super().__init__(f"line {line}: {expectation}" if line else expectation)


def read_texts(source: str, model: Texts | None = None) -> dict[str, str]:
    """Return the texts of a TOML file.

    Args:
        source: what is in it.
        model: the texts that there are, whose placeholders may be used; None if this file is the model.

    Raises:
        TextError: it is no such file; the text names the line.
    """
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        last = source.count("\n") + 1  # "at end of document"
        raise TextError(int(at[1]) if at else last, "expected TOML") from error
    texts = dict(_flat(document, ""))
    for key, text in texts.items():
        line = _line_of(source, key)
        if not isinstance(text, str):
            raise TextError(line, f"{key}: expected a text")
        modelled = _modelled(key, model) if model is not None else ""
        if model is not None and modelled not in model:
            raise TextError(line, f"{key}: there is no such text")
        allowed = sorted(_placeholders(model[modelled])) if model is not None else None
        try:
            wrong = [name for name in _placeholders(text) if allowed is not None and name not in allowed]
        except ValueError as error:
            raise TextError(line, f"{key}: {error}") from error
        if wrong:
            shown = ", ".join(f"{{{name}}}" for name in allowed or ()) or "nothing in braces"
            raise TextError(line, f"{key}: expected {shown}")
    return texts


class Language:
    """Texts, dates and times of one locale."""

    def __init__(self, tag: str, texts: Texts) -> None:
        """Make a language of complete texts.

        Args:
            tag: BCP 47; decides how dates are written.
            texts: in this language.
        """
        self.tag = tag
        self._texts = texts
        self._locale = Locale.parse(tag, sep="-")

    def text(self, key: str, **values: object) -> str:
        """Return a text with the values filled in."""
        return self._texts[key].format_map(values)

    def counted(self, key: str, count: int, **values: object) -> str:
        """Return a text about `count` things, in the form that the language has for so many (CLDR)."""
        form = f"{key}.{self._locale.plural_form(count)}"
        return self.text(form if self.has(form) else f"{key}.{OTHER}", count=count, **values)

    def has(self, key: str) -> bool:
        """Whether there is such a text."""
        return key in self._texts

    def date(self, at: datetime) -> str:
        """Return `Monday 23 November 2026`."""
        return _plain(format_date(at, "full", self._locale))

    def time(self, at: datetime, *, seconds: bool = False) -> str:
        """Return `11:42`, or `11:42:07`."""
        return _plain(format_time(at, "medium" if seconds else "short", locale=self._locale))

    def zone(self, at: datetime) -> str:
        """Return `CET`; where the language has no short name, `GMT+1`."""
        return _plain(get_timezone_name(at, "short", locale=self._locale))


def chain(tag: str) -> Iterator[str]:
    """Yield the names under which texts are looked for: `de-AT`, then `de`."""
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]


def _plain(text: str) -> str:
    return text.replace(NARROW_SPACE, " ")


def _flat(table: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _modelled(key: str, model: Texts) -> str:
    """Return the text of the model that this one is like: that for `few` is like that for `other`."""
    section, _, form = key.rpartition(".")
    return f"{section}.{OTHER}" if form in FORMS and f"{section}.{OTHER}" in model else key


def _placeholders(text: str) -> set[str]:
    """Return the names in braces.

    Raises:
        ValueError: braces that do not close, or with more than a name between them.
    """
    names = set()
    for _, name, style, conversion in Formatter().parse(text):
        if name is None:
            continue
        if not re.fullmatch(r"[a-z]+", name) or style or conversion:
            raise ValueError("expected a name and nothing else in braces")
        names.add(name)
    return names


def _line_of(source: str, key: str) -> int:
    """Return the line in which a text is set; 0 if it is written in another way."""
    section, _, name = key.rpartition(".")
    inside = ""
    for number, line in enumerate(map(str.strip, source.splitlines()), 1):
        if header := re.match(r"\[([^\]]+)\]", line):
            inside = header[1].replace('"', "").replace(" ", "")
        elif inside == section and re.match(rf"\"?{re.escape(name)}\"?\s*=", line):
            return number
    return 0
