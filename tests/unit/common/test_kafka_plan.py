from missedcall_common.kafka.plan import Found, differences, name_of, plan, refusals
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_schemas.topics import TOPICS


def settings(**changes):
    return KafkaSettings(bootstrap=("kafka:9092",), **changes)


def by_name(**changes):
    return {topic.name: topic for topic in plan(settings(**changes))}


def test_every_topic_in_use_is_planned_and_no_other():
    used = {name for name, topic in TOPICS.items() if topic.status == "used" and "{channel}" not in name}

    assert by_name().keys() == used | {"notify-journal-smtp", "notify-journal-webhook"}


def test_a_prefix_and_a_generation_are_part_of_every_name():
    assert all(
        name.startswith("acme.") and name.endswith(".g2") for name in by_name(prefix="acme.", generation=2)
    )


def test_the_partition_count_is_the_same_for_what_goes_together():
    topics = by_name(partitions=12)

    assert {topics[name].partitions for name in ("sip-transactions", "call-state", "missed-calls")} == {12}
    assert topics["dead-letters"].partitions == TOPICS["dead-letters"].partitions


def test_as_many_replicas_in_sync_are_asked_for_as_there_can_be():
    assert by_name(replicas=1)["missed-calls"].config["min.insync.replicas"] == "1"
    assert by_name(replicas=3)["missed-calls"].config["min.insync.replicas"] == "2"


def test_the_collectors_topic_has_the_planned_name():
    assert name_of("sip-transactions", settings(prefix="x-", generation=3)) in by_name(
        prefix="x-", generation=3
    )


def test_another_partition_count_is_refused_with_both_ways_out():
    (said,) = refusals(plan(settings()), {"sip-transactions": Found(12, {})})

    assert "sip-transactions has 12 partitions, expected 48" in said
    assert "MISSEDCALL_KAFKA_PARTITIONS=12" in said
    assert "MISSEDCALL_KAFKA_GENERATION" in said


def test_a_missing_topic_is_no_refusal():
    assert list(refusals(plan(settings()), {})) == []


def test_what_an_operator_changed_is_said():
    found = {"sip-transactions": Found(48, {"retention.ms": "1000"})}

    assert list(differences(plan(settings()), found)) == [
        "topic sip-transactions: retention.ms is 1000, the release says 86400000"
    ]
