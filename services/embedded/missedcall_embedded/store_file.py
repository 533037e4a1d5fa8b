"""The file behind the store: its tables, its lock, and reading it from outside.

Rule 1: a log topic is the table (seq, key, at_ms, value), `seq` never given twice; a compacted topic is
        (key, at_ms, value), one row per key.
Rule 2: JSON values are text: `sqlite3 FILE 'SELECT value FROM "missed-calls"'` can be read as it is.
Rule 3: only its owner may read the file: call data is personal data.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAGIC = b"SQLite format 3\0"
"""What every SQLite file begins with; `application_id` tells ours from others."""
APPLICATION_ID = 0x6D636C6C  # "mcll"
FILE_VERSION = 1
"""PRAGMA user_version. A release reads its own and older ones, and refuses newer ones."""

WAL_PAGES = 8_192
"""Pages of 4 kB in the write-ahead log before they are moved into the file. Less: each page is written twice
sooner. More: the log takes more disk, and a restart after a kill reads it first."""
CACHE_KB = 65_536
"""Pages held in memory. Less: state rows are read from the file again before they are changed."""
BUSY_S = 30.0
"""How long a writer waits for another connection's transaction (the delivery journal has its own). Less: a
slow disk stops the pipeline."""
PAGE_ROWS = 256
"""Rows that a reader fetches at a time. Between pages it holds no snapshot, which keeps the log short."""


class StoreError(Exception):
    """The file cannot serve; the text names it and says why."""


class LockedError(StoreError):
    """Another process writes this file."""


class Topic(NamedTuple):
    """One table."""

    name: str
    compacted: bool = False
    text: bool = False
    """Values are JSON."""

    def sql(self, statement: str) -> str:
        """Return the statement with this topic's table and its conversions of values."""
        if self.text:
            statement = statement.replace("TAKEN", "CAST(? AS TEXT)").replace("GIVEN", "CAST(value AS BLOB)")
        return statement.replace("TAKEN", "?").replace("GIVEN", "value").replace("TOPIC", f'"{self.name}"')


BATCHES = Topic("sip-transactions")
STATE = Topic("call-state", compacted=True)
FACTS = Topic("missed-calls", text=True)
VERDICTS = Topic("call-verdicts", text=True)
DEAD_LETTERS = Topic("dead-letters", text=True)
TOPICS = (BATCHES, STATE, FACTS, VERDICTS, DEAD_LETTERS)
"""The delivery journal is in the same file, in tables of its own: `missedcall_notifier.journal_sqlite`."""


class Row(NamedTuple):
    """A record of a log topic."""

    seq: int
    key: str
    at_ms: int
    value: bytes


def lock(path: Path) -> int:
    """Lock the file for its one writer; return the descriptor to close when done.

    The kernel takes the lock back when the process dies, however it dies. It is on a file of its own because
    closing any descriptor of the database itself would drop SQLite's locks, and that file stays for ever
    because a third process could lock a new one while the second still waits for the old.

    Raises:
        LockedError: another process has it.
        StoreError: the folder is not there or not ours.
    """
    name = f"{path}.lock"
    try:
        held = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{name}: {error.strerror}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(held, 32).decode("ascii", "replace").strip()
        os.close(held)
        raise LockedError(
            f"{path} is in use by process {holder or 'unknown'}: one pipeline per file"
        ) from error
    os.truncate(held, 0)
    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    return held


def open_writable(path: Path) -> sqlite3.Connection:
    """Open the file, create it if it is not there.

    Raises:
        StoreError: it is another program's, of a newer release, or on a file system that cannot serve.
        sqlite3.Error: it cannot be read and written.
        OSError: it cannot be created.
    """
    # SQLite gives -wal and -shm the mode of the file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
    try:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _check(db, path)
        _configure(db, path)
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={FILE_VERSION}")
        db.execute(
            "CREATE TABLE IF NOT EXISTS topics "
            "(name TEXT PRIMARY KEY, rows INTEGER NOT NULL, bytes INTEGER NOT NULL)"
        )
        for topic in TOPICS:
            _create(db, topic)
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def page(db: sqlite3.Connection, topic: Topic, after: int, limit: int) -> list[Row]:
    """Return up to ``limit`` records of a log topic behind ``after``, oldest first."""
    query = topic.sql("SELECT seq, key, at_ms, GIVEN FROM TOPIC WHERE seq > ? ORDER BY seq LIMIT ?")
    return [Row(*row) for row in db.execute(query, (after, limit))]


def read(path: Path, topic: Topic) -> Iterator[Row]:
    """Yield the records of a log topic, oldest first; another process may be writing the file.

    Raises:
        StoreError: it is no such file, or it is damaged.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file")
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        with contextlib.closing(db):
            _check(db, path)
            after = 0
            while rows := page(db, topic, after, PAGE_ROWS):
                yield from rows
                after = rows[-1].seq
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def _configure(db: sqlite3.Connection, path: Path) -> None:
    mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{path}: journal mode stays {mode!r}: put the file on a local disk")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
    db.execute(f"PRAGMA journal_size_limit={2 * WAL_PAGES * 4096}")
    db.execute(f"PRAGMA cache_size=-{CACHE_KB}")


def _create(db: sqlite3.Connection, topic: Topic) -> None:
    if topic.compacted:
        db.execute(
            topic.sql(
                # Not WITHOUT ROWID: that b-tree puts values above 1 kB on pages of their own.
                "CREATE TABLE IF NOT EXISTS TOPIC "
                "(key TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, value NOT NULL)"
            )
        )
    else:
        # AUTOINCREMENT: a number is not given again even after all rows were forgotten.
        db.execute(
            topic.sql(
                "CREATE TABLE IF NOT EXISTS TOPIC (seq INTEGER PRIMARY KEY AUTOINCREMENT, "
                "key TEXT NOT NULL, at_ms INTEGER NOT NULL, value NOT NULL)"
            )
        )
        db.execute("INSERT OR IGNORE INTO topics VALUES (?, 0, 0)", (topic.name,))


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Raise StoreError unless the file is a pipeline's and of a release that this one reads."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise StoreError(
            f"{path} is an SQLite file of another program: "
            f"application_id {application:#x}, expected {APPLICATION_ID:#x}"
        )
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > FILE_VERSION:
        raise StoreError(
            f"{path} was written by a newer release: file version {version}, this one reads {FILE_VERSION}"
        )
