"""Users from the topics: published by the command, read by the notifier on a real Kafka."""

import asyncio

import pytest
from kafka import KafkaProducer
from support.kafka_log import environment, topic
from support.notifier_process import Facts, NotifierProcess, fresh_fact, smtp
from support.smtp_sink import SmtpSink

from missedcall_embedded.cli import main as missedcall
from missedcall_schemas.codec import encode_preferences
from missedcall_schemas.records import Preferences

pytestmark = pytest.mark.kafka

DIRECTORY = """\
addresses,name,mailbox,locale,time_zone
sip:bob@example.com,Bob Berg,bob.berg@example.com,de,Europe/Berlin
sip:eve@example.com,Eve,eve@example.com,,
"""


@pytest.fixture
def publish(tmp_path, monkeypatch, capsys):
    def run(env, text, *more):
        for name, value in env.items():
            if name.startswith("MISSEDCALL_KAFKA_"):
                monkeypatch.setenv(name, value)
        path = tmp_path / "people.csv"
        path.write_text(text)
        capsys.readouterr()
        status = missedcall(["directory", "publish", str(path), *more])
        said = capsys.readouterr()
        return status, (said.out + said.err).strip()

    return run


def test_the_topic_follows_the_file(kafka, publish):
    env = environment(kafka, 2)

    assert publish(env, DIRECTORY) == (0, "2 persons: 2 records written, 0 deleted")
    assert publish(env, DIRECTORY) == (0, "2 persons: 0 records written, 0 deleted")
    bob = "".join(DIRECTORY.splitlines(keepends=True)[:2])
    assert publish(env, bob.replace(",de,", ",de-AT,")) == (0, "1 persons: 1 records written, 1 deleted")
    assert publish(env, "addresses,name\nbob,Bob") == (
        2,
        "line 2: addresses: expected addresses of record, without port or parameters: sip:bob@example.com",
    )


def test_a_file_that_has_far_fewer_persons_undoes_nothing(kafka, publish):
    env = environment(kafka, 2)
    many = "addresses\n" + "".join(f"sip:u{n}@example.com\n" for n in range(5))
    assert publish(env, many)[0] == 0

    status, said = publish(env, DIRECTORY)

    assert (status, said) == (
        1,
        "missedcall directory: the topic has 5 persons, the file 2: --force if that is right",
    )
    assert publish(env, DIRECTORY, "--force") == (0, "2 persons: 2 records written, 5 deleted")


def test_a_notice_goes_to_whom_the_topics_name_as_they_wish(kafka, publish):
    async def main():
        sink = SmtpSink()
        async with sink:
            settings = smtp(sink.port)
            del settings["MISSEDCALL_NOTIFY_SMTP_ALWAYS"]
            env = environment(kafka, 2, MISSEDCALL_NOTIFY_PEOPLE_TOPICS="true", **settings)
            env["MISSEDCALL_KAFKA_CHANNELS"] = "smtp"
            await asyncio.to_thread(publish, env, DIRECTORY)
            await asyncio.to_thread(choose, env, "sip:eve@example.com", Preferences(notices=False))
            facts = await asyncio.to_thread(Facts, env)
            told = [fresh_fact(1, callee="sip:eve@example.com"), fresh_fact(2, callee="sip:bob@example.com")]
            await asyncio.to_thread(facts.write, told)
            async with NotifierProcess(env) as process:
                await process.until(
                    lambda: any(
                        line["counts"].get("notices.sent") and line["counts"].get("unrouted:opted-out")
                        for line in process.named("counters.reported")
                    )
                )
                status = await process.terminate()
            await asyncio.to_thread(facts.close)
        return sink.mails, status

    mails, status = asyncio.run(main())
    assert [mail["To"] for mail in mails] == ["bob.berg@example.com"]
    assert mails[0]["Subject"].startswith("Verpasster Anruf von")
    assert status == 0


def choose(env, user, preferences):
    producer = KafkaProducer(bootstrap_servers=env["MISSEDCALL_KAFKA_BOOTSTRAP"])
    producer.send(topic(env, "preferences"), key=user.encode(), value=encode_preferences(preferences))
    producer.close()
