"""How much HEP over UDP `missedcall run` takes without loss, with decisions and durable state on.

    .venv/bin/python benchmarks/flood.py [--rates 10000,20000,30000] [--seconds 10] [--rounds 1] [--folder DIR]

For each rate a new pipeline on a new file, and a sender beside it on the same machine and loopback: calls of a
second or so, as `hep_calls` writes them, frame after frame at that rate, each millisecond those that are due. Loss
is what was sent and not committed; without loss the facts must be those of the calls. Then one pipeline is sent
more than it can take, and after that little: what is lost of the first must be counted, of the second nothing may
be lost.

At most `MOST_FRAMES` are sent at once and `MOST_SECONDS` long, to 127.0.0.1 only.
"""

import argparse
import asyncio
import os
import socket
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import traffic  # noqa: F401 - puts tests/ on the path
from support import hep_calls
from support.pipeline_process import PipelineProcess

from missedcall_embedded.store import read_batches

MOST_FRAMES = 1_000_000
"""Sent in one go: they are made before, and kept in memory (600 bytes each)."""
MOST_SECONDS = 60
MESSAGES_PER_CALL = sum(map(len, hep_calls.templates())) / len(hep_calls.LADDERS)
MISSED_SHARE = hep_calls.MISSED_OF_FOUR / 4
TICK_S = 0.001
SETTLE_S = 8.0
"""From the last frame to the end: calls settle for 3 s, and what waits is to be decided."""
LOSS = 0.001
"""What is no loss yet, as a share."""

CONFIG = """
[listen]
udp = ["127.0.0.1:0"]
tcp = []
[store]
file = "flood.db"
"""


class Phase(NamedTuple):
    """One rate for a while."""

    rate: float
    """Frames per second."""
    seconds: float


class Sent(NamedTuple):
    """What the sender did in a phase."""

    frames: int
    begun_ms: int
    seconds: float
    cpu_s: float


class Flooded(NamedTuple):
    """What became of a pipeline."""

    calls: list[int]
    """By phase."""
    sent: list[Sent]
    accepted: list[int]
    """Messages committed, by phase."""
    counts: dict[str, int]
    cpu_s: float
    """Of both its processes, from the first frame until it settled."""
    peak_mb: float

    @property
    def losses(self) -> list[float]:
        """Share of the frames of each phase that were not committed."""
        return [1 - kept / sent.frames for kept, sent in zip(self.accepted, self.sent, strict=True)]

    @property
    def facts(self) -> int:
        """Missed calls that were published."""
        return self.counts.get("facts", 0)

    @property
    def dropped(self) -> int:
        """Frames that it counted as lost."""
        return sum(count for name, count in self.counts.items() if name.startswith("dropped."))

    @property
    def uncounted(self) -> int:
        """Frames that were neither committed nor counted as lost."""
        return sum(sent.frames for sent in self.sent) - sum(self.accepted) - self.dropped


_frames: list[bytes] = []  # of the sender's process


def prepare(number: int, phase: Phase) -> int:
    """Make the frames of a phase, whole calls with Call-IDs of their own; return how many calls."""
    calls = round(phase.rate * phase.seconds / MESSAGES_PER_CALL / 4) * 4
    own = b"@10.0.0.%d" % (20 + number)
    now_ms = time.time_ns() // 1_000_000
    _frames[:] = [
        hep_calls.dated(frame.replace(b"@10.0.0.10", own), now_ms + int(n * 1000 / phase.rate))
        for n, (_, frame) in enumerate(hep_calls.frames(calls, phase.rate / MESSAGES_PER_CALL))
    ]
    return calls


def send(port: int, rate: float) -> Sent:
    """Send the frames, at once those that are due."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        send_one = sock.send
        begun_ms, cpu_s, begin = time.time_ns() // 1_000_000, time.process_time(), time.perf_counter()
        at = 0
        while at < len(_frames):
            due = min(len(_frames), int((time.perf_counter() - begin) * rate) + 1)
            for frame in _frames[at:due]:
                send_one(frame)
            at = due
            time.sleep(TICK_S)
        return Sent(at, begun_ms, time.perf_counter() - begin, time.process_time() - cpu_s)


def flood(phases: Sequence[Phase], folder: Path) -> Flooded:
    """Start a pipeline on a file in a new folder, send it the phases one after the other, and end it."""
    folder.mkdir()
    config = folder / "missedcall.toml"
    config.write_text(CONFIG)
    calls, sent, counts, spent, peak = asyncio.run(_flood(phases, config))
    return Flooded(calls, sent, committed(folder / "flood.db", sent), counts, spent, peak)


async def _flood(
    phases: Sequence[Phase], config: Path
) -> tuple[list[int], list[Sent], dict[str, int], float, float]:
    loop = asyncio.get_running_loop()
    calls, sent = [], []
    with ProcessPoolExecutor(1, get_context("spawn")) as sender:
        async with PipelineProcess(config) as pipeline:
            port = (await pipeline.ports(1))["udp"]
            for number, phase in enumerate(phases):
                calls.append(await loop.run_in_executor(sender, prepare, number, phase))
                sent.append(await loop.run_in_executor(sender, send, port, phase.rate))
            await asyncio.sleep(SETTLE_S)
            spent, peak = used(pipeline.process.pid)
            await pipeline.terminate()
        last = pipeline.named("counters.reported")[-1]
    counts = {name: int(count) for name, count in last["counts"].items()}
    return calls, sent, counts, spent, peak


def committed(path: Path, sent: Sequence[Sent]) -> list[int]:
    """Return how many messages of each phase are in the pipeline's log."""
    begins = [phase.begun_ms for phase in sent]
    found = [0] * len(sent)
    for batch in read_batches(path):
        for message in batch.messages:
            found[max(0, bisect_right(begins, message.received_ms) - 1)] += 1
    return found


def used(pid: int) -> tuple[float, float]:
    """Return processor seconds and the peak memory in MB of a process and its children, so far."""
    seconds = peak = 0.0
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    for each in (pid, *(int(child) for task in tasks for child in task.read_text().split())):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        status = Path(f"/proc/{each}/status").read_text()
        peak += int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return seconds, peak


def main() -> int:
    """Measure and print; return 1 if something was lost without being counted, or did not recover."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rates", default="10000,15000,20000,25000,30000,40000")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1, help="the median round of a rate counts")
    parser.add_argument("--overload", type=float, default=2.0, help="times the highest rate; 0: not")
    parser.add_argument(
        "--folder", type=Path, help="where the pipeline's file is (default: a temporary folder)"
    )
    args = parser.parse_args()
    rates = [float(rate) for rate in args.rates.split(",")]
    top = max(rates) * max(1.0, args.overload)
    if args.seconds > MOST_SECONDS or top * args.seconds > MOST_FRAMES:
        parser.error(f"at most {MOST_SECONDS} s and {MOST_FRAMES:,} frames at once")
    with tempfile.TemporaryDirectory(prefix="missedcall-flood-", dir=args.folder) as folder:
        status, best = measure(rates, args.seconds, args.rounds, Path(folder))
        if args.overload:
            phases = Phase(top, args.seconds), Phase(min(rates) / 2, args.seconds)
            status |= recover(phases, Path(folder) / "overload")
    print(f"\nhighest rate with less than {LOSS:.1%} lost: {best:,.0f} frames/s")
    return status


def measure(rates: Sequence[float], seconds: float, rounds: int, folder: Path) -> tuple[int, float]:
    """Print a row per rate; return the exit status, and the highest rate that was taken without loss."""
    print(
        f"{'sent/s':>8}{'frames':>10}{'kernel':>9}{'queue':>9}{'lost':>9}{'uncounted':>11}"
        f"{'facts':>9}{'cpu':>7}{'sender':>8}{'MB':>6}"
    )
    best = 0.0
    status = 0
    for rate in rates:
        runs = [flood([Phase(rate, seconds)], folder / f"{rate:.0f}-{number}") for number in range(rounds)]
        run = sorted(runs, key=lambda one: one.losses[0])[len(runs) // 2]
        (sent,), (loss,) = run.sent, run.losses
        print(
            f"{sent.frames / sent.seconds:>8,.0f}{sent.frames:>10,}{run.counts.get('dropped.kernel', 0):>9,}"
            f"{run.counts.get('dropped.queue-full', 0):>9,}{loss:>9.3%}{run.uncounted:>11,}"
            f"{run.facts:>9,}{run.cpu_s / sent.seconds:>7.0%}{sent.cpu_s / sent.seconds:>8.0%}"
            f"{run.peak_mb:>6.0f}",
            flush=True,
        )
        status |= int(run.uncounted != 0 or (loss == 0 and run.facts != run.calls[0] * MISSED_SHARE))
        if loss < LOSS:
            best = max(best, sent.frames / sent.seconds)
    return status, best


def recover(phases: Sequence[Phase], folder: Path) -> int:
    """Send too much and then little; print what came of it and return the exit status."""
    run = flood(phases, folder)
    for phase, sent, loss in zip(phases, run.sent, run.losses, strict=True):
        print(
            f"\n{phase.rate:,.0f}/s wanted, {sent.frames / sent.seconds:,.0f}/s sent: {loss:.3%} lost", end=""
        )
    print(f"; counted as lost {run.dropped:,}, uncounted {run.uncounted:,}")
    return int(run.uncounted != 0 or run.losses[-1] > 0)


if __name__ == "__main__":
    sys.exit(main())
