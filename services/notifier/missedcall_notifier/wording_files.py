"""The files that notices are made of: ours, which are part of the package, and the operator's.

Rule 1: a file is read once, at the start. What is wrong with it is said with its name and line.
"""

from importlib.resources import files
from pathlib import Path

LARGEST = 1 << 20
"""Bytes of a template or of texts."""

KINDS = (".toml", ".txt", ".html")
"""Texts, and templates of the two forms."""


def ours() -> dict[str, str]:
    """Return our files by name."""
    folder = files(__package__).joinpath("wording")
    return {
        file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(KINDS)
    }


def theirs(folder: Path) -> dict[str, str]:
    """Return the operator's files by name; what is neither texts nor a template is left alone.

    Raises:
        OSError: a file cannot be read.
        ValueError: one is too large or no UTF-8.
    """
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in KINDS and not path.name.startswith("."):
            with path.open("rb") as file:
                raw = file.read(LARGEST + 1)
            if len(raw) > LARGEST:
                raise ValueError(f"{path.name}: expected at most {LARGEST} bytes")
            try:
                found[path.name] = raw.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path.name}: expected UTF-8, byte {error.start} is not") from error
    return found
