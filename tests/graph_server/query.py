"""OData query options, as far as they are served; what is not understood is refused."""

import re
from collections.abc import Callable
from typing import NamedTuple

from .message import SHOWN, GraphError, Item, property_id

_ANY = re.compile(
    r"singleValueExtendedProperties/any\((?P<v>\w+):\s*(?P=v)/id eq '(?P<id>(?:[^']|'')*)'"
    r" and (?P=v)/value eq '(?P<value>(?:[^']|'')*)'\)"
)
_MESSAGE_ID = re.compile(r"internetMessageId eq '(?P<value>(?:[^']|'')*)'")
_EXPAND = re.compile(r"singleValueExtendedProperties\(\$filter=(?P<filter>.+)\)")
_EXPANDED = re.compile(r"id eq '((?:[^']|'')*)'")


class Query(NamedTuple):
    """What a list is asked for."""

    matches: Callable[[Item], bool]
    select: frozenset[str]
    expand: frozenset[str]
    top: int


def read_query(options: dict[str, str]) -> Query:
    """Return what the options say.

    Raises:
        GraphError: they are not understood.
    """
    for name in options.keys() - {"$filter", "$select", "$expand", "$top"}:
        raise GraphError(400, "BadRequest", f"The query option '{name}' is not served here.")
    top = options.get("$top", "10")
    if not re.fullmatch(r"[1-9]\d{0,2}|1000", top):
        raise GraphError(400, "BadRequest", "$top is 1 to 1000")
    select = frozenset(filter(None, options.get("$select", "").split(",")))
    for name in select - SHOWN:
        raise GraphError(400, "BadRequest", f"Could not find a property named '{name}'.")
    return Query(_filter(options.get("$filter")), select, _expand(options.get("$expand")), int(top))


def _filter(text: str | None) -> Callable[[Item], bool]:
    if text is None:
        return lambda _: True
    if found := _ANY.fullmatch(text):
        id_, value = property_id(_plain(found["id"])), _plain(found["value"])
        # Exchange compares without regard to case
        return lambda item: item.properties.get(id_, "\0").casefold() == value.casefold()
    if found := _MESSAGE_ID.fullmatch(text):
        wanted = _plain(found["value"])
        return lambda item: item.fields.get("internetMessageId") == wanted
    raise GraphError(400, "ErrorInvalidUrlQueryFilter", "The query filter is not served here.")


def _expand(text: str | None) -> frozenset[str]:
    if text is None:
        return frozenset()
    found = _EXPAND.fullmatch(text)
    parts = found["filter"].split(" or ") if found else []
    ids = [_EXPANDED.fullmatch(part) for part in parts]
    if not ids or None in ids:
        raise GraphError(400, "BadRequest", "Parsing OData Select and Expand failed.")
    return frozenset(property_id(_plain(id_[1])) for id_ in ids if id_)


def _plain(quoted: str) -> str:
    return quoted.replace("''", "'")
