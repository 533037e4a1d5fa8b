"""What is wrong with a person or a preference, in words for whoever keeps the directory.

Rule 1: pure; a problem names the field and what would be right, never the value: it is somebody's data and goes
        into a log.
Rule 2: what comes from a topic is checked by the same rules as what comes from a file.
"""

import re
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from msgspec import UNSET

from missedcall_notifier.mail_address import is_mail_address
from missedcall_schemas.records import Person, Preferences

CHANNELS = ("smtp", "ews", "graph")
"""Channels that reach a person's mailbox; a webhook is an endpoint, nobody's."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""As `datetime.weekday` counts them."""

HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
"""`22:00-07:00`."""

_ADDRESS = re.compile(r"sips?:[^@\s;<>\"]+@[^@\s;:<>\"]+|tel:\+?[0-9*#().-]+")
_EXTENSION = re.compile(r"[0-9*#]{1,11}")
_NUMBER = re.compile(r"\+?[0-9][0-9 ()./-]{0,46}")

Problem = tuple[str, str]
"""Field, and what is expected there."""


def wrong_with(person: Person) -> Iterator[Problem]:
    """Yield what is wrong with a person."""
    if not person.addresses:
        yield "addresses", "expected at least one address of record: sip:bob@example.com"
    if not all(_ADDRESS.fullmatch(address) for address in person.addresses):
        yield "addresses", "expected addresses of record, without port or parameters: sip:bob@example.com"
    if person.mailbox and not is_mail_address(person.mailbox):
        yield "mailbox", "expected a mail address: bob@example.com"
    if not all(_NUMBER.fullmatch(number) for number in person.numbers):
        yield "numbers", "expected telephone numbers: +49 30 23125001"
    if person.extension and not _EXTENSION.fullmatch(person.extension):
        yield "extension", "expected 1 to 11 of 0-9, * and #"
    if person.locale and not is_locale(person.locale):
        yield "locale", "expected a language, perhaps with a country: de, de-AT"
    if person.time_zone and not is_time_zone(person.time_zone):
        yield "time_zone", "expected the IANA name of a time zone: Europe/Berlin"
    if not set(person.channels) <= set(CHANNELS):
        yield "channels", f"expected some of {', '.join(CHANNELS)}"


def wrong_with_choice(chosen: Preferences) -> Iterator[Problem]:
    """Yield what is wrong with a choice."""
    if chosen.channels is not UNSET and not set(chosen.channels) <= set(CHANNELS):
        yield "channels", f"expected some of {', '.join(CHANNELS)}"
    if chosen.quiet_hours is not UNSET and chosen.quiet_hours:
        hours = HOURS.fullmatch(chosen.quiet_hours)
        if hours is None or hours.group(1, 2) == hours.group(3, 4):
            yield "quiet_hours", 'expected "22:00-07:00", or "" for none'
    if chosen.quiet_days is not UNSET and (
        not set(chosen.quiet_days) <= set(DAYS) or len(set(chosen.quiet_days)) == len(DAYS)
    ):
        yield "quiet_days", f"expected some of {', '.join(DAYS)}, not all of them"
    if chosen.min_ring_s is not UNSET and not 0 <= chosen.min_ring_s <= 600:
        yield "min_ring_s", "expected seconds, 0 to 600"
    if chosen.repeats_s is not UNSET and not 0 <= chosen.repeats_s <= 86400:
        yield "repeats_s", "expected seconds, 0 to 86400"


def is_locale(text: str) -> bool:
    """Whether there are dates and words in this language at all."""
    try:
        Locale.parse(text, sep="-")
    except (ValueError, UnknownLocaleError):
        return False
    return True


def is_time_zone(text: str) -> bool:
    """Whether this machine knows the zone."""
    try:
        ZoneInfo(text)
    except (OSError, ValueError, LookupError):
        return False
    return True
