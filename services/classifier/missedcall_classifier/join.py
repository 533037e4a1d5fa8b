"""Which messages are one call: Call-IDs, and the identifiers that join a B2BUA's legs.

Rule 1: a Call-ID belongs to one call. Legs are joined by the identifiers their INVITEs carry, strongest first:
        HEP correlation id, Session-ID, a Call-ID suffix, copied headers, Replaces (docs/deciding.md).
Rule 2: a conversation's identifier, a history that begins alike, and one REFER's target and recall outlive
        their call: they join only a call that is still open.
Rule 3: what only resembles is not joined unless the operator says so; it is marked, so that an unjoined
        member of a ring group is not told of a call that somebody else took.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final, final

from mypy_extensions import mypyc_attr

from .call import NO_HINTS, Call
from .case import MEMBER_MS
from .picture import host
from .policy import Policy, suffixes_of
from .seen import Offer, Seen
from .users import user_part

RECENT: Final = 16
"""Calls of one caller, and for one callee, that are compared with another. Less misses a large ring group; more
lets a number with thousands of calls make each of them slow."""


def weak(link: str) -> bool:
    """Whether an identifier outlives its call (Rule 2)."""
    return link.startswith(("conversation:", "history:", "referred:"))


@final
class Index:
    """Identifiers and parties of the calls of one partition; rebuilt from the state rows."""

    def __init__(self, policy: Policy) -> None:
        self._legs: dict[str, Call] = {}
        """By Call-ID, looked at for every message; the identifiers `call:` are found here too."""
        self._others: dict[str, Call] = {}
        self._callers = Parties()
        self._callees = Parties()
        self._suffixes = suffixes_of(policy.call_id_suffixes)

    def by_call_id(self, call_id: str) -> Call | None:
        """Return the call that has this Call-ID."""
        return self._legs.get(call_id)

    def links(self, seen: Seen, *, new_leg: bool = True) -> list[str]:
        """Return the identifiers under which a message's call is known beside its Call-ID.

        Those that the Call-ID itself gives only for a new leg: one whose INVITE is known is known by them already.
        """
        found: list[str] = []
        if new_leg and self._suffixes is not None:
            stem = self._suffixes.stem(seen.call_id)
            if stem:
                found.append("call:" + stem)
        offer, ending = seen.offer, seen.ending
        if offer is not None:
            if offer.replaces:
                found.append("call:" + offer.replaces)
            if offer.links:
                found += [link for link in offer.links if not (weak(link) and offer.silent)]
        elif ending is not None and ending.links:
            found += ending.links
        return found

    def matches(self, links: list[str]) -> list[Call]:
        """Return the calls that ``links`` name, each once."""
        found: list[Call] = []
        for link in links:
            call = self.named(link)
            if call is not None and call not in found:
                found.append(call)
        return found

    def named(self, link: str) -> Call | None:
        """Return the call that an identifier names."""
        return self._legs.get(link[5:]) if link.startswith("call:") else self._others.get(link)

    def add(self, call_id: str, links: list[str], call: Call) -> None:
        """Let a Call-ID and ``links`` name a call."""
        self._legs[call_id] = call
        if links:
            call.named_by(links)
            for link in links:
                if link.startswith("call:"):
                    self._legs[link[5:]] = call
                else:
                    self._others[link] = call

    def _remove(self, links: Iterable[str], call: Call) -> None:
        """Forget ``links`` as far as they name the call."""
        for link in links:
            if self.named(link) is call:
                if link.startswith("call:"):
                    del self._legs[link[5:]]
                else:
                    del self._others[link]

    def enter(self, call: Call) -> None:
        """Know a call by everything that its row names."""
        for call_id, hint in call.hints.items():
            self.add(call_id, list(hint.links), call)
            self.add_parties(hint, call)
        legs: list[str] = []
        invited: list[str] = []
        for seen in call.seen:
            if seen.call_id in legs and not names_more(seen):
                continue
            legs.append(seen.call_id)
            self.add(seen.call_id, self.links(seen, new_leg=seen.call_id not in invited), call)
            if seen.offer is not None:
                invited.append(seen.call_id)
                if seen.method == "INVITE":
                    self.add_parties(seen.offer, call)

    def leave(self, call: Call) -> None:
        """Forget a call."""
        for hint in call.hints.values():
            self._remove_parties(hint, call)
        last = ""
        for seen in call.seen:
            if seen.call_id != last:
                last = seen.call_id
                if self._legs.get(last) is call:
                    del self._legs[last]
            if seen.offer is not None and seen.method == "INVITE":
                self._remove_parties(seen.offer, call)
        if call.links:
            self._remove(call.links, call)

    def relatives(self, offer: Offer) -> list[Call]:
        """Return the latest calls of the same caller, and those for the same callee, each once."""
        found = self._callers.latest(_caller(offer))
        for call in self._callees.latest(user_part(offer.to)):
            if call not in found:
                found.append(call)
        return found

    def calls_to(self, user: str) -> list[Call]:
        """Return the latest calls for the callee with this user part."""
        return self._callees.latest(user)

    def add_parties(self, offer: Offer, call: Call) -> None:
        """Note who called whom in a call."""
        self._callers.add(_caller(offer), call)
        self._callees.add(user_part(offer.to), call)

    def _remove_parties(self, offer: Offer, call: Call) -> None:
        self._callers.remove(_caller(offer), call)
        self._callees.remove(user_part(offer.to), call)


@final
class Parties:
    """Calls by a name in them, the earliest first.

    Most names have one call at a time: it then stands alone, since a dict around it is four times its size.
    """

    def __init__(self) -> None:
        self._one: dict[str, Call] = {}
        self._many: dict[str, dict[str, Call]] = {}
        """Of the names with several: by the calls' keys."""

    def __len__(self) -> int:
        return len(self._one) + len(self._many)

    def add(self, name: str, call: Call) -> None:
        """Note that ``name`` is in a call; "" is nobody."""
        if not name:
            return
        many = self._many.get(name)
        if many is not None:
            many[call.key] = call
            return
        known = self._one.setdefault(name, call)
        if known is not call:
            del self._one[name]
            self._many[name] = {known.key: known, call.key: call}

    def remove(self, name: str, call: Call) -> None:
        """Forget that."""
        many = self._many.get(name)
        if many is None:
            if self._one.get(name) is call:
                del self._one[name]
        elif many.get(call.key) is call:
            del many[call.key]
            if not many:
                del self._many[name]

    def latest(self, name: str) -> list[Call]:
        """Return the latest `RECENT` calls, the latest first."""
        many = self._many.get(name)
        if many is not None:
            return [many[key] for key in islice(reversed(many), RECENT)]
        known = self._one.get(name)
        return [] if known is None else [known]


def names_more(seen: Seen) -> bool:
    """Whether a message may carry identifiers beside its Call-ID."""
    ending = seen.ending
    return seen.offer is not None or (ending is not None and len(ending.links) > 0)


def _caller(offer: Offer) -> str:
    caller = offer.caller
    return "" if caller.anonymous else caller.number or user_part(caller.uri)


@final
@mypyc_attr(acyclic=True)
class Outline:
    """As much of a call as is needed to compare it with another. Capture milliseconds; 0: not seen."""

    __slots__ = ("answered_ms", "ended_ms", "invite", "over_ms")

    def __init__(self, invite: Seen, answered_ms: int, ended_ms: int, over_ms: int) -> None:
        self.invite: Final = invite
        """The initial INVITE nearest the caller."""
        self.answered_ms: Final = answered_ms
        self.ended_ms: Final = ended_ms
        """The latest CANCEL or failure."""
        self.over_ms: Final = over_ms
        """The first BYE; the latest CANCEL or failure if nobody answered."""


def nearest_invite(messages: list[Seen]) -> Seen | None:
    """Return the initial INVITE nearest the caller; None if none was captured."""
    nearest: Seen | None = None
    for seen in messages:
        if seen.offer is None or seen.method != "INVITE":
            continue
        if (
            nearest is None
            or seen.vias < nearest.vias
            or (seen.vias == nearest.vias and (seen.at_ms, seen.branch) < (nearest.at_ms, nearest.branch))
        ):
            nearest = seen
    return nearest


def outline(messages: list[Seen], hints: dict[str, Offer] = NO_HINTS) -> Outline | None:
    """Return the outline of a call; None if nothing says who was called.

    ``hints`` stand, by Call-ID, for an INVITE that was not captured; its responses say where it went.
    """
    invite = nearest_invite(messages)
    if invite is None and hints:
        for seen in messages:
            if seen.status and seen.call_id in hints:
                invite = _implied(seen, hints[seen.call_id])
                break
    if invite is None:
        return None
    answered = ended = bye = 0
    for seen in messages:
        if seen.method == "INVITE":
            if seen.status >= 300:
                ended = max(ended, seen.at_ms)
            elif seen.status >= 200:
                answered = min(answered or seen.at_ms, seen.at_ms)
        elif not seen.status and seen.method == "CANCEL":
            ended = max(ended, seen.at_ms)
        elif not seen.status and seen.method == "BYE":
            bye = min(bye or seen.at_ms, seen.at_ms)
    return Outline(invite, answered, ended, bye if answered else ended)


def _implied(response: Seen, offer: Offer) -> Seen:
    """Return the INVITE that a response answers, as far as the response tells."""
    return Seen(
        response.at_ms,
        "INVITE",
        0,
        response.call_id,
        response.cseq,
        response.branch,
        response.parent,
        response.vias,
        response.from_tag,
        "",
        response.dst,
        response.src,
        offer,
    )


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
    for end in (one.answered_ms, one.ended_ms):
        for at in (other.answered_ms, other.ended_ms):
            if end and at and abs(end - at) <= MEMBER_MS:
                return True
    return False


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
