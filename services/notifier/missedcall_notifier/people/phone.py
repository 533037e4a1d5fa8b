"""Telephone numbers: what the signalling says, as a number of the world or as an extension.

Rule 1: a number of the world is only what the numbering plans hold to be valid. `613` with region DE can be
        read as +49 613, and would call a stranger: it stays an extension.
Rule 2: pure; the plans are those of the `phonenumbers` package.
"""

import re
from functools import lru_cache

import phonenumbers
from msgspec import Struct
from phonenumbers import PhoneNumberFormat

LONGEST = 48
"""Characters that are read as a number. E.164 has 15 digits; the rest is for separators and an extension."""

REGIONS = frozenset(phonenumbers.SUPPORTED_REGIONS)
"""Countries that can be the region of numbers without a country code: ISO 3166, `DE`."""

_NUMBER = re.compile(r"\+?[0-9][0-9 ()./-]*(?:;ext=[0-9]+)?")
_EXTENSION = re.compile(r"[0-9*#]{1,11}")


class Phone(Struct, frozen=True):
    """What a text means as a telephone number. All fields are "" for a text that is none."""

    e164: str = ""
    """`+493023125001`; "" if it is no valid number of the world."""
    shown: str = ""
    """As the reader writes it: without the country code if the number is of the reader's region."""
    link: str = ""
    """`tel:+49-30-23125001` (RFC 3966); "" for an extension, which means something on one telephone system only."""
    extension: str = ""
    """Digits that are no number of the world."""


@lru_cache(maxsize=4096)
def read(text: str, region: str) -> Phone:
    """Return what `text` means; `region` is where a number without a country code is from, "" for unknown.

    Args:
        text: as signalled or as somebody typed it; `tel:` in front and `;ext=` behind are understood.
        region: ISO 3166, `DE`.
    """
    text = text.strip().removeprefix("tel:")
    if len(text) > LONGEST or not text.isascii():
        return Phone()
    if _NUMBER.fullmatch(text):
        try:
            number = phonenumbers.parse(text, region or None)
        except phonenumbers.NumberParseException:
            number = None
        if number is not None and phonenumbers.is_valid_number(number):
            home = region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(number.country_code or 0, ())
            style = PhoneNumberFormat.NATIONAL if home else PhoneNumberFormat.INTERNATIONAL
            return Phone(
                e164=phonenumbers.format_number(number, PhoneNumberFormat.E164),
                shown=phonenumbers.format_number(number, style),
                link=phonenumbers.format_number(number, PhoneNumberFormat.RFC3966),
            )
    digits = re.sub(r"[ ()./-]", "", text)
    return Phone(shown=digits, extension=digits) if _EXTENSION.fullmatch(digits) else Phone()
