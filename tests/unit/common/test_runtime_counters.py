"""The catalogue of counted names."""

from missedcall_common.runtime.counters import COUNTERS, meaning


def test_a_name_means_its_own_row():
    assert meaning("connections.opened") == COUNTERS["connections.opened"]


def test_a_name_of_a_family_means_the_familys_row():
    assert meaning("outcome-missed") == COUNTERS["outcome-"]
    assert meaning("connections.too-many") == COUNTERS["connections."]


def test_a_name_that_nobody_explained_means_nothing():
    assert meaning("mystery") is None
    assert meaning("connections") is None
