"""The policy that a command line asks for: a file of users, the `[decide]` of a configuration.

Rule 1: an error names the file, the line, what was found and what would be right.
"""

import argparse

from msgspec.structs import replace

from missedcall_classifier.policy import Policy
from missedcall_classifier.policy_settings import UsersError, read_users

from .config import ConfigError, load


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
        try:
            policy = replace(policy, users=read_users(args.users))
        except UsersError as error:
            raise InputError(str(error)) from error
    return policy
