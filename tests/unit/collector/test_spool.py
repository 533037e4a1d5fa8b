import pytest

from missedcall_collector import spool as module
from missedcall_collector.spool import Record, Spool, SpoolError


def record(number, size=100):
    return Record(number % 3, b"%06d" % number + b"x" * size, 2)


def numbers(spool):
    """Return the numbers of all that can be read, acknowledged at once."""
    found = []
    while (one := spool.read()) is not None:
        found.append(int(one.value[:6]))
        one.segment.acknowledged += 1
    return found


@pytest.fixture
def opened(tmp_path):
    """Return what opens the spool; all of them are closed at the end."""
    spools = []

    def opened(limit=100_000):
        spools.append(Spool(tmp_path, limit))
        return spools[-1]

    yield opened
    for spool in spools:
        spool.close()


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(module, "SEGMENT", 500)


def test_records_come_back_in_order_and_whole(tmp_path, opened):
    spool = opened(10_000)
    for number in range(5):
        assert spool.append(record(number))

    first = spool.read()

    assert (first.partition, first.value, first.messages) == record(0)[:3]
    assert numbers(spool) == [1, 2, 3, 4]


def test_what_is_appended_while_it_is_read_comes_after(tmp_path, small_segments, opened):
    spool = opened()
    found = []
    for number in range(0, 60, 3):
        for following in range(3):
            spool.append(record(number + following))
        found += [int(spool.read().value[:6]) for _ in range(2)]

    assert found + numbers(spool) == list(range(60))


def test_beyond_the_bound_nothing_is_taken_and_nothing_lost(tmp_path, opened):
    spool = opened(1_000)
    taken = [number for number in range(20) if spool.append(record(number))]

    assert 0 < len(taken) < 20
    assert spool.bytes <= 1_000
    assert numbers(spool) == taken


def test_disk_is_given_back_when_a_segment_is_acknowledged(tmp_path, small_segments, opened):
    spool = opened(2_000)
    while spool.append(record(0)):
        pass
    numbers(spool)
    spool.sweep()

    assert spool.bytes == 0
    assert list(tmp_path.glob("*.batches")) == []
    assert spool.append(record(1))


def test_an_unacknowledged_segment_stays(tmp_path, opened):
    spool = opened(2_000)
    spool.append(record(1))
    assert spool.read() is not None
    assert spool.read() is None
    spool.sweep()

    assert len(list(tmp_path.glob("*.batches"))) == 1


def test_the_next_process_reads_what_was_not_acknowledged(tmp_path, small_segments, opened):
    spool = opened()
    for number in range(20):
        spool.append(record(number))
    for _ in range(7):
        spool.read().segment.acknowledged += 1
    spool.sweep()
    spool.close()

    following = opened()
    found = numbers(following)

    assert found == list(range(found[0], 20))
    assert found[0] <= 7


def test_what_was_under_way_comes_first_in_the_next_process(tmp_path, opened):
    spool = opened()
    for number in (5, 6, 7):
        spool.append(record(number))
    read = spool.read()
    spool.put_back([record(3), record(4), read])
    spool.close()

    assert numbers(opened()) == [3, 4, 5, 6, 7]


def test_what_was_under_way_keeps_its_order_when_the_disk_was_read_out(tmp_path, opened):
    spool = opened()
    spool.append(record(5))
    read = spool.read()
    assert spool.read() is None
    spool.put_back([record(4), read, record(6)])
    spool.close()

    assert numbers(opened()) == [4, 5, 6]


@pytest.mark.parametrize("cut", [1, 60, 110])
def test_half_a_record_ends_its_segment_and_no_more(tmp_path, small_segments, cut, opened):
    spool = opened()
    for number in range(10):
        spool.append(record(number))
    spool.close()
    first = min(tmp_path.glob("*.batches"))
    whole = first.read_bytes()
    first.write_bytes(whole[:-cut])
    in_first = len(whole) // 120

    found = numbers(opened())

    assert found == [number for number in range(10) if number != in_first - 1]


def test_a_changed_byte_ends_its_segment(tmp_path, opened):
    spool = opened()
    for number in range(3):
        spool.append(record(number))
    spool.close()
    (path,) = tmp_path.glob("*.batches")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    assert numbers(opened()) == [0, 1]


def test_messages_are_counted_over_a_restart(tmp_path, opened):
    spool = opened()
    for number in range(4):
        spool.append(record(number))
    spool.close()
    following = opened()

    assert following.messages == 8
    numbers(following)
    assert following.messages == 0


def test_a_folder_has_one_user(tmp_path, opened):
    first = opened(1_000)
    with pytest.raises(SpoolError, match="another collector uses it"):
        opened(1_000)
    first.close()
    opened(1_000)


def test_a_folder_that_cannot_be_is_named(tmp_path, opened):
    (tmp_path / "file").write_text("")

    with pytest.raises(SpoolError, match="file/spool"):
        Spool(tmp_path / "file/spool", 1_000)


def test_only_its_owner_reads_it(tmp_path, opened):
    spool = opened(1_000)
    spool.append(record(1))
    (path,) = tmp_path.glob("*.batches")

    assert path.stat().st_mode & 0o077 == 0
