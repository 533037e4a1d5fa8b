"""The topics `directory` and `preferences`, record by record, as people.

Rule 1: pure. A record replaces the one before it with its key; one without a value deletes it. Of two persons with
        one address, the one whose key comes first in the alphabet holds: whoever reads in another order finds the
        same.
Rule 2: a record that is not right is as one that is not there, and is said; the others count.
"""

from msgspec.structs import replace

from missedcall_schemas.codec import CodecError, decode_person, decode_preferences
from missedcall_schemas.records import Person, Preferences

from .checks import wrong_with, wrong_with_choice
from .directory import Directory, key
from .port import People
from .preferences import Wishes

DIRECTORY, PREFERENCES = "directory", "preferences"
"""The topics, as their files call them."""


class RecordError(ValueError):
    """A record that is not right; the text has nothing of it."""


class PeopleLog:
    """What the topics hold up to now."""

    def __init__(self) -> None:
        self._persons: dict[str, Person] = {}
        self._choices: dict[str, Preferences] = {}

    def hear(self, topic: str, name: bytes | None, value: bytes | None) -> None:
        """Take one record up.

        Args:
            topic: DIRECTORY or PREFERENCES.
            name: the record's key.
            value: None deletes.

        Raises:
            RecordError: it is not right; from now on there is none with its key.
        """
        user = (name or b"").decode("utf-8", "replace")
        held: dict[str, Person] | dict[str, Preferences]
        held = self._persons if topic == DIRECTORY else self._choices
        held.pop(user if topic == DIRECTORY else key(user), None)
        if not value:
            return
        try:
            if topic == DIRECTORY:
                self._persons[user] = _right_person(value)
            else:
                self._choices[key(user)] = _right_choice(value)
        except CodecError as error:
            raise RecordError(error.what) from error

    def keys(self, topic: str) -> set[str]:
        """Return the keys of the records that there are."""
        return set(self._persons if topic == DIRECTORY else self._choices)

    def person(self, name: str) -> Person | None:
        """Return the person with this key."""
        return self._persons.get(name)

    def people(self, region: str, wishes: Wishes) -> People:
        """Return them as they are now.

        Args:
            region: of numbers without a country code.
            wishes: what the installation and groups have chosen; users' choices on the topic come before.
        """
        persons = [person for _, person in sorted(self._persons.items())]
        return People(Directory(persons, region), replace(wishes, users={**wishes.users, **self._choices}))


def _right_person(value: bytes) -> Person:
    person = decode_person(value)
    # A newer release may know channels that we do not: they are not ours to deliver by.
    known = replace(person, channels=())
    for field, right in wrong_with(known):
        raise RecordError(f"{field}: {right}")
    return person


def _right_choice(value: bytes) -> Preferences:
    chosen = decode_preferences(value)
    for field, right in wrong_with_choice(chosen):
        raise RecordError(f"{field}: {right}")
    return chosen
