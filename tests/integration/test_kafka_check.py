"""`missedcall check` on a real Kafka."""

import uuid

import pytest
from support import kafka_log
from support.kafka_rights import Place, cases

from missedcall_common.kafka.__main__ import main as create_topics
from missedcall_common.kafka.plan import Found
from missedcall_common.kafka.settings import PREFIX, KafkaSettings
from missedcall_common.runtime.settings import from_environment
from missedcall_embedded.cli import main
from missedcall_notifier.checks.findings import State
from missedcall_notifier.checks.kafka import _rights, check_kafka

pytestmark = [pytest.mark.kafka]


def check(environment, monkeypatch, capsys):
    """Return exit status and lines of the command."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status = main(["check"])
    return status, capsys.readouterr().out.splitlines()


@pytest.fixture
def environment(kafka):
    return {
        "MISSEDCALL_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "MISSEDCALL_KAFKA_PREFIX": f"c{uuid.uuid4().hex[:8]}.",
        "MISSEDCALL_KAFKA_PARTITIONS": "2",
        "MISSEDCALL_KAFKA_REPLICAS": "1",
    }


def test_topics_that_are_missing_are_named(environment, monkeypatch, capsys):
    status, lines = check(environment, monkeypatch, capsys)

    assert status == 1
    assert lines[0] == "kafka brokers        ok"
    missing = f"{environment['MISSEDCALL_KAFKA_PREFIX']}missed-calls is missing"
    [line] = [line for line in lines if missing in line]
    assert line.endswith("; python -m missedcall_common.kafka creates it, as a user who may")


def test_what_is_there_as_it_should_be_is_ok(environment, monkeypatch, capsys):
    assert create_topics([], environment) == 0
    capsys.readouterr()

    status, lines = check(environment, monkeypatch, capsys)

    assert status == 0
    assert [line.split(":")[0].rstrip() for line in lines] == [
        "kafka brokers        ok",
        "kafka login          ok",
        "kafka topics         ok",
        "kafka rights         ok",
    ]


def test_another_partition_count_is_said(environment, monkeypatch, capsys):
    assert create_topics([], environment) == 0
    capsys.readouterr()

    status, lines = check(environment | {"MISSEDCALL_KAFKA_PARTITIONS": "3"}, monkeypatch, capsys)

    assert status == 1
    assert any("has 2 partitions, expected 3; the count decides" in line for line in lines)


def test_brokers_that_are_not_there_are_said(environment, monkeypatch, capsys):
    status, lines = check(environment | {"MISSEDCALL_KAFKA_BOOTSTRAP": "127.0.0.1:1"}, monkeypatch, capsys)

    assert status == 1
    assert lines[0].startswith(
        "kafka brokers        fails: no broker answers; check MISSEDCALL_KAFKA_BOOTSTRAP"
    )
    assert [line.split(": ")[0] for line in lines[1:]] == [
        "kafka login          not tested",
        "kafka topics         not tested",
        "kafka rights         not tested",
    ]


@pytest.mark.parametrize(
    ("how", "changes", "words"),
    [
        ("SCRAM-SHA-256", {"SASL_PASSWORD_FILE": "wrong"}, "login: the brokers refuse the login"),
        ("SCRAM-SHA-256", {"TLS_CA_FILE": ""}, "tls: the broker's certificate is not believed"),
        (
            "SCRAM-SHA-256",
            {"TLS_CA_FILE": "nowhere"},
            "brokers: a file for TLS or the password's cannot be used",
        ),
        ("tls", {"TLS_CERT_FILE": "", "TLS_KEY_FILE": ""}, "login: the brokers do not talk to us"),
        ("tls", {"BOOTSTRAP": ""}, "tls: the broker speaks no TLS on this port"),
    ],
)
def test_who_is_refused_is_told_why(kafka, environment, how, changes, words, tmp_path, monkeypatch):
    monkeypatch.setattr("missedcall_common.kafka.topics.CONNECT_MS", 1_500)
    (tmp_path / "wrong").write_text("not the password")
    given = environment | kafka_log.secured(kafka, how)
    for name, value in changes.items():
        file = str(tmp_path / value) if value else ""
        given[f"MISSEDCALL_KAFKA_{name}"] = kafka.bootstrap if name == "BOOTSTRAP" else file

    found = list(check_kafka(from_environment(KafkaSettings, given, PREFIX)))

    [failed] = [f for f in found if f.state is State.FAILS]
    assert f"{failed.step}: {failed.words}" == words
    assert failed.todo
    assert {f.state for f in found[found.index(failed) + 1 :]} == {State.UNTESTED}


def test_rights_that_the_brokers_do_not_grant_are_named(kafka):
    place = Place(kafka)
    (case,) = [case for case in cases() if case[0] == "notifier" and case.right.name == "missed-calls"]
    with place.without(case):
        found = list(check_kafka(place.kafka_of("notifier")))
    complete = list(check_kafka(place.kafka_of("notifier")))
    place.close()

    [failed] = [f for f in found if f.state is State.FAILS]
    name = kafka_log.topic(place.environment, "missed-calls")
    assert (failed.step, failed.words) == ("rights", f"this user may not read {name}")
    assert {f.state for f in complete} == {State.OK}


def settings_of(**may):
    settings = KafkaSettings(bootstrap=("x:1",), prefix="x.", channels=("smtp",))
    return settings, {f"x.{name.replace('_', '-')}": Found(6, {}, rights) for name, rights in may.items()}


def test_rights_that_are_lacking_are_named():
    write = frozenset({"WRITE"})

    [found] = _rights(*settings_of(missed_calls=write, dead_letters=write, call_state=frozenset()))

    assert found.state is State.FAILS
    assert found.words == "this user may not read x.missed-calls"


def test_rights_that_no_broker_tells_are_not_tested():
    [found] = _rights(*settings_of(missed_calls=None))

    assert found.state is State.UNTESTED
