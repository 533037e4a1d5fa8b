"""The directory and the preferences in files, read at the start and again whenever they change.

Rule 1: at the start a wrong file is a wrong setting. Later it is a line in the log, and what was read last holds:
        an editor's slip must cost nobody a notice.
Rule 2: a file is read in a thread, whole, and only then believed: nothing waits for it, and nobody sees half.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from missedcall_common.runtime.events import Event, emit
from missedcall_common.runtime.settings import SettingsError
from missedcall_schemas.records import Person

from .directory import Directory
from .port import People
from .preferences import Wishes
from .tables import TableError, persons_of_csv, persons_of_toml, wishes_of_toml

LOOK_EVERY_S = 5.0
"""Between two looks at the files; a change counts after the second that finds it. Less: questions to a file
system, perhaps over a network. More: a change counts that much later."""

LARGEST = 256 << 20
"""Bytes read of a file. A user takes some 200; more is a file of something else."""

T = TypeVar("T")
Stamp = tuple[int, int, int]
"""Inode, size and time of change."""
_ABSENT: Stamp = (0, 0, 0)

UNUSABLE = (OSError, UnicodeDecodeError, TableError)
"""What reading a file may come to."""


class Named(Protocol):
    """The settings that matter here."""

    @property
    def directory_file(self) -> str:
        """CSV or TOML; "" for none."""

    @property
    def preferences_file(self) -> str:
        """TOML; "" for none."""

    @property
    def region(self) -> str:
        """Of numbers without a country code."""


class FilePeople:
    """People from files; without files, nobody."""

    def __init__(self, settings: Named, where: str = "notify.people") -> None:
        """Read the files.

        Args:
            settings: which.
            where: what the settings are called in errors.

        Raises:
            SettingsError: a file cannot be read, or a line of it is wrong.
        """
        self._settings = settings
        self._read: dict[str, Stamp] = {}
        self._seen: dict[str, Stamp] = {}
        problems: list[str] = []

        def first(key: str, path: str, read: Callable[[Path], T], empty: T) -> T:
            if not path:
                return empty
            self._read[path] = self._seen[path] = _stamp(path)
            try:
                return read(Path(path))
            except UNUSABLE as error:
                problems.append(f"{where}.{key} = {path!r}: {_words(error)}")
                return empty

        persons: list[Person] = first("directory_file", settings.directory_file, _persons, [])
        wishes = first("preferences_file", settings.preferences_file, _wishes, Wishes())
        if problems:
            raise SettingsError(problems)
        self._people = People(Directory(persons, settings.region), wishes)

    def snapshot(self) -> People:
        """Return what was last read without an error."""
        return self._people

    async def follow(self, stopping: asyncio.Event) -> None:
        """Read a file again when it changes, until told to stop."""
        while not stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await stopping.wait()
                    return
            await self.look()

    async def look(self) -> None:
        """Read what has changed since the last look."""
        settings, people = self._settings, self._people
        persons = await self._changed(settings.directory_file, _persons)
        if persons is not None:
            directory = await asyncio.to_thread(Directory, persons, settings.region)
            people = People(directory, people.wishes)
            emit(Event.DIRECTORY_LOADED, record="directory", records=len(directory))
        wishes = await self._changed(settings.preferences_file, _wishes)
        if wishes is not None:
            people = People(people.directory, wishes)
            emit(Event.DIRECTORY_LOADED, record="preferences", records=len(wishes.users) + len(wishes.groups))
        self._people = people

    async def _changed(self, path: str, read: Callable[[Path], T]) -> T | None:
        """Return what a file holds if it has changed and is right; None if what we have still holds.

        A file that was different at the last look may still be being written: it has one more look.
        """
        if not path:
            return None
        stamp = await asyncio.to_thread(_stamp, path)
        before, self._seen[path] = self._seen[path], stamp
        if stamp in (self._read[path], _ABSENT) or stamp != before:
            return None
        self._read[path] = stamp
        try:
            return await asyncio.to_thread(read, Path(path))
        except UNUSABLE as error:
            emit(Event.DIRECTORY_REFUSED, record=Path(path).name, where=_line(error), detail=_words(error))
            return None


def _persons(path: Path) -> list[Person]:
    text = _text(path)
    return persons_of_toml(text) if path.suffix.lower() == ".toml" else persons_of_csv(text)


def _wishes(path: Path) -> Wishes:
    return wishes_of_toml(_text(path))


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise TableError(0, f"expected at most {LARGEST} bytes")
    return raw.decode("utf-8-sig")


def _stamp(path: str) -> Stamp:
    try:
        found = Path(path).stat()
    except OSError:
        return _ABSENT
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _line(error: Exception) -> str:
    return f"line {error.line}" if isinstance(error, TableError) and error.line else ""


def _words(error: Exception) -> str:
    """Return what is wrong, without anything of the file."""
    if isinstance(error, OSError):
        return f"{error.strerror}: expected a file to read"
    if isinstance(error, UnicodeDecodeError):
        return f"expected UTF-8, byte {error.start} is not"
    return str(error)
