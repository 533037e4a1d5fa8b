"""JSON Schema of the public records, with the fields' docstrings as descriptions.

Rule 1: objects are open: a reader that validates accepts the fields of a newer release.
Rule 2: an open vocabulary is a string with its values under `x-extensible-enum`, and what an unknown one is
        read as under `x-read-unknown-as`; only a closed vocabulary is an `enum`. Who validates strictly
        would otherwise lose the facts of a newer release.
"""

from typing import Any

import msgspec
from msgspec import Struct

from . import records
from .docstrings import field_docs
from .vocabularies import READ_UNKNOWN_AS, values_of

Schema = dict[str, Any]

_DOCS = field_docs(records)


def document(record: type[Struct], name: str) -> Schema:
    """Return the JSON Schema (2020-12) of one record; `name` is its version name (`missed-call.v1`)."""
    components = schemas(record, ref_template="#/$defs/{name}")
    main = components.pop(record.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:missedcall:schema:{name}",
        **main,
        "$defs": components,
    }


def schemas(*found: type[Struct], ref_template: str) -> dict[str, Schema]:
    """Return the schemas of these records and of the structs in them, by name, main records first."""
    _, components = msgspec.json.schema_components(found, ref_template=ref_template)
    return {name: _describe(name, components[name]) for name in components}


def _describe(name: str, schema: Schema) -> Schema:
    record: type[Struct] = getattr(records, name)
    docs = _DOCS[name]
    described = {**schema, "description": docs[""]}
    fields = msgspec.structs.fields(record)
    if "properties" in schema:
        described["properties"] = {
            field.encode_name: _field(field, schema["properties"][field.encode_name], docs[field.name])
            for field in fields
        }
        described["required"] = [field.encode_name for field in fields if field.required]
    else:  # a struct that is written as an array: JSON Schema knows its fields by position only
        described["prefixItems"] = [
            {"title": field.name, **_field(field, item, docs[field.name])}
            for field, item in zip(fields, schema["prefixItems"], strict=True)
        ]
    return described


def _field(field: msgspec.structs.FieldInfo, schema: Schema, text: str) -> Schema:
    described: Schema = {"description": text} if text else {}
    if isinstance(schema.get("default"), tuple):
        schema = {**schema, "default": list(schema["default"])}
    values = list(values_of(field.type))
    if values:
        described["type"] = "string"
        stand_in = READ_UNKNOWN_AS[field.name]
        if stand_in is None:
            described["enum"] = values
        else:
            described |= {"x-extensible-enum": values, "x-read-unknown-as": stand_in}
        if "default" in schema:
            described["default"] = schema["default"]
        return described
    if "$ref" in schema:  # readers of older drafts ignore what stands beside a $ref
        described |= {"allOf": [{"$ref": schema["$ref"]}]}
        schema = {key: value for key, value in schema.items() if key != "$ref"}
    return described | schema
