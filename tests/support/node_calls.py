"""Calls for a release on a node, while something happens to it, and what came of them."""

import asyncio
import contextlib
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import count, islice
from typing import Any, Self

from kafka import KafkaAdminClient
from kafka_nodes import USER, Cluster
from support import hep_calls
from support.chaos_load import Agent, Load, frames
from support.chaos_oracle import Outcome, compare, records
from support.node import ADDRESS, Node
from support.webhook_sink import WebhookSink

from missedcall_classifier.policy import Policy
from missedcall_classifier.stream.settings import ClassifierSettings, load
from missedcall_collector import hep
from missedcall_common.kafka.cut import Cut
from missedcall_common.kafka.partitioning import look
from missedcall_schemas.codec import decode_batch

CALLS_PER_S = 20.0
CALLS = 100_000
"""More than there is time for."""
PARTITIONS = 4
POLICY = {"SETTLE_S": 1, "OPEN_BRANCH_S": 4, "GIVE_UP_S": 10, "QUEUE_S": 12, "CLOSED_KEEP_S": 5}
"""Calls end soon."""
DECIDED_S = 120.0
"""After the last message: until every call is decided."""
USERS = ["sip:missedcall-test@missedcall.invalid", *(f"sip:callee{n:06}@example.com" for n in range(4000))]
GROUP = "missedcall-classifier"
_LOADS = count()


def values(kafka: Cluster, hook: WebhookSink) -> dict[str, Any]:
    """Return the values of a release: pods log in over TLS, webhooks are sent, policies and budgets are on."""
    return {
        "image": {"registry": "localhost"},
        "kafka": {
            "bootstrapServers": [kafka.secure.sasl],
            "partitions": PARTITIONS,
            "replicas": 1,
            "tls": {"enabled": True, "ca": {"secret": "kafka-ca"}},
            "sasl": {"mechanism": "SCRAM-SHA-512"},
            "auth": {"username": USER, "secret": "kafka-login"},
        },
        "collector": {
            "resources": resources("300Mi"),
            "settings": {"MISSEDCALL_LISTEN_QUEUE_MB": 1},
            "spool": {"mb": 64},
        },
        "classifier": {
            "resources": resources("400Mi"),
            "users": USERS,
            "settings": {f"MISSEDCALL_DECIDE_{name}": value for name, value in POLICY.items()},
        },
        "notifier": {
            "channels": {
                "webhook": {
                    "enabled": True,
                    "resources": resources("300Mi"),
                    "egressPorts": [hook.port],
                    "settings": {
                        "MISSEDCALL_NOTIFY_WEBHOOK_URL": f"http://{ADDRESS}:{hook.port}/hook",
                        "MISSEDCALL_NOTIFY_WEBHOOK_INSECURE_HTTP": True,
                        "MISSEDCALL_NOTIFY_WEBHOOK_ALLOW": [ADDRESS],
                        "MISSEDCALL_NOTIFY_WEBHOOK_RETRY_FIRST_S": 0.5,
                    },
                    "files": {"MISSEDCALL_NOTIFY_WEBHOOK_SECRET_FILE": {"secret": "hook", "key": "secret"}},
                }
            }
        },
        "networkPolicy": {"enabled": True, "kafkaTo": [{"ipBlock": {"cidr": f"{ADDRESS}/32"}}]},
    }


def resources(memory: str) -> dict[str, Any]:
    """Return what several pods on two cores may ask for."""
    return {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"cpu": "1500m", "memory": memory}}


def settings(kafka: Cluster) -> tuple[ClassifierSettings, Policy]:
    """Return those of the release's classifiers, and their policy."""
    with tempfile.NamedTemporaryFile("w") as users:
        users.write("\n".join(USERS))
        users.flush()
        environment = {
            "MISSEDCALL_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "MISSEDCALL_KAFKA_PARTITIONS": str(PARTITIONS),
            "MISSEDCALL_APPLICATION": GROUP,
            "MISSEDCALL_DECIDE_USERS_FILE": users.name,
        }
        return load(environment | {f"MISSEDCALL_DECIDE_{name}": str(value) for name, value in POLICY.items()})


def how_it_is_cut(kafka: Cluster) -> tuple[Cut, ...]:
    """Return how the log was cut, from its beginning on."""
    return look(settings(kafka)[0].kafka, "test").partitioning.cuts


class Calls:
    """HEP to the Services, every other call by UDP, the others by TCP, for as long as the `with` block lasts."""

    def __init__(self, node: Node, kafka: Cluster) -> None:
        self._kafka = kafka
        udp, tcp = (node.service(f"mc-missedcall-collector-{kind}") for kind in ("udp", "tcp"))
        self._first = next(_LOADS) * hep_calls.USERS  # no call comes twice
        self._load = Load([Agent(9060, 9060, udp, tcp)], CALLS, CALLS_PER_S, self._first)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._task = self._loop.create_task(self._load.run())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def outcome(self, cuts: Sequence[Cut] = (Cut(1, 0),)) -> Outcome:
        """Return what is on the topics against what the log says, once everything is decided.

        Calls that only time ends wait for the clock of a collector that has gone, 30 s at most.
        """
        ends = time.monotonic() + DECIDED_S
        while True:
            time.sleep(5)
            found = compare(self._kafka, "", settings(self._kafka)[1], cuts)
            if found.exact or time.monotonic() > ends:
                return found

    def lost(self, log: str = "sip-transactions") -> tuple[int, int]:
        """Return how many messages that were sent are not in the log, of those by TCP and of those by UDP."""
        found = set()
        for _, value in records(self._kafka.bootstrap, log):
            found |= {each.head for each in decode_batch(value).messages}
        lost = [0, 0]
        for _, number, frame in islice(frames(CALLS, CALLS_PER_S, self._first), self._load.sent):
            lost[number % 2] += hep.decode(frame).payload not in found
        return lost[0], lost[1]


def partitions(kafka: Cluster) -> dict[str, list[int]]:
    """Return the partitions of each worker of the classifier, by its name."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    try:
        members = admin.describe_groups([GROUP])[GROUP]["members"]
    finally:
        admin.close()
    return {
        member["group_instance_id"]: [
            number
            for each in member["member_assignment"]["assigned_partitions"]
            for number in each["partitions"]
        ]
        for member in members
    }
