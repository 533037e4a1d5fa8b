"""Which messages are one call: Call-IDs, and the identifiers that join a B2BUA's legs.

Rule 1: a Call-ID belongs to one call. Legs are joined by the identifiers their INVITEs carry, strongest first:
        HEP correlation id, Session-ID, a Call-ID suffix, copied headers, Replaces (domain note s.1.2).
Rule 2: a conversation's identifier and a history that begins alike outlive their call: they join only a call
        that is still open.
Rule 3: what only resembles is not joined unless the operator says so; it is marked, so that an unjoined
        member of a ring group is not told of a call that somebody else took.
"""

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

from .case import MEMBER_MS
from .picture import host
from .policy import Policy
from .seen import Offer, Seen
from .users import user_part

WEAK = ("conversation:", "history:")

RECENT = 16
"""Calls of one caller that are compared with a new one. Less misses a large ring group; more lets one caller
number with thousands of calls make each of them slow."""


class Index:
    """Identifiers and callers of the calls of one partition; rebuilt from the state rows."""

    def __init__(self, policy: Policy) -> None:
        self._calls: dict[str, str] = {}
        self._callers: dict[str, dict[str, None]] = {}
        suffixes = "|".join(policy.call_id_suffixes)
        self._suffix = re.compile(rf"(?:{suffixes})+(?=@|$)") if suffixes else None

    def by_call_id(self, call_id: str) -> str | None:
        """Return the key of the call that has this Call-ID."""
        return self._calls.get("call:" + call_id)

    def links(self, seen: Seen) -> list[str]:
        """Return the identifiers under which a message's call is known, its Call-ID first."""
        found = ["call:" + seen.call_id]
        if self._suffix is not None:
            base = self._suffix.sub("", seen.call_id)
            if base != seen.call_id:
                found.append("call:" + base)
        offer = seen.offer
        if offer is not None:
            if offer.replaces:
                found.append("call:" + offer.replaces)
            found.extend(link for link in offer.links if not (link.startswith(WEAK) and offer.silent))
        elif seen.ending is not None:
            found.extend(seen.ending.links)
        return found

    def matches(self, links: Iterable[str], open_to: Callable[[str], bool]) -> list[str]:
        """Return the keys of the calls that ``links`` name; a weak one only if that call is open to it."""
        keys = dict.fromkeys(
            key
            for link in links
            if (key := self._calls.get(link)) is not None and (not link.startswith(WEAK) or open_to(key))
        )
        return list(keys)

    def add(self, links: Iterable[str], key: str) -> None:
        """Let ``links`` name the call ``key``."""
        for link in links:
            self._calls[link] = key

    def remove(self, links: Iterable[str], key: str) -> None:
        """Forget ``links`` as far as they name ``key``."""
        for link in links:
            if self._calls.get(link) == key:
                del self._calls[link]

    def recent(self, offer: Offer) -> list[str]:
        """Return keys of the latest calls of the same caller; none for an anonymous one."""
        keys = self._callers.get(_caller(offer), {})
        return list(islice(reversed(keys), RECENT))

    def add_caller(self, offer: Offer, key: str) -> None:
        """Note that ``key`` is a call of this caller."""
        if caller := _caller(offer):
            self._callers.setdefault(caller, {})[key] = None

    def remove_caller(self, offer: Offer, key: str) -> None:
        """Forget a call of this caller."""
        caller = _caller(offer)
        keys = self._callers.get(caller)
        if keys is not None:
            keys.pop(key, None)
            if not keys:
                del self._callers[caller]


def _caller(offer: Offer) -> str:
    caller = offer.caller
    return "" if caller.anonymous else caller.number or user_part(caller.uri)


class Outline(NamedTuple):
    """As much of a call as is needed to compare it with another. Capture milliseconds; 0: not seen."""

    invite: Seen
    """The initial INVITE nearest the caller."""
    answered_ms: int
    ended_ms: int
    """The latest CANCEL or failure."""


def outline(messages: Iterable[Seen]) -> Outline | None:
    """Return the outline of a call; None if its INVITE was not captured."""
    invite: Seen | None = None
    answered = ended = 0
    for seen in messages:
        if seen.method == "INVITE":
            if seen.offer is not None and (invite is None or _nearer(seen) < _nearer(invite)):
                invite = seen
            if 200 <= seen.status < 300:
                answered = min(answered or seen.at_ms, seen.at_ms)
            elif seen.status >= 300:
                ended = max(ended, seen.at_ms)
        elif seen.method == "CANCEL" and not seen.status:
            ended = max(ended, seen.at_ms)
    return Outline(invite, answered, ended) if invite is not None else None


def _nearer(seen: Seen) -> tuple[int, int, str]:
    return (seen.vias, seen.at_ms, seen.branch)


def rang_together(one: Outline, other: Outline) -> bool:
    """Whether two unjoined legs of one caller look like a ring group (domain row 36).

    They left one box for two callees at the same time, and ended at the same time: by the caller, or because
    one of them answered.
    """
    first, second = one.invite, other.invite
    if abs(first.at_ms - second.at_ms) > MEMBER_MS or not _same_box(first, second) or same_callee(one, other):
        return False
    ends = (other.answered_ms, other.ended_ms)
    return any(end and abs(end - one.ended_ms) <= MEMBER_MS for end in ends)


def _same_box(one: Seen, other: Seen) -> bool:
    if one.src == other.src:
        return bool(one.src)
    return host(one.src) == host(other.src) != host(one.dst)


def goes_on_as(upper: Outline, lower: Outline) -> bool:
    """Whether ``lower`` came out of the box that ``upper`` had entered, while nobody had answered ``upper``."""
    into, out = upper.invite, lower.invite
    if not into.dst or not out.src or out.at_ms < into.at_ms:
        return False
    if into.dst != out.src and not host(into.src) != host(into.dst) == host(out.src):
        return False
    over = [end for end in (upper.answered_ms, upper.ended_ms) if end]
    return not over or out.at_ms <= min(over)


def same_callee(one: Outline, other: Outline) -> bool:
    """Whether two calls are for the same user, whatever host names him."""
    first, second = one.invite.offer, other.invite.offer
    return first is not None and second is not None and user_part(first.to) == user_part(second.to)
