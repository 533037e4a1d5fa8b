"""The key of a message, which chooses the partition that decides its call.

All legs of one call have to meet on one partition, also those that only the classifier can join. What their
messages have in common is the caller: so his user part is the key.

Rule 1: From is the same in every message of a leg but for the other side's requests (RFC 3261 s.12.2.1.1), and a
        B2BUA keeps its user part on the legs that it begins. The key follows from the message alone, so collectors
        need not know of each other.
Rule 2: of a number only the last digits count: boxes write it with and without prefixes.
Rule 3: a leg that names another one (by HEP's correlation id, a header, a suffix, Replaces) has that one's key, if
        this collector has seen it. This helps where a B2BUA shows another caller.
Rule 4: a request of a dialog whose beginning this collector did not see may come from either side: it goes to both
        users' partitions. Where it is not wanted it says nothing.
Rule 5: a REFER also goes to the partition of whom it is from: he may have begun the call that it transfers. An INFO
        with which Lync's front end tells Exchange UM of a call goes where that call is.
Rule 6: anonymous callers have one key, and so one partition: which of their legs belong together is for the
        classifier to say.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from missedcall_common.placing import BETWEEN
from missedcall_common.sip.dialog import parse_replaces
from missedcall_common.sip.grammar import split_name_addr
from missedcall_common.sip.peek import from_value, to_value
from missedcall_common.sip.sdp import USER_NOTIFICATION
from missedcall_common.sip.uri import parse_uri, telephone_number

MAX_KEY: Final = 64
"""Characters of a user part that count."""

LAST_DIGITS: Final = 4
"""Of a number. Less: fewer keys than partitions to fill evenly. More: the extension that one leg shows and the
whole number that another one shows are told apart."""

_CHANNEL: Final = re.compile(r"[A-Za-z0-9_]{1,32}/.{1,200}-[0-9a-f]{8}(?:;[12])?\Z")
"""An Asterisk channel name, `PJSIP/alice-0000002a`: res_hep with `uuid_type = channel` puts it into 0x11. It
names one side of one leg, and its first messages come without it."""

MAX_LEGS: Final = 65_536
"""Identifiers that are surely remembered, and at most twice as many. Less: Rule 4 for calls that are still on.
More: memory, 250 bytes each."""

# Call-IDs without suffix; only asked for when a leg begins
_REMEMBERED: Final = 1_024

_NOTIFIED: Final = re.compile(
    rb"<CallId>\s*([^<\s]{1,256})\s*</CallId>\s*(?:<From>\s*([^<\s]{1,256})\s*</From>)?", re.IGNORECASE
)
"""The call that Lync's front end tells Exchange UM of, and its caller (MS-OCEXUM s.2.2)."""

_BY_REPLACES: Final = re.compile(rb"\n(?:Replaces)[ \t]*:([^\r\n]*)", re.IGNORECASE)
_BY_REFERRED: Final = re.compile(rb"\n(?:Referred-By|b)[ \t]*:([^\r\n]*)", re.IGNORECASE)

_FROM_EITHER: Final = frozenset({"INVITE", "BYE"})
"""Requests that either side of a dialog may send; a CANCEL and what matters of the ACKs is the caller's."""

_SAY_MORE: Final = frozenset({"REFER", "INFO"})
"""Requests that speak of another dialog than their own (Rule 5)."""


class CorrelationRules:
    """What the operator says about identifiers in his network.

    Args:
        headers: names of headers that carry the A-leg's Call-ID; the first of them that is present counts.
        suffixes: regular expressions of what a B2BUA appends to the A-leg's Call-ID.

    Raises:
        re.error: a suffix is not a regular expression.
    """

    def __init__(self, headers: Iterable[str] = (), suffixes: Iterable[str] = ()) -> None:
        self._headers = [b"\n" + name.strip().lower().encode() for name in headers]
        self._beginning = _common_beginning(self._headers)
        either = "|".join(f"(?:{suffix})" for suffix in suffixes)
        self._suffix = re.compile(f"(?:{either})+\\Z") if either else None
        self.stem = lru_cache(maxsize=_REMEMBERED)(self._stem)

    def _stem(self, call_id: str) -> str:
        """Return the Call-ID that a suffix was appended to; itself if there is none."""
        found = self._suffix.search(call_id) if self._suffix is not None else None
        return call_id[: found.start()] if found is not None and found.start() else call_id

    def header_value(self, head: bytes) -> str:
        """Return the value of the first configured header in `head`, "" if there is none."""
        if not self._headers:
            return ""
        lower = head.lower()
        if lower.find(self._beginning) < 0:  # nearly always
            return ""
        for name in self._headers:
            at = lower.find(name)
            while at >= 0:
                at += len(name)
                line_end = lower.find(b"\n", at)
                before, colon, value = head[at : line_end if line_end >= 0 else len(head)].partition(b":")
                if colon and not before.strip(b" \t") and value.strip():
                    return value.strip().decode("utf-8", "replace")
                at = lower.find(name, at)
        return ""


def _common_beginning(names: list[bytes]) -> bytes:
    """Return the longest beginning that all names have."""
    first, last = min(names, default=b""), max(names, default=b"")
    at = 0
    while at < len(first) and at < len(last) and first[at] == last[at]:
        at += 1
    return first[:at]


def leg_joiner(correlation_id: str, call_id: str) -> str:
    """Return HEP's correlation id if it can join legs, else ""."""
    if not correlation_id or correlation_id == call_id:
        return ""
    return "" if "/" in correlation_id and _CHANNEL.match(correlation_id) else correlation_id


def user_key(value: str) -> str:
    """Return the key of whom a From, To or Referred-By names; "" if it names nobody."""
    uri = parse_uri(split_name_addr(value)[1])
    digits = telephone_number(uri)
    return digits[-LAST_DIGITS:] if digits else uri.user[:MAX_KEY].lower().replace(BETWEEN, "")


def both(one: str, other: str) -> str:
    """Return the key of a message for two users' partitions."""
    return one if one == other else f"{one}{BETWEEN}{other}"


class LegKeys:
    """The keys of one collector's messages.

    Args:
        rules: what this network's identifiers look like.
        most: identifiers that are surely remembered.
    """

    def __init__(self, rules: CorrelationRules, most: int = MAX_LEGS) -> None:
        self._rules = rules
        self._most = most
        self._keys: dict[str, str] = {}
        """By Call-IDs, and by identifiers that legs named: the key of the leg."""
        self._older: dict[str, str] = {}
        """What was known before. Two, since to forget the oldest one by one costs more with each one forgotten."""

    def key(self, head: bytes, call_id: str, method: str, status: int, joiner: str = "") -> str:
        """Return the key of a message: a user, or two with `BETWEEN` in the middle.

        Args:
            head: the message's head.
            call_id: its Call-ID.
            method: of the request, or of the one that was responded to.
            status: 0 for a request.
            joiner: HEP's correlation id as `leg_joiner` leaves it.
        """
        known = self._keys.get(call_id) or self._known(call_id)
        if not status and method in _SAY_MORE:
            if method == "INFO":
                return self._notified(head) or known or self._either(head)
            return both(known, user_key(from_value(head))) if known else self._either(head)
        if known:
            return known
        if not status and method in _FROM_EITHER and _is_within_dialog(head):
            return self._either(head)
        named = joiner or self._rules.header_value(head)
        stem = self._rules.stem(call_id)
        key = self._known(named) or (self._known(stem) if stem != call_id else "")
        if not key and method == "INVITE" and not status:
            key = self._replaced(head)
        key = key or user_key(from_value(head))
        self._remember(call_id, key)
        if named:
            self._remember(named, key)
        if stem != call_id:
            self._remember(stem, key)
        return key

    def _known(self, name: str) -> str:
        """Return the key of the leg that has or was given this name, and remember it for longer; "" if unknown."""
        if not name:
            return ""
        key = self._keys.get(name)
        if key is None:
            key = self._older.get(name)
            if key is None:
                return ""
            self._remember(name, key)
        return key

    def _remember(self, name: str, key: str) -> None:
        if len(self._keys) >= self._most:
            self._older, self._keys = self._keys, {}
        self._keys[name] = key

    def _either(self, head: bytes) -> str:
        """Return the key of a request that may have come from either side."""
        return both(user_key(from_value(head)), user_key(to_value(head)))

    def _notified(self, head: bytes) -> str:
        """Return the key of the call that a front end tells Exchange UM of; "" if it tells of none."""
        if _USER_NOTIFICATION not in head:
            return ""
        found = _NOTIFIED.search(head)
        if found is None:
            return ""
        known = self._known(found[1].decode("utf-8", "replace"))
        return known or (user_key(found[2].decode("utf-8", "replace")) if found[2] else "")

    def _replaced(self, head: bytes) -> str:
        """Return the key of the leg that an INVITE takes over; "" if it takes over none.

        A leg that is not known: a pickup calls the caller of the leg, a transfer was begun by him.
        """
        found = _BY_REPLACES.search(head)
        if found is None:
            return ""
        replaces = parse_replaces(found[1].decode("utf-8", "replace").strip())
        if replaces is None:
            return ""
        known = self._known(replaces.call_id)
        if known:
            return known
        referred = _BY_REFERRED.search(head)
        return user_key(referred[1].decode("utf-8", "replace") if referred is not None else to_value(head))


_USER_NOTIFICATION: Final = USER_NOTIFICATION.encode()


def _is_within_dialog(head: bytes) -> bool:
    """Whether a request's To has a tag (RFC 3261 s.12.2.1.1)."""
    _, _, params = split_name_addr(to_value(head))
    return "tag=" in params.lower()
