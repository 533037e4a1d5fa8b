"""Every program that speaks to Kafka does so over TLS and with a login, and says what is wrong with either."""

import asyncio
from collections import Counter

import pytest
from support import hep_calls, kafka_log
from support.classifier_process import ClassifierProcess, offline, values
from support.collector_process import CollectorProcess, Topic, send_tcp
from support.command import missedcall

from missedcall_common.kafka.__main__ import main as topics

pytestmark = [pytest.mark.kafka]

PARTITIONS = 2
CALLS = 20
FAREWELL_S = 30
"""asyncio's ssl_shutdown_timeout."""
WAYS = ["SCRAM-SHA-256", "SCRAM-SHA-512", "tls"]


@pytest.fixture
def plain(kafka):
    return kafka_log.environment(kafka, PARTITIONS)


def of_kafka(environment):
    return {name: value for name, value in environment.items() if name.startswith("MISSEDCALL_KAFKA_")}


@pytest.mark.parametrize("how", WAYS)
def test_collector_classifier_and_audit_work_over_it(kafka, plain, how):
    environment = plain | kafka_log.secured(kafka, how)
    sent = [frame for _, frame in hep_calls.frames(CALLS, 100.0)]
    verdicts = kafka_log.topic(environment, "call-verdicts")

    async def scenario():
        async with (
            CollectorProcess(of_kafka(environment)) as collector,
            ClassifierProcess(environment) as classifier,
        ):
            await send_tcp((await collector.ports())["tcp"], sent)
            async with asyncio.timeout(40):
                while (  # noqa: ASYNC110 - a reader of the topic is told nothing
                    len(await asyncio.to_thread(values, kafka.bootstrap, verdicts)) < CALLS
                ):
                    await asyncio.sleep(0.5)
            audited = await asyncio.to_thread(missedcall, "audit", env={"PYTHONWARNINGS": "", **environment})
            assert await collector.terminate() == 0
            assert await classifier.terminate() == 0
        return audited, [event["load_s"] for event in classifier.named("state.loaded")]

    audited, loaded_s = asyncio.run(scenario())
    facts = values(kafka.bootstrap, kafka_log.topic(environment, "missed-calls"))

    log = Topic(kafka.bootstrap, kafka_log.topic(environment, "sip-transactions"))
    assert Counter(facts) == Counter(offline(log).facts)
    assert len(facts) == CALLS * hep_calls.MISSED_OF_FOUR // 4
    assert (audited.returncode, audited.stderr) == (0, "")
    assert f"compared={len(facts)} duplicate=0 missing=0" in audited.stdout
    assert max(loaded_s) < FAREWELL_S  # a take-over does not wait for connections that it closes


@pytest.mark.parametrize("how", WAYS)
def test_topics_are_created_and_checked_over_it(kafka, how):
    environment = {
        **kafka_log.secured(kafka, how),
        "MISSEDCALL_KAFKA_PREFIX": f"s{how.lower()}.",
        "MISSEDCALL_KAFKA_PARTITIONS": "1",
        "MISSEDCALL_KAFKA_REPLICAS": "1",
    }

    assert topics(["--check"], environment) == 1
    assert topics([], environment) == 0
    assert topics(["--check"], environment) == 0


@pytest.fixture
def refused(kafka, plain, tmp_path, request):
    """Return settings with which no broker speaks to us."""
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password")
    return (
        plain
        | {
            "password": {
                **kafka_log.secured(kafka, "SCRAM-SHA-256"),
                "MISSEDCALL_KAFKA_SASL_PASSWORD_FILE": str(wrong),
            },
            "authority": {**kafka_log.secured(kafka, "SCRAM-SHA-256"), "MISSEDCALL_KAFKA_TLS_CA_FILE": ""},
            "certificate": {
                **kafka_log.secured(kafka, "tls"),
                "MISSEDCALL_KAFKA_TLS_CERT_FILE": "",
                "MISSEDCALL_KAFKA_TLS_KEY_FILE": "",
            },
        }[request.param]
    )


@pytest.mark.parametrize("refused", ["password", "authority", "certificate"], indirect=True)
def test_who_is_refused_gets_one_line_and_no_trace_back(refused, capsys):
    assert topics(["--check"], of_kafka(refused)) == 1

    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("Kafka: ")


@pytest.mark.parametrize("refused", ["password"], indirect=True)
def test_a_classifier_that_is_refused_ends_and_says_so(refused):
    async def scenario():
        async with ClassifierProcess(refused) as classifier:
            return await classifier.ended(), classifier.events

    status, events = asyncio.run(scenario())

    assert status == 1
    assert [event["error"] for event in events if event.get("event") == "service.failed"] == [
        "KafkaUnusableError"
    ]
    assert [
        line for event in events if (line := event.get("text", "")).startswith("missedcall_classifier: Kafka")
    ]


@pytest.mark.parametrize("refused", ["password"], indirect=True)
def test_a_collector_that_is_refused_keeps_what_it_receives(refused, tmp_path):
    sent = [frame for _, frame in hep_calls.frames(4, 100.0)]

    async def scenario():
        keeping = {**of_kafka(refused), "MISSEDCALL_SPOOL_FOLDER": str(tmp_path / "spool")}
        async with CollectorProcess(keeping) as collector:
            await send_tcp((await collector.ports())["tcp"], sent)
            await collector.event("kafka.lost")
            await collector.counted(received=len(sent))
            assert await collector.terminate() == 0
            return collector.named("counters.reported")[-1]["counts"], collector.events

    counts, events = asyncio.run(scenario())

    assert counts["spooled"] == len(sent)
    assert not [event for event in events if "not the password" in str(event)]
