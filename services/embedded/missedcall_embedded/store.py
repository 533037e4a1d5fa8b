"""The topics in one SQLite file, as their one writer sees them.

Rule 1: `append` and `put` touch memory only; `commit` writes all of it in one transaction. What a crash
        leaves is the file as of some commit, and a reader never sees half a turn.
Rule 2: a commit is on the disk when it returns (WAL, synchronous=FULL): neither a killed process nor a power
        cut takes it back. Group commit keeps this at a few syncs a second whatever the rate of messages.
Rule 3: the clock is the collector's, as it stands in the rows, so that retention is a function of the log.
Rule 4: the file is bounded: topics by time and size, and the pages of what is forgotten are used again.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Self

from msgspec import Meta, Struct

from missedcall_schemas import codec
from missedcall_schemas.records import CaptureBatch

from .store_file import (
    BATCHES,
    DEAD_LETTERS,
    FACTS,
    PAGE_ROWS,
    TOPICS,
    VERDICTS,
    Row,
    StoreError,
    Topic,
    lock,
    open_writable,
    page,
    read,
)

EXPIRE_ROWS = 256
"""Least number of rows that a commit may forget per topic; twice what it appended if that is more. Less:
forgetting falls behind a burst. More: one commit takes long after a retention was shortened."""

ROW_BYTES = 32
"""Counted per row beside key and value: SQLite's own share, so that empty batches count too."""

Hours = Annotated[float, Meta(gt=0, le=87_600, description="hours, above 0, at most 87600 (ten years)")]
Megabytes = Annotated[int, Meta(ge=1, le=1 << 24, description="MB, 1 to 16777216")]


class Keep(Struct, frozen=True, forbid_unknown_fields=True):
    """How long, and how much of, a topic is kept; the oldest rows go first."""

    hours: Hours
    mb: Megabytes


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The times are those of the topics on Kafka; the sizes suit one machine."""

    sip_transactions: Keep = Keep(24.0, 8192)
    missed_calls: Keep = Keep(720.0, 1024)
    call_verdicts: Keep = Keep(168.0, 2048)
    dead_letters: Keep = Keep(720.0, 256)


class _Log:
    """What a log topic holds, so that retention asks the disk only when something is due."""

    def __init__(self, next_seq: int, rows: int, size: int) -> None:
        self.next_seq = next_seq
        self.rows = rows
        self.size = size
        self.oldest_ms: int | None = None
        """`at_ms` of the first row; None if it has to be looked up."""
        self.pending: list[tuple[int, str, int, bytes]] = []


class Store:
    """The only writer of one file; not for several threads."""

    def __init__(self, path: Path, retention: Retention | None = None) -> None:
        """Open or create the file and lock it.

        Args:
            path: the file; `<path>.lock`, `<path>-wal` and `<path>-shm` stand beside it.
            retention: how long topics are kept.

        Raises:
            LockedError: another process has it.
            StoreError: it is no such file, is of a newer release, or cannot be read and written.
        """
        self.path = path.resolve()
        self.clock_ms = 0
        """Latest `at_ms` appended or found."""
        self._keep = _limits(retention or Retention())
        self._put: dict[str, dict[str, tuple[int, bytes | None]]]
        self._put = {topic.name: {} for topic in TOPICS if topic.compacted}
        self._lock = lock(self.path)
        try:
            self._db = open_writable(self.path)
            self._logs = {topic.name: self._measure(topic) for topic in TOPICS if not topic.compacted}
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise StoreError(f"{self.path}: {error}") from error
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, topic: Topic, key: str, at_ms: int, value: bytes) -> int:
        """Take a record of a log topic into the turn; return the sequence number it will have."""
        log = self._logs[topic.name]
        seq = log.next_seq
        log.next_seq = seq + 1
        log.pending.append((seq, key, at_ms, value))
        self.clock_ms = max(self.clock_ms, at_ms)
        return seq

    def put(self, topic: Topic, key: str, value: bytes | None) -> None:
        """Take the new value of a key of a compacted topic into the turn; None deletes it."""
        self._put[topic.name][key] = (self.clock_ms, value)

    def commit(self) -> None:
        """Write the turn: all of it, in one transaction.

        Raises:
            StoreError: it could not be written and nothing of it was. The process has to end: its state is
                ahead of the file.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for topic in TOPICS:
                if topic.compacted:
                    self._write_compacted(topic)
                else:
                    self._write_log(topic)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error
        self._forget_turn()

    def discard(self) -> None:
        """Forget the turn: the next one begins where the last commit ended."""
        for log in self._logs.values():
            log.next_seq -= len(log.pending)
        self._forget_turn()

    def rows(self, topic: Topic, after: int = 0, limit: int = PAGE_ROWS) -> list[Row]:
        """Return the committed records of a log topic behind ``after``, oldest first, at most ``limit``."""
        return page(self._db, topic, after, limit)

    def values(self, topic: Topic) -> Iterator[tuple[str, bytes]]:
        """Yield the committed keys and values of a compacted topic."""
        yield from self._db.execute(topic.sql("SELECT key, GIVEN FROM TOPIC"))

    def get(self, topic: Topic, key: str) -> bytes | None:
        """Return the committed value of a key of a compacted topic."""
        row = self._db.execute(topic.sql("SELECT GIVEN FROM TOPIC WHERE key = ?"), (key,)).fetchone()
        return None if row is None else row[0]

    def next_seq(self, topic: Topic) -> int:
        """Return the sequence number of the next record appended to a log topic."""
        return self._logs[topic.name].next_seq

    def sizes(self) -> dict[str, int]:
        """Return the bytes that each log topic holds, keys and values."""
        return {name: log.size for name, log in self._logs.items()}

    def close(self) -> None:
        """Close the file and let others have it. What was not committed is gone."""
        self._db.close()
        os.close(self._lock)

    def _measure(self, topic: Topic) -> _Log:
        query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
        last = self._db.execute(query, (topic.name,)).fetchone()
        query = "SELECT rows, bytes FROM topics WHERE name = ?"
        rows, size = self._db.execute(query, (topic.name,)).fetchone()
        query = topic.sql("SELECT at_ms FROM TOPIC ORDER BY seq DESC LIMIT 1")
        latest = self._db.execute(query).fetchone()
        self.clock_ms = max(self.clock_ms, latest[0] if latest else 0)
        return _Log(last[0] + 1 if last else 1, rows, size)

    def _forget_turn(self) -> None:
        for log in self._logs.values():
            log.pending.clear()
        for changed in self._put.values():
            changed.clear()

    def _write_compacted(self, topic: Topic) -> None:
        changed = self._put[topic.name]
        if not changed:
            return
        gone = [(key,) for key, (_, value) in changed.items() if value is None]
        kept = [(key, at_ms, value) for key, (at_ms, value) in changed.items() if value is not None]
        self._db.executemany(topic.sql("DELETE FROM TOPIC WHERE key = ?"), gone)
        # Not REPLACE: it would move the row, and a call's row is written several times.
        write = topic.sql(
            "INSERT INTO TOPIC VALUES (?, ?, TAKEN) "
            "ON CONFLICT (key) DO UPDATE SET at_ms = excluded.at_ms, value = excluded.value"
        )
        self._db.executemany(write, kept)

    def _write_log(self, topic: Topic) -> None:
        log = self._logs[topic.name]
        if log.pending:
            self._db.executemany(topic.sql("INSERT INTO TOPIC VALUES (?, ?, ?, TAKEN)"), log.pending)
            log.rows += len(log.pending)
            log.size += sum(len(key.encode()) + len(value) + ROW_BYTES for _, key, _, value in log.pending)
        if self._expire(topic, log) or log.pending:
            counted = (log.rows, log.size, topic.name)
            self._db.execute("UPDATE topics SET rows = ?, bytes = ? WHERE name = ?", counted)

    def _expire(self, topic: Topic, log: _Log) -> bool:
        """Forget what is too old or too much, oldest first; return whether anything was."""
        keep_ms, keep_bytes = self._keep[topic.name]
        horizon = self.clock_ms - keep_ms
        if log.size <= keep_bytes and log.oldest_ms is not None and log.oldest_ms >= horizon:
            return False
        last = 0
        log.oldest_ms = None
        # Of a BLOB the length stands in the row's header, so that its pages are not read.
        query = "SELECT seq, at_ms, length(CAST(key AS BLOB)) + length(GIVEN) FROM TOPIC ORDER BY seq LIMIT ?"
        limit = max(EXPIRE_ROWS, 2 * len(log.pending))
        for seq, at_ms, size in self._db.execute(topic.sql(query), (limit,)):
            if at_ms >= horizon and log.size <= keep_bytes:
                log.oldest_ms = at_ms
                break
            last = seq
            log.rows -= 1
            log.size -= size + ROW_BYTES
        if not last:
            return False
        self._db.execute(topic.sql("DELETE FROM TOPIC WHERE seq <= ?"), (last,))
        return True


def read_batches(path: Path) -> Iterator[CaptureBatch]:
    """Yield what the pipeline decided on, in that order: fed to an engine, it gives the same facts.

    Raises:
        StoreError: it is no such file, or it is damaged.
        CodecError: a record is.
    """
    for row in read(path, BATCHES):
        yield codec.decode_batch(row.value)


def _limits(retention: Retention) -> Mapping[str, tuple[int, int]]:
    """Return milliseconds and bytes by topic."""
    named = {
        BATCHES: retention.sip_transactions,
        FACTS: retention.missed_calls,
        VERDICTS: retention.call_verdicts,
        DEAD_LETTERS: retention.dead_letters,
    }
    return MappingProxyType(
        {topic.name: (int(keep.hours * 3_600_000), keep.mb * 1_000_000) for topic, keep in named.items()}
    )
