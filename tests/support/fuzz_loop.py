"""The fuzzing loop: makes inputs, reads them within bounds, keeps what fails.

Rule 1: the same seed, target and number of inputs give the same inputs, on every machine.
Rule 2: an input that is read by a way not seen before becomes a sample itself; that needs no instrumentation.
Rule 3: processor time and memory of every input are bounded, whatever else the machine does.
"""

import hashlib
import re
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from support.fuzz_targets import Target

LIMIT_S = 2.0
"""Processor time of one input of up to `MAX_INPUT` bytes. What is linear takes some 0.3 s on a slow machine."""

LIMIT_MB = 64
"""Memory that reading one input may take: two hundred times the largest input."""

_POOL = 512
_POOL_BYTES = 4096
_WAYS = 100_000  # distinct ways remembered; each becomes a sample if there is room
_SUSPICIOUS_KB = 1024  # a rise of the peak that is looked into
_KEPT = 5  # inputs kept per way of failing


class TooSlowError(Exception):
    """An input took more than `LIMIT_S`."""


class TooLargeError(Exception):
    """An input took more than `LIMIT_MB`."""


@dataclass
class Found:
    """What came of fuzzing one target."""

    name: str
    inputs: int = 0
    ways: int = 0
    slowest_s: float = 0.0
    largest_kb: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """By way of failing."""
    kept: list[tuple[str, bytes, str]] = field(default_factory=list)
    """Way of failing, input, traceback."""


class Fuzzer:
    """Fuzzes one target; `step` as often as wanted."""

    def __init__(self, target: Target, seed: str) -> None:
        self.found = Found(target.name)
        self.target = target
        self._rng = Random(f"{seed}:{target.name}")
        self._pool: list[bytes] = []
        self._ways: set[Hashable] = set()
        self._peak_kb = _peak_kb()

    def step(self) -> None:
        """Make one input and read it."""
        rng, seeds = self._rng, self.target.seeds
        sample = rng.choice(self._pool) if self._pool and rng.random() < 0.3 else rng.choice(seeds)
        self.read(rng.choice(self.target.mutators)(rng, sample, seeds))

    def read(self, data: bytes) -> None:
        """Read one input."""
        self.found.inputs += 1
        begin = time.process_time()
        try:
            with _bounded():
                way = self.target.read(data)
            took = time.process_time() - begin
            self._check(data, took)
        except Exception as error:  # noqa: BLE001 - whatever it raises is a find
            self._failed(data, error)
            return
        self.found.slowest_s = max(self.found.slowest_s, took)
        if way not in self._ways and len(self._ways) < _WAYS:
            self._ways.add(way)
            self.found.ways += 1
            if len(data) <= _POOL_BYTES:
                if len(self._pool) < _POOL:
                    self._pool.append(data)
                else:
                    self._pool[self._rng.randrange(_POOL)] = data

    def _check(self, data: bytes, took: float) -> None:
        if took > LIMIT_S:  # in one operation, which no signal interrupts
            raise TooSlowError(f"{took:.1f} s")
        if _peak_kb() > self._peak_kb + _SUSPICIOUS_KB:  # by this input, or by samples and ways that we keep
            _forget_peak()
            before_kb = _peak_kb()
            self.target.read(data)
            self._peak_kb = _peak_kb()
            self.found.largest_kb = max(self.found.largest_kb, self._peak_kb - before_kb)
            if self._peak_kb - before_kb > LIMIT_MB * 1024:
                raise TooLargeError(f"{(self._peak_kb - before_kb) // 1024} MB")

    def _failed(self, data: bytes, error: Exception) -> None:
        way = way_of(error)
        self.found.failures[way] += 1
        if self.found.failures[way] <= _KEPT:
            text = "".join(traceback.format_exception(error))
            self.found.kept.append((way, data, text))


def every_change(data: bytes) -> Iterator[bytes]:
    """Yield `data` cut at each place, and with each byte changed to each other one."""
    for at in range(len(data)):
        yield data[:at]
        for byte in range(256):
            if byte != data[at]:
                yield b"%b%c%b" % (data[:at], byte, data[at + 1 :])


def way_of(error: Exception) -> str:
    """Return how an input failed: the error and where it was raised, the same for inputs that fail alike."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    where = (
        f"{Path(last.filename).name}:{last.lineno}" if last and not isinstance(error, TooSlowError) else ""
    )
    return re.sub(r"\s+", " ", f"{type(error).__name__} {where}").strip()


def keep(found: Found, folder: Path) -> list[Path]:
    """Write the inputs that failed to `folder`, each with its traceback; return where they are."""
    paths = []
    for _, data, text in found.kept:
        path = folder / f"{found.name}-{hashlib.sha256(data).hexdigest()[:16]}.bin"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(text)
        paths.append(path)
    return paths


def _peak_kb() -> int:
    """Return the most memory that this process had at once since `_forget_peak`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _forget_peak() -> None:
    """Bring the peak down to what is in use now (proc(5), clear_refs); where that cannot be, it stays."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise TooSlowError in what takes more than LIMIT_S of processor time."""

    def over(*_: object) -> None:
        raise TooSlowError(f"more than {LIMIT_S} s")

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
