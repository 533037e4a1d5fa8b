"""The policy as an operator writes it: checked, and its users in a file of their own.

Rule 1: an error names the key or the file and line, what was found and what would be right.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from msgspec.structs import asdict, fields, replace

from missedcall_common.sip.names import UNREAD
from missedcall_common.sip.uri import address_of_record

from .policy import Policy

_COMMENT = re.compile(r"\s+#.*")
_FOREIGN = re.compile(r"[\s,\"\ufffd]")
"""A list of something else, a display name, or bytes that are no text."""
MAX_LINE = 1024
"""No address of record is longer; more is a file of something else."""


class UsersError(ValueError):
    """A file of users cannot be used; the text is the line to show."""


class DecideSettings(Policy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policy, its users in a file of their own."""

    users_file: str = ""


def policy_of(decide: DecideSettings, folder: Path) -> tuple[Policy, list[tuple[str, object, str]]]:
    """Return the policy, and what is wrong with it: key, value, and what would be right.

    Args:
        decide: the settings.
        folder: what the path of a file of users is relative to.
    """
    wrong = list(_problems(decide))
    known = {field.name for field in fields(Policy)}
    policy = Policy(**{name: value for name, value in asdict(decide).items() if name in known})
    if decide.users_file:
        try:
            policy = replace(policy, users=read_users(folder / decide.users_file))
        except UsersError as error:
            wrong.append(("users_file", decide.users_file, str(error)))
    return policy, wrong


def read_users(path: Path) -> frozenset[str]:
    """Return the addresses of record in ``path``: one per line, `#` begins a comment line.

    Raises:
        UsersError: the file cannot be read, or a line holds no address of record.
    """
    users = set()
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                text = raw[:MAX_LINE].decode("utf-8", "replace").lstrip("\ufeff").strip()
                if text and not text.startswith("#"):
                    users.add(_address(text, f"{path}:{number}"))
    except OSError as error:
        raise UsersError(f"{path}: {error.strerror}") from error
    return frozenset(users)


def _address(text: str, where: str) -> str:
    # A comment may follow the address; "#" alone may be part of it (a feature code).
    text = _COMMENT.sub("", text)
    # The verdicts' own spelling, or a user would be compared with himself and not be found.
    address = address_of_record(text) if text.isprintable() and not _FOREIGN.search(text) else ""
    if address.startswith("tel:") or "@" in address:
        return address
    raise UsersError(f"{where}: {text[:80]!r} is no address of record; expected sip:user@host or tel:+number")


Check = tuple[Callable[[Any], bool], str]
_SECONDS: Check = (lambda value: 0 <= value <= 86_400, "expected seconds, 0 to 86400")
_TIMER: Check = (lambda value: 0 < value <= 86_400, "expected seconds, above 0, at most 86400")
_COUNT: Check = (lambda value: value >= 1, "expected 1 or more")
_TOKEN = re.compile(r"[a-z0-9!%*_+`'~.-]+")  # RFC 3261 s.25.1, lower case
_HOST = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]")
_NOTIFIABLE = ("caller-cancelled", "no-answer", "unreachable", "busy", "dnd", "declined", "blocked")


def _each(pattern: re.Pattern[str], right: str) -> Check:
    return (lambda values: all(map(pattern.fullmatch, values)), right)


_ADDRESSES: Check = (
    lambda values: all(value == address_of_record(value) for value in values),
    'expected addresses of record, as verdicts spell them: ["sip:voicemail@example.com"]',
)


def _one_of(*words: str) -> Check:
    return (lambda value: value in words, f"expected one of {', '.join(words)}")


def _compile(values: tuple[str, ...]) -> bool:
    try:
        return all(map(re.compile, values))
    except re.error:
        return False


POLICY_CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "users": (lambda users: users is None, "expected them in a file: users_file names it"),
        "domains": _each(_HOST, 'expected hosts in lower case: ["example.com"]'),
        "correlation_headers": (
            lambda names: all(map(_TOKEN.fullmatch, names)) and UNREAD.isdisjoint(names),
            'expected names of headers in lower case, none that carries no Call-ID anywhere: ["x-cid"]',
        ),
        "call_id_suffixes": (_compile, "expected regular expressions"),
        "resemblance_window_s": _SECONDS,
        "greeting_s": _SECONDS,
        "crossing_s": _SECONDS,
        "voicemail_escape_s": _SECONDS,
        "queue_s": _TIMER,
        "voicemail": _ADDRESSES,
        "attendants": _ADDRESSES,
        "notify": (set(_NOTIFIABLE).issuperset, f"expected a list of {', '.join(_NOTIFIABLE)}"),
        "min_ring_s": _SECONDS,
        "members": _one_of("none", "first", "last", "all"),
        "forwarded_answered": _one_of("none", "primary"),
        "settle_s": _TIMER,
        "open_branch_s": _TIMER,
        "give_up_s": _TIMER,
        "closed_keep_s": _TIMER,
        "max_messages_per_call": _COUNT,
        "max_legs_per_call": _COUNT,
        "max_open_calls": _COUNT,
    }
)
"""What the types of `Policy` do not say: by key, whether a value is possible and what would be right."""


def _problems(decide: DecideSettings) -> Iterator[tuple[str, object, str]]:
    for key, (possible, right) in POLICY_CHECKS.items():
        value = getattr(decide, key)
        if not possible(value):
            yield key, list(value) if isinstance(value, frozenset | tuple) else value, right
