"""What a channel is: a pure rendering and one attempt to send.

Rule 1: `render` is a function of the delivery, so that every attempt sends the same bytes.
Rule 2: `send` makes one attempt, raises nothing for what the target does, and reports the failure of the
        closed set. It retries nothing: retries belong to the journal.
Rule 3: it says UNCERTAIN whenever the target may have taken it, and only then.
"""

from typing import Protocol

from missedcall_notifier.delivery import Delivery
from missedcall_notifier.failure import Report


class UnrenderableError(ValueError):
    """The fact cannot be put into this channel's form: nobody will ever get it this way."""


class Channel(Protocol):
    """One way to reach people."""

    @property
    def name(self) -> str:
        """`smtp`, `ews`, `graph`, `webhook`: part of the delivery id, so never to change."""

    def render(self, delivery: Delivery) -> bytes:
        """Return what is sent, the same on every attempt.

        Raises:
            UnrenderableError: the fact cannot be put into this form.
        """

    async def send(self, delivery: Delivery, content: bytes) -> Report:
        """Make one attempt, within the channel's own time limit."""

    async def close(self) -> None:
        """Give up connections. No `send` is under way."""
