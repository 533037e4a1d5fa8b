"""Several captures as one log: merged by time, cut into batches, errors kept for the end.

Rule 1: bounded memory. Readers are generators, the merge holds one message per file, a batch is small.
Rule 2: a broken file ends its own reader and nothing else; what was readable before counts.
Rule 3: a pipeline's own file, if it is alone, is replayed batch by batch as it was decided on, so that its
        holes are seen again; among other files only its messages count.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, tzinfo
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from missedcall_collector.capture import Capture, CaptureError, open_capture
from missedcall_schemas.codec import CodecError
from missedcall_schemas.records import CaptureBatch, SipMessage

from .store import read_batches
from .store_file import MAGIC, StoreError

BATCH_MESSAGES = 256
"""Messages per batch. Fewer: Python pays per batch. More: memory, and facts printed later."""
COLLECTOR = "replay"

T = TypeVar("T")


class Sources:
    """The captures of one command.

    After the last message, `errors` holds a line per file that could not be read to its end.
    """

    def __init__(self, paths: Iterable[Path], zone: tzinfo = UTC) -> None:
        """Take the files in the order given.

        Args:
            paths: capture files; their kind is found by content.
            zone: time zone of Lync traces, which state none.
        """
        self.errors: list[str] = []
        self.read = 0
        """Messages read so far."""
        self._files = [(path, None if _is_store(path) else open_capture(path, zone=zone)) for path in paths]

    @property
    def share(self) -> float:
        """How much of the captures has been read, 0 to 1; 0 where nobody knows (a pipe)."""
        captures = self._captures()
        size = sum(capture.size for capture in captures)
        return sum(capture.bytes_read for capture in captures) / size if size else 0.0

    @property
    def counts(self) -> Counter[str]:
        """What became no message, by cause."""
        return sum((capture.counts for capture in self._captures()), Counter())

    def batches(self) -> Iterator[CaptureBatch]:
        """Yield the batches of all files; those of a pipeline's file as they are if it is the only one."""
        if len(self._files) == 1 and not self._captures():
            path = self._files[0][0]
            yield from self._guarded(path, self._stored(path))
        else:
            yield from batched(self.messages())

    def messages(self) -> Iterator[SipMessage]:
        """Yield the messages of all files in order of their files' running clocks."""
        # received_ms never runs backwards within a file, which is what a merge needs; captured_ms may.
        readers = (self._reader(path, capture) for path, capture in self._files)
        yield from heapq.merge(*readers, key=attrgetter("received_ms"))

    def _captures(self) -> list[Capture]:
        return [capture for _, capture in self._files if capture is not None]

    def _reader(self, path: Path, capture: Capture | None) -> Iterator[SipMessage]:
        if capture is None:
            batches = self._guarded(path, self._stored(path))
            yield from (message for batch in batches for message in batch.messages)
        else:
            yield from self._guarded(path, self._counted(capture))

    def _counted(self, messages: Iterable[SipMessage]) -> Iterator[SipMessage]:
        for message in messages:
            self.read += 1
            yield message

    def _stored(self, path: Path) -> Iterator[CaptureBatch]:
        for batch in read_batches(path):
            self.read += len(batch.messages)
            yield batch

    def _guarded(self, path: Path, records: Iterator[T]) -> Iterator[T]:
        """Yield ``records``; an error of the file ends them and is kept."""
        try:
            yield from records
        except (CaptureError, StoreError) as error:
            self.errors.append(str(error))
        except CodecError as error:
            self.errors.append(f"{path}: {error}")


def batched(messages: Iterable[SipMessage]) -> Iterator[CaptureBatch]:
    """Cut ``messages``, in order of `received_ms`, into the batches of one collector."""
    remaining = iter(messages)
    sequence = 0
    while held := tuple(islice(remaining, BATCH_MESSAGES)):
        yield CaptureBatch(COLLECTOR, 0, sequence, held[-1].received_ms, held)
        sequence += 1


def _is_store(path: Path) -> bool:
    """Whether ``path`` begins as an SQLite file does; False also if it cannot be read, which its reader says."""
    try:
        # A pipe is read once: its first bytes belong to the capture.
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False
