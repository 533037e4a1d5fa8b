import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from missedcall_embedded import store as module
from missedcall_embedded.store import Keep, Retention, Store, read_batches
from missedcall_embedded.store_file import (
    BATCHES,
    DEAD_LETTERS,
    FACTS,
    STATE,
    VERDICTS,
    LockedError,
    StoreError,
    read,
)
from missedcall_schemas import codec
from missedcall_schemas.records import CaptureBatch

HOUR_MS = 3_600_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "missedcall.db"


def a_turn(store: Store, number: int) -> None:
    """Take one record into every topic; `number` tells turns apart."""
    for topic in (BATCHES, FACTS, VERDICTS, DEAD_LETTERS):
        store.append(topic, f"key {number}", number, b'"%d"' % number)
    store.put(STATE, "call", b"%d" % number)
    store.put(STATE, "__next__", b"%d" % number)


def turns_seen(path: Path) -> set[int]:
    """Return by topic how many turns a reader sees; one element if it sees whole turns only."""
    with Store(path) as store:
        logs = {len(store.rows(topic)) for topic in (BATCHES, FACTS, VERDICTS, DEAD_LETTERS)}
        state = store.get(STATE, "call")
        position = store.get(STATE, "__next__")
        return logs | {int(state or b"0"), int(position or b"0")}


def test_what_was_committed_is_there_after_the_file_is_opened_again(path):
    with Store(path) as store:
        a_turn(store, 1)
        store.commit()

    with Store(path) as store:
        assert store.rows(FACTS) == [(1, "key 1", 1, b'"1"')]
        assert store.get(STATE, "call") == b"1"


def test_what_was_not_committed_is_gone(path):
    with Store(path) as store:
        a_turn(store, 1)

    assert turns_seen(path) == {0}


def test_a_reader_never_sees_half_a_turn(path):
    store = Store(path)
    seen = []

    def look(_statement: str) -> None:
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as db:
            names = [topic.name for topic in (BATCHES, FACTS, VERDICTS, DEAD_LETTERS)]
            seen.append({db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names})
        db.close()

    store._db.set_trace_callback(look)
    for number in (1, 2, 3):
        a_turn(store, number)
        store.commit()
    store.close()

    assert len(seen) > 20
    assert {len(counts) for counts in seen} == {1}


CRASH = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_store import a_turn
from missedcall_embedded.store import Store

store = Store(Path(sys.argv[1]))
a_turn(store, 1)
store.commit()
left = int(sys.argv[2])

def count(statement):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)

store._db.set_trace_callback(count)
a_turn(store, 2)
store.commit()
"""


def crash_before_statement(path: Path, number: int) -> int:
    """Run one turn to its end, kill the second before its statement `number`; return the exit status."""
    here = str(Path(__file__).parent)
    return subprocess.run([sys.executable, "-c", CRASH, str(path), str(number), here], check=False).returncode


def test_a_crash_between_any_two_statements_leaves_whole_turns(tmp_path):
    outcomes = []
    for number in range(100):
        path = tmp_path / f"{number}.db"
        status = crash_before_statement(path, number)
        outcomes.append(turns_seen(path))
        if status == 0:
            break
        assert status == -signal.SIGKILL

    assert len(outcomes) > 10
    assert outcomes == [{1}] * (len(outcomes) - 1) + [{2}]


def test_a_second_opener_is_refused_and_told_who_has_the_file(path):
    with Store(path), pytest.raises(LockedError) as refused:
        Store(path)

    assert str(refused.value) == f"{path} is in use by process {os.getpid()}: one pipeline per file"


def test_a_file_is_locked_under_all_its_names(path, tmp_path):
    (tmp_path / "alias.db").symlink_to(path)

    with Store(path), pytest.raises(LockedError):
        Store(tmp_path / "alias.db")


def test_the_lock_of_a_killed_process_is_free(path):
    killed = crash_before_statement(path, 0)
    assert killed == -signal.SIGKILL

    Store(path).close()


def test_sequence_numbers_are_never_given_twice(path):
    keep = Keep(1.0, 1)
    with Store(path, Retention(sip_transactions=keep)) as store:
        store.append(BATCHES, "", 0, b"old")
        store.commit()
        store.append(FACTS, "", 3 * HOUR_MS, b"{}")
        store.commit()
        assert store.rows(BATCHES) == []

    with Store(path) as store:
        assert store.append(BATCHES, "", 0, b"new") == 2


def test_a_discarded_turn_leaves_no_hole_in_the_numbers(path):
    with Store(path) as store:
        store.append(BATCHES, "", 0, b"discarded")
        store.discard()

        assert store.append(BATCHES, "", 0, b"kept") == 1


def test_rows_older_than_the_retention_are_forgotten(path):
    with Store(path, Retention(missed_calls=Keep(1.0, 1))) as store:
        for at_ms in (0, HOUR_MS // 2, HOUR_MS, HOUR_MS + HOUR_MS // 4):
            store.append(FACTS, "callee", at_ms, b"{}")
            store.commit()

        assert [row.at_ms for row in store.rows(FACTS)] == [HOUR_MS // 2, HOUR_MS, HOUR_MS + HOUR_MS // 4]


def test_a_topic_is_forgotten_by_the_clock_of_the_others(path):
    with Store(path, Retention(missed_calls=Keep(1.0, 1))) as store:
        store.append(FACTS, "callee", 0, b"{}")
        store.commit()
        for hours in (1, 2):
            store.append(BATCHES, "", hours * HOUR_MS, b"")
            store.commit()

        assert store.rows(FACTS) == []


def test_the_oldest_rows_go_when_a_topic_is_too_large(path):
    with Store(path, Retention(sip_transactions=Keep(24.0, 1))) as store:
        for number in range(15):
            store.append(BATCHES, "", number, bytes(100_000))
            store.commit()

        assert [row.at_ms for row in store.rows(BATCHES)] == list(range(6, 15))
        assert store.sizes()["sip-transactions"] <= 1_000_000


def test_the_file_stops_growing_when_its_topics_are_full(path):
    def fill(store, rounds):
        for number in range(rounds):
            store.append(BATCHES, "", number, bytes(50_000))
            store.put(STATE, f"call {number}", bytes(1000))
            if number >= 20:
                store.put(STATE, f"call {number - 20}", None)
            store.commit()

    with Store(path, Retention(sip_transactions=Keep(24.0, 1))) as store:
        fill(store, 100)
    full = path.stat().st_size
    with Store(path, Retention(sip_transactions=Keep(24.0, 1))) as store:
        fill(store, 400)

    assert path.stat().st_size <= full * 1.2


def test_the_size_of_a_topic_survives_a_restart(path):
    with Store(path) as store:
        store.append(FACTS, "ä", 0, b'"\xc3\xa4"')
        store.commit()
        size = store.sizes()
    with Store(path) as store:
        assert store.sizes() == size == {**dict.fromkeys(size, 0), "missed-calls": 2 + 4 + module.ROW_BYTES}


def test_a_shortened_retention_is_caught_up_with_in_bounded_steps(path):
    with Store(path) as store:
        for number in range(1000):
            store.append(FACTS, "", number, b"{}")
        store.commit()
    with Store(path, Retention(missed_calls=Keep(1.0, 1))) as store:
        left = []
        for _ in range(5):
            store.append(BATCHES, "", 2 * HOUR_MS, b"")
            store.commit()
            left.append(len(store.rows(FACTS, limit=2000)))

    assert left == [744, 488, 232, 0, 0]


def test_a_tombstone_deletes_the_row(path):
    with Store(path) as store:
        store.put(STATE, "call", b"open")
        store.commit()
        store.put(STATE, "call", None)
        store.commit()

        assert list(store.values(STATE)) == []


def test_the_last_value_of_a_key_in_a_turn_counts(path):
    with Store(path) as store:
        store.put(STATE, "a", b"1")
        store.put(STATE, "a", None)
        store.put(STATE, "b", None)
        store.put(STATE, "b", b"2")
        store.commit()

        assert list(store.values(STATE)) == [("b", b"2")]


def test_batches_are_read_back_in_order_while_the_pipeline_runs(path):
    batches = [CaptureBatch("c", 1, number, number) for number in range(600)]
    with Store(path) as store:
        for batch in batches:
            store.append(BATCHES, "", batch.clock_ms, codec.encode_batch(batch))
        store.commit()

        assert list(read_batches(path)) == batches


def test_a_file_that_was_closed_can_be_read_without_writing_it(path):
    Store(path).close()

    assert list(read(path, FACTS)) == []


def test_json_topics_are_text_for_other_tools(path):
    with Store(path) as store:
        store.append(FACTS, "sip:a@example.com", 7, b'{"callee":"sip:a@example.com"}')
        store.commit()
    with sqlite3.connect(path) as db:
        found = db.execute("""SELECT json_extract(value, '$.callee') FROM "missed-calls" """).fetchall()
    db.close()

    assert found == [("sip:a@example.com",)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a text file, surely not a database\n" * 100, "file is not a database"),
        (b"", "is an SQLite file of another program: application_id 0x0, expected 0x6d636c6c"),
    ],
)
def test_reading_another_file_says_what_is_wrong(path, content, why):
    path.write_bytes(content)

    with pytest.raises(StoreError, match=why):
        list(read_batches(path))


def test_another_programs_database_is_not_taken(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()

    with pytest.raises(StoreError, match="another program"):
        Store(path)


def test_a_newer_releases_file_is_refused(path):
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(StoreError, match="newer release: file version 99"):
        Store(path)


def test_a_missing_file_is_named(path):
    with pytest.raises(StoreError, match=r"missedcall\.db: no such file"):
        list(read_batches(path))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere/x\.db\.lock: No such file or directory"):
        Store(tmp_path / "nowhere" / "x.db")


def test_only_the_owner_may_read_the_file(path):
    with Store(path) as store:
        a_turn(store, 1)
        store.commit()

        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}

    assert set(modes.values()) == {0o600}


def test_a_full_disk_takes_nothing_of_the_turn(path):
    with Store(path) as store:
        a_turn(store, 1)
        store.commit()
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 1}")
        a_turn(store, 2)
        store.append(BATCHES, "", 2, bytes(100_000))

        with pytest.raises(StoreError, match="database or disk is full"):
            store.commit()

    assert turns_seen(path) == {1}


def test_a_commit_that_fails_says_so_and_writes_nothing(path):
    with Store(path) as store:
        store.append(FACTS, "", 0, b"{}")
        store._db.execute("PRAGMA query_only = 1")

        with pytest.raises(StoreError, match="readonly"):
            store.commit()

    with Store(path) as store:
        assert store.rows(FACTS) == []
