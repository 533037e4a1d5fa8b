"""The programs of the lab: which there must be, how they start and how they end.

Rule 1: each runs below `timeout(1)`: whatever becomes of this process, it ends by itself.
Rule 2: each is ended by its own process id, and its output is kept in the lab's directory.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path

PROGRAMS = {"kamailio": "kamailio", "sipp": "sip-tester", "baresip": "baresip-core", "timeout": "coreutils"}
"""Program and the Debian package that has it."""
LIFE_S = 150
"""No program of the lab lives longer. Less: a slow machine is cut off. More: a killed run lingers."""


def missing() -> str:
    """Say which Debian packages are missing here; "" if the lab can run."""
    absent = sorted({package for program, package in PROGRAMS.items() if _find(program) is None})
    return f"not installed: {', '.join(absent)} (make lab)" if absent else ""


def cannot_capture() -> str:
    """Say why packets cannot be captured here; "" if they can."""
    if _find("tcpdump") is None:
        return "not installed: tcpdump (make lab)"
    return "" if os.geteuid() == 0 else "capturing on loopback needs root"


def _find(program: str) -> str | None:
    # sbin is often not on a user's PATH
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class LabError(RuntimeError):
    """The lab did not do what a scenario says; the message names the program and its log."""


class Program:
    """A process, its log and its end."""

    def __init__(
        self, name: str, log: Path, process: asyncio.subprocess.Process, stop: signal.Signals
    ) -> None:
        self.name = name
        self.log = log
        self.process = process
        self._stop = stop

    @classmethod
    async def started(
        cls, name: str, directory: Path, argv: Iterable[str], stop: signal.Signals = signal.SIGTERM
    ) -> "Program":
        log = directory / f"{name}.log"
        program, *arguments = argv
        path = _find(program)
        if path is None:
            raise LabError(f"{program} is not installed (make lab)")
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *("timeout", "--kill-after=5", str(LIFE_S), path, *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
                cwd=directory,
            )
        return cls(name, log, process, stop)

    async def end(self) -> None:
        """End the program as it wants to be ended; after 5 s end its process group."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(self._stop)
        try:
            await asyncio.wait_for(self.process.wait(), 5)
        except TimeoutError:
            # timeout(1) leads a group of its own, so this is the program and its children only
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    def tail(self) -> str:
        """The end of the log; of SIPp's, what it said before its statistics."""
        said = self.log.read_text(errors="replace").partition("----- Scenario Screen")[0]
        return said[-1500:]
