"""Who reads a notice: all that its rendering takes from the directory, as it was when the intent was recorded.

Rule 1: pure. It is part of the journal's record, so that an attempt after a restart, or after the directory has
        changed, sends the same bytes as the first.
Rule 2: of an anonymous caller nothing is taken from the directory (RFC 3323).
"""

from datetime import UTC, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct

from missedcall_schemas.records import MissedCall, Person

from .people.directory import Directory


class Reader(Struct, frozen=True, omit_defaults=True):
    """Language, clock and what the reader's directory calls the people in the notice. "": the defaults."""

    locale: str = ""
    """BCP 47: `de-AT`."""
    time_zone: str = ""
    """IANA: `Europe/Vienna`."""
    region: str = ""
    """ISO 3166: numbers of this country are shown without their country code."""
    caller_name: str = ""
    """What the directory calls the caller; "" if it does not know the caller."""
    caller_mailbox: str = ""
    """Where the caller, if the directory knows the caller, gets mail."""
    names: dict[str, str] = {}
    """What the directory calls other users in the fact, by address of record."""


class Defaults(NamedTuple):
    """What holds for a reader whom the directory says nothing of."""

    locale: str = "en-GB"
    zone: tzinfo = UTC
    region: str = ""


def reader_of(fact: MissedCall, directory: Directory, person: Person | None, defaults: Defaults) -> Reader:
    """Return what the notice of `fact` takes from the directory.

    Args:
        fact: what it is about.
        directory: as of now.
        person: who reads it; None if the directory does not know.
        defaults: of the installation.
    """
    caller = directory.caller(fact.caller)
    others = (
        (address, directory.user(address)) for address in (*fact.also_rang, *fact.diverted_via, fact.callee)
    )
    return Reader(
        locale=person.locale if person else "",
        time_zone=person.time_zone if person else "",
        region=defaults.region,
        caller_name=caller.name if caller else "",
        caller_mailbox=caller.mailbox if caller else "",
        names={address: other.name for address, other in others if other is not None and other.name},
    )


def zone_of(reader: Reader, defaults: Defaults) -> tzinfo:
    """Return the reader's time zone; the default one if this machine does not know the reader's."""
    if not reader.time_zone:
        return defaults.zone
    try:
        return ZoneInfo(reader.time_zone)
    except (OSError, ValueError, LookupError):
        return defaults.zone
