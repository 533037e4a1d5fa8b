"""The topic `notify-redrive`: every worker reads all of it, it is small.

Rule 1: nothing depends on when a request is read, or how often: the ledger of the delivery decides.
"""

from collections.abc import Callable, Mapping
from typing import Any

from missedcall_common.runtime.events import Event, emit

from .following import Follower
from .letters import LetterError, Request, read_request


class Requests(Follower):
    """Those of one channel."""

    def __init__(
        self, connection: Mapping[str, Any], topic: str, channel: str, tell: Callable[[Request], None]
    ) -> None:
        """Prepare.

        Args:
            connection: arguments that all clients have in common.
            topic: full name.
            channel: whose requests to hear.
            tell: told of each request, on the thread.
        """
        super().__init__(connection, (topic,), lambda: self, "requests")
        self._channel = channel
        self._tell = tell

    def hear(self, record: Any) -> None:
        """Tell of a request to our channel."""
        try:
            request = read_request(record.value or b"")
        except LetterError as error:
            emit(Event.RECORD_REFUSED, error, topic="notify-redrive", offset=record.offset)
            return
        if request.channel == self._channel:
            self._tell(request)

    def went_round(self, *, complete: bool) -> None:
        """Nothing waits for us."""
