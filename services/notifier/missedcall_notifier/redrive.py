"""Which dead deliveries an operator means, and how they are shown.

Rule 1: pure; where the dead are, and how they are made to live, is the journal's.
Rule 2: a delivery is shown by its id and by what happened to it, never by whom it was for.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from msgspec import Struct

from .delivery import Delivery, State

_AGO = re.compile(r"(\d{1,6})([mhd])")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


class Selection(Struct, frozen=True, kw_only=True):
    """What is meant; what is empty is anything."""

    channels: frozenset[str] = frozenset()
    failures: frozenset[str] = frozenset()
    delivery_ids: frozenset[str] = frozenset()
    since: float = 0.0
    """Given up at this time or later, POSIX seconds."""

    def means(self, delivery: Delivery) -> bool:
        """Whether a delivery is dead and meant."""
        return (
            delivery.state is State.DEAD
            and (not self.channels or delivery.channel in self.channels)
            and (not self.failures or str(delivery.failure or "") in self.failures)
            and (not self.delivery_ids or delivery.delivery_id in self.delivery_ids)
            and delivery.changed_at >= self.since
        )


def moment(text: str, now: float) -> float:
    """Return the time that an operator names, POSIX seconds: `90m`, `12h`, `3d` ago, or a date, of UTC as a rule.

    Raises:
        ValueError: it is neither.
    """
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _SECONDS[ago[2]]
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def lines(deliveries: Iterable[Delivery]) -> Iterator[str]:
    """Yield a line per delivery."""
    for one in deliveries:
        at = datetime.fromtimestamp(one.changed_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        why = f"{one.failure or ''} {one.detail}".strip()
        yield f"{one.delivery_id}  {one.channel:<8} {at}  {one.attempts} attempts  {why}"
