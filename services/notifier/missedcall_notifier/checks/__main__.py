"""`python -m missedcall_notifier.checks [--mailbox ADDRESS] [--write]`: `missedcall check` for the service.

Settings are the variables `MISSEDCALL_NOTIFY_*`, and `MISSEDCALL_KAFKA_*` if there are any: those of the notifier.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from missedcall_common.runtime.settings import SettingsError
from missedcall_notifier.settings import from_environment

from .command import add_arguments, run
from .probes import Wish


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run the command; return its exit status: 0 nothing fails, 1 something does, 2 the settings are wrong."""
    parser = argparse.ArgumentParser(prog="python -m missedcall_notifier.checks", description=__doc__)
    add_arguments(parser)
    given = parser.parse_args(arguments)
    try:
        settings = from_environment(environment)
        return run(settings, Wish(given.mailbox, given.write), environment)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
