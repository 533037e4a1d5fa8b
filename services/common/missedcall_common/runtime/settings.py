"""Settings structs from an environment or a TOML table.

Rule 1: an error names the key as the operator wrote it, the value, and what would be right; all of them come
        at once.
Rule 2: a key that nobody reads is an error: a misspelt limit that silently does nothing is worse than none.
Rule 3: a secret is never a value: a setting names the file that holds it, in a field that ends in `_file`.
Rule 4: an empty variable is one that is not set, as Compose and Helm write it.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, fields, replace

from .expected import expected, is_list, settings_struct

PREFIX = "MISSEDCALL_"

_PORT = r"(?:\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
HealthAddress = Annotated[
    str,
    Meta(
        pattern=rf"^(?:(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):{_PORT})?$",
        description="HOST:PORT, IPv6 in brackets, port 0 for any free one",
    ),
]
"""Where probes are answered (`health`); "" for nowhere."""

_SECRET = re.compile(r"(?:^|_)(?:password|passwd|secret|token|credentials?)$")
_SERVICE_LINK = re.compile(r"_(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT(?:_\d+_\w+)?)$")
"""Kubernetes sets such variables for every Service of the namespace, `MISSEDCALL_COLLECTOR_PORT` too."""
_USERINFO = re.compile(r"//[^/@\s]*@")
_SHOWN = 80
"""Characters of a wrong value that an error repeats."""
_MAX_SECRET = 1 << 16
"""Bytes of a secret. The longest are keys in PEM, some kB; more is another file."""

S = TypeVar("S", bound=Struct)


class SettingsError(ValueError):
    """The settings cannot be used; the text has one line per problem."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


def from_environment(kind: type[S], environment: Mapping[str, str], prefix: str = PREFIX) -> S:
    """Read settings from variables: field `port` of the struct in field `smtp` is `MISSEDCALL_SMTP_PORT`.

    Lists are separated by commas. Variables that Kubernetes sets by itself are left alone.

    Args:
        kind: frozen struct; a field that is itself a struct is a group.
        environment: `os.environ` in a program, any mapping in a test.
        prefix: of the variables that are ours.

    Raises:
        SettingsError: a value is wrong, missing or unknown.
    """
    reading = _Reading()
    given = {name: value for name, value in environment.items() if name.startswith(prefix) and value.strip()}
    known = set(variables(kind, prefix))
    settings = reading.variables(kind, given, prefix, None)
    for name in sorted(given.keys() - known):
        if not _SERVICE_LINK.search(name):
            reading.unknown(name, known)
    return reading.done(settings)


def from_table(kind: type[S], table: Mapping[str, Any], where: str = "") -> S:
    """Read settings from a TOML table; a field that is itself a struct is a section.

    Args:
        kind: frozen struct.
        table: as `tomllib` gives it.
        where: put before each problem: the file's name.

    Raises:
        SettingsError: a value is wrong, missing or unknown.
    """
    reading = _Reading(f"{where}: " if where else "")
    return reading.done(reading.table(kind, table, "", None))


def read_secret(path: Path, key: str) -> str:
    """Return what a mounted secret holds, without the line end that editors add.

    Args:
        path: the file.
        key: the setting that named it, for the error.

    Raises:
        SettingsError: it cannot be read, is empty, too long or no text. The text of the error never shows it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_SECRET + 1)
    except OSError as error:
        raise SettingsError([f"{key} = {str(path)!r}: {error.strerror}: expected a file to read"]) from None
    if len(raw) > _MAX_SECRET:
        raise SettingsError([f"{key} = {str(path)!r}: expected at most {_MAX_SECRET} bytes of secret"])
    try:
        secret = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        right = f"expected UTF-8, byte {error.start} is not"
        raise SettingsError([f"{key} = {str(path)!r}: {right}"]) from None
    if not secret:
        raise SettingsError([f"{key} = {str(path)!r}: expected a secret in it, the file is empty"])
    return secret


def variables(kind: type[Struct], prefix: str = PREFIX) -> Iterator[str]:
    """Yield the name of every variable that `from_environment` knows."""
    for field in fields(kind):
        _refuse_secret_value(kind, field)
        group = settings_struct(field.type)
        name = f"{prefix}{field.name.upper()}"
        yield from variables(group, f"{name}_") if group else [name]


def _refuse_secret_value(kind: type[Struct], field: FieldInfo) -> None:
    if _SECRET.search(field.name):
        raise TypeError(f"{kind.__name__}.{field.name} would hold a secret: name it {field.name}_file")


class _Reading:
    """What is wrong so far."""

    def __init__(self, where: str = "") -> None:
        self.where = where
        self.problems: list[str] = []

    def done(self, settings: S | None) -> S:
        if self.problems or settings is None:
            raise SettingsError(self.problems)
        return settings

    def problem(self, key: str, value: object, right: str) -> None:
        shown = _USERINFO.sub("//...@", str(value).lower() if isinstance(value, bool) else repr(value))
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        self.problems.append(f"{self.where}{key} = {shown}: {right}")

    def unknown(self, key: str, known: set[str]) -> None:
        plain = key.rpartition(".")[2]
        if _SECRET.search(plain.lower()):
            file = f"{key}_FILE" if plain.isupper() else f"{key}_file"
            right = f"a secret is never a value here: put it into a file and name that in {file}"
        elif near := difflib.get_close_matches(key, sorted(known), 1, 0.7):
            right = f"no such setting; did you mean {near[0]}?"
        else:
            right = "no such setting"
        self.problems.append(f"{self.where}{key}: {right}")

    def variables(self, kind: type[S], given: Mapping[str, str], prefix: str, default: S | None) -> S | None:
        found: dict[str, Any] = {}
        for field in fields(kind):
            name = f"{prefix}{field.name.upper()}"
            if group := settings_struct(field.type):
                inner = self.variables(group, given, f"{name}_", _default(field, default))
                found[field.name] = inner
            elif name in given:
                text = given[name].strip()
                parts = [part.strip() for part in text.split(",")]
                value = list(filter(None, parts)) if is_list(field.type) else text
                self.convert(found, field, name, value, text)
            else:
                self.leave(field, name, default)
        return self.build(kind, found, default)

    def table(self, kind: type[S], table: Mapping[str, Any], section: str, default: S | None) -> S | None:
        found: dict[str, Any] = {}
        known = {field.encode_name: field for field in fields(kind)}
        keys = {f"{section}{name}" for name in known}
        for name in sorted(table.keys() - known.keys()):
            self.unknown(f"{section}{name}", keys)
        for name, field in known.items():
            _refuse_secret_value(kind, field)
            key = f"{section}{name}"
            if group := settings_struct(field.type):
                inner = table.get(name, {})
                if isinstance(inner, Mapping):
                    found[field.name] = self.table(group, inner, f"{key}.", _default(field, default))
                else:
                    self.problem(key, inner, f"expected a section [{key}]")
            elif name in table:
                self.convert(found, field, key, table[name])
            else:
                self.leave(field, key, default)
        return self.build(kind, found, default)

    def leave(self, field: FieldInfo, key: str, default: Struct | None) -> None:
        if field.required and default is None:
            self.problems.append(f"{self.where}{key} is not set: {expected(field.type)}")

    def convert(
        self, found: dict[str, Any], field: FieldInfo, key: str, value: object, text: str | None = None
    ) -> None:
        try:
            found[field.name] = msgspec.convert(value, field.type, strict=text is None)
        except msgspec.ValidationError:
            self.problem(key, value if text is None else text, expected(field.type))

    def build(self, kind: type[S], found: dict[str, Any], default: S | None) -> S | None:
        """Return the settings, or None once anything is wrong: they are not used then."""
        if self.problems:
            return None
        try:
            return kind(**found) if default is None else replace(default, **found)
        except ValueError as error:  # what __post_init__ checks between fields
            self.problems.append(f"{self.where}{error}")
            return None


def _default(field: FieldInfo, outer: Struct | None) -> Any:
    """Return the group's own defaults: those of the settings around it, None if it has none."""
    if outer is not None:
        return getattr(outer, field.name)
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return None if field.default_factory is msgspec.NODEFAULT else field.default_factory()
