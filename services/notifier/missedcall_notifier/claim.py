"""Which deliveries begin now, and which a retraction has made pointless.

Rule 1: pure, and the same for every journal; the journal makes all changes durable together.
Rule 2: a correction waits while the notice that it corrects is under way, and then depends on it: nothing
        was seen, nothing is corrected.
Rule 3: a notice of a series waits while one before it is under way, and makes those pointless that wait.
"""

from collections.abc import Callable, Iterable

from msgspec import UNSET

from .delivery import Delivery, begin, withdraw
from .repeats import turn_of

RETRACTED = "retracted"
"""Why a notice is suppressed that was not yet sent when its call turned out to have been taken."""
NOTHING_SENT = "no-notice-sent"
"""Why a correction is suppressed: its recipient never had the notice."""

REPEATED = "repeated"
"""Why a notice is suppressed whose call a later notice of the same series tells, too."""

Change = tuple[Delivery, Delivery]
"""A delivery before and after."""


def claim(
    due: Iterable[Delivery], find: Callable[[str], Delivery | None], *, now: float, limit: int
) -> list[Change]:
    """Return the changes to make, in one transaction: at most `limit` of them begin an attempt.

    Args:
        due: deliveries whose time has come, in order of preference, corrections first: so that a notice
            known to be wrong is withdrawn and not tried once more.
        find: a delivery by its id, None if the journal has forgotten it.
        now: POSIX seconds.
        limit: attempts that may begin.
    """
    changes: dict[str, Change] = {}

    def latest(delivery_id: str) -> Delivery | None:
        change = changes.get(delivery_id)
        return change[1] if change else find(delivery_id)

    def change(before: Delivery, after: Delivery) -> None:
        changes[before.delivery_id] = (before, after)

    due = list(due)
    followed = {one.series.after for one in due if one.series is not UNSET}
    for delivery in due:
        if limit <= 0:
            break
        if delivery.delivery_id in changes or delivery.delivery_id in followed:
            continue
        turn = turn_of(delivery, latest)
        if turn is None:
            continue
        for earlier in turn.withdrawn:
            reason = RETRACTED if earlier.delivery_id == delivery.supersedes else REPEATED
            change(earlier, withdraw(earlier, reason, now))
        if turn.wanted:
            change(delivery, begin(delivery, now, turn.replaces))
            limit -= 1
        else:
            change(delivery, withdraw(delivery, NOTHING_SENT, now))
    return list(changes.values())
