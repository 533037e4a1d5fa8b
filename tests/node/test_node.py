"""The chart on a whole Kubernetes of one node, on a real Kafka, by Helm 3 and 4: `make node-test`.

Scheduler, kubelet, containerd, runc, kube-proxy, CoreDNS and kube-router's network policies are real. Kafka, the
receiver of webhooks and the sender of HEP are outside of the pods, on the machine that the node is.
One release lives through all tests, in their order.
"""

import asyncio
import json
import os
import signal
import threading
import time

import pytest
from kafka_nodes import Cluster
from support import node, webhook_sink
from support.helm import Helm4
from support.node import ADDRESS, Ends, Node, ready
from support.node_calls import Calls, changed, partitions, values
from support.webhook_sink import WebhookSink

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif(bool(node.ABSENT), reason=node.ABSENT),
    pytest.mark.timeout(900),
]
KILLED = 128 + signal.SIGKILL


@pytest.fixture(scope="module")
def kafka():
    cluster = Cluster.create(watch=os.getpid(), quick=True, secure=True, host=ADDRESS)
    yield cluster
    cluster.remove()


@pytest.fixture(scope="module")
def cluster(kafka):
    with Node() as found:
        secure = kafka.secure
        secrets = {
            "kafka-ca": {"ca.crt": secure.ca_file.read_text()},
            "kafka-login": {"password": secure.password_file.read_text()},
            "hook": {"secret": webhook_sink.SECRET_LINE},
        }
        for name, data in secrets.items():
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
            found.kubectl("apply", "--filename", "-", text=json.dumps(secret))
        yield found


@pytest.fixture(scope="module")
def hook():
    """A receiver of webhooks."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    sink = WebhookSink(host=ADDRESS)
    asyncio.run_coroutine_threadsafe(sink.__aenter__(), loop).result(10)
    yield sink
    asyncio.run_coroutine_threadsafe(sink.__aexit__(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def helm(cluster):
    return Helm4(cluster)


@pytest.fixture(scope="module")
def release(cluster, kafka, hook, helm):
    """The values of the release."""
    found = values(kafka, hook)
    helm.install(found)
    yield found
    helm.uninstall()


def _all_ready(cluster):
    found = [
        pod["metadata"]["labels"].get("app.kubernetes.io/component") for pod in cluster.pods() if ready(pod)
    ]
    return sorted(found) == ["classifier", "classifier", "collector", "collector", "notifier-webhook"]


def _facts_told(hook):
    return {call.id for call in hook.calls}


def test_all_pods_of_a_release_are_ready_and_helm_test_passes(cluster, helm, release):
    assert _all_ready(cluster)
    helm.test()


def test_an_upgrade_rolls_all_pods_while_calls_come_and_nothing_is_lost(cluster, kafka, hook, helm, release):
    before = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in cluster.pods()}
    held = partitions(kafka)
    other = changed(
        release,
        classifier__users=release["classifier"]["users"][::-1],  # its checksum rolls them
        collector__settings__MISSEDCALL_REPORT_S=30,
        notifier__settings__MISSEDCALL_REPORT_S=30,
    )
    with Ends(cluster) as ends, Calls(cluster, kafka) as calls:
        time.sleep(5)
        helm.upgrade(other)
        cluster.until(
            "those before have gone",
            lambda: not before.keys() & {pod["metadata"]["uid"] for pod in cluster.pods()},
        )
        time.sleep(5)
    outcome = calls.outcome()
    _, lost_by_udp = calls.lost()

    assert outcome.exact, outcome
    assert lost_by_udp == 0
    assert partitions(kafka) == held
    assert set(before.values()) <= {pod for pod, _, _ in ends.found.values()}
    assert {status for _, status, _ in ends.found.values()} == {0}
    assert len(hook.calls) == len(_facts_told(hook)) == outcome.facts.facts
