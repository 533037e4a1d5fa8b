"""The partitions of a worker, without Kafka."""

import pytest
from support import hep_calls

from missedcall_classifier.policy import Policy
from missedcall_classifier.stream import partitions
from missedcall_classifier.stream.partitions import KafkaPartitions
from missedcall_classifier.stream.settings import ClassifierSettings
from missedcall_classifier.stream.unit import Unit
from missedcall_common.kafka.cut import Cut
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_schemas.codec import encode_batch

VALUES = [encode_batch(batch) for batch in hep_calls.batches(4, 20.0)]


class CrashedError(Exception):
    pass


@pytest.fixture
def ours(monkeypatch):
    def crash(error):
        raise CrashedError from error

    monkeypatch.setattr(partitions, "crash", crash)
    found = KafkaPartitions(
        ClassifierSettings(kafka=KafkaSettings(bootstrap=("127.0.0.1:1",))), Policy(), {}, Cut(1, 48)
    )
    found.units[3] = Unit(Policy(), 48)
    return found


def test_a_record_of_a_partition_that_went_to_another_worker_is_left_to_him(ours):
    """Delivered from a buffer after the partition was given away, it was taken for a mistake in deciding."""
    ours.feed(4, 0, VALUES[0])

    assert set(ours.units) == {3}
    assert not ours.units[3].pending


def test_a_record_before_which_others_were_not_delivered_ends_the_process(ours):
    ours.feed(3, 0, VALUES[0])

    with pytest.raises(CrashedError):
        ours.feed(3, 2, VALUES[2])

    assert ours.units[3].next == 1
