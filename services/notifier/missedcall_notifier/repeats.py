"""Which calls are told as one notice, and what becomes of the notices before it.

Rule 1: pure: an intent and what the journal holds in, the intent with its place in a series out. Read again after
        a crash, the same journal gives the same place.
Rule 2: the reasons are rows; the first that holds is why a call is not joined to another.
Rule 3: a retraction takes its call out of the series. What is left is told anew; if nothing is, the notice is
        corrected as any other.
Rule 4: one notice of a series is under way at a time, so that none comes back that has given way.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from missedcall_schemas.records import MissedCall

from .delivery import OPEN, Delivery, State, name_of, withdraw
from .sanitise import is_time
from .series import Series, Shown, identity

MOST = 20
"""Calls in one notice; the next begins another. Less: who rings and rings fills the mailbox. More: large rows."""

LATE_S = 900.0
"""How long after its window a series is remembered. A call is decided after it began, by its ringing and the
classifier's patience; a retraction comes within `closed_keep_s` of that."""

FORGOTTEN = "series-forgotten"
"""Why a correction is suppressed that came so late that the other calls of its notice are not known any more."""


class Alone(NamedTuple):
    """Why a call is told by itself, whatever came before it."""

    reason: str
    holds: Callable[[MissedCall, float], bool]


class Apart(NamedTuple):
    """Why a call does not join a series of the same caller, callee, recipient and channel."""

    reason: str
    holds: Callable[[MissedCall, Delivery, float], bool]


def _span_s(calls: Iterable[MissedCall]) -> float:
    """Return the seconds from the first call to the last; without end if a time is none: it could not be told."""
    times = [call.rang_at for call in calls]
    return max(times) - min(times) if all(map(is_time, times)) else math.inf


# fmt: off
ALONE = (
    Alone("off",        lambda _, within_s: within_s <= 0),
    Alone("retraction", lambda fact, _: fact.state != "missed"),    # goes where its notice went
    Alone("no-caller",  lambda fact, _: not identity(fact.caller)), # nothing says that it is the same one
    Alone("urgent",     lambda fact, _: fact.urgent),               # RFC 7090: a callback is never behind others
)
APART = (
    Apart("nothing-left", lambda _, head, __: head.corrects),                          # all its calls were taken
    Apart("full",         lambda _, head, __: len(head.calls) >= MOST),
    Apart("too-far",      lambda fact, head, within_s: _span_s((*head.calls, fact)) > within_s),
)
# fmt: on


def series_of(fact: MissedCall, channel: str, recipient: str, within_s: float) -> Series | UnsetType:
    """Return the series that a notice may have a place in; UNSET if it stands alone.

    Args:
        fact: the missed call.
        channel: the channel's name.
        recipient: who is told.
        within_s: seconds within which calls are told as one; 0: never.
    """
    if any(row.holds(fact, within_s) for row in ALONE):
        return UNSET
    callee = fact.callee.encode("utf-8", "replace").decode()
    key = name_of("series", channel, recipient, callee, identity(fact.caller))
    return Series(key=key, within_s=within_s)


def remembered_until(head: Delivery, series: Series) -> float:
    """Return up to when, POSIX seconds, a call may join the last notice of a series or leave it."""
    return head.opened_at + series.within_s + LATE_S


class Known(NamedTuple):
    """What the journal knows of series."""

    find: Callable[[str], Delivery | None]
    """A delivery by its id."""
    heads: Callable[[str], Iterable[Delivery]]
    """By key: the last notice of each series that is remembered, whole."""


def placed(intent: Delivery, known: Known) -> Delivery:
    """Return a new intent with its place in a series, if it has any; not wanted, if that is forgotten."""
    if intent.series is not UNSET:
        return _joined(intent, intent.series, known)
    if intent.supersedes:
        return _taken_out(intent, known)
    return intent


def _joined(intent: Delivery, series: Series, known: Known) -> Delivery:
    fact = intent.fact
    joinable = [
        head
        for head in known.heads(series.key)
        if not any(row.holds(fact, head, series.within_s) for row in APART)
    ]
    if not joinable:
        return replace(intent, series=replace(series, root=intent.delivery_id))
    head = max(joinable, key=lambda one: (one.calls[-1].rang_at, one.opened_at, one.delivery_id))
    others = tuple(call for call in head.calls if call.fact_id != fact.fact_id)
    return replace(intent, series=_behind(head, series.within_s, others))


def _taken_out(intent: Delivery, known: Known) -> Delivery:
    notice = known.find(intent.supersedes)
    if notice is None or notice.series is UNSET:
        return intent
    series = notice.series
    head = next((one for one in known.heads(series.key) if _root(one) == series.root), None)
    if head is None:
        first = series.root == notice.delivery_id
        return intent if first else withdraw(intent, FORGOTTEN, intent.opened_at)
    left = () if head.corrects else head.calls
    others = tuple(call for call in left if call.fact_id != intent.fact.fact_id)
    placed = replace(intent, series=_behind(head, series.within_s, others))
    if others and head.state in OPEN and head.not_before > intent.opened_at:
        # it tells of missed calls, which are to wait for the end of the quiet time
        return replace(placed, next_at=head.not_before, not_before=head.not_before)
    return placed


def _root(delivery: Delivery) -> str:
    return "" if delivery.series is UNSET else delivery.series.root


def _behind(head: Delivery, within_s: float, others: tuple[MissedCall, ...]) -> Series:
    series = head.series
    if series is UNSET:
        raise AssertionError("a head without a series")
    return Series(
        key=series.key,
        within_s=within_s,
        root=series.root,
        number=series.number + 1,
        after=head.delivery_id,
        others=others,
    )


class Turn(NamedTuple):
    """What a notice finds before it when its attempt is to begin."""

    wanted: bool
    """Whether it is to be made at all."""
    withdrawn: tuple[Delivery, ...] = ()
    """What it makes pointless."""
    replaces: tuple[Shown, ...] = ()


def turn_of(delivery: Delivery, find: Callable[[str], Delivery | None]) -> Turn | None:
    """Return what becomes of a delivery, given those before it; None: one of them is under way, it has to wait.

    Before a correction is the notice that it corrects; before the first notice of a series, and one that stands
    alone, is nothing.

    Args:
        delivery: whose attempt is to begin.
        find: a delivery by its id, None if the journal has forgotten it.
    """
    before = _before(delivery, find)
    if before is not None and before.delivery_id == delivery.supersedes and _undoes(before, find):
        return Turn(False, (before,) if before.state in OPEN else ())
    withdrawn, replaces = [], []
    while before is not None:
        if before.state is State.ATTEMPT:
            return None
        if before.state in OPEN:
            withdrawn.append(before)
        if _maybe_there(before):
            fact = before.fact
            replaces.append(Shown(fact.fact_id, fact.revision, before.state is State.SENT))
        if before.state is State.SENT:
            break  # what was before it has given way to it
        before = _before(before, find)
    return Turn(bool(replaces) or not delivery.corrects, tuple(withdrawn), tuple(replaces))


def _undoes(notice: Delivery, find: Callable[[str], Delivery | None]) -> bool:
    """Whether without a notice, which nobody has seen, all is as if its call had never been."""
    if notice.state is State.ATTEMPT or _maybe_there(notice):
        return False
    before = _before(notice, find)
    return before is None or before.state in OPEN | {State.ATTEMPT, State.SENT}


def _maybe_there(delivery: Delivery) -> bool:
    """Whether the recipient may have it: also one that failed later, when it was to replace another."""
    return delivery.maybe_seen or bool(delivery.replaces)


def _before(delivery: Delivery, find: Callable[[str], Delivery | None]) -> Delivery | None:
    name = after_of(delivery)
    return find(name) if name else None


def after_of(delivery: Delivery) -> str:
    """Return the id of the notice that a delivery follows or corrects; "" if there is none."""
    return delivery.supersedes if delivery.series is UNSET else delivery.series.after
