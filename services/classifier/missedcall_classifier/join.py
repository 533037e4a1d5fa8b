"""Which messages are one call: Call-IDs, and the identifiers that join a B2BUA's legs.

Rule 1: a Call-ID belongs to one call. Legs are joined by the identifiers their INVITEs carry, strongest first:
        HEP correlation id, Session-ID, a Call-ID suffix, copied headers, Replaces (docs/deciding.md).
Rule 2: a conversation's identifier, a history that begins alike, and one REFER's target and recall outlive
        their call: they join only a call that is still open.
Rule 3: what only resembles is not joined unless the operator says so; it is marked, so that an unjoined
        member of a ring group is not told of a call that somebody else took.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from itertools import islice
from typing import NamedTuple

from .call import Call
from .case import MEMBER_MS
from .picture import host
from .policy import Policy, suffix_pattern
from .seen import Offer, Seen, shared
from .users import user_part

WEAK = ("conversation:", "history:", "referred:")

RECENT = 16
"""Calls of one caller, and for one callee, that are compared with another. Less misses a large ring group; more
lets a number with thousands of calls make each of them slow."""


class Index:
    """Identifiers and parties of the calls of one partition; rebuilt from the state rows."""

    def __init__(self, policy: Policy) -> None:
        self._legs: dict[str, str] = {}
        """By Call-ID, looked at for every message; the identifiers `call:` are found here too."""
        self._others: dict[str, str] = {}
        self._callers = Parties()
        self._callees = Parties()
        self._suffix = suffix_pattern(policy.call_id_suffixes)

    def by_call_id(self, call_id: str) -> str | None:
        """Return the key of the call that has this Call-ID."""
        return self._legs.get(call_id)

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
            if (key := self._key(link)) is not None and (not link.startswith(WEAK) or open_to(key))
        )
        return list(keys)

    def _key(self, link: str) -> str | None:
        return self._legs.get(link[5:]) if link.startswith("call:") else self._others.get(link)

    def add(self, links: Iterable[str], key: str) -> None:
        """Let ``links`` name the call ``key``."""
        for link in links:
            if link.startswith("call:"):
                self._legs[shared(link[5:])] = key
            else:
                self._others[link] = key

    def remove(self, links: Iterable[str], key: str) -> None:
        """Forget ``links`` as far as they name ``key``."""
        for link in links:
            if self._key(link) == key:
                self._legs.pop(link[5:], None) if link.startswith("call:") else self._others.pop(link)

    def enter(self, row: Call) -> None:
        """Know a call by everything that its row names."""
        for hint in row.hints.values():
            self.add(hint.links, row.key)
            self.add_parties(hint, row.key)
        for seen in _naming(row.seen):
            self.add(self.links(seen), row.key)
            if seen.offer is not None and seen.method == "INVITE":
                self.add_parties(seen.offer, row.key)

    def leave(self, row: Call) -> None:
        """Forget a call."""
        for hint in row.hints.values():
            self.remove(hint.links, row.key)
            self._remove_parties(hint, row.key)
        for seen in _naming(row.seen):
            self.remove(self.links(seen), row.key)
            if seen.offer is not None and seen.method == "INVITE":
                self._remove_parties(seen.offer, row.key)

    def relatives(self, offer: Offer) -> list[str]:
        """Return keys of the latest calls of the same caller, and of those for the same callee."""
        keys = self._callers.latest(_caller(offer)) + self._callees.latest(user_part(offer.to))
        return list(dict.fromkeys(keys))

    def calls_to(self, user: str) -> list[str]:
        """Return keys of the latest calls for the callee with this user part."""
        return self._callees.latest(user)

    def add_parties(self, offer: Offer, key: str) -> None:
        """Note who called whom in the call ``key``."""
        self._callers.add(_caller(offer), key)
        self._callees.add(user_part(offer.to), key)

    def _remove_parties(self, offer: Offer, key: str) -> None:
        self._callers.remove(_caller(offer), key)
        self._callees.remove(user_part(offer.to), key)


class Parties:
    """Calls by a name in them, the earliest first.

    Most names have one call at a time: its key then stands alone, since a dict around it is four times its size.
    """

    def __init__(self) -> None:
        self._keys: dict[str, str | dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, name: str, key: str) -> None:
        """Note that ``name`` is in the call ``key``; "" is nobody."""
        if not name:
            return
        known = self._keys.setdefault(name, key)
        if isinstance(known, dict):
            known[key] = None
        elif known != key:
            self._keys[name] = {known: None, key: None}

    def remove(self, name: str, key: str) -> None:
        """Forget that."""
        known = self._keys.get(name)
        if isinstance(known, dict):
            known.pop(key, None)
        if known in (key, {}):
            del self._keys[name]

    def latest(self, name: str) -> list[str]:
        """Return the keys of the latest `RECENT` calls, the latest first."""
        known = self._keys.get(name)
        if known is None:
            return []
        return list(islice(reversed(known), RECENT)) if isinstance(known, dict) else [known]


def names_more(seen: Seen) -> bool:
    """Whether a message may carry identifiers beside its Call-ID."""
    return seen.offer is not None or (seen.ending is not None and bool(seen.ending.links))


def _naming(messages: Iterable[Seen]) -> Iterator[Seen]:
    """Yield the messages that name a call: the first of each leg, and those with identifiers."""
    known: set[str] = set()
    for seen in messages:
        if seen.call_id not in known or names_more(seen):
            known.add(seen.call_id)
            yield seen


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
    over_ms: int
    """The first BYE; the latest CANCEL or failure if nobody answered."""


def nearest_invite(messages: Iterable[Seen]) -> Seen | None:
    """Return the initial INVITE nearest the caller; None if none was captured."""
    invites = [seen for seen in messages if seen.offer is not None and seen.method == "INVITE"]
    return min(invites, key=_nearness, default=None)


def outline(messages: list[Seen], hints: Mapping[str, Offer] | None = None) -> Outline | None:
    """Return the outline of a call; None if nothing says who was called.

    ``hints`` stand, by Call-ID, for an INVITE that was not captured; its responses say where it went.
    """
    invite = nearest_invite(messages)
    if invite is None and hints:
        invite = next((_implied(m, hints) for m in messages if m.call_id in hints and m.status), None)
    if invite is None:
        return None
    answered = ended = bye = 0
    for seen in messages:
        if seen.method == "INVITE":
            if 200 <= seen.status < 300:
                answered = min(answered or seen.at_ms, seen.at_ms)
            elif seen.status >= 300:
                ended = max(ended, seen.at_ms)
        elif not seen.status and seen.method == "CANCEL":
            ended = max(ended, seen.at_ms)
        elif not seen.status and seen.method == "BYE":
            bye = min(bye or seen.at_ms, seen.at_ms)
    return Outline(invite, answered, ended, bye if answered else ended)


def _implied(response: Seen, hints: Mapping[str, Offer]) -> Seen:
    """Return the INVITE that a response answers, as far as the response tells."""
    invite = copy(response)
    invite.status, invite.method, invite.to_tag, invite.ending = 0, "INVITE", "", None
    invite.src, invite.dst, invite.offer = response.dst, response.src, hints[response.call_id]
    return invite


PICKUP_MS = 2000
"""A caller whose phone took a pickup cancels his own call within this (RFC 3891 s.3)."""


def took_instead(messages: Iterable[Seen], cancel_ms: int) -> bool:
    """Whether a call, its INVITE not captured, was answered just before ``cancel_ms``."""
    answered = 0
    for seen in messages:
        if seen.offer is not None and seen.method == "INVITE":
            return False
        if (seen.method == "INVITE" and 200 <= seen.status < 300) or (seen.method == "ACK" and seen.to_tag):
            answered = min(answered or seen.at_ms, seen.at_ms)
    return bool(answered) and -PICKUP_MS <= answered - cancel_ms <= PICKUP_MS


def _nearness(seen: Seen) -> tuple[int, int, str]:
    return (seen.vias, seen.at_ms, seen.branch)


def rang_together(one: Outline, other: Outline) -> bool:
    """Whether two unjoined legs of one caller look like one call that a PBX sent to several phones (row 36).

    They left one box at the same time, and ended at the same time: by the caller, or because one answered. For
    one callee they are his devices; for several, a ring group.
    """
    first, second = one.invite, other.invite
    if abs(first.at_ms - second.at_ms) > MEMBER_MS or not _same_box(first, second):
        return False
    if not same_caller(one, other):
        return False
    mine, theirs = (one.answered_ms, one.ended_ms), (other.answered_ms, other.ended_ms)
    return any(end and at and abs(end - at) <= MEMBER_MS for end in mine for at in theirs)


def rang_beside(one: Outline, other: Outline) -> bool:
    """Whether two unjoined legs of one caller, for one callee, left a PBX at the same time for two devices.

    To one next hop they are two calls that show the same number.
    """
    first, second = one.invite, other.invite
    if not first.vias == second.vias == 1 or first.dst == second.dst or not _same_box(first, second):
        return False
    near = abs(first.at_ms - second.at_ms) <= MEMBER_MS
    return near and same_caller(one, other) and same_callee(one, other)


def _same_box(one: Seen, other: Seen) -> bool:
    if one.src == other.src:
        return bool(one.src)
    return host(one.src) == host(other.src) != host(one.dst)


def leaves(into_src: str, into_dst: str, out_src: str) -> bool:
    """Whether a message from ``out_src`` leaves the box that one from ``into_src`` to ``into_dst`` entered."""
    if not into_dst or not out_src:
        return False
    return into_dst == out_src or host(into_src) != host(into_dst) == host(out_src)


def goes_on_as(upper: Outline, lower: Outline, window_s: float) -> bool:
    """Whether ``lower`` came out of the box that ``upper`` had entered, and while it was there.

    For the same caller at any time of the call (a queue rings its agents late), else for the same callee within
    the window in seconds (a box that hides or rewrites the caller).
    """
    into, out = upper.invite, lower.invite
    if not into.dst or not out.src or out.at_ms < into.at_ms:
        return False
    if not leaves(into.src, into.dst, out.src):
        return False
    if upper.over_ms and out.at_ms > upper.over_ms:
        return False
    if same_caller(upper, lower):
        return True
    return same_callee(upper, lower) and out.at_ms - into.at_ms <= window_s * 1000


def same_caller(one: Outline, other: Outline) -> bool:
    """Whether two calls show the same caller, who is not anonymous."""
    first, second = one.invite.offer, other.invite.offer
    return first is not None and second is not None and _caller(first) == _caller(second) != ""


def same_callee(one: Outline, other: Outline) -> bool:
    """Whether two calls are for the same user, whatever host names him."""
    first, second = one.invite.offer, other.invite.offer
    return first is not None and second is not None and user_part(first.to) == user_part(second.to)
