"""Which messages are one call: Call-IDs, and the identifiers that join a B2BUA's legs.

Rule 1: a Call-ID belongs to one call. Legs are joined by the identifiers their INVITEs carry, strongest first:
        HEP correlation id, Session-ID, a Call-ID suffix, copied headers, Replaces (domain note s.1.2).
Rule 2: an identifier of a conversation outlives its calls (`conversation:`): it joins only a call still ringing.
Rule 3: what only resembles is not joined unless the operator says so; it is marked, so that an unjoined
        member of a ring group is not told of a call that somebody else took.
"""

import re
from collections.abc import Callable, Iterable

from .call import Live
from .case import MEMBER_MS
from .picture import host
from .policy import Policy
from .seen import Offer, Seen
from .users import user_part

WEAK = "conversation:"

RECENT = 16
"""Calls of one caller that are compared with a new one. Less misses a large ring group; more lets one caller
number with thousands of calls make each of them slow."""


class Index:
    """Identifiers and callers of the calls of one partition; rebuilt from the state rows."""

    def __init__(self, policy: Policy) -> None:
        self._calls: dict[str, str] = {}
        self._callers: dict[str, list[str]] = {}
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
        return found

    def matches(self, links: Iterable[str], ringing: Callable[[str], bool]) -> list[str]:
        """Return the keys of the calls that ``links`` name; a weak one counts while its call is ringing."""
        keys = dict.fromkeys(
            key
            for link in links
            if (key := self._calls.get(link)) is not None and (not link.startswith(WEAK) or ringing(key))
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
        return self._callers.get(_caller(offer), [])[-RECENT:]

    def add_caller(self, offer: Offer, key: str) -> None:
        """Note that ``key`` is a call of this caller."""
        if caller := _caller(offer):
            keys = self._callers.setdefault(caller, [])
            if key not in keys[-RECENT:]:
                keys.append(key)

    def remove_caller(self, offer: Offer, key: str) -> None:
        """Forget a call of this caller."""
        caller = _caller(offer)
        keys = self._callers.get(caller)
        if keys and key in keys:
            keys.remove(key)
            if not keys:
                del self._callers[caller]


def _caller(offer: Offer) -> str:
    caller = offer.caller
    return "" if caller.anonymous else caller.number or user_part(caller.uri)


def first_invite(live: Live) -> Seen | None:
    """Return the call's earliest initial INVITE."""
    invites = [seen for seen in live.row.seen if seen.offer is not None and seen.method == "INVITE"]
    return min(invites, key=lambda seen: seen.at_ms, default=None)


def is_twin(one: Seen, other: Seen) -> bool:
    """Whether two INVITEs of one caller left one box for two callees at the same time (domain row 36)."""
    if abs(one.at_ms - other.at_ms) > MEMBER_MS or not _same_box(one, other):
        return False
    return (
        one.offer is not None
        and other.offer is not None
        and user_part(one.offer.to) != user_part(other.offer.to)
    )


def _same_box(one: Seen, other: Seen) -> bool:
    if one.src == other.src:
        return bool(one.src)
    return host(one.src) == host(other.src) != host(one.dst)


def is_upstream(into: Seen, out: Seen, window_s: float) -> bool:
    """Whether ``out`` leaves, within the window, the box that ``into`` entered."""
    if not 0 <= out.at_ms - into.at_ms <= window_s * 1000 or not into.dst or not out.src:
        return False
    if into.dst == out.src:
        return True
    return host(into.src) != host(into.dst) == host(out.src)


def same_callee(one: Seen, other: Seen) -> bool:
    """Whether two INVITEs are for the same user, whatever host names him."""
    if one.offer is None or other.offer is None:
        return False
    return user_part(one.offer.to) == user_part(other.offer.to)
