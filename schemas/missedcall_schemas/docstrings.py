"""The words under the fields: read from the source, since Python keeps no docstring of a field.

Rule 1: what is said about a field is said once, under the field; documents are made of it.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping
from types import ModuleType

FieldDocs = Mapping[str, Mapping[str, str]]
"""Struct name -> field name -> text in one line; under "" the struct's own."""


def field_docs(module: ModuleType) -> FieldDocs:
    """Return the docstrings of a module's classes and of their fields.

    A field whose type names a documented alias of the module (`cause: Cause`) has the alias's text as well.
    """
    tree = ast.parse(inspect.getsource(module))
    aliases = {name: text for name, _, text in _documented(tree.body) if text}
    found: dict[str, dict[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {"": _one_line(ast.get_docstring(node) or "")}
            for name, annotation, text in _documented(node.body):
                named = [inner.id for inner in ast.walk(annotation) if isinstance(inner, ast.Name)]
                texts = [text, *(aliases[alias] for alias in named if alias in aliases)]
                found[node.name][name] = " ".join(filter(None, texts))
    return found


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr, str]]:
    """Yield name, annotation (or value) and docstring of each assignment in `body`."""
    for at, node in enumerate(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.annotation, _text_after(body, at)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value, _text_after(body, at)


def _text_after(body: list[ast.stmt], at: int) -> str:
    match body[at + 1 : at + 2]:
        case [ast.Expr(value=ast.Constant(value=str(text)))]:
            return _one_line(text)
        case _:
            return ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
