"""What a reader makes of a value that a newer release added to a vocabulary.

Rule 1: every `Literal` field of a JSON record is in `READ_UNKNOWN_AS`, by its name.
Rule 2: an open vocabulary names the value that an unknown one is read as: the claim that stays true
        whatever the newer value means, so that an old reader keeps the fact.
Rule 3: a closed vocabulary (None) never grows within a version. Misreading such a value would do harm, so
        the record is refused and goes to `dead-letters`, where a newer reader can fetch it.
"""

from collections.abc import Mapping
from types import MappingProxyType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields

READ_UNKNOWN_AS: Mapping[str, str | None] = MappingProxyType(
    {
        "state": None,  # `missed` tells a user, `retracted` takes it back: no third reading is harmless
        "cause": "no-answer",  # true of every missed call: nobody answered it
        "outcome": "incomplete",  # claims neither that the call was taken nor that it was missed
        "role": "primary",  # the field's default, as if it were missing
        "confidence": "low",  # the least that can be claimed of a join
        "source": "",  # no header is vouched for
    }
)


def values_of(annotation: Any) -> tuple[str, ...]:
    """Return the values of a `Literal` or of a union of them, as declared; () for any other type."""
    origin = get_origin(annotation)
    if origin is Literal:
        return get_args(annotation)
    if origin in (Union, UnionType):
        members = [values_of(member) for member in get_args(annotation)]
        return tuple(value for values in members for value in values) if all(members) else ()
    return ()


def vocabularies(*found: type[Struct]) -> dict[str, tuple[str, ...]]:
    """Return every vocabulary in these records and in the structs in them, by field name, all values."""
    named: dict[str, tuple[str, ...]] = {}
    for record in found:
        for field in fields(record):
            if values := values_of(field.type):
                named[field.name] = tuple(dict.fromkeys((*named.get(field.name, ()), *values)))
            inner = [kind for kind in (field.type, *get_args(field.type)) if isinstance(kind, type)]
            named |= vocabularies(*(kind for kind in inner if issubclass(kind, Struct)))
    return named
