"""compose.yaml brought up for real, by podman-compose with images built here: `make pods-test`.

What the file asks for from outside is put in its place: an image of Kafka (tests/e2e/compose/Dockerfile), a relay.
What is replaced in it: the published ports, by free ones; TLS to the relay, which is ours; `depends_on` of topics,
since podman 4 cannot start what depends on what depends on something (podman-compose#921); and Kafka's name is
looked up in /etc/hosts, since podman's own name server has been seen silent for 30 s while containers start.
"""

import asyncio
import ipaddress
import json
import os
import socket
import sys
import time

import pytest
from kafka_nodes import BUILD, free_ports, have_jars
from support import containers
from support.chart import ROOT
from support.containers import run
from support.smtp_sink import SmtpSink

from missedcall_collector import hep
from missedcall_collector.trial_call import trial_call

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.environ.get("MISSEDCALL_PODS") != "yes",
        reason="builds images, which takes minutes: make pods-test",
    ),
]

LIBRARY = ROOT / "build/compose"
PROJECT = "missedcall-test"
KAFKA, JAVA = "localhost/missedcall-kafka:debian", "localhost/missedcall-java:debian"
PATIENCE_S = 60
NETWORK = f"{PROJECT}-network"
REPLACED = """
networks:
  default: {{external: true, name: {network}}}
services:
  kafka:
    networks: {{default: {{ipv4_address: {kafka}}}}}
  topics:
    depends_on: !reset []
    extra_hosts: &hosts ["kafka:{kafka}"]
  collector:
    ports: !override ["127.0.0.1:{hep}:9060/udp", "127.0.0.1:{hep}:9060/tcp"]
    extra_hosts: *hosts
  classifier-1:
    extra_hosts: *hosts
  classifier-2:
    extra_hosts: *hosts
  notifier-smtp:
    extra_hosts: *hosts
    environment:
      MISSEDCALL_NOTIFY_SMTP_SECURITY: none
      MISSEDCALL_NOTIFY_SMTP_PORT: "{smtp}"
"""
RUNNING = ("collector", "classifier-1", "classifier-2", "notifier-smtp")


@pytest.fixture
def kafka_image(engine, tmp_path):
    have_jars()
    containers.system_image(engine, JAVA, "openjdk-17-jre-headless", tmp_path / "java")
    dockerfile = str(ROOT / "tests/e2e/compose/Dockerfile")
    run(
        *("buildah", "bud", "--quiet", "--pull-never", "--layers", "--build-arg", f"JAVA_IMAGE={JAVA}"),
        *("-t", KAFKA, "-f", dockerfile, str(BUILD)),
        env=engine,
    )
    return KAFKA


class Compose:
    """The services of compose.yaml, up until `down`."""

    def __init__(self, env, folder):
        self.env = env
        self.hep_port, self.smtp_port = free_ports(2)
        if run("podman", "network", "exists", NETWORK, env=env, check=False).returncode:
            self.podman("network", "create", NETWORK)
        (network,) = json.loads(self.podman("network", "inspect", NETWORK))
        (subnet,) = network["subnets"]
        self.gateway = subnet["gateway"]
        *_, kafka = ipaddress.ip_network(subnet["subnet"]).hosts()
        replaced = folder / "replaced.yaml"
        replaced.write_text(
            REPLACED.format(hep=self.hep_port, smtp=self.smtp_port, kafka=kafka, network=NETWORK)
        )
        self.words = (
            *(sys.executable, "-m", "podman_compose", "--in-pod=false", "-p", PROJECT),
            *("-f", str(ROOT / "compose.yaml"), "-f", str(replaced), "--profile", "smtp"),
        )

    def __call__(self, *words):
        run(*self.words, *words, env=self.env)

    def podman(self, *words):
        return run("podman", *words, env=self.env).stdout

    def said(self, service):
        done = run("podman", "logs", f"{PROJECT}_{service}_1", env=self.env, check=False)
        return done.stdout + done.stderr

    def state(self, service):
        return json.loads(self.podman("inspect", "--format", "json", f"{PROJECT}_{service}_1"))[0]["State"]

    def until_healthy(self, service):
        """Wait until the file's health check holds; where no systemd is, nobody else asks for it."""
        name = f"{PROJECT}_{service}_1"
        end = time.monotonic() + PATIENCE_S
        while run("podman", "healthcheck", "run", name, env=self.env, check=False).returncode:
            assert time.monotonic() < end, self.said(service)[-4000:]
            time.sleep(0.3)

    def down(self):
        self("down", "--volumes")
        self.podman("network", "rm", NETWORK)


@pytest.fixture
def compose(engine, kafka_image, tmp_path):
    if not (LIBRARY / "podman_compose.py").exists():
        pytest.skip("podman-compose is not here: make pods-test")
    env = engine | {
        "PYTHONPATH": str(LIBRARY),
        "KAFKA_IMAGE": kafka_image,
        "DOMAINS": "example.com",
        "SMTP_HOST": "host.containers.internal",
        "SMTP_SENDER": "missed-calls@example.com",
        "SMTP_PATTERN": "{user}@example.com",
        "SMTP_HOSTS": "example.com",
    }
    found = Compose(env, tmp_path)
    found("down", "--volumes")  # of a run that was killed
    try:
        yield found
    finally:
        found.down()


def send(kind, port, callee, ago_s):
    """Send one call that was missed so long ago."""
    ended_ms = int((time.time() - ago_s) * 1000)
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.connect(("127.0.0.1", port))
        for packet in trial_call(f"{time.time_ns()}@missedcall.invalid", callee, ended_ms):
            sock.sendall(hep.encode(packet))


def test_a_call_by_each_protocol_becomes_one_mail(compose):
    compose("up", "--detach", "--no-build")
    for service in RUNNING:
        compose.until_healthy(service)

    async def scenario():
        async with SmtpSink(host=compose.gateway, port=compose.smtp_port) as sink:
            send(socket.SOCK_DGRAM, compose.hep_port, "sip:alice@example.com", 0)
            send(socket.SOCK_STREAM, compose.hep_port, "sip:bob@example.com", 60)  # no ring group
            async with asyncio.timeout(PATIENCE_S):
                while len(sink.mails) < 2:  # noqa: ASYNC110 - the sink tells nobody
                    await asyncio.sleep(0.1)
            await asyncio.to_thread(compose, "stop", *RUNNING)  # before Kafka: what they depend on comes last
            return sink.envelopes

    told = asyncio.run(scenario())

    assert sorted(told) == [
        ("missed-calls@example.com", ["alice@example.com"]),
        ("missed-calls@example.com", ["bob@example.com"]),
    ]
    assert {service: compose.state(service)["ExitCode"] for service in RUNNING} == dict.fromkeys(RUNNING, 0)
    assert compose.state("topics")["ExitCode"] == 0
