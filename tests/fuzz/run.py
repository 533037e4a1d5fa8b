"""Fuzzes everything that reads what strangers write, for as long as told; keeps every input that fails.

    .venv/bin/python tests/fuzz/run.py [--seconds N] [--processes 1|2] [--seed TEXT] [--target NAME ...]
    .venv/bin/python tests/fuzz/run.py --every [--seconds N] [--processes 1|2] [--target NAME ...]
    .venv/bin/python tests/fuzz/run.py --read FILE ...

`--every` makes nothing up: each sample is cut at each place and each of its bytes changed to each other one, the
shortest samples first. `--read` reads kept inputs again, the target being the first part of their names.

Ends with 1 if an input failed.
"""
# ruff: noqa: T201 - a command prints

import argparse
import os
import resource
import sys
import time
from multiprocessing import get_context
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from support.fuzz_loop import Found, Fuzzer, every_change, keep  # noqa: E402 - after the line above, which `support` needs
from support.fuzz_targets import target_of, targets  # noqa: E402

FOUND = TESTS.parent / "build" / "fuzz"
TURN = 200
"""Inputs of one target before it is the next one's turn."""
SAY_S = 60.0
"""Between two lines of progress."""
MEMORY_MB = 2048
"""Of each process: a bomb ends as a find, not in the machine's swap."""


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--processes", type=int, choices=(1, 2), default=min(2, os.cpu_count() or 1))
    parser.add_argument("--seed", default="", help="default: another one every time; it is printed")
    parser.add_argument("--target", action="append", metavar="NAME")
    parser.add_argument("--out", type=Path, default=FOUND, help=f"where inputs that fail go ({FOUND})")
    parser.add_argument(
        "--every", action="store_true", help="each cut and each change of a byte of each sample"
    )
    parser.add_argument("--read", nargs="+", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.read:
        return read(args.read)
    known = {target.name for target in targets()}
    if unknown := set(args.target or ()) - known:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    seed = args.seed or f"{time.time_ns():x}"
    print(f"seed {seed}, {args.processes} processes, {args.seconds:.0f} s", flush=True)
    work = [(n, args.processes, seed, args.seconds, args.target, args.out) for n in range(args.processes)]
    with get_context("spawn").Pool(args.processes) as pool:
        reports = pool.starmap(every if args.every else fuzz, work, chunksize=1)
    return say(reports)


def fuzz(process: int, _: int, seed: str, seconds: float, names: list[str] | None, out: Path) -> list[Found]:
    """Fuzz the targets in turn until the time is over; return what was found."""
    fuzzers = begin(f"{seed}:{process}", names)
    for fuzzer in fuzzers:
        for sample in fuzzer.target.seeds:
            fuzzer.read(sample)
    watch = Watch(seconds, fuzzers, out)
    while not watch.over():
        for fuzzer in fuzzers:
            for _ in range(TURN):
                fuzzer.step()
    return [fuzzer.found for fuzzer in fuzzers]


def every(
    process: int, processes: int, seed: str, seconds: float, names: list[str] | None, out: Path
) -> list[Found]:
    """Read each cut and each change of a byte of this process's share of the samples; return what was found."""
    fuzzers = begin(f"{seed}:{process}", names)
    watch = Watch(seconds, fuzzers, out)
    pairs = sorted(
        ((sample, n) for n, fuzzer in enumerate(fuzzers) for sample in set(fuzzer.target.whole)),
        key=lambda pair: (len(pair[0]), pair),
    )
    done = 0
    for sample, n in pairs[process::processes]:
        for count, data in enumerate(every_change(sample)):
            if count % TURN == 0 and watch.over():
                print(f"  process {process}: {done:,} samples, all of less than {len(sample):,} bytes")
                return [fuzzer.found for fuzzer in fuzzers]
            fuzzers[n].read(data)
        done += 1
    print(f"  process {process}: all of its {done:,} samples")
    watch.over()
    return [fuzzer.found for fuzzer in fuzzers]


def begin(seed: str, names: list[str] | None) -> list[Fuzzer]:
    """Bound this process and return its fuzzers."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB << 20, MEMORY_MB << 20))
    return [Fuzzer(target, seed) for target in targets() if not names or target.name in names]


class Watch:
    """Says when the time is over, and on the way how far it is; keeps what failed."""

    def __init__(self, seconds: float, fuzzers: list[Fuzzer], out: Path) -> None:
        self._end = time.monotonic() + seconds
        self._say_at = time.monotonic() + SAY_S
        self._fuzzers = fuzzers
        self._out = out

    def over(self) -> bool:
        """Whether it is."""
        for fuzzer in self._fuzzers:
            keep(fuzzer.found, self._out)
        now = time.monotonic()
        if now > self._say_at:
            self._say_at += SAY_S
            total = sum(fuzzer.found.inputs for fuzzer in self._fuzzers)
            failed = sum(fuzzer.found.failures.total() for fuzzer in self._fuzzers)
            print(f"  {total:,} inputs, {failed:,} failed", flush=True)
        return now > self._end


def say(reports: list[list[Found]]) -> int:
    """Print what all processes found; return the exit status."""
    print(f"\n{'target':<14}{'inputs':>14}{'ways':>9}{'slowest s':>11}{'most MB':>9}{'failed':>9}")
    inputs = failed = 0
    for found in zip(*reports, strict=True):
        n, f = sum(one.inputs for one in found), sum(one.failures.total() for one in found)
        ways, slowest = max(one.ways for one in found), max(one.slowest_s for one in found)
        largest = max(one.largest_kb for one in found) / 1024
        print(f"{found[0].name:<14}{n:>14,}{ways:>9,}{slowest:>11.2f}{largest:>9.1f}{f:>9,}")
        inputs += n
        failed += f
    print(f"{'all':<14}{inputs:>14,}{failed:>38,}")
    for found in (one for report in reports for one in report):
        for way, count in found.failures.most_common():
            print(f"{found.name}: {count:,} x {way}")
    return int(failed > 0)


def read(paths: list[Path]) -> int:
    """Read kept inputs again; return the exit status."""
    status = 0
    for path in paths:
        fuzzer = Fuzzer(target_of(path), "read")
        fuzzer.read(path.read_bytes())
        for _, _, text in fuzzer.found.kept:
            print(f"{path}\n{text}")
            status = 1
        if not fuzzer.found.kept:
            print(f"{path}: read")
    return status


if __name__ == "__main__":
    sys.exit(main())
