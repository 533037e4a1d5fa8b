"""When time goes on without a collector."""

from missedcall_classifier.engine import IDLE_COLLECTOR_S
from missedcall_classifier.stream.silence import QUIET_S, UNBROKEN_S, Silence


def seconds_until_time_goes_on(silence, looks):
    """Look at partition 3 at each (time, whether Kafka had no more); return when time went on, if it did."""
    for now_s, empty in looks:
        assert silence.quiet({3: 7}) in ([], [3])
        if silence.looked(3, now_s, empty=empty):
            return now_s
    return None


def each_second(first, last, *, empty=True):
    return [(float(second), empty) for second in range(first, last + 1)]


def test_time_goes_on_after_a_minute_of_silence_and_each_second_from_then():
    silence = Silence()

    assert seconds_until_time_goes_on(silence, each_second(0, 200)) == QUIET_S
    assert silence.looked(3, QUIET_S + 1, empty=True)


def test_where_a_collector_is_heard_nobody_is_asked_and_silence_begins_anew():
    silence = Silence()
    seconds_until_time_goes_on(silence, each_second(0, 59))

    assert silence.quiet({3: 8}) == []
    assert silence.quiet({3: 8}) == [3]
    assert not silence.looked(3, QUIET_S, empty=True)


def test_what_kafka_has_and_nobody_has_decided_is_no_silence():
    looks = [*each_second(0, 50), *each_second(51, 51, empty=False), *each_second(52, 200)]

    assert seconds_until_time_goes_on(Silence(), looks) == 51 + QUIET_S


def test_while_kafka_cannot_be_asked_there_is_no_silence():
    back = 50 + int(UNBROKEN_S) + 1

    assert (
        seconds_until_time_goes_on(Silence(), [*each_second(0, 50), *each_second(back, 200)])
        == back + QUIET_S
    )


def test_a_new_owner_begins_to_listen_when_he_has_it():
    silence = Silence()
    seconds_until_time_goes_on(silence, each_second(0, 59))
    silence.quiet({})

    assert silence.quiet({3: 0}) == []
    assert silence.quiet({3: 0}) == [3]
    assert not silence.looked(3, QUIET_S, empty=True)


def test_by_then_the_engine_holds_the_collectors_for_idle():
    assert QUIET_S > IDLE_COLLECTOR_S
