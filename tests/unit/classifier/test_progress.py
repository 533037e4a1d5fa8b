"""When a worker stands still."""

from missedcall_classifier.stream.progress import STALL_S, Position, Progress


def test_what_goes_on_or_has_nothing_to_do_does_not_stand_still():
    progress = Progress()

    for second in range(0, int(4 * STALL_S), 10):
        at = {1: Position(5, 5), 2: Position(second, 10_000)}
        assert progress.stalled(float(second), at) == []


def test_what_has_more_and_does_not_go_on_stands_still_after_a_while():
    progress = Progress()
    at = {1: Position(5, 6), 2: Position(6, 6)}

    found = [progress.stalled(now_s, at) for now_s in (0.0, STALL_S - 1, STALL_S, STALL_S + 1)]

    assert found == [[], [], [1], [1]]


def test_one_step_is_progress():
    progress = Progress()
    progress.stalled(0.0, {1: Position(5, 9)})
    progress.stalled(STALL_S - 1, {1: Position(6, 9)})

    assert progress.stalled(STALL_S + 1, {1: Position(6, 9)}) == []


def test_a_partition_that_comes_back_begins_anew():
    progress = Progress()
    progress.stalled(0.0, {1: Position(5, 9)})
    progress.stalled(1.0, {})

    assert progress.stalled(STALL_S + 2, {1: Position(5, 9)}) == []
