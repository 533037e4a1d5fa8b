"""`missedcall check`: whether what the configuration names can be reached and used.

Rule 1: exit 0: nothing fails. 1: something does. 2: the configuration cannot be used.
"""

import argparse
import os
import sys

from missedcall_common.runtime.settings import SettingsError
from missedcall_notifier.checks.command import run
from missedcall_notifier.checks.probes import Wish
from missedcall_notifier.settings import from_environment

from .config import ConfigError, load


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    try:
        wish = Wish(args.mailbox, args.write)
        if args.config is not None:
            return run(load(args.config).notify, wish, {})
        return run(from_environment(os.environ), wish, os.environ)
    except (ConfigError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2
