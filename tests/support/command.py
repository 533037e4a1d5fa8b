"""The real `missedcall` command as a subprocess, as a user's shell starts it."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("missedcall"))

ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONWARNINGS": "error"}


def missedcall(*words, **options):
    """Run the command to its end; return the CompletedProcess with text output."""
    return subprocess.run(
        [COMMAND, *map(str, words)],
        env=ENVIRONMENT | options.pop("env", {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        **options,
    )


def start(*words, **options):
    """Start the command and return its Popen."""
    return subprocess.Popen(
        [COMMAND, *map(str, words)],
        env=ENVIRONMENT | options.pop("env", {}),
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        encoding="utf-8",
        **options,
    )
