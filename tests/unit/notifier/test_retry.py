from hypothesis import given
from hypothesis import strategies as st

from missedcall_notifier.failure import Failure
from missedcall_notifier.retry import SPREAD, RetryPolicy, next_delay_s

POLICY = RetryPolicy()
HOUR = 3600.0


def test_a_transient_failure_waits_longer_each_time_and_never_beyond_the_limit():
    waits = [next_delay_s(POLICY, Failure.TRANSIENT, attempt=n, elapsed_s=0) for n in range(1, 8)]

    assert waits == [5, 20, 80, 320, 1280, 3600, 3600]


def test_a_permanent_failure_is_never_tried_again():
    permanent = (Failure.PERMANENT_ITEM, Failure.PERMANENT_RECIPIENT)

    assert [next_delay_s(POLICY, failure, attempt=1, elapsed_s=0) for failure in permanent] == [None, None]


def test_a_channel_that_is_down_uses_nothing_up_however_long_it_takes():
    wait = next_delay_s(POLICY, Failure.CHANNEL_DOWN, attempt=99, elapsed_s=1000 * HOUR)

    assert wait == 0


def test_a_full_mailbox_is_asked_again_in_hours():
    wait = next_delay_s(POLICY, Failure.SLOW, attempt=1, elapsed_s=0)

    assert wait == HOUR


def test_a_target_that_names_a_wait_gets_it():
    wait = next_delay_s(POLICY, Failure.THROTTLED, attempt=1, elapsed_s=0, asked_s=120)

    assert wait == 120


def test_a_target_cannot_ask_for_more_than_an_hour():
    wait = next_delay_s(POLICY, Failure.THROTTLED, attempt=1, elapsed_s=0, asked_s=1e12)

    assert wait == HOUR


def test_a_target_cannot_ask_for_less_than_our_own_wait():
    wait = next_delay_s(POLICY, Failure.THROTTLED, attempt=1, elapsed_s=0, asked_s=0)

    assert wait == POLICY.throttled_s


def test_the_last_attempt_is_at_the_end_of_its_life():
    wait = next_delay_s(POLICY, Failure.TRANSIENT, attempt=9, elapsed_s=72 * HOUR - 60)

    assert wait == 60


def test_beyond_its_life_there_is_no_attempt():
    wait = next_delay_s(POLICY, Failure.TRANSIENT, attempt=9, elapsed_s=72 * HOUR)

    assert wait is None


def test_uncertain_attempts_are_bounded():
    waits = [next_delay_s(POLICY, Failure.UNCERTAIN, attempt=n, elapsed_s=0) for n in (4, 5)]

    assert waits == [320, None]


@given(
    failure=st.sampled_from(Failure),
    attempt=st.integers(1, 10**6),
    elapsed_s=st.floats(0, 1e9),
    asked_s=st.none() | st.floats(0, 1e18),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_jitter_only_lengthens_and_by_no_more_than_its_share(failure, attempt, elapsed_s, asked_s, jitter):
    def wait(jitter):
        return next_delay_s(
            POLICY, failure, attempt=attempt, elapsed_s=elapsed_s, asked_s=asked_s, jitter=jitter
        )

    plain, spread = wait(0.0), wait(jitter)

    assert plain is spread is None or plain <= spread <= plain * (1 + SPREAD)
