"""The delivery journal in the embedded pipeline's SQLite file: tables `notify_journal`, `_position` and `_series`.

Rule 1: a connection and a thread of its own: the event loop never waits for the disk, and the pipeline's own
        transactions never contain ours. WAL lets both write in turn.
Rule 2: what waits together is committed together: one fsync for all calls that came in while the last ran.
Rule 3: columns are for finding; the record is the JSON in `value`, so that a field added to it needs no
        migration.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

from msgspec import UNSET

from .claim import claim
from .delivery import ENDED, OPEN, Delivery, correction_of, decode, encode, interrupted, redriven
from .failure import Failure
from .journal import ONLY, StaleDeliveryError
from .redrive import Selection
from .repeats import Known, placed, remembered_until

T = TypeVar("T")

BUSY_TIMEOUT_S = 30.0
"""How long we wait for the pipeline's transaction. Less: a slow disk makes the notifier stop. More: a deadlock
of ours is noticed that much later."""

WAL_PAGES = 8192
"""Pages of 4 kB in the write-ahead log before we move them into the file. Less: our small commits do the
pipeline's moving. More: a restart reads more of it first."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS notify_journal (
    delivery_id TEXT PRIMARY KEY,
    channel     TEXT NOT NULL,
    state       TEXT NOT NULL,
    version     INTEGER NOT NULL,
    corrects    INTEGER NOT NULL,
    due         REAL,
    ended       REAL,
    value       BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS notify_journal_due
    ON notify_journal (channel, corrects, due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS notify_journal_ended
    ON notify_journal (ended) WHERE ended IS NOT NULL;
CREATE INDEX IF NOT EXISTS notify_journal_attempt
    ON notify_journal (channel) WHERE state = 'attempt';
CREATE TABLE IF NOT EXISTS notify_position (
    channel  TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notify_series (
    key   TEXT NOT NULL,
    root  TEXT NOT NULL,
    head  TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (key, root)
) WITHOUT ROWID;
"""

_INSERT = """
INSERT INTO notify_journal (delivery_id, channel, state, version, corrects, due, ended, value)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (delivery_id) DO NOTHING
"""
_UPDATE = """
UPDATE notify_journal SET state = ?, version = ?, due = ?, ended = ?, value = ?
WHERE delivery_id = ? AND version = ?
"""
_DUE = """
SELECT value FROM notify_journal WHERE channel = ? AND corrects = ? AND due <= ?
ORDER BY due {direction}, delivery_id {direction} LIMIT ?
"""
_HEADS = """
SELECT value FROM notify_series JOIN notify_journal ON delivery_id = head WHERE key = ? AND until > ?
"""


class SqliteJournal:
    """The journal in a SQLite file, which may be another's: nothing but its own tables is touched.

    Use `async with`, or call `start` first and `stop` at the end, both from the event loop.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="notify-journal")
        self._connection: sqlite3.Connection | None = None
        self._queue: deque[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]] = deque()
        self._flushing: asyncio.Future[list[Any]] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the file and create the tables if they are not there.

        Raises:
            OSError: the file cannot be created.
            sqlite3.Error: it cannot be opened or is no SQLite file.
        """
        try:
            self._connection = await asyncio.get_running_loop().run_in_executor(self._thread, self._connect)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    async def stop(self) -> None:
        """Wait for what is under way and close the file."""
        while self._flushing is not None:
            await asyncio.wait({self._flushing})
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
            self._connection = None
        self._thread.shutdown()

    async def positions(self, channel: str) -> Mapping[int, int]:
        """Return up to where the channel's facts have become intents."""
        query = "SELECT position FROM notify_position WHERE channel = ?"

        def look(db: sqlite3.Connection) -> Mapping[int, int]:
            row = db.execute(query, (channel,)).fetchone()
            return {ONLY: int(row[0]) if row else 0}

        return await self._run(look)

    async def open(
        self,
        channel: str,
        intents: Sequence[Delivery],
        *,
        position: int,
        part: int = ONLY,  # noqa: ARG002 - of the port
    ) -> list[Delivery]:
        """Record the channel's intents and its new position; return the intents that are new."""
        rows = [_row(delivery) for delivery in intents]  # here: what cannot be encoded harms no other call

        def insert(db: sqlite3.Connection) -> list[Delivery]:
            opened = []
            for one, row in zip(intents, rows, strict=True):
                if not db.execute(_INSERT, row).rowcount:
                    continue
                delivery = placed(one, _known(db, one.opened_at))
                if delivery is not one:
                    _place(db, delivery)
                opened.append(delivery)
            db.execute("REPLACE INTO notify_position VALUES (?, ?)", (channel, position))
            return opened

        return await self._run(insert)

    async def claim(
        self, channel: str, *, now: float, limit: int, newest_first: bool = False
    ) -> list[Delivery]:
        """Begin up to `limit` due deliveries; return all that changed."""
        query = _DUE.format(direction="DESC" if newest_first else "ASC")

        def begin(db: sqlite3.Connection) -> list[Delivery]:
            due = [
                decode(value)
                for corrects in (1, 0)
                for (value,) in db.execute(query, (channel, corrects, now, limit))
            ]
            changes = claim(due, lambda delivery_id: _find(db, delivery_id), now=now, limit=limit)
            for before, after in changes:
                _replace(db, before, after)
            return [after for _, after in changes]

        return await self._run(begin)

    async def record(self, before: Delivery, after: Delivery) -> None:
        """Replace `before` by `after`.

        Raises:
            StaleDeliveryError: the journal does not hold `before` (any more).
        """
        if not await self._run(lambda db: _replace(db, before, after)):
            raise StaleDeliveryError(before.delivery_id)

    async def recover(self, channel: str, *, now: float) -> list[Delivery]:
        """Return the attempts that a dead process left behind, now UNCERTAIN and due."""

        def mark(db: sqlite3.Connection) -> list[Delivery]:
            query = "SELECT value FROM notify_journal WHERE channel = ? AND state = 'attempt'"
            left = [decode(value) for (value,) in db.execute(query, (channel,))]
            recovered = [interrupted(delivery, now) for delivery in left]
            for before, after in zip(left, recovered, strict=True):
                _replace(db, before, after)
            return recovered

        return await self._run(mark)

    async def find(self, delivery_id: str) -> Delivery | None:
        """Return a delivery, or None."""
        return await self._run(lambda db: _find(db, delivery_id))

    async def next_due(self, channel: str) -> float | None:
        """Return when the next open delivery is due; None if there is none."""
        query = "SELECT min(due) FROM notify_journal WHERE channel = ? AND corrects = ? AND due IS NOT NULL"

        def least(db: sqlite3.Connection) -> float | None:
            found = [db.execute(query, (channel, corrects)).fetchone()[0] for corrects in (0, 1)]
            return min((due for due in found if due is not None), default=None)

        return await self._run(least)

    async def waiting(self, channel: str) -> int:
        """Return how many deliveries are open."""
        query = "SELECT count(*) FROM notify_journal WHERE channel = ? AND due IS NOT NULL"
        return await self._run(lambda db: int(db.execute(query, (channel,)).fetchone()[0]))

    async def is_gone(self, channel: str, mark: str) -> bool:
        """Whether an open delivery found the channel `gone` under this mark."""
        query = """SELECT EXISTS (SELECT 1 FROM notify_journal WHERE channel = ? AND due IS NOT NULL
            AND json_extract(value, '$.failure') = ? AND json_extract(value, '$.detail') = ?)"""
        return await self._run(
            lambda db: bool(db.execute(query, (channel, Failure.GONE.value, mark)).fetchone()[0])
        )

    async def forget(self, *, before: float) -> int:
        """Remove what ended before this time; return how many."""

        def delete(db: sqlite3.Connection) -> int:
            count = db.execute("DELETE FROM notify_journal WHERE ended < ?", (before,)).rowcount
            db.execute("DELETE FROM notify_series WHERE until < ?", (before,))
            return count

        return await self._run(delete)

    def _connect(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)  # call data is personal data; an existing file keeps its mode
        db = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            db.execute("PRAGMA synchronous = FULL")  # an outcome that a power cut forgets is a second mail
            db.executescript(SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    async def _run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._queue.append((operation, done))
        if self._flushing is None:
            self._flush(loop)
        return await done

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand what waits to the thread; when it is durable, answer and look again."""
        batch = list(self._queue)
        self._queue.clear()
        flushing = loop.run_in_executor(self._thread, self._transact, [operation for operation, _ in batch])

        def answer(finished: asyncio.Future[list[Any]]) -> None:
            self._flushing = None
            error = finished.exception()
            for index, (_, done) in enumerate(batch):
                if done.cancelled():
                    continue
                if error is not None:
                    done.set_exception(error)
                else:
                    done.set_result(finished.result()[index])
            if self._queue:
                self._flush(loop)

        self._flushing = flushing
        flushing.add_done_callback(answer)

    def _transact(self, operations: Sequence[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
        db = self._connection
        if db is None:
            raise sqlite3.ProgrammingError("the journal is not started")
        db.execute("BEGIN IMMEDIATE")
        try:
            results = [operation(db) for operation in operations]
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return results


def redrive_file(path: Path, selection: Selection, now: float, *, execute: bool) -> list[Delivery]:
    """Return the dead deliveries of a file that are meant, as they were; with `execute` they live again.

    The pipeline may be at work on the file: it finds them within half a minute.

    Raises:
        sqlite3.Error: the file is none of ours, or cannot be written.
    """
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    try:
        db.execute("BEGIN IMMEDIATE" if execute else "BEGIN")
        rows = db.execute("SELECT value FROM notify_journal WHERE state = 'dead' ORDER BY ended, delivery_id")
        dead = [one for one in (decode(value) for (value,) in rows.fetchall()) if selection.means(one)]
        dead = [one for one in dead if _find(db, correction_of(one)) is None and not _is_followed(db, one)]
        if execute:
            for one in dead:
                _replace(db, one, redriven(one, now))
        db.execute("COMMIT")
    finally:
        db.close()
    return dead


def _row(delivery: Delivery) -> tuple[object, ...]:
    return (
        delivery.delivery_id,
        delivery.channel,
        delivery.state.value,
        delivery.version,
        1 if delivery.supersedes else 0,
        *_times(delivery),
        encode(delivery),
    )


def _times(delivery: Delivery) -> tuple[float | None, float | None]:
    """Return when it is due and when it ended: what the indexes are built on."""
    due = delivery.next_at if delivery.state in OPEN else None
    ended = delivery.changed_at if delivery.state in ENDED else None
    return due, ended


def _replace(db: sqlite3.Connection, before: Delivery, after: Delivery) -> bool:
    changed = (after.state.value, after.version, *_times(after), encode(after))
    return bool(db.execute(_UPDATE, (*changed, before.delivery_id, before.version)).rowcount)


def _known(db: sqlite3.Connection, now: float) -> Known:
    """Return how the journal is asked about series that are remembered."""
    return Known(
        find=lambda delivery_id: _find(db, delivery_id),
        heads=lambda key: [decode(value) for (value,) in db.execute(_HEADS, (key, now))],
    )


def _place(db: sqlite3.Connection, delivery: Delivery) -> None:
    """Write an intent that was just inserted once more, with its place in a series, if it has any."""
    db.execute("DELETE FROM notify_journal WHERE delivery_id = ?", (delivery.delivery_id,))
    db.execute(_INSERT, _row(delivery))
    if (series := delivery.series) is not UNSET:
        db.execute(
            "REPLACE INTO notify_series (key, root, head, until) VALUES (?, ?, ?, ?)",
            (series.key, series.root, delivery.delivery_id, remembered_until(delivery, series)),
        )


def _is_followed(db: sqlite3.Connection, delivery: Delivery) -> bool:
    """Whether a later notice of its series is known."""
    if (series := delivery.series) is UNSET:
        return False
    query = "SELECT head FROM notify_series WHERE key = ? AND root = ?"
    row = db.execute(query, (series.key, series.root)).fetchone()
    return row is not None and row[0] != delivery.delivery_id


def _find(db: sqlite3.Connection, delivery_id: str) -> Delivery | None:
    row = db.execute("SELECT value FROM notify_journal WHERE delivery_id = ?", (delivery_id,)).fetchone()
    return None if row is None else decode(row[0])
