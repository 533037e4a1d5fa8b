"""The policy that a command line asks for: a file of users, the `[decide]` of a configuration.

Rule 1: an error names the file, the line, what was found and what would be right.
"""

import argparse
import re
from pathlib import Path

from msgspec.structs import replace

from missedcall_classifier.policy import Policy
from missedcall_common.sip.uri import address_of_record

from .config import ConfigError, load

_COMMENT = re.compile(r"\s+#.*")
_FOREIGN = re.compile(r"[\s,\"\ufffd]")
"""A list of something else, a display name, or bytes that are no text."""
MAX_LINE = 1024
"""No address of record is longer; more is a file of something else."""


class InputError(ValueError):
    """What the user gave cannot be used; the text is the line to show."""


def policy_of(args: argparse.Namespace) -> Policy:
    """Return the policy that ``args`` (`config`, `users`) ask for.

    Raises:
        InputError: a file cannot be read or says something that it must not.
    """
    policy = Policy()
    if args.config is not None:
        try:
            policy = load(args.config).policy
        except ConfigError as error:
            raise InputError(str(error)) from error
    if args.users is not None:
        policy = replace(policy, users=read_users(args.users))
    return policy


def read_users(path: Path) -> frozenset[str]:
    """Return the addresses of record in ``path``: one per line, `#` begins a comment line.

    Raises:
        InputError: the file cannot be read, or a line holds no address of record.
    """
    users = set()
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                text = raw[:MAX_LINE].decode("utf-8", "replace").lstrip("\ufeff").strip()
                if text and not text.startswith("#"):
                    users.add(_address(text, f"{path}:{number}"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return frozenset(users)


def _address(text: str, where: str) -> str:
    # A comment may follow the address; "#" alone may be part of it (a feature code).
    text = _COMMENT.sub("", text)
    # The verdicts' own spelling, or a user would be compared with himself and not be found.
    address = address_of_record(text) if text.isprintable() and not _FOREIGN.search(text) else ""
    if address.startswith("tel:") or "@" in address:
        return address
    raise InputError(f"{where}: {text[:80]!r} is no address of record; expected sip:user@host or tel:+number")
