"""The files of the directory and of preferences, from text to values.

Rule 1: pure: text in, values or `TableError` out. One wrong line refuses the whole file: who is right in half of
        it, nobody knows.
Rule 2: an error names the line and what was expected there, never what was found: that is somebody's data.
"""

import csv
import io
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from missedcall_schemas.records import Person, Preferences

from .checks import wrong_with, wrong_with_choice
from .directory import key
from .preferences import Wishes

COLUMNS = tuple(field.name for field in fields(Person))
"""Of the CSV file; `addresses` must be there."""
LISTS = frozenset({"addresses", "numbers", "channels", "groups"})
"""Columns that hold several values, separated by `;`."""

S = TypeVar("S", bound=Struct)

_PERSON_LINE = re.compile(r"^[ \t]*\[\[\s*person\s*\]\]", re.MULTILINE)
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)$")


class TableError(ValueError):
    """A file that cannot be used. The text has line and expectation, no data: it may be logged."""

    def __init__(self, line: int, expectation: str) -> None:
        self.line = line
        """0: the file as a whole."""
        super().__init__(f"line {line}: {expectation}" if line else expectation)


def persons_of_csv(text: str) -> list[Person]:
    """Read a directory of comma-separated values (RFC 4180), its first line the names of the columns.

    Raises:
        TableError: a line is wrong.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    found: list[tuple[int, Person]] = []
    try:
        names = [name.strip() for name in next(reader, [])]
        unknown = [name for name in names if name not in COLUMNS]
        if unknown or len(set(names)) < len(names) or "addresses" not in names:
            raise TableError(1, f"expected names of columns, separated by commas: {', '.join(COLUMNS)}")
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(names):
                raise TableError(reader.line_num, f"expected {len(names)} values, as the first line has")
            found.append((reader.line_num, _person(dict(zip(names, row, strict=True)))))
    except csv.Error as error:
        raise TableError(reader.line_num, f"not CSV: {error}") from error
    return _checked(found)


def persons_of_toml(text: str) -> list[Person]:
    """Read a directory of tables `[[person]]`.

    Raises:
        TableError: the text is no such file.
    """
    document = _toml(text)
    if set(document) - {"person"} or not isinstance(document.get("person", []), list):
        raise TableError(0, "expected tables [[person]] and nothing else")
    lines = [text.count("\n", 0, match.start()) + 1 for match in _PERSON_LINE.finditer(text)]
    found = []
    for at, table in enumerate(document.get("person", [])):
        line = lines[at] if at < len(lines) else 0
        found.append((line, _struct(table, Person, line, f"person {at + 1}")))
    return _checked(found)


def csv_of_persons(persons: Iterable[Person]) -> str:
    """Return the directory as `persons_of_csv` reads it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for person in persons:
        values = (getattr(person, name) for name in COLUMNS)
        writer.writerow([";".join(value) if isinstance(value, tuple) else value for value in values])
    return out.getvalue()


def wishes_of_toml(text: str) -> Wishes:
    """Read preferences: `[everybody]`, `[group.NAME]` and `[user."sip:bob@example.com"]`.

    Raises:
        TableError: the text is no such file.
    """
    document = _toml(text)
    expectation = 'expected tables [everybody], [group.NAME] and [user."sip:bob@example.com"]'
    if set(document) - {"everybody", "group", "user"}:
        raise TableError(0, expectation)
    groups, users = document.get("group", {}), document.get("user", {})
    if not isinstance(groups, dict) or not isinstance(users, dict):
        raise TableError(0, expectation)

    def chosen(table: object, header: str) -> Preferences:
        line = _line_of(text, header)
        choice = _struct(table, Preferences, line, f"[{header}]")
        for field, right in wrong_with_choice(choice):
            raise TableError(line, f"{field}: {right}")
        return choice

    return Wishes(
        everybody=chosen(document.get("everybody", {}), "everybody"),
        groups={name: chosen(table, f"group.{name}") for name, table in groups.items()},
        users={key(name): chosen(table, f'user."{name}"') for name, table in users.items()},
    )


def _person(row: Mapping[str, str]) -> Person:
    given: dict[str, Any] = {}
    for name, cell in row.items():
        parts = tuple(part.strip() for part in cell.split(";") if part.strip())
        given[name] = parts if name in LISTS else cell.strip()
    return Person(**given)


def _checked(found: list[tuple[int, Person]]) -> list[Person]:
    if not found:
        raise TableError(0, "expected at least one person: an empty file would undo the directory")
    taken: dict[str, int] = {}
    for line, person in found:
        for field, right in wrong_with(person):
            raise TableError(line, f"{field}: {right}")
        for address in person.addresses:
            first = taken.setdefault(key(address), line)
            if first != line:
                raise TableError(line, f"addresses: expected each once, one of these is in line {first} too")
    return [person for _, person in found]


def _struct(table: object, kind: type[S], line: int, what: str) -> S:
    known = {field.name for field in fields(kind)}
    if not isinstance(table, dict) or set(table) - known:
        raise TableError(line, f"{what}: expected only {', '.join(sorted(known))}")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise TableError(line, f"{what}: {str(error).lower()}") from error


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT_LINE.search(str(error))
        last = text.count("\n") + 1  # "at end of document"
        raise TableError(int(at[1]) if at else last, "expected TOML") from error


def _line_of(text: str, header: str) -> int:
    """Return the line of a table's header; 0 if it is written in another way."""
    plain = header.replace('"', "")
    for number, line in enumerate(text.splitlines(), 1):
        if re.sub(r"[\"'\s]", "", line.partition("#")[0]) == f"[{plain}]":
            return number
    return 0
