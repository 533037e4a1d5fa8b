"""What Kafka does not take for now, on disk: first in, first out, over the end of the process too.

Rule 1: bytes on disk are bounded; beyond the bound `append` refuses and nothing is overwritten.
Rule 2: a record leaves the disk when Kafka has acknowledged it, a segment at a time: a crash sends some records
        twice, which their sequence numbers show, and loses none.
Rule 3: what a crash left half written ends its segment; everything before it is whole, by checksum.
Rule 4: one process per folder.
"""

import fcntl
import os
import struct
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

SEGMENT = 8 << 20
"""Bytes of a file. Less: more files. More: disk that is held by its last unacknowledged record."""

_HEADER = struct.Struct("!IHHII")  # length, partition, of how many, messages, crc32 of the value
_SUFFIX = ".batches"
_OLD_HEADER = struct.Struct("!IHII")  # without "of how many"
_OLD_SUFFIX = ".spool"
"""Of the release before."""
_FIRST = 1 << 32  # numbers before it are for what is put back


class SpoolError(Exception):
    """The folder cannot be used; the text names it and says why."""


class Segment:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.given = 0
        """Records read from it; counted by the reader."""
        self.acknowledged = 0
        """Those that Kafka has; counted by whoever hears it."""
        self.read_out = False


class Record(NamedTuple):
    """A batch on its way."""

    partition: int
    value: bytes
    messages: int
    segment: Segment | None = None
    """Where it is on disk, if it is."""
    partitions: int = 0
    """How many there were when it was made; 0: as many as the settings say."""


class Spool:
    """The records in a folder. For one thread, but for `Segment.acknowledged`."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Take up what is there.

        Args:
            folder: made if it is missing.
            limit: bytes on disk.

        Raises:
            SpoolError: the folder cannot be used, or another process uses it.
        """
        self.bytes = 0
        """On disk, what was read and is not acknowledged included."""
        self.messages = 0
        """Not read yet."""
        self._folder = folder
        self._limit = limit
        self._segments: deque[Segment] = deque()
        self._held: list[Segment] = []
        self._writing: BinaryIO | None = None
        self._reading: BinaryIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            paths = (path for path in folder.iterdir() if path.suffix in (_SUFFIX, _OLD_SUFFIX))
            for path in sorted(paths, key=lambda path: path.stem):
                self._take_up(path)
        except BlockingIOError:
            self._lock.close()
            raise SpoolError(f"{folder}: another collector uses it; each needs a folder of its own") from None
        except OSError as error:
            raise SpoolError(f"{folder}: {error.strerror}") from error

    def append(self, record: Record, *, bound: bool = True) -> bool:
        """Put a record at the end; return False if there is no room for it."""
        data = _packed(record)
        if bound and self.bytes + len(data) > self._limit:
            return False
        if self._writing is None or self._segments[-1].size >= SEGMENT:
            self._begin_segment()
        segment, file = self._segments[-1], self._writing
        assert file is not None  # noqa: S101 - begun above
        try:
            whole = file.write(data) == len(data)
        except OSError:  # the disk is full before our own bound is reached
            whole = False
        if not whole:
            file.truncate(segment.size)
            file.seek(segment.size)
            return False
        segment.size += len(data)
        self.bytes += len(data)
        self.messages += record.messages
        return True

    def read(self) -> Record | None:
        """Return the record at the front, None if there is none; it stays on disk until it is acknowledged."""
        while self._segments:
            segment = self._segments[0]
            if self._reading is None:
                self._reading = segment.path.open("rb")
            record = _read(self._reading, segment)
            if record is not None:
                self.messages -= record.messages
                segment.given += 1
                return record
            self._reading.close()
            self._reading = None
            if len(self._segments) == 1:
                self._end_segment()
                self.messages = 0
            segment.read_out = True
            self._held.append(self._segments.popleft())
        return None

    def sweep(self) -> None:
        """Delete the segments of which everything was read and acknowledged."""
        for segment in [held for held in self._held if held.acknowledged == held.given]:
            self._held.remove(segment)
            self.bytes -= segment.size
            segment.path.unlink()

    def put_back(self, unacknowledged: Iterable[Record]) -> None:
        """Keep what was under way for the next process, before all others, bound or not; call last of all.

        Raises:
            OSError: the disk does not take it.
        """
        names = [int(segment.path.stem) for segment in (*self._held, *self._segments)]
        path = self._folder / f"{min(names, default=_FIRST) - 1:012}{_SUFFIX}"
        # A segment that is not read out is read again from its begin, and what was sent before it was on no disk.
        again = [record for record in unacknowledged if record.segment is None or not self._segments]
        if again:
            with _private(path) as file:
                for record in again:
                    file.write(_packed(record))
        if not self._segments:
            for segment in self._held:
                segment.path.unlink()
            self._held.clear()

    def close(self) -> None:
        """Let go of the folder; what is not acknowledged stays."""
        self._end_segment()
        if self._reading is not None:
            self._reading.close()
        self._lock.close()

    def _take_up(self, path: Path) -> None:
        segment = Segment(path)
        segment.size = path.stat().st_size
        with path.open("rb") as file:
            found = 0
            while record := _read(file, segment):
                self.messages += record.messages
                found += 1
        if found:
            self.bytes += segment.size
            self._segments.append(segment)
        else:
            path.unlink()

    def _begin_segment(self) -> None:
        self._end_segment()
        last = self._segments[-1] if self._segments else self._held[-1] if self._held else None
        number = int(last.path.stem) + 1 if last else _FIRST
        segment = Segment(self._folder / f"{number:012}{_SUFFIX}")
        self._writing = _private(segment.path)
        self._segments.append(segment)

    def _end_segment(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None


def _packed(record: Record) -> bytes:
    value = record.value
    return (
        _HEADER.pack(len(value), record.partition, record.partitions, record.messages, crc32(value)) + value
    )


def _private(path: Path) -> BinaryIO:
    """Open a new file that only its owner reads: call data is personal data. Unbuffered: a kill loses nothing."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)


def _read(file: BinaryIO, segment: Segment) -> Record | None:
    """Return the next record; None at the end, and where a crash left half of one."""
    old = segment.path.suffix == _OLD_SUFFIX
    header = _OLD_HEADER if old else _HEADER
    head = file.read(header.size)
    if len(head) < header.size:
        return None
    length, partition, *count, messages, checksum = header.unpack(head)
    value = file.read(length)
    if len(value) < length or crc32(value) != checksum:
        return None
    return Record(partition, value, messages, segment, *count)
