from hypothesis import given
from hypothesis import strategies as st

from missedcall_collector.shares import BURST_S, REMEMBERED, Shares


def passed(shares, host, frames, now):
    return sum(shares.take(host, now) for _ in range(frames))


def test_a_sender_may_send_a_burst_at_once():
    assert passed(Shares(100), "a", 1_000, 5.0) == 100 * BURST_S


def test_after_the_burst_it_may_send_its_rate():
    shares = Shares(100)
    passed(shares, "a", 1_000, 0.0)

    assert passed(shares, "a", 1_000, 0.5) == 50
    assert passed(shares, "a", 1_000, 1.5) == 100


def test_senders_do_not_share():
    shares = Shares(100)
    passed(shares, "a", 1_000, 0.0)

    assert passed(shares, "b", 10, 0.0) == 10


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1)), max_size=50))
def test_over_any_time_no_more_passes_than_rate_and_burst(steps):
    shares, now, total = Shares(20), 0.0, 0
    for frames, later in steps:
        now += later
        total += passed(shares, "a", frames, now)

    assert total <= 20 * (BURST_S + now) + 1e-6


def test_who_cannot_be_dropped_waits_until_his_bucket_is_level():
    shares = Shares(100)

    assert shares.owe("a", 150, 0.0) == 0.0
    assert shares.owe("a", 150, 0.0) == 1.0
    assert shares.owe("a", 0, 1.0) == 0.0


def test_invented_addresses_do_not_grow_memory():
    shares = Shares(1)
    for number in range(3 * REMEMBERED):
        shares.take(str(number), 0.0)

    assert len(shares._buckets) <= REMEMBERED
