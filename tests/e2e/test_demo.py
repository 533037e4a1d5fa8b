"""The demo keeps what its samples promise, by itself and soon."""

import asyncio
import importlib.util
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.command import missedcall

from missedcall_embedded.cli import main
from missedcall_embedded.demo import SAMPLES, DemoError, load_samples, pipeline, show_deliveries, until
from missedcall_embedded.demo_sinks import Event, Mail, Sinks
from missedcall_schemas import codec
from missedcall_schemas.records import MissedCall, Party

MAKER = Path(__file__).resolve().parents[1] / "samples" / "make_samples.py"


def test_the_demo_decides_and_delivers_what_its_samples_promise():
    begin = time.monotonic()

    done = missedcall("demo")

    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - begin < 55
    told = [verdict for sample in load_samples() for verdict in sample.verdicts if verdict.is_told]
    assert all(f"to {verdict.mailbox}: " in done.stdout for verdict in told)
    assert done.stdout.count("signature valid") == len(told)


def test_replay_of_the_samples_keeps_the_same_promises():
    samples = load_samples()

    done = missedcall(
        "replay", *(SAMPLES / sample.file for sample in samples), "--format", "jsonl", "--verdicts"
    )

    decided = [codec.decode_verdict(line.encode()) for line in done.stdout.splitlines()]
    promised = {(s.call_id, v.callee, v.outcome, v.cause) for s in samples for v in s.verdicts}
    assert {(v.call_id, v.callee, v.outcome, v.cause) for v in decided} == promised


def test_every_sample_can_be_explained():
    statuses = [
        missedcall("explain", SAMPLES / sample.file, "--call-id", sample.call_id).returncode
        for sample in load_samples()
    ]

    assert set(statuses) == {0}


def test_the_samples_are_what_their_ladders_say():
    spec = importlib.util.spec_from_file_location("make_samples", MAKER)
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)

    assert maker.differing(maker.make()) == []


def test_without_a_mail_server_the_demo_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiosmtpd", None)

    status = main(["demo"])

    told = capsys.readouterr()
    assert (status, told.out) == (1, "")
    assert "pip install 'missedcall[demo]'" in told.err


# -- what makes it fail -----------------------------------------------------------------------------------


RUNNING = SimpleNamespace(returncode=None)


def delivered(samples):
    """Return sinks that have got what the samples promise."""
    sinks = Sinks(b"x" * 24)
    for verdict in [verdict for sample in samples for verdict in sample.verdicts if verdict.is_told]:
        fact = MissedCall(
            fact_id="f",
            call_id="c",
            callee=verdict.callee,
            caller=Party(),
            cause=verdict.cause,
            rang_at=1.0,
            ended_at=2.0,
            rule="r",
            decided_at=3.0,
        )
        sinks.mails.append(Mail(verdict.mailbox, "Missed call"))
        sinks.events.append(Event("missed_call.missed", fact, signed=True))
    return sinks


def test_what_was_promised_passes():
    samples = load_samples()

    asyncio.run(show_deliveries(samples, delivered(samples), RUNNING))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda sinks: sinks.mails.append(sinks.mails[0]), "the mails are not those promised"),
        (lambda sinks: sinks.mails.append(Mail("eve@example.com", "x")), "the mails are not those promised"),
        (lambda sinks: sinks.events.append(sinks.events[0]), "the webhook calls are not those promised"),
        (
            lambda sinks: sinks.events.append(sinks.events.pop()._replace(signed=False)),
            "a webhook call was signed wrongly",
        ),
    ],
)
def test_a_notice_that_was_not_promised_fails_the_demo(spoil, said):
    samples = load_samples()
    sinks = delivered(samples)
    spoil(sinks)

    with pytest.raises(DemoError, match=said):
        asyncio.run(show_deliveries(samples, sinks, RUNNING))


def test_a_pipeline_that_does_not_start_fails_the_demo(tmp_path):
    async def begin():
        config = tmp_path / "wrong.toml"
        config.write_text("[listen]\nupd = []\n")
        async with pipeline(config, tmp_path / "log") as process:
            await until(lambda: False, 30, "it did not begin to listen", process)

    with pytest.raises(DemoError, match="ended by itself with exit status 2"):
        asyncio.run(begin())
