"""Messages to numbered batches."""

from missedcall_collector.batching import Batcher
from missedcall_collector.correlation import both
from missedcall_common.placing import partitions_of
from missedcall_schemas.records import SipMessage


def sip(key="k", received_ms=1000, head=b"x"):
    return SipMessage(key, key, received_ms, received_ms, "", "", "udp", head)


def test_a_full_batch_is_returned_by_the_message_that_fills_it():
    batcher = Batcher("c", 7, max_messages=2)

    assert batcher.add(sip(), 1000) == []
    ((number, batch),) = batcher.add(sip(), 1001)

    assert number == 0
    assert (batch.collector, batch.incarnation, batch.sequence, batch.clock_ms) == ("c", 7, 0, 1001)
    assert len(batch.messages) == 2


def test_a_message_that_would_not_fit_goes_into_the_next_batch():
    batcher = Batcher("c", 7, max_bytes=1000)
    batcher.add(sip(head=bytes(600)), 1000)

    ((_, batch),) = batcher.add(sip(head=bytes(601)), 1000)

    assert [len(m.head) for m in batch.messages] == [600]
    assert [len(m.head) for m in batcher.flush(1000)[0][1].messages] == [601]


def test_messages_together_make_the_batches_that_they_make_one_by_one():
    messages = [sip("ab"[n % 2], 1000 + n // 3 * 40, bytes(n * 40)) for n in range(20)]
    one_by_one, together = (Batcher("c", 7, 2, max_messages=4, max_bytes=2000) for _ in range(2))

    expected = [batch for message in messages for batch in one_by_one.add(message, 1000)]

    assert together.add_all(messages, 1000) == expected
    assert together.flush(9000) == one_by_one.flush(9000)


def test_batches_of_a_partition_are_numbered_without_a_hole():
    batcher = Batcher("c", 7, max_messages=1)

    assert [batcher.add(sip(), t)[0][1].sequence for t in range(5)] == [0, 1, 2, 3, 4]


def test_a_key_of_two_users_has_two_partitions():
    batcher = Batcher("c", 7, 48, max_messages=1)
    alone = Batcher("c", 7, max_messages=1)
    message = sip(both("a", "b"))

    assert [number for number, _ in batcher.add(message, 1000)] == partitions_of(message.key, 48)
    assert [number for number, _ in alone.add(message, 1000)] == [0]
    assert [batcher.doubled, alone.doubled] == [1, 0]


def test_each_key_has_its_partition_and_each_partition_its_numbers():
    batcher = Batcher("c", 7, 4, max_messages=1)
    keys = ["a", "b", "c", "d", "a", "b"]

    batches = [batcher.add(sip(key), 1000)[0] for key in keys]

    assert [number for number, _ in batches] == [partitions_of(key, 4)[0] for key in keys]
    for key in "abcd":
        numbers = [b.sequence for n, b in batches if [n] == partitions_of(key, 4)]
        assert numbers == list(range(len(numbers)))


def test_the_clock_is_never_before_a_message_and_never_goes_back():
    batcher = Batcher("c", 7, max_messages=1)

    clocks = [
        batcher.add(sip(received_ms=r), now)[0][1].clock_ms for r, now in ((500, 100), (50, 90), (600, 700))
    ]

    assert clocks == [500, 500, 700]


def test_a_batch_that_waited_is_due():
    batcher = Batcher("c", 7, linger_ms=50, tick_ms=10_000)
    batcher.due(1000)
    batcher.add(sip(received_ms=1000), 1000)

    assert batcher.due(1049) == []
    assert len(batcher.due(1050)[0][1].messages) == 1


def test_a_message_after_a_pause_does_not_join_the_batch_before_it():
    batcher = Batcher("c", 7, linger_ms=50)
    batcher.add(sip(received_ms=1000), 1000)

    ((_, batch),) = batcher.add(sip(received_ms=9000), 9000)

    assert [m.received_ms for m in batch.messages] == [1000]
    assert batch.clock_ms == 9000


def test_a_silent_partition_ticks():
    batcher = Batcher("c", 7, 2, tick_ms=1000)

    first = batcher.due(5000)
    nothing = batcher.due(5999)
    second = batcher.due(6000)

    assert [(n, b.sequence, b.clock_ms, b.messages) for n, b in first] == [(0, 0, 5000, ()), (1, 0, 5000, ())]
    assert nothing == []
    assert [(n, b.sequence) for n, b in second] == [(0, 1), (1, 1)]


def test_a_partition_with_messages_needs_no_tick():
    batcher = Batcher("c", 7, tick_ms=1000, linger_ms=50)
    batcher.due(5000)
    batcher.add(sip(received_ms=5900), 5900)
    batcher.due(5950)

    assert batcher.due(6900) == []
    assert len(batcher.due(6950)) == 1


def test_flush_returns_what_is_left_and_no_ticks():
    batcher = Batcher("c", 7, 8)
    batcher.add(sip(), 1000)

    assert [len(batch.messages) for _, batch in batcher.flush(1000)] == [1]
    assert batcher.flush(1000) == []
