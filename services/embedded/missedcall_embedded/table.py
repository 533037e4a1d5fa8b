"""Rows of text for people: columns that line up while the rows are still coming.

Rule 1: widths are settled before the first row, because replay prints facts as they are decided.
Rule 2: a terminal gets cells cut to their column; a pipe gets every cell whole, since somebody greps it.
Rule 3: what a sender wrote reaches the terminal only through `printable`: no control character, no
        direction override, nothing that moves the cursor.
"""

import unicodedata
from collections.abc import Sequence

from msgspec import Struct

GAP = "  "
CUT = "…"


class Column(Struct, frozen=True):
    """One column of a table; widths are in terminal cells."""

    title: str
    width: int
    right: bool = False
    flexible: bool = False
    """Shares what the terminal has left over."""
    optional: bool = False
    """Left out where the flexible columns would become unreadable."""


READABLE = 15
"""A flexible column narrower than this shows no whole address: `bob@example.com` is 15 cells."""
LEAST = 6
"""What is left of a cell on the narrowest terminal: the table is cut, but stays a table."""
WIDEST = 40
"""A flexible column wider than this only pushes the next one out of sight."""


def printable(text: str) -> str:
    """Return ``text`` with every character that a terminal might obey replaced by `U+FFFD`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def printable_lines(text: str) -> str:
    """Return ``text`` with its line ends, each line made `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def cells(text: str) -> int:
    """Return how many terminal cells ``text`` takes: East Asian wide is 2, a combining mark 0."""
    if text.isascii():
        return len(text)
    return sum(_cell(char) for char in text)


def _cell(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` cells, its end replaced by an ellipsis if it was longer."""
    if cells(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += _cell(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + CUT


def fit(columns: Sequence[Column], total: int) -> tuple[Column, ...]:
    """Return the columns that ``total`` cells have room for, with their final widths."""
    while True:
        flexible = [column for column in columns if column.flexible]
        fixed = sum(column.width for column in columns if not column.flexible)
        left = total - fixed - len(GAP) * (len(columns) - 1)
        share = left // len(flexible) if flexible else 0
        droppable = [column for column in columns if column.optional]
        if not flexible or share >= READABLE or not droppable:
            break
        columns = [column for column in columns if column is not droppable[-1]]
    width = max(LEAST, min(WIDEST, share))
    return tuple(
        Column(column.title, width if column.flexible else column.width, column.right, column.flexible)
        for column in columns
    )


def line(columns: Sequence[Column], values: Sequence[str], *, whole: bool) -> str:
    """Return one row without its line end; ``whole`` leaves long cells uncut."""
    parts = []
    for column, value in zip(columns, values, strict=True):
        shown = printable(value)
        if not whole:
            shown = cut(shown, column.width)
        padding = " " * (column.width - cells(shown))
        parts.append(padding + shown if column.right else shown + padding)
    return GAP.join(parts).rstrip()
