"""One line on standard error that says how far long work is; nothing at all unless a person is watching.

Rule 1: only on a terminal. A log file full of carriage returns helps nobody.
Rule 2: the line is gone when the work ends, so that what stays on the screen is the result.
"""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

EVERY_S = 0.2
"""Between two repaints. Less flickers and costs time; more looks stuck."""


class Progress:
    """A repainted line; use as a context manager."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._next = time.monotonic() + EVERY_S
        self._painted = False
        self.started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.clear()

    @property
    def due(self) -> bool:
        """Whether it is time to `show` again: lets the caller build the text only when it will be seen."""
        return self._shown and time.monotonic() >= self._next

    def show(self, text: str) -> None:
        """Repaint the line."""
        if not self._shown:
            return
        self._next = time.monotonic() + EVERY_S
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()
        self._painted = True

    def clear(self) -> None:
        """Take the line off the screen, before other output and at the end."""
        if self._painted:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._painted = False
