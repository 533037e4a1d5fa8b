"""Persons of an LDAP directory: what `ldapsearch` prints (LDIF, RFC 2849), as entries, and entries as persons.

Rule 1: pure. One entry that is not right costs that entry, or that field of it, and is counted; a directory of
        thousands always has some.
Rule 2: which attribute is what is a table, FIELDS; its defaults are those of Active Directory with Lync or Skype
        for Business, and of inetOrgPerson (RFC 2798).
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from missedcall_schemas.records import Person

from .checks import wrong_with
from .directory import key

Entry = Mapping[str, tuple[str, ...]]
"""Values by attribute, its name in lower case."""

FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "addresses": ("msRTCSIP-PrimaryUserAddress", "proxyAddresses"),
        "name": ("displayName", "cn"),
        "mailbox": ("mail",),
        "numbers": ("msRTCSIP-Line", "telephoneNumber", "mobile"),
        "extension": ("msRTCSIP-Line", "ipPhone"),
        "locale": ("preferredLanguage",),
        "groups": ("memberOf",),
    }
)
"""Attributes by the field that they fill. A field with one value takes the first that is there and right."""

MANY = frozenset({"addresses", "numbers", "groups"})
"""Fields that take all values of all their attributes."""

_EXTENSION = re.compile(r";ext=([0-9*#]+)", re.IGNORECASE)
_COMMON_NAME = re.compile(r"cn=((?:[^,\\]|\\.)+)", re.IGNORECASE)
_PLACE = re.compile(r"\{([A-Za-z0-9-]+)\}")


def entries(ldif: str) -> Iterator[Entry]:
    """Yield the entries of an LDIF text. A value that is no UTF-8, a photograph, is left out."""
    lines: list[str] = []
    for line in (*ldif.splitlines(), ""):
        if line.startswith(" ") and lines:
            lines[-1] += line[1:]
        elif line:
            lines.append(line)
        else:
            entry = _entry(lines)
            if "dn" in entry:
                yield entry
            lines = []


def attributes(fields: Mapping[str, tuple[str, ...]], patterns: Iterable[str]) -> list[str]:
    """Return the attributes to ask for."""
    named = [name for names in fields.values() for name in names]
    named += [name for pattern in patterns for name in _PLACE.findall(pattern)]
    return sorted(set(named))


def persons(
    found: Iterable[Entry], fields: Mapping[str, tuple[str, ...]] = FIELDS, patterns: Iterable[str] = ()
) -> tuple[list[Person], Counter[str]]:
    """Return the persons among the entries, by address, and what was left out, by reason.

    Args:
        found: the entries.
        fields: attributes by the field that they fill.
        patterns: further addresses, made of attributes: `sip:{uid}@example.com`.
    """
    patterns = tuple(patterns)
    made: list[Person] = []
    left_out: Counter[str] = Counter()
    taken: set[str] = set()
    for entry in found:
        person, wrong = _person(entry, fields, patterns)
        left_out.update(wrong)
        free = tuple(address for address in person.addresses if key(address) not in taken)
        left_out["address of another entry"] += len(person.addresses) - len(free)
        if free:
            taken |= {key(address) for address in free}
            made.append(replace(person, addresses=free))
        else:
            left_out["entry without an address"] += 1
    return sorted(made, key=lambda person: person.addresses), +left_out


def _entry(lines: list[str]) -> dict[str, tuple[str, ...]]:
    entry: dict[str, tuple[str, ...]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or line.startswith("#"):
            continue
        if value.startswith(":"):
            try:
                value = base64.b64decode(value[1:].strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
        attribute = name.partition(";")[0].lower()  # `displayName;lang-de`
        entry[attribute] = (*entry.get(attribute, ()), value.strip())
    return entry


def _person(
    entry: Entry, fields: Mapping[str, tuple[str, ...]], patterns: tuple[str, ...]
) -> tuple[Person, list[str]]:
    wrong: list[str] = []
    given: dict[str, tuple[str, ...] | str] = {}
    for field, names in fields.items():
        values = [
            value for name in names for raw in entry.get(name.lower(), ()) if (value := _value(field, raw))
        ]
        if field == "addresses":
            values += [made for pattern in patterns if (made := _filled(pattern, entry))]
        right = []
        for value in dict.fromkeys(values):
            if _is_right(field, value):
                right.append(value)
            else:
                wrong.append(f"wrong {field}")
        if field in MANY:
            given[field] = tuple(right)
        elif right:
            given[field] = right[0]
    return Person(**({"addresses": ()} | given)), wrong  # type: ignore[arg-type]


def _value(field: str, raw: str) -> str:
    """Return what a value says of a field; "" if nothing."""
    match field:
        case "addresses":  # of `SMTP:` and `smtp:` there are some in proxyAddresses
            scheme, _, rest = raw.partition(":")
            user, at, host = rest.partition("@")
            return f"{scheme.lower()}:{user}{at}{host.lower()}" if scheme.lower() in {"sip", "sips"} else ""
        case "numbers":
            return raw.removeprefix("tel:").partition(";")[0].strip()
        case "extension":
            found = _EXTENSION.search(raw)
            return found[1] if found else "" if raw.startswith(("tel:", "sip:", "+")) else raw
        case "groups":
            found = _COMMON_NAME.match(raw)
            return re.sub(r"\\(.)", r"\1", found[1]) if found else raw
        case "locale":
            return raw.partition(",")[0].partition(";")[0].strip()  # RFC 2798: as Accept-Language
        case _:
            return raw


def _is_right(field: str, value: str) -> bool:
    one: dict[str, object] = {field: (value,) if field in MANY else value}
    person = Person(**({"addresses": ("sip:a@b.example",)} | one))  # type: ignore[arg-type]
    return not list(wrong_with(person)) and value.isprintable() and not (field in MANY and ";" in value)


def _filled(pattern: str, entry: Entry) -> str:
    """Return the address that a pattern makes of an entry; "" if an attribute is not there."""
    names = _PLACE.findall(pattern)
    if not all(entry.get(name.lower()) for name in names):
        return ""
    made = _PLACE.sub(lambda match: entry[match[1].lower()][0], pattern)
    scheme, _, rest = made.partition(":")
    user, at, host = rest.partition("@")
    return f"{scheme}:{user}{at}{host.lower()}"
