"""Who asked to be left alone, and until when.

Rule 1: a mailbox that asked is not asked again before its time; the others go on.
Rule 2: what is over is forgotten: this never holds more than what is being waited for.
"""

EVERYBODY = ""
"""In place of a mailbox: the service as a whole."""

LONGEST_S = 300.0
"""Longest time that is kept to. Less: one that means it is asked in vain. More: a mistake of theirs stops us."""


class Holds:
    """Times are POSIX seconds."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def ask(self, mailbox: str, seconds: float, now: float) -> None:
        """Leave a mailbox, or EVERYBODY, alone for so long."""
        self._until = {name: until for name, until in self._until.items() if now < until}
        self._until[mailbox] = max(self._until.get(mailbox, 0.0), now + min(seconds, LONGEST_S))

    def left_s(self, mailbox: str, now: float) -> float:
        """Return for how long yet; 0 if it may be asked."""
        left_s = self._until.get(mailbox, 0.0) - now
        return left_s if 0.0 < left_s <= LONGEST_S else 0.0  # more: the clock was set back meanwhile
