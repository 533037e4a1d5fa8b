"""`python -m missedcall_collector.trial`: sends one call by HEP, and waits until Kafka has what was decided.

    --to tcp://HOST:PORT    the collector, udp:// or tcp://
    --callee sip:...        who is called; nobody must be told at this address
    --timeout SECONDS       to wait
    --auth-key-file FILE    HEP authenticate keys, as the collector has them; the first is used

Kafka is that of `MISSEDCALL_KAFKA_...`. It writes nothing to Kafka, and joins no group.
"""

import argparse
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.kafka.plan import name_of
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.runtime.settings import PREFIX, SettingsError, from_environment
from missedcall_schemas import codec

from . import hep
from .settings import read_auth_keys
from .trial_call import trial_call

POLL_MS = 500
CONNECT_MS = 15_000
TOPICS = ("call-verdicts", "missed-calls")
_TARGET = re.compile(r"(udp|tcp)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run the command.

    Returns:
        0: the call was decided, and its fact is there if it was missed. 1: not so, in time. 2: wrong arguments.
    """
    parser = argparse.ArgumentParser(prog="python -m missedcall_collector.trial", description=__doc__)
    parser.add_argument("--to", required=True)
    parser.add_argument("--callee", required=True)
    parser.add_argument("--timeout", type=float, default=90.0)
    parser.add_argument("--auth-key-file", type=Path)
    given = parser.parse_args(arguments)
    target = _TARGET.fullmatch(given.to)
    if target is None:
        parser.error(f"--to {given.to!r}: expected udp://HOST:PORT or tcp://HOST:PORT")
    try:
        settings = from_environment(KafkaSettings, environment, f"{PREFIX}KAFKA_")
        key = read_auth_keys(given.auth_key_file)[0] if given.auth_key_file else b""
        consumer = _at_the_end(settings)
    except (SettingsError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (KafkaError, KafkaUnusableError, OSError) as error:
        sys.stderr.write(f"Kafka: {error}\n")
        return 1
    call_id = f"{secrets.token_hex(12)}@missedcall.invalid"
    try:
        _send(
            target, [hep.encode(p) for p in trial_call(call_id, given.callee, int(time.time() * 1000), key)]
        )
        print(f"sent one call to {given.callee} by {given.to}", flush=True)  # noqa: T201
        return _wait(consumer, settings, call_id, given.timeout)
    except KafkaError as error:
        sys.stderr.write(f"Kafka: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{given.to}: {error.strerror or error}\n")
        return 1
    finally:
        consumer.close()


def _at_the_end(settings: KafkaSettings) -> Any:
    consumer: Any = KafkaConsumer(
        **connection(settings, "missedcall-trial"),
        isolation_level="read_committed",
        bootstrap_timeout_ms=CONNECT_MS,
    )
    try:
        found = _partitions(consumer, settings)
        consumer.assign(found)
        consumer.seek_to_end(*found)
        for partition in found:  # seeking is put off until somebody asks
            consumer.position(partition)
    except BaseException:
        consumer.close()
        raise
    return consumer


def _partitions(consumer: Any, settings: KafkaSettings) -> list[TopicPartition]:
    found = []
    for topic in TOPICS:
        name = name_of(topic, settings)
        partitions = consumer.partitions_for_topic(name)
        if not partitions:
            raise KafkaUnusableError(f"topic {name} is missing, or may not be read by us")
        found += [TopicPartition(name, number) for number in partitions]
    return found


def _send(target: "re.Match[str]", frames: list[bytes]) -> None:
    scheme, host, port = target.groups()
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=kind)[0]
    with socket.socket(family, kind) as sock:
        sock.settimeout(10)
        sock.connect(address)
        for frame in frames:
            sock.sendall(frame)


def _wait(consumer: Any, settings: KafkaSettings, call_id: str, timeout_s: float) -> int:
    verdicts, facts = (name_of(topic, settings) for topic in TOPICS)
    outcome, fact = "", False
    began = time.monotonic()
    while time.monotonic() < began + timeout_s:
        for partition, records in consumer.poll(timeout_ms=POLL_MS).items():
            for record in records:
                if partition.topic == facts:
                    fact = fact or codec.decode_missed_call(record.value).call_id == call_id
                elif partition.topic == verdicts:
                    verdict = codec.decode_verdict(record.value)
                    outcome = verdict.outcome if verdict.call_id == call_id else outcome
        if outcome and (fact or outcome != "missed"):
            what = "missed, and its fact is there" if fact else outcome
            print(f"decided after {time.monotonic() - began:.1f} s: {what}")  # noqa: T201
            return 0
    what = f"decided as {outcome}, but no fact is there" if outcome else "no verdict of it is there"
    sys.stderr.write(f"after {timeout_s:.0f} s: {what}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
