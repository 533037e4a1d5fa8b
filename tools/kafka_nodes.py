"""Apache Kafka on this machine, for tests, demos and benchmarks: one node or three, started, killed, restarted.

    .venv/bin/python tools/kafka_nodes.py up [--nodes 1|3] [--watch PID]   prints the bootstrap address
    .venv/bin/python tools/kafka_nodes.py kill|stop|freeze|thaw|start NODE
    .venv/bin/python tools/kafka_nodes.py status
    .venv/bin/python tools/kafka_nodes.py down

KRaft, broker and controller in one process, on 127.0.0.1 unless told otherwise, data in a temporary folder. The
jars come from Maven once and stay in build/kafka. Tests use `Cluster`.

Rule 1: a cluster never outlives whom it was started for: a watchdog ends it when that process has gone.
Rule 2: a process is signalled only while it is the one that we started: its number and its start time agree.
"""

import argparse
import fcntl
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "tools/kafka"
BUILD = ROOT / "build/kafka"
JARS = BUILD / "jars"
UP = BUILD / "up"
"""Names the folder of the cluster that `up` started."""

HEAP = "512m"
"""Per node. Less: three partitions of a load test and it collects garbage all day. More: three nodes and a test
run do not fit into 4 GB."""
START_S = 90.0
"""For a node to serve; 4 s on a machine with nothing else to do."""
STOP_S = 20.0
WATCH_S = 0.5
FIRST_PORT, LAST_PORT = 20_000, 32_000
"""Ports are taken from here: below Linux's range for outgoing connections, so that a port stays free while its
node is down."""

STARTED = b"Kafka Server started"

# broker.session.timeout.ms: a node that was killed is let in again only after it. Less: nodes are fenced whenever
# a test run takes both cores.
PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
default.replication.factor={replicas}
min.insync.replicas={insync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={insync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={insync}
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=1000
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
"""


SECURE = """\
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller},SASL_SSL://{host}:{sasl},SSL://{host}:{tls}
advertised.listeners=PLAINTEXT://{host}:{port},SASL_SSL://{host}:{sasl},SSL://{host}:{tls}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={module} required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={module} required;
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.ssl.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{user}
allow.everyone.if.no.acl.found=false
ssl.principal.mapping.rules=RULE:^.*$/{user}/
"""
"""Besides the plain listener: one with a login over TLS, one that asks for a certificate. Who comes over the plain
one, as `USER`, or with our certificate may do everything; others only what an ACL allows."""

MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"
USER = "missedcall"


class Secure(NamedTuple):
    """What a client needs for the listeners with TLS."""

    sasl: str
    """Bootstrap of SASL_SSL: SCRAM, `USER` with the password in the file."""
    tls: str
    """Bootstrap of SSL: with a client's certificate."""
    ca_file: Path
    password_file: Path
    cert_file: Path
    key_file: Path


class KafkaError(Exception):
    """No cluster can be had; the text says why and what would help."""


class KafkaMissingError(KafkaError):
    """What a node needs is not on this machine and cannot be put there; tests are skipped then."""


class Cluster:
    """The nodes in one folder, numbered from 1."""

    def __init__(self, folder: Path) -> None:
        """Take up the cluster in ``folder``.

        Raises:
            KafkaError: there is none.
        """
        self.folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        try:
            described = json.loads((folder / "cluster.json").read_text())
        except OSError:
            raise KafkaError(f"{folder}: no cluster is here; `make kafka-up` starts one") from None
        self.quick: bool = described["quick"]
        self.host: str = described["host"]
        self.ports: dict[int, int] = {int(node): port for node, port in described["ports"].items()}
        self._secure_ports: dict[str, list[int]] = described.get("secure", {})

    @classmethod
    def create(
        cls,
        nodes: int = 1,
        *,
        watch: int | None = None,
        quick: bool = False,
        secure: bool = False,
        host: str = "127.0.0.1",
    ) -> "Cluster":
        """Make a cluster in a new temporary folder and start it.

        Args:
            nodes: 1, or 3 with replication 3 of which 2 have to be in sync.
            watch: the cluster ends when this process does; None: only `remove` ends it.
            quick: starts with 40 % less work, and is slower under load.
            secure: with listeners for TLS and SASL too, see `secure`; needs trustme.
            host: the address to listen on.

        Raises:
            KafkaError: Java, Maven or the jars cannot be had, or a node does not start.
        """
        have_jars()
        folder = Path(tempfile.mkdtemp(prefix="missedcall-kafka-"))
        ports = free_ports(4 * nodes)
        secured = {"sasl": ports[2 * nodes : 3 * nodes], "tls": ports[3 * nodes :]} if secure else {}
        if secure:
            _write_secrets(folder, host)
        brokers = dict(enumerate(ports[:nodes], 1))
        voters = ",".join(f"{node}@{host}:{port}" for node, port in enumerate(ports[nodes : 2 * nodes], 1))
        for node, port in brokers.items():
            text = PROPERTIES.format(
                node=node,
                host=host,
                voters=voters,
                port=port,
                controller=ports[nodes + node - 1],
                data=folder / f"data-{node}",
                replicas=nodes,
                insync=max(1, nodes - 1),
            )
            if secure:
                text += SECURE.format(  # a later line counts
                    host=host,
                    port=port,
                    controller=ports[nodes + node - 1],
                    sasl=secured["sasl"][node - 1],
                    tls=secured["tls"][node - 1],
                    folder=folder,
                    module=MODULE,
                    user=USER,
                )
            (folder / f"node-{node}.properties").write_text(text)
        described = {"ports": brokers, "quick": quick, "secure": secured, "host": host}
        (folder / "cluster.json").write_text(json.dumps(described))
        cluster = cls(folder)
        try:
            cluster._format()
            if watch is not None:
                cluster._watch(watch)
            for node in brokers:
                cluster._launch(node)
            for node in brokers:
                cluster._wait_until_started(node, 0)
        except BaseException:
            cluster.remove()
            raise
        return cluster

    @property
    def bootstrap(self) -> str:
        """What clients are told: `host:port,host:port`."""
        return ",".join(f"{self.host}:{port}" for port in self.ports.values())

    @property
    def secure(self) -> Secure:
        """What a client needs for TLS and SASL, of a cluster that was made so."""
        sasl, tls = (
            ",".join(f"{self.host}:{port}" for port in self._secure_ports[name]) for name in ("sasl", "tls")
        )
        files = ("ca.pem", "password", "client.pem", "client.key")
        return Secure(sasl, tls, *(self.folder / name for name in files))

    def running(self, node: int) -> bool:
        """Whether the node's process is there; frozen ones are."""
        return self._pid(f"node-{node}") is not None

    def start(self, node: int) -> None:
        """Start a node that was killed or stopped, on the same port and data, and wait until it serves.

        Raises:
            KafkaError: it does not start.
        """
        if not self.running(node):
            before = (self.folder / f"node-{node}.log").stat().st_size
            self._launch(node)
            self._wait_until_started(node, before)

    def kill(self, node: int) -> None:
        """End a node as kill -9 does, and wait until it has gone."""
        self._signal(f"node-{node}", signal.SIGKILL)
        self._wait_until_gone(f"node-{node}")

    def stop(self, node: int) -> None:
        """Let a node shut down in order."""
        self._signal(f"node-{node}", signal.SIGTERM)
        self._wait_until_gone(f"node-{node}")

    def freeze(self, node: int) -> None:
        """Let a node stand still; its connections stay open."""
        self._signal(f"node-{node}", signal.SIGSTOP)

    def thaw(self, node: int) -> None:
        """Let a frozen node go on."""
        self._signal(f"node-{node}", signal.SIGCONT)

    def remove(self) -> None:
        """End everything at once and delete the data."""
        names = ["watchdog", *(f"node-{node}" for node in self.ports)]
        for name in names:
            self._signal(name, signal.SIGKILL)
        for name in names:
            self._wait_until_gone(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _format(self) -> None:
        identity = "".join(random.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", k=21)) + "A"
        formatting = [
            subprocess.Popen(
                [
                    *java("-Xmx128m", "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool"),
                    *("format", "-t", identity, "-c", str(self.folder / f"node-{node}.properties")),
                    *self._users(),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for node in self.ports
        ]
        said = [process.communicate()[0] for process in formatting]
        if any(process.returncode for process in formatting):
            raise KafkaError(f"the data folder cannot be formatted:\n{''.join(said)[-2000:]}")

    def _users(self) -> list[str]:
        if not self._secure_ports:
            return []
        password = (self.folder / "password").read_text()
        return [
            word
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for word in ("--add-scram", f"{mechanism}=[name={USER},password={password}]")
        ]

    def _launch(self, node: int) -> None:
        quick = ["-XX:TieredStopAtLevel=1"] if self.quick else []
        with (self.folder / f"node-{node}.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *java(f"-Xms{HEAP}", f"-Xmx{HEAP}", "-XX:+UseSerialGC", *quick, "kafka.Kafka"),
                    str(self.folder / f"node-{node}.properties"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Control-C in the terminal is for the tests, not for the nodes
            )
        self._remember(f"node-{node}", process)

    def _watch(self, pid: int) -> None:
        process = subprocess.Popen(
            [sys.executable, __file__, "watch", str(pid), started_at(pid) or "", str(self.folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._remember("watchdog", process)

    def _wait_until_started(self, node: int, since: int) -> None:
        log = self.folder / f"node-{node}.log"
        deadline = time.monotonic() + START_S
        while STARTED not in log.read_bytes()[since:]:
            if not self.running(node) or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-2000:]
                raise KafkaError(f"node {node} does not start:\n{said}")
            time.sleep(0.05)

    def _wait_until_gone(self, name: str) -> None:
        deadline = time.monotonic() + STOP_S
        while self._pid(name) is not None:
            if time.monotonic() > deadline:
                self._signal(name, signal.SIGKILL)
            if (child := self._children.get(name)) is not None:
                child.poll()  # a dead child is there until it is asked for
            time.sleep(0.01)
        if (child := self._children.pop(name, None)) is not None:
            child.wait()

    def _remember(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._children[name] = process
        (self.folder / f"{name}.pid").write_text(f"{process.pid} {started_at(process.pid)}")

    def _pid(self, name: str) -> int | None:
        """Return the number of a process of ours that is there."""
        try:
            pid, started = (self.folder / f"{name}.pid").read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if started_at(int(pid)) == started else None

    def _signal(self, name: str, number: signal.Signals) -> None:
        if (pid := self._pid(name)) is not None:
            os.kill(pid, number)


def _write_secrets(folder: Path, host: str) -> None:
    """Write a password, an authority, and what it says of the brokers and of one client."""
    import trustme  # noqa: PLC0415 - of the tests alone
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    (folder / "password").write_text(secrets.token_hex(16))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    broker, client = authority.issue_cert(host), authority.issue_cert("client.invalid")
    key = serialization.load_pem_private_key(broker.private_key_pem.bytes(), None)
    pem = key.private_bytes(  # Java reads no other
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "broker.pem").write_bytes(pem + b"".join(blob.bytes() for blob in broker.cert_chain_pems))
    client.private_key_pem.write_to_path(folder / "client.key")
    (folder / "client.pem").write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))


def java(*arguments: str) -> list[str]:
    """Return a command line of the Java runtime with the jars."""
    logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
    return ["java", "-cp", f"{JARS}/*", logging, *arguments]


def started_at(pid: int) -> str | None:
    """Return when a process began, in ticks since the boot; None if it is not there, or dead and not yet reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    found: list[int] = []
    for port in random.sample(range(FIRST_PORT, LAST_PORT), LAST_PORT - FIRST_PORT):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise KafkaError(f"no free ports between {FIRST_PORT} and {LAST_PORT}")


def have_jars() -> None:
    """See to it that Java and the jars are there; the first time it takes a minute.

    Raises:
        KafkaMissingError: they cannot be had.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = JARS / "done"
        wanted = (HERE / "pom.xml").read_text()
        fresh = done.exists() and done.read_text() == wanted
        if shutil.which("java") is None or not (fresh or shutil.which("mvn")):
            installed = subprocess.run(
                ["sh", str(HERE / "install.sh")], capture_output=True, text=True, check=False
            )
            if installed.returncode:
                raise KafkaMissingError(installed.stdout.strip())
        if fresh:
            return
        shutil.rmtree(JARS, ignore_errors=True)
        fetched = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), f"-Djars={JARS}", "package"],
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode:
            raise KafkaMissingError(f"Maven cannot fetch Kafka:\n{fetched.stdout[-2000:]}")
        done.write_text(wanted)


def watch(pid: int, started: str, folder: Path) -> int:
    """Wait for the end of a process, then end the cluster in ``folder``."""
    while started_at(pid) == started:
        time.sleep(WATCH_S)
    cluster = Cluster(folder)
    (folder / "watchdog.pid").unlink(missing_ok=True)  # it is me
    cluster.remove()
    return 0


def current() -> Cluster:
    """Return the cluster that `up` started.

    Raises:
        KafkaError: there is none.
    """
    try:
        return Cluster(Path(UP.read_text()))
    except OSError:
        raise KafkaError("no cluster is up; `make kafka-up` starts one") from None


def up(nodes: int, pid: int | None) -> None:
    """Start a cluster unless one is up."""
    try:
        cluster = current()
    except KafkaError:
        cluster = Cluster.create(nodes, watch=pid)
        UP.write_text(str(cluster.folder))
    for node in cluster.ports:
        cluster.start(node)
    print(cluster.bootstrap)


def down() -> None:
    """End it."""
    current().remove()
    UP.unlink()


def command(args: argparse.Namespace) -> None:
    """Run one command.

    Raises:
        KafkaError: it cannot be done.
    """
    if args.command == "up":
        up(args.nodes, args.watch)
    elif args.command == "down":
        down()
    elif args.command == "status":
        cluster = current()
        for node, port in cluster.ports.items():
            print(f"node {node}  {cluster.host}:{port}  {'running' if cluster.running(node) else 'down'}")
    elif args.node in (cluster := current()).ports:
        getattr(cluster, args.command)(args.node)
    else:
        raise KafkaError(f"node {args.node}: expected one of {', '.join(map(str, cluster.ports))}")


def main(arguments: list[str]) -> int:
    """Run one command; return its exit status."""
    if arguments[:1] == ["watch"]:
        return watch(int(arguments[1]), arguments[2], Path(arguments[3]))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up")
    starting.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    starting.add_argument("--watch", type=int, help="end with this process")
    commands.add_parser("down")
    commands.add_parser("status")
    for name in ("kill", "stop", "freeze", "thaw", "start"):
        commands.add_parser(name).add_argument("node", type=int)
    args = parser.parse_args(arguments)
    try:
        command(args)
    except KafkaError as error:
        print(f"kafka: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
