"""What people have chosen: whether a notice is wanted, and when.

Rule 1: pure. The reasons are rows; the first that holds is why there is no notice, and a metric label.
Rule 2: a choice that is not made is the group's, then the installation's; what nobody chose is DEFAULTS.
Rule 3: a callback after an emergency call (RFC 7090) is never filtered and never waits.
Rule 4: a correction is neither filtered nor made to wait. It follows within a minute or two of the notice that
        it corrects: if that was not sent, the journal drops both; if it was, it has just been read.
"""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from msgspec import UNSET, Struct
from msgspec.structs import fields

from missedcall_schemas.records import MissedCall, Person, Preferences

from .checks import DAYS, HOURS
from .directory import key


class Wish(NamedTuple):
    """What holds for one person, every choice made."""

    notices: bool = True
    channels: tuple[str, ...] = ()
    quiet_hours: str = ""
    quiet_days: tuple[str, ...] = ()
    min_ring_s: float = 0.0
    anonymous: bool = True
    internal: bool = True
    repeats_s: float | None = None
    """None: the installation's."""


DEFAULTS = Wish()
"""Everything, at once, over every channel."""


class Wishes(Struct, frozen=True, kw_only=True):
    """All choices, by who made them."""

    everybody: Preferences = Preferences()
    groups: dict[str, Preferences] = {}
    users: dict[str, Preferences] = {}
    """By `directory.key` of one of the user's addresses."""

    def of(self, address: str, person: Person | None) -> Wish:
        """Return what holds for the user with this address of record, whom the directory may not know."""
        addresses = (address, *person.addresses) if person else (address,)
        groups = person.groups if person else ()
        users = (self.users.get(key(own)) for own in addresses)
        choices = [*users, *(self.groups.get(group) for group in groups), self.everybody]
        if all(choice is None or choice == _NOTHING for choice in choices):
            return DEFAULTS
        made = {}
        for field in fields(Preferences):
            for choice in choices:
                value = UNSET if choice is None else getattr(choice, field.name)
                if value is not UNSET:
                    made[field.name] = value
                    break
        return DEFAULTS._replace(**made)


_NOTHING = Preferences()


class Situation(NamedTuple):
    """What a wish is held against."""

    fact: MissedCall
    channel: str
    known: bool
    """Whether the caller is in the directory."""


class Row(NamedTuple):
    """Why somebody does not want a notice."""

    reason: str
    """Behind `unrouted:` among the counters."""
    holds: Callable[[Wish, Situation], bool]
    text: str


def _gave_up(fact: MissedCall) -> bool:
    """Whether the caller ended it while phones rang or might have: who was offline or busy wants to know."""
    return fact.cause == "caller-cancelled" and fact.detail in {"", "unrung"}


# fmt: off
ROWS = (
    Row("opted-out",        lambda w, _: not w.notices,                                    "the user wants no notices"),
    Row("other-channel",    lambda w, s: bool(w.channels) and s.channel not in w.channels, "the user wants them over another channel"),
    Row("caller-anonymous", lambda w, s: not w.anonymous and s.fact.caller.anonymous,      "the user wants none of anonymous callers"),
    Row("caller-internal",  lambda w, s: not w.internal and s.known,                       "the user wants none of people in the directory"),
    Row("rang-too-short",   lambda w, s: _gave_up(s.fact) and s.fact.ring_s < w.min_ring_s, "the caller gave up before the phones had rung for the user's minimum"),
)
# fmt: on


def unwanted(wish: Wish, situation: Situation) -> str:
    """Return why the notice is not wanted; "" if it is."""
    if situation.fact.urgent or situation.fact.state == "retracted":
        return ""
    return next((row.reason for row in ROWS if row.holds(wish, situation)), "")


def not_before(wish: Wish, fact: MissedCall, zone: tzinfo, now: float) -> float:
    """Return when the notice may be delivered: `now`, or the end of the quiet time that `now` lies in.

    Args:
        wish: whose quiet hours and days.
        fact: what it is about.
        zone: the reader's.
        now: POSIX seconds.
    """
    if fact.urgent or fact.state == "retracted" or not (wish.quiet_hours or wish.quiet_days):
        return now
    at = datetime.fromtimestamp(now, UTC).astimezone(zone)
    for _ in range(2 * len(DAYS)):  # quiet days and hours may follow each other; never all days are quiet
        until = _end_of_quiet(wish, at)
        if until is None:
            break
        at = until
    return max(now, at.timestamp())


def _end_of_quiet(wish: Wish, at: datetime) -> datetime | None:
    """Return when the quiet time ends that a local time lies in; None if it lies in none."""
    if DAYS[at.weekday()] in wish.quiet_days:
        return _on(at, time(), days=1)
    hours = HOURS.fullmatch(wish.quiet_hours)
    if hours is None:
        return None
    begin, end = time(int(hours[1]), int(hours[2])), time(int(hours[3]), int(hours[4]))
    clock = at.time()
    if begin <= end:
        return _on(at, end) if begin <= clock < end else None
    if clock >= begin:
        return _on(at, end, days=1)
    return _on(at, end) if clock < end else None


def _on(at: datetime, clock: time, *, days: int = 0) -> datetime:
    """Return a time of the day, by the clock on the wall: a night in which clocks change is longer or shorter."""
    return datetime.combine(at.date() + timedelta(days=days), clock, at.tzinfo)
