"""How fast `missedcall replay` decides a capture, and in how much memory; beside the field's C programs.

    .venv/bin/python benchmarks/replay.py [MESSAGES] [--rounds N] [--audio N] [--keep FILE.pcap]

Each program reads the same generated file from the page cache, one after the other, on an otherwise idle machine,
round after round, since machines have better and worse minutes; the best of each is printed;
tshark the beginning of it. sngrep groups dialogs, tshark dissects; neither decides anything. By itself sngrep looks
at no more packets once it has 20,000 dialogs; with a larger limit (`-l`) it groups the whole file, as we do.
What is not installed is left out (`make compiled` makes the first).

With `--audio N` each message comes with N packets of RTP, as where media is captured too, and only we read it:
1000000 messages and `--audio 12` are 3.4 GB, which have to be read in the memory that 0.5 GB take.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import traffic

MISSEDCALL = str(Path(sys.executable).with_name("missedcall"))
COMPILED = str(traffic.ROOT / "build/compiled/bin/missedcall")
TSHARK_MESSAGES = 50_000
"""What tshark is given: it takes a minute for these, and longer per message the more there are."""


class Measured(NamedTuple):
    """One run of a program."""

    seconds: float
    cpu_s: float
    peak_mb: float
    status: int


def run(command: list[str]) -> Measured:
    """Run a program to its end, its output thrown away."""
    null = os.open(os.devnull, os.O_RDWR)
    begin = time.perf_counter()
    streams = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
    process = os.posix_spawnp(command[0], command, os.environ | {"TERM": "dumb"}, file_actions=streams)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - begin
    os.close(null)
    peak_mb = usage.ru_maxrss / 1024  # kB on Linux
    return Measured(seconds, usage.ru_utime + usage.ru_stime, peak_mb, os.waitstatus_to_exitcode(status))


def warm(path: Path) -> None:
    """Read the file into the page cache: the disk is not what is measured.

    In pieces, because a child's peak memory begins at that of its parent (getrusage(2), ru_maxrss).
    """
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def programs(path: Path, messages: int) -> dict[str, list[str]]:
    """Return the commands that can run on this machine, ours first."""
    ours = ["replay", str(path), "--format", "jsonl"]
    commands = {
        "missedcall replay, compiled": [COMPILED, *ours],
        "  on one core": ["taskset", "-c", "0", COMPILED, *ours],
        "  all verdicts": [COMPILED, *ours, "--verdicts"],
        "missedcall replay, interpreted": [MISSEDCALL, *ours],
        "  on one core ": ["taskset", "-c", "0", MISSEDCALL, *ours],
        "sngrep -q -N, every dialog": ["sngrep", "-q", "-N", "-l", str(messages), "-I", str(path)],
        "sngrep -q -N, 20,000 of them": ["sngrep", "-q", "-N", "-I", str(path)],
    }
    return {name: command for name, command in commands.items() if all(map(shutil.which, _programs(command)))}


def _programs(command: list[str]) -> list[str]:
    return [command[0], command[3]] if command[0] == "taskset" else command[:1]


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("messages", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the capture here and keep it")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--audio", type=int, default=0, metavar="N", help="packets of RTP to each message")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="missedcall-bench-") as folder:
        path = args.keep or Path(folder) / "bench.pcap"
        traffic.write(path, args.messages, args.audio)
        warm(path)
        print(f"{args.messages:,} messages, {path.stat().st_size / 1e6:,.0f} MB, {os.cpu_count()} cores\n")
        print(f"{'program':<32}{'messages/s':>12}{'seconds':>10}{'cpu s':>8}{'peak MB':>9}{'ours is':>10}")
        failed = False
        chosen = dict(islice(programs(path, args.messages).items(), 1 if args.audio else None))
        best: dict[str, Measured] = {}
        for _ in range(args.rounds):
            for name, command in chosen.items():
                measured = run(command)
                best[name] = min(measured, best.get(name, measured))
                failed |= bool(measured.status) and "sngrep" not in name
        ours = next(iter(best.values())).seconds
        for name, (seconds, cpu_s, peak_mb, status) in best.items():
            note = f"  exit {status}" if status else ""
            print(
                f"{name:<32}{args.messages / seconds:>12,.0f}{seconds:>10.1f}{cpu_s:>8.1f}"
                f"{peak_mb:>9.0f}{seconds / ours:>8.2f} x{note}"
            )
        if shutil.which("tshark") and not args.audio:
            few = Path(folder) / "few.pcap"
            traffic.write(few, TSHARK_MESSAGES)
            warm(few)
            measured = run(["tshark", "-r", str(few), "-Y", "sip"])
            rate = TSHARK_MESSAGES / measured.seconds
            print(f"tshark -Y sip, {TSHARK_MESSAGES:,} messages: {rate:,.0f} messages/s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
