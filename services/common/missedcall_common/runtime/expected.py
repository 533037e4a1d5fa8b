"""What would be right, in words, from the type of a setting.

Rule 1: where the type carries a description (`Meta(description="HOST:PORT")`), that is what is said.
"""

from typing import Any

import msgspec
from msgspec import Struct, inspect


def expected(annotation: Any) -> str:
    """Return `expected a whole number, 1 to 65535` and the like."""
    return f"expected {_words(inspect.type_info(annotation))}"


def is_list(annotation: Any) -> bool:
    """Whether a variable of the environment holds several values for this type, separated by commas."""
    found = inspect.type_info(annotation)
    return any(isinstance(kind, _LISTS) for kind in _alternatives(found))


def settings_struct(annotation: Any) -> type[Struct] | None:
    """Return the struct that this type is, if it is one: a group of settings."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct) else None


_LISTS = (inspect.VarTupleType, inspect.ListType, inspect.SetType, inspect.FrozenSetType)


def _alternatives(found: inspect.Type) -> tuple[inspect.Type, ...]:
    found = found.type if isinstance(found, inspect.Metadata) else found
    return found.types if isinstance(found, inspect.UnionType) else (found,)


def _words(found: inspect.Type) -> str:
    match found:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            return str((extra or {}).get("description") or _words(inner))
        case inspect.UnionType(types=types):
            kinds = [_words(kind) for kind in types if not isinstance(kind, inspect.NoneType)]
            return " or ".join(kinds)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number{_range(found)}"
        case inspect.FloatType():
            return f"a number{_range(found)}"
        case inspect.StrType(min_length=least, max_length=most, pattern=pattern):
            size = f" of {least or 0} to {most} characters" if most else " that is not empty" if least else ""
            return f"a text{size}" + (f" that matches {pattern}" if pattern else "")
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.EnumType(cls=cls):
            return f"one of {', '.join(str(member.value) for member in cls)}"
        case (
            inspect.VarTupleType(item_type=item)
            | inspect.ListType(item_type=item)
            | inspect.SetType(item_type=item)
            | inspect.FrozenSetType(item_type=item)
        ):
            return f"a list, each {_words(item)}"
        case _:
            return type(found).__name__.removesuffix("Type").lower()


def _range(found: inspect.IntType | inspect.FloatType) -> str:
    least = [
        f"{found.ge}" if found.ge is not None else "",
        f"above {found.gt}" if found.gt is not None else "",
    ]
    most = [
        f"{found.le}" if found.le is not None else "",
        f"below {found.lt}" if found.lt is not None else "",
    ]
    low, high = "".join(least), "".join(most)
    if low and high:
        return f", {low} to {high}" if not high.startswith("below") else f", {low} and {high}"
    if low:
        return f", {low}" if low.startswith("above") else f", {low} or more"
    if high:
        return f", {high}" if high.startswith("below") else f", at most {high}"
    return ""
