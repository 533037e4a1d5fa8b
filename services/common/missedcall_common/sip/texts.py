"""One object for all equal texts of late.

Rule 1: a text comes back equal; whether it is the same object decides nothing.
Rule 2: however many different texts there are, only the latest are known.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

KEPT_TEXTS: Final = 8_192
"""Texts of late that are looked among, and as many before them. Less than a call's first seconds have: nothing is
saved. More: they take as much as they save."""


@final
@mypyc_attr(acyclic=True)
class Texts:
    """A call's messages repeat their names, and a hundred thousand calls ring at the same time."""

    __slots__ = ("_before", "_late")

    def __init__(self) -> None:
        self._late: dict[str, str] = {}
        self._before: dict[str, str] = {}

    def one(self, text: str) -> str:
        """Return the object that stands for `text`."""
        known = self._late.get(text)
        if known is not None:
            return known
        known = self._before.get(text)
        if known is None:
            known = text
        if len(self._late) >= KEPT_TEXTS:
            self._before = self._late
            self._late = {}
        self._late[known] = known
        return known


TEXTS: Final = Texts()
