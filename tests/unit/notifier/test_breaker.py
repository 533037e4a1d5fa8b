from missedcall_notifier.breaker import FIRST_PAUSE_S, GONE, LONGEST_PAUSE_S, Breaker, after
from missedcall_notifier.failure import Failed, Failure, Sent

DOWN = Failed(Failure.CHANNEL_DOWN)


def test_a_closed_breaker_lets_all_through():
    assert Breaker().allows(8, now=0) == 8


def test_an_open_breaker_lets_none_through():
    assert after(Breaker(), DOWN, now=100).allows(8, now=100 + FIRST_PAUSE_S - 0.1) == 0


def test_after_the_pause_one_probe_goes_through():
    assert after(Breaker(), DOWN, now=100).allows(8, now=100 + FIRST_PAUSE_S) == 1


def test_a_failed_probe_doubles_the_pause():
    once = after(Breaker(), DOWN, now=0)

    assert after(once, DOWN, now=once.opens_at).opens_at == once.opens_at + 2 * FIRST_PAUSE_S


def test_the_pause_has_a_limit():
    breaker = Breaker()
    for _ in range(2000):
        breaker = after(breaker, DOWN, now=breaker.opens_at)

    assert breaker.opens_at - after(breaker, DOWN, now=breaker.opens_at).opens_at == -LONGEST_PAUSE_S


def test_those_on_their_way_when_it_broke_count_as_one_outage():
    once = after(Breaker(), DOWN, now=100)

    assert after(once, DOWN, now=101) == once


def test_a_clock_that_is_set_back_does_not_pause_a_channel_for_a_day():
    assert after(Breaker(), DOWN, now=86400).allows(8, now=0) == 1


def test_success_closes_it():
    assert after(after(Breaker(), DOWN, now=0), Sent(), now=5) == Breaker()


def test_a_refused_recipient_proves_that_the_channel_works():
    refused = Failed(Failure.PERMANENT_RECIPIENT)

    assert after(after(Breaker(), DOWN, now=0), refused, now=5) == Breaker()


def test_other_failures_leave_it_closed():
    others = set(Failure) - {Failure.CHANNEL_DOWN, Failure.GONE}

    assert all(after(Breaker(), Failed(failure), now=0) == Breaker() for failure in others)


def test_who_asks_to_be_left_alone_is_left_alone_and_then_all_go_through():
    breaker = after(Breaker(), Failed(Failure.THROTTLED, asked_s=60), now=100)

    assert breaker.closed
    assert [breaker.allows(8, now) for now in (100, 159.9, 160)] == [0, 0, 8]


def test_success_of_another_does_not_shorten_what_was_asked_for():
    breaker = after(Breaker(), Failed(Failure.THROTTLED, asked_s=60), now=100)

    assert after(breaker, Sent(), now=101) == breaker
    assert after(breaker, Failed(Failure.THROTTLED, asked_s=1), now=101) == breaker


def test_nobody_can_ask_for_a_longer_pause_than_the_longest():
    breaker = after(Breaker(), Failed(Failure.THROTTLED, asked_s=1e12), now=100)

    assert breaker.opens_at == 100 + LONGEST_PAUSE_S


def test_a_channel_that_breaks_while_it_was_asked_to_wait_is_open():
    breaker = after(after(Breaker(), Failed(Failure.THROTTLED, asked_s=60), now=100), DOWN, now=101)

    assert (breaker.failures, breaker.opens_at) == (1, 160)


def test_a_probe_that_is_asked_to_wait_has_proved_that_the_channel_works():
    breaker = after(after(Breaker(), DOWN, now=0), Failed(Failure.THROTTLED, asked_s=60), now=5)

    assert breaker == Breaker(0, 65)


def test_a_channel_that_is_gone_gets_no_probe_whatever_others_come_to():
    breaker = after(Breaker(), Failed(Failure.GONE, "410 x"), now=0)

    assert breaker == after(breaker, Sent(), now=1) == after(breaker, DOWN, now=1) == GONE
    assert breaker.allows(8, now=1e12) == 0
    assert not breaker.closed
