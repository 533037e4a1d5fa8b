"""`python -m missedcall_collector.trial`, which `helm test` runs: one call through collector and classifier."""

import asyncio
import sys

import pytest
from support import kafka_log
from support.classifier_process import ClassifierProcess
from support.collector_process import CollectorProcess

from missedcall_collector import hep
from missedcall_collector.trial import main
from missedcall_collector.trial_call import trial_call

pytestmark = [pytest.mark.kafka]

CALLEE = "sip:missedcall-test@missedcall.invalid"


def of_kafka(environment):
    return {name: value for name, value in environment.items() if name.startswith("MISSEDCALL_KAFKA_")}


async def trial(environment, *arguments):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "missedcall_collector.trial", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_trial_finds_its_call_decided(kafka, tmp_path, scheme):
    environment = kafka_log.environment(kafka, 2)
    keys = tmp_path / "keys"
    keys.write_text("a key of the test\n")

    async def scenario():
        listening = {**of_kafka(environment), "MISSEDCALL_LISTEN_AUTH_KEY_FILE": str(keys)}
        async with CollectorProcess(listening) as collector, ClassifierProcess(environment):
            port = (await collector.ports())[scheme]
            target = f"{scheme}://127.0.0.1:{port}"
            asked = ["--to", target, "--callee", CALLEE, "--timeout", "60"]
            with_key = await trial(of_kafka(environment), *asked, "--auth-key-file", str(keys))
            without = await trial(of_kafka(environment), *asked[:-1], "2")
        return with_key, without

    (status, out, err), (failed, _, why) = asyncio.run(scenario())

    assert (status, err) == (0, "")
    assert "missed, and its fact is there" in out
    assert (failed, why) == (1, "after 2 s: no verdict of it is there\n")


def test_it_says_what_is_missing(kafka, capsys):
    bootstrap = {"MISSEDCALL_KAFKA_BOOTSTRAP": kafka.bootstrap, "MISSEDCALL_KAFKA_PREFIX": "nowhere."}

    assert main(["--to", "tcp://127.0.0.1:1", "--callee", CALLEE], bootstrap) == 1
    assert "topic nowhere.call-verdicts is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["--to", "http://x", "--callee", CALLEE], bootstrap)


def test_a_trial_is_hep_that_anybody_could_send():
    frames = [hep.encode(packet) for packet in trial_call("x@y", CALLEE, 1_700_000_000_000, b"key")]

    packets = [hep.decode(frame) for frame in frames]
    assert [packet.payload.split(b"\r\n")[0].split(b" ")[0] for packet in packets] == [
        b"INVITE",
        b"SIP/2.0",
        b"CANCEL",
        b"SIP/2.0",
    ]
    assert {packet.auth_key for packet in packets} == {b"key"}
    assert max(packet.captured_ms for packet in packets) < 1_700_000_000_000
