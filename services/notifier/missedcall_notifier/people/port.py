"""Who people are and what they chose, at one moment; and where the newest such value comes from.

Rule 1: a delivery asks a value in memory and nothing else: no file, no LDAP, no topic stands in its way.
Rule 2: whoever keeps it up to date replaces the whole value; who has taken a snapshot keeps what he has.
"""

from typing import Protocol

from msgspec import Struct

from .directory import Directory
from .preferences import Wishes


class People(Struct, frozen=True):
    """The directory and the preferences that go with it."""

    directory: Directory = Directory()
    wishes: Wishes = Wishes()


class PeopleSource(Protocol):
    """A file, a topic, or a value that stays: whoever keeps a `People` up to date has his own way to run."""

    def snapshot(self) -> People:
        """Return what is known now; at once, and never anything half read."""


class FixedPeople:
    """People who stay as they are; without an argument, nobody."""

    def __init__(self, people: People | None = None) -> None:
        self._people = people or People()

    def snapshot(self) -> People:
        """Return them."""
        return self._people
