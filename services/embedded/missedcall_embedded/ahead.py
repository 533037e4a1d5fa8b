"""Captures read by a process of their own, so that reading and deciding each have a processor.

Rule 1: what is decided is the same; only who reads is another (`missedcall_classifier.reading`).
Rule 2: the reader waits when nobody takes what it has read: memory stays bounded.
Rule 3: neither outlives the other: a reader whose parent is gone ends at its next batch, and a reader that fails
        ends the command.
"""

import fcntl
import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import tzinfo
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from missedcall_classifier.policy import Policy
from missedcall_classifier.reading import ReadBatch, Reader, decode_read, encode_read

from .source import Sources

WORTH_BYTES = 4_000_000
"""Captures smaller than this are read in one process. Less: starting another costs more than it saves. More: a
second of work on one processor while the other has none."""

PIPE_BYTES = 1 << 20
"""Asked of the kernel for the pipe between the two. Less: they wait for each other. More: memory."""


def worth(paths: list[Path]) -> bool:
    """Whether a second process gains anything on these files and this machine."""
    if len(os.sched_getaffinity(0)) < 2:
        return False
    try:
        return sum(path.stat().st_size for path in paths if path.is_file()) >= WORTH_BYTES
    except OSError:
        return False  # whoever opens it says why


class Status(msgspec.Struct, array_like=True):
    """How far the reader is."""

    read: int = 0
    share: float = 0.0
    ended: bool = False
    errors: list[str] = []
    counts: dict[str, int] = {}
    """The last two only at the end."""


class Ahead:
    """What `Sources` is, its batches read by another process."""

    def __init__(self, paths: list[Path], zone: tzinfo, policy: Policy) -> None:
        self._paths = paths
        self._zone = zone
        self._policy = policy
        self._status = Status()

    @property
    def errors(self) -> list[str]:
        """A line per file that could not be read to its end; known after the last batch."""
        return self._status.errors

    @property
    def read(self) -> int:
        """Messages read so far."""
        return self._status.read

    @property
    def share(self) -> float:
        """How much of the captures has been read, 0 to 1; 0 where nobody knows."""
        return self._status.share

    @property
    def counts(self) -> Counter[str]:
        """What became no message, by cause; known after the last batch."""
        return Counter(self._status.counts)

    def batches(self) -> Iterator[ReadBatch]:
        """Yield the batches of all files.

        Raises:
            RuntimeError: the reader ended before its work did.
        """
        context = get_context("fork")  # nothing has begun yet that a fork could tear: no thread, no loop
        ours, theirs = context.Pipe(duplex=False)
        fcntl.fcntl(ours.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        reader = context.Process(
            target=_read, args=(ours, theirs, self._paths, self._zone, self._policy), daemon=True
        )
        reader.start()
        theirs.close()
        try:
            with ours:
                while not self._status.ended:
                    self._status = msgspec.msgpack.decode(ours.recv_bytes(), type=Status)
                    if not self._status.ended:
                        yield decode_read(ours.recv_bytes())
        except EOFError:
            raise RuntimeError("the process that reads the captures failed") from None
        finally:
            reader.join()


def _read(ours: Connection, theirs: Connection, paths: list[Path], zone: tzinfo, policy: Policy) -> None:
    """Read everything and pass it on; what the reading process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells both; the parent decides
    ours.close()
    sources, reader = Sources(paths, zone), Reader(policy)
    encode = msgspec.msgpack.Encoder().encode
    try:
        for batch in sources.batches():
            read = encode_read(reader.read(batch))
            theirs.send_bytes(encode(Status(sources.read, sources.share)))
            theirs.send_bytes(read)
        theirs.send_bytes(
            encode(
                Status(sources.read, sources.share, ended=True, errors=sources.errors, counts=sources.counts)
            )
        )
    except BrokenPipeError:
        pass  # nobody wants the rest
