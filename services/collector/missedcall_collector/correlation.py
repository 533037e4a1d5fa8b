"""The key by which messages of one call find each other, and so the partition that decides it.

Rule 1: a leg has one key: what its first message that names another leg says, else its own Call-ID. A B2BUA names
        the other leg in the INVITE alone, so its answers are told by the Call-ID, which is remembered.
Rule 2: an identifier that an agent or proxy made to join legs beats the Call-ID; one that only looks so is
        worse than none, because it tears one leg apart.
Rule 3: what is remembered is of this collector alone and gone with it: a leg whose INVITE another one saw, or an
        earlier life, is torn apart. So all messages of a leg go to one collector.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from zlib import crc32

MAX_KEY: Final = 256
"""Characters of a key. RFC 3261 sets no limit on a Call-ID; nothing in use is longer than 128."""

_CHANNEL: Final = re.compile(r"[A-Za-z0-9_]{1,32}/.{1,200}-[0-9a-f]{8}(?:;[12])?\Z")
"""An Asterisk channel name, `PJSIP/alice-0000002a`: res_hep with `uuid_type = channel` puts it into 0x11. It
names one side of one leg, and its first messages come without it."""

MAX_LEGS: Final = 65_536
"""Legs that named another one, remembered. Less: a leg that rings while so many others begin is torn apart.
More: memory, 400 bytes each."""

# Call-IDs without suffix; a call sends some 20 messages, so one in 20 is computed
_REMEMBERED: Final = 16_384


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

    def _stem(self, identifier: str) -> str:
        """Return the identifier that a suffix was appended to, at most `MAX_KEY` characters of it."""
        found = self._suffix.search(identifier) if self._suffix is not None else None
        return identifier[: found.start() if found and found.start() else MAX_KEY][:MAX_KEY]

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


class LegKeys:
    """The keys of one collector's messages.

    Args:
        rules: what this network's identifiers look like.
        most: legs that are remembered.
    """

    def __init__(self, rules: CorrelationRules, most: int = MAX_LEGS) -> None:
        self._rules = rules
        self._most = most
        self._named: dict[str, str] = {}
        """By the Call-ID of a leg that named another one: its key. The oldest first."""

    def key(self, head: bytes, call_id: str, joiner: str = "") -> str:
        """Return the key of a message.

        Args:
            head: the message's head.
            call_id: its Call-ID.
            joiner: HEP's correlation id as `leg_joiner` leaves it.
        """
        known = self._named.get(call_id) if self._named else None
        if known is not None:
            return known
        rules = self._rules
        named = joiner or rules.header_value(head)
        key: str = rules.stem(named or call_id)
        if named:
            if len(self._named) >= self._most:
                del self._named[next(iter(self._named))]
            self._named[call_id] = key
        return key


def partition(key: str, partitions: int) -> int:
    """Return the partition of `sip-transactions` that decides about `key`."""
    return crc32(key.encode("utf-8", "surrogatepass")) % partitions
