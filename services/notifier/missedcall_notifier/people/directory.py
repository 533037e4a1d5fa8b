"""The directory as a value: who has an address, a number, a mailbox.

Rule 1: pure. A directory is made once, of persons that are right, and then only asked.
Rule 2: a number that several persons share names nobody: a reception desk is not its receptionist.
Rule 3: an extension is a number of one telephone system. It names somebody only in an address whose host is one
        of the directory's; `613@elsewhere.example` is somebody else's.
Rule 4: an anonymous caller is looked up by nothing (RFC 3323), whatever the record holds.
"""

from collections.abc import Iterable, Iterator, Mapping

from missedcall_schemas.records import Party, Person

from . import phone


def key(address: str) -> str:
    """Return what two spellings of an address of record have in common.

    The user part counts as if in lower case, against RFC 3261 s.19.1.4: no telephone system has two users that
    differ in case only, and directories write names as people do.
    """
    return address.lower()


class Directory:
    """Persons, found by what they are known by."""

    def __init__(self, persons: Iterable[Person] = (), region: str = "") -> None:
        """Index the persons.

        Args:
            persons: of two with one address, the first holds.
            region: where numbers without a country code are from, ISO 3166; "" for unknown.
        """
        self.region = region
        self._by_address: dict[str, Person] = {}
        self._by_mailbox: dict[str, Person | None] = {}
        self._by_number: dict[str, Person | None] = {}
        self._by_extension: dict[str, Person | None] = {}
        self._hosts: set[str] = set()
        self._count = 0
        for person in persons:
            self._add(person)

    def __len__(self) -> int:
        return self._count

    def user(self, address: str) -> Person | None:
        """Return who has this address of record, or the telephone number or extension in it."""
        if found := self._by_address.get(key(address)):
            return found
        scheme, _, rest = address.partition(":")
        user, _, host = rest.partition("@")
        if scheme not in {"sip", "sips", "tel"}:
            return None
        return self._numbered(user, host)

    def caller(self, caller: Party) -> Person | None:
        """Return who calls; None for an anonymous caller."""
        if caller.anonymous:
            return None
        host = caller.uri.partition("@")[2]
        return self.user(caller.uri) or (self._numbered(caller.number, host) if caller.number else None)

    def reader(self, mailbox: str) -> Person | None:
        """Return whose mailbox this is; None for a shared one."""
        return self._by_mailbox.get(mailbox.lower())

    def _numbered(self, number: str, host: str) -> Person | None:
        read = phone.read(number, self.region)
        if read.e164:
            return self._by_number.get(read.e164)
        return self._by_extension.get(read.extension) if host.lower() in self._hosts else None

    def _add(self, person: Person) -> None:
        self._count += 1
        for address in person.addresses:
            self._by_address.setdefault(key(address), person)
            if host := key(address).partition("@")[2]:
                self._hosts.add(host)
        if person.mailbox:
            _share(self._by_mailbox, person.mailbox.lower(), person)
        for number in person.numbers:
            read = phone.read(number, self.region)
            if read.e164:
                _share(self._by_number, read.e164, person)
            elif read.extension:
                _share(self._by_extension, read.extension, person)
        if person.extension:
            _share(self._by_extension, person.extension, person)


def of_topic(records: Mapping[str, Person]) -> Iterator[Person]:
    """Yield the persons of the topic `directory` in the order in which they hold: by key."""
    for _, person in sorted(records.items()):
        yield person


def _share(index: dict[str, Person | None], at: str, person: Person) -> None:
    """Note a person; a second one makes it nobody's."""
    index[at] = person if index.get(at, person) is person else None
