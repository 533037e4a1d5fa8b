"""Writes the documents that others read: `python -m missedcall_schemas.generate [--check]`.

Rule 1: a document is never edited; it is made of the records and the topic files, and a test checks that it
        is fresh.
Rule 2: a JSON Schema that others build on is not overwritten by one that breaks them. Who means to break
        them gives the record a new version, or deletes the document first, which the review will see.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from . import asyncapi, json_schema, topic_page, yaml
from .compatibility import breaking_changes
from .records import MissedCall, Person, Preferences, Verdict

ROOT = Path(__file__).resolve().parents[1]
"""The folder `schemas/` of a checkout; an installed package has no documents."""

PUBLIC: Mapping[str, type[Struct]] = MappingProxyType(
    {
        "missed-call.v1": MissedCall,
        "verdict.v1": Verdict,
        "person.v1": Person,
        "preferences.v1": Preferences,
    }
)
"""Records with a JSON Schema of their own, by version name."""


def documents(root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Yield path and text of every document, as it should be."""
    for name, record in PUBLIC.items():
        schema = json_schema.document(record, name)
        yield root / "json-schema" / f"{name}.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    heading = "# Written by `python -m missedcall_schemas.generate` from the topic files and the records.\n"
    yield root / "asyncapi.yaml", heading + yaml.dump(asyncapi.document(root / "examples"))
    yield root / "README.md", topic_page.page()


def stale(root: Path = ROOT) -> list[Path]:
    """Return the documents that are missing or differ from what they should be."""
    return [path for path, text in documents(root) if _read(path) != text]


def breaks(root: Path = ROOT) -> list[str]:
    """Return what the records, as they are now, break against the committed JSON Schemas."""
    found: list[str] = []
    for name, record in PUBLIC.items():
        committed = _read(root / "json-schema" / f"{name}.json")
        if committed is not None:
            before: dict[str, Any] = json.loads(committed)
            found += breaking_changes(before, json_schema.document(record, name))
    return found


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the documents, or with `--check` only say whether they are fresh. 0 is good, 1 is not."""
    parser = argparse.ArgumentParser(prog="python -m missedcall_schemas.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a document is stale")
    checking = parser.parse_args(arguments).check
    if not (root / "examples").is_dir():
        sys.stderr.write(f"{root}: no examples here; run this in a checkout, not from an installed package\n")
        return 1
    if broken := breaks(root):
        sys.stderr.write("This breaks readers of the committed JSON Schema:\n")
        sys.stderr.writelines(f"  {sentence}\n" for sentence in broken)
        return 1
    old = stale(root)
    for path, text in documents(root):
        if path in old and not checking:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in old:
        sys.stderr.write(f"{path}: {'stale' if checking else 'written'}\n")
    return 1 if checking and old else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
