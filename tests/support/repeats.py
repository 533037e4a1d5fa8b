"""A mailbox that a channel fills as those to Exchange do, for tests of calls that are told as one notice."""

from msgspec.structs import replace

from missedcall_notifier.channels.ews import SETTLING
from missedcall_notifier.channels.item import key_of, keys_before
from missedcall_notifier.failure import Failed, Failure, Sent


class DiedError(Exception):
    """The process died within an attempt."""


class Mailbox:
    """Items by what they are found by; an item is the ids of the facts that it tells."""

    def __init__(self):
        self.inbox = {}
        self.deleted = {}
        self.faults = []
        """Of the next requests: "", "before", "after" (refused, or stored and the answer lost), "die", "die-after"."""
        self.fewest = None
        """Of the items that were there at once since it was set."""

    def send(self, delivery):
        """Make one attempt."""
        try:
            return self._correct(delivery) if delivery.corrects else self._deliver(delivery)
        except ConnectionError as error:
            return Failed(Failure.UNCERTAIN if str(error) == "after" else Failure.TRANSIENT, str(error))

    def _deliver(self, delivery):
        key = key_of(delivery)
        if not (delivery.maybe_made and self._ask(lambda: key in self.inbox or key in self.deleted)):
            self._ask(lambda: self._create(key, delivery))
        for before, sure in keys_before(delivery):
            if self._ask(lambda: before in self.inbox):  # noqa: B023
                self._ask(lambda: self._remove(before))  # noqa: B023
            elif not sure and delivery.detail != SETTLING:
                return Failed(Failure.TRANSIENT, SETTLING)
        return Sent("done")

    def _correct(self, delivery):
        for key, _ in keys_before(delivery):
            if self._ask(lambda: key in self.inbox):  # noqa: B023
                self._ask(lambda: self._remove(key))  # noqa: B023
        return Sent("done")

    def _create(self, key, delivery):
        assert key not in self.inbox, "a second item of one notice"
        self.inbox[key] = [call.fact_id for call in delivery.calls]

    def _remove(self, key):
        self.deleted[key] = self.inbox.pop(key)
        if self.fewest is not None:
            self.fewest = min(self.fewest, len(self.inbox))

    def _ask(self, request):
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            raise ConnectionError("before")
        if fault == "die":
            raise DiedError
        answer = request()
        if fault == "after":
            raise ConnectionError("after")
        if fault == "die-after":
            raise DiedError
        return answer


def taken(fact):
    """Return the retraction of a fact."""
    return replace(fact, revision=fact.revision + 1, state="retracted")
