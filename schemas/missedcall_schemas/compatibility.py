"""What a change of a JSON Schema breaks, in words that an integrator understands.

Rule 1: the reader of yesterday must read what is written today, and the reader of today what is still on the
        topic from yesterday. A change that fails either is breaking.
Rule 2: descriptions and titles promise nothing; a new field, a new struct and a new value of an open
        vocabulary break nothing.
"""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]


def breaking_changes(before: Schema, after: Schema) -> list[str]:
    """Return what breaks between two documents of one record, a sentence each; [] if nothing does."""
    name = str(before.get("title", "record"))
    found = list(_object(name, before, after))
    old_parts, new_parts = before.get("$defs", {}), after.get("$defs", {})
    for part in old_parts:
        if part in new_parts:
            found += _object(part, old_parts[part], new_parts[part])
    if before.get("$id") != after.get("$id"):
        found.append(
            f"{name}: $id was {before.get('$id')} and is {after.get('$id')}: the name is the version"
        )
    return found


def _object(name: str, before: Schema, after: Schema) -> Iterator[str]:
    old_fields, new_fields = before.get("properties", {}), after.get("properties", {})
    old_required, new_required = set(before.get("required", ())), set(after.get("required", ()))
    for field in old_fields:
        where = f"{name}.{field}"
        if field not in new_fields:
            yield f"{where} is gone: whoever reads it finds nothing there any more"
            continue
        if field in old_required - new_required:
            yield f"{where} has become optional: whoever counts on it meets records without it"
        yield from _field(where, old_fields[field], new_fields[field])
    for field in new_fields:
        if field in new_required - old_required:
            what = "has become required" if field in old_fields else "is new and required"
            yield f"{name}.{field} {what}: the records already on the topic do not have it"
    if after.get("additionalProperties", True) is not True:
        yield f"{name} has become closed: records with a field of a newer release would be refused"


def _field(where: str, before: Schema, after: Schema) -> Iterator[str]:
    old_type, new_type = _type_of(before), _type_of(after)
    if old_type != new_type:
        yield f"{where} was {old_type} and is {new_type}: whoever reads it cannot any more"
        return
    if before.get("default") != after.get("default"):
        yield (
            f"{where} left out meant {before.get('default')!r} and means {after.get('default')!r}: "
            "records already written change their meaning"
        )
    yield from _vocabulary(where, before, after)
    if "items" in before and "items" in after:
        yield from _field(f"{where}[]", before["items"], after["items"])


def _vocabulary(where: str, before: Schema, after: Schema) -> Iterator[str]:
    old_values, old_open = _values(before)
    new_values, new_open = _values(after)
    if not old_values and not new_values:
        return
    if old_open and not new_open:
        yield f"{where} was an open vocabulary and is closed: a value of a newer release would be refused"
    if not old_open and new_open:
        yield f"{where} was a closed vocabulary and is open: whoever relies on its values meets new ones"
    gone = [value for value in old_values if value not in new_values]
    if gone:
        yield f"{where} no longer knows {_list(gone)}: records already on the topic say so"
    added = [value for value in new_values if value not in old_values]
    if added and not old_open:
        yield f"{where} is a closed vocabulary and now also says {_list(added)}: readers refuse such records"
    if before.get("x-read-unknown-as") != after.get("x-read-unknown-as"):
        yield (
            f"{where}: an unknown value was read as {before.get('x-read-unknown-as')!r} and is read as "
            f"{after.get('x-read-unknown-as')!r}: two releases read one record differently"
        )


def _values(schema: Schema) -> tuple[list[str], bool]:
    """Return the vocabulary's values and whether it is open; a plain string is open and has none."""
    if "enum" in schema:
        return list(schema["enum"]), False
    return list(schema.get("x-extensible-enum", ())), True


def _type_of(schema: Schema) -> str:
    if "allOf" in schema:
        return str(schema["allOf"][0]["$ref"]).rpartition("/")[2]
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return str(schema.get("type", "anything"))


def _list(values: list[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)
