"""The chart on a whole Kubernetes of one node, on a real Kafka, by Helm 3 and 4: `make node-test`.

Scheduler, kubelet, containerd, runc, kube-proxy, CoreDNS and kube-router's network policies are real. Kafka, the
receiver of webhooks and the sender of HEP are outside of the pods, on the machine that the node is.
One release lives through all tests, in their order.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from kafka_nodes import Cluster
from support import chart, node, webhook_sink
from support.chart import RefusedError, replaced
from support.helm import Helm3, Helm4
from support.kubernetes import NODE
from support.node import ADDRESS, Ends, Node, ready
from support.node_calls import Calls, how_it_is_cut, partitions, values
from support.webhook_sink import WebhookSink

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif(bool(node.ABSENT), reason=node.ABSENT),
    pytest.mark.timeout(900),
]
KILLED = 128 + signal.SIGKILL
ALL = ["classifier", "classifier", "collector", "collector", "notifier-webhook"]
"""Whose pods are there."""


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


def _ready(cluster):
    """Return the components of the release's pods that are ready."""
    label = "app.kubernetes.io/component"
    return sorted(pod["metadata"]["labels"][label] for pod in cluster.pods() if ready(pod))


def told_of(hook, outcome):
    """Return how often each fact was told, once all of them were."""
    told = Counter()
    ends = time.monotonic() + 60
    while len(told) < outcome.facts.facts and time.monotonic() < ends:
        time.sleep(0.5)
        told = Counter(call.id for call in hook.calls)
    assert len(told) == outcome.facts.facts
    return told


def test_all_pods_of_a_release_are_ready_and_helm_test_passes(cluster, helm, release):
    assert _ready(cluster) == ALL
    helm.test()


def test_an_upgrade_rolls_all_pods_while_calls_come_and_nothing_is_lost(cluster, kafka, hook, helm, release):
    before = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in cluster.pods()}
    held = partitions(kafka)
    other = replaced(
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
    assert set(told_of(hook, outcome).values()) == {1}


def test_a_container_that_is_killed_is_started_again_and_facts_stay_exact(cluster, kafka, hook, release):
    victims = [cluster.pods(component)[0] for component in ("collector", "classifier", "notifier-webhook")]

    def started_again(name):
        (pod,) = [pod for pod in cluster.pods() if pod["metadata"]["name"] == name]
        return ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1

    with Ends(cluster) as ends, Calls(cluster, kafka) as calls:
        for pod in victims:
            time.sleep(5)
            name = pod["metadata"]["name"]
            os.kill(cluster.process(pod), signal.SIGKILL)
            cluster.until(f"{name} is started again", lambda name=name: started_again(name))
        time.sleep(5)
    outcome = calls.outcome()

    assert outcome.exact, outcome
    killed = sorted(pod for pod, status, _ in ends.found.values() if status == KILLED)
    assert killed == sorted(pod["metadata"]["name"] for pod in victims)
    assert told_of(hook, outcome)


SPOOLED = """
import os
folder = "/var/spool/missedcall"
print(sorted(name for name in os.listdir(folder) if os.path.getsize(os.path.join(folder, name)) > 100_000))
"""


def test_what_a_collector_has_on_disk_outlives_its_container(cluster, kafka, release):
    with Calls(cluster, kafka) as calls:
        kafka.kill(1)
        try:
            cluster.until(
                "one has spooled", lambda: any(_spooled(cluster, pod) for pod in cluster.pods("collector"))
            )
            (pod, *_) = (pod for pod in cluster.pods("collector") if _spooled(cluster, pod))
            held = _spooled(cluster, pod)
            first = cluster.process(pod)
            os.kill(first, signal.SIGKILL)
            cluster.until("it is started again", lambda: _other_process(cluster, pod, first))
            assert set(held) <= set(_spooled(cluster, pod))
        finally:
            kafka.start(1)
        time.sleep(10)
    outcome = calls.outcome()

    assert outcome.exact, outcome
    cluster.until("the disk is empty", lambda: _spooled(cluster, pod) == [])


def _spooled(cluster, pod):
    try:
        return json.loads(cluster.python(pod, SPOOLED).replace("'", '"'))
    except RefusedError:  # between two containers
        return []


def _other_process(cluster, pod, before):
    (now,) = [each for each in cluster.pods("collector") if each["metadata"]["uid"] == pod["metadata"]["uid"]]
    return ready(now) and cluster.process(now) not in (0, before)


INSIDE = """
import errno, os
def tried(path):
    try:
        with open(path, "w"):
            return "written"
    except OSError as error:
        return errno.errorcode[error.errno]
print(os.getuid(), os.getgid(), *map(tried, ("/file", "/opt/missedcall/file", "/tmp/file")))
"""


def test_a_container_has_the_user_the_root_and_the_limits_of_its_manifest(cluster, release):
    limits = {"collector": 300, "classifier": 400, "notifier-webhook": 300}
    for pod in cluster.pods():
        assert cluster.python(pod, INSIDE) == "65532 65532 EROFS EROFS written"
        process = cluster.process(pod)
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{process}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65532"}
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        mebibytes = limits[pod["metadata"]["labels"]["app.kubernetes.io/component"]]
        assert node.limits(process) == (mebibytes * 2**20, 1.5)


def _reaches(cluster, pod, address, port):
    code = (
        "import socket; sock = socket.socket(); sock.settimeout(2); "
        f"print(sock.connect_ex(({address!r}, {port})))"
    )
    return cluster.python(pod, code) == "0"


def _stranger(cluster, release):
    """Start a pod of nobody's, which no policy is about, and which listens; return it."""
    (template,) = [
        pod["spec"]
        for name, pod in chart.pods(chart.render(release))
        if name == "Deployment/mc-missedcall-collector"
    ]
    (container,) = template["containers"]
    code = "import socket, time; sock = socket.create_server(('', 9999)); time.sleep(3600)"
    spec = {
        "securityContext": template["securityContext"],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "stranger",
                "image": container["image"],
                "command": ["/opt/missedcall/bin/python3", "-c", code],
                "securityContext": container["securityContext"],
            }
        ],
    }
    meta = {"name": "stranger", "labels": {"app.kubernetes.io/component": "stranger"}}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    cluster.kubectl("apply", "--filename", "-", text=json.dumps(document))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/stranger", "--timeout=60s")
    return cluster.pods("stranger")[0]


def test_policies_let_in_and_out_what_they_name_and_nothing_else(cluster, kafka, hook, helm, release):
    stranger = _stranger(cluster, release)
    pods = [cluster.pods(component)[0] for component in ("collector", "classifier", "notifier-webhook")]
    collector = pods[0]
    api = int(cluster.url.rpartition(":")[2])
    broker = int(kafka.secure.sasl.rpartition(":")[2])

    def reached(*wanted):
        return [
            _reaches(cluster, source, target if isinstance(target, str) else target["status"]["podIP"], port)
            for source, target, port in wanted
        ]

    try:
        outwards = [(pod, ADDRESS, port) for pod in pods for port in (broker, hook.port, api)]
        assert reached(*outwards) == [True, False, False, True, False, False, True, True, False]
        assert reached(*((pod, stranger, 9999) for pod in pods)) == [False] * 3
        assert reached((stranger, ADDRESS, api)) == [True]
        inwards = [(stranger, collector, 9060), *((stranger, pod, 8080) for pod in pods)]
        assert reached(*inwards) == [True] * 4

        nobody = [{"podSelector": {"matchLabels": {"app": "nobody"}}}]
        helm.upgrade(replaced(release, networkPolicy__hepFrom=nobody, networkPolicy__healthFrom=nobody))
        cluster.until("nobody is let in", lambda: not any(reached(*inwards)))
        helm.test()  # its pod is let in
        assert [each for each in _ready(cluster) if each != "stranger"] == ALL  # and so are kubelets
    finally:
        cluster.kubectl("delete", "pod", "stranger", "--wait=true")
        helm.upgrade(release)


def test_a_node_is_drained_no_further_than_the_budgets_allow(cluster, kafka, helm, release):
    with Ends(cluster) as ends, Calls(cluster, kafka) as calls:
        time.sleep(3)
        try:
            with pytest.raises(RefusedError, match="violate the pod's disruption budget"):
                cluster.kubectl("drain", NODE, "--delete-emptydir-data", "--timeout=45s")
            left = _ready(cluster)
        finally:
            cluster.kubectl("uncordon", NODE)
        cluster.until("all are ready", lambda: _ready(cluster) == ALL)
    outcome = calls.outcome()

    assert left == ["classifier", "collector"]
    assert outcome.exact, outcome
    assert {status for _, status, _ in ends.found.values()} == {0}


# -- more partitions -----------------------------------------------------------------------------------------------


class Job:
    """The Job of `scalePartitions` that an upgrade makes."""

    def __init__(self, cluster, helm, base, step, to):
        scale = {"enabled": True, "step": step, "to": to}
        helm.upgrade(replaced(base, scalePartitions=scale))
        self._cluster = cluster
        self.name = f"mc-missedcall-scale-{step}"

    def _job(self):
        found = self._cluster.objects("apis/batch/v1/jobs")
        (job,) = [job for job in found if job["metadata"]["name"].startswith(self.name)]
        return job

    def pods(self):
        owner = self._job()["metadata"]["uid"]
        return [
            pod
            for pod in self._cluster.pods("scale")
            if pod["metadata"]["ownerReferences"][0]["uid"] == owner
        ]

    def said(self):
        said = ""
        for pod in self.pods():
            with contextlib.suppress(RefusedError):  # it has not begun
                said += self._cluster.kubectl("logs", pod["metadata"]["name"])
        return said

    def ended(self):
        """Wait until it has ended; return how, and its reason."""

        def condition():
            found = self._job()["status"].get("conditions", [])
            return [
                each for each in found if each["type"] in ("Complete", "Failed") and each["status"] == "True"
            ]

        self._cluster.until(f"{self.name} has ended", condition)
        (found,) = condition()
        return found["type"], found.get("reason")

    def kill_when(self, word):
        """Kill its container once it has said something; wait for the next pod."""
        self._cluster.until(f"{self.name} says {word}", lambda: word in self.said())
        (pod,) = self.pods()
        os.kill(self._cluster.process(pod), signal.SIGKILL)
        self._cluster.until("another pod is there", lambda: len(self.pods()) == 2)


def test_the_job_plans_is_refused_is_killed_goes_on_and_is_aborted(cluster, kafka, hook, helm, release):
    plan = Job(cluster, helm, release, "plan", 8)
    assert plan.ended()[0] == "Complete"
    assert "nothing is in the way" in plan.said()
    refused = Job(cluster, helm, release, "ensure", 6)
    assert refused.ended() == ("Failed", "PodFailurePolicy")
    assert len(refused.pods()) == 1

    idle = replaced(
        release, classifier__replicas=0
    )  # the log stays sealed until all that is in it is decided
    begun = Job(cluster, helm, idle, "ensure", 8)
    begun.kill_when(" marked ")
    aborted = Job(cluster, helm, idle, "abort", 0)
    assert aborted.ended()[0] == "Complete"
    helm.upgrade(release)
    helm.test()

    done = Job(cluster, helm, idle, "ensure", 8)
    with Calls(cluster, kafka) as calls:
        done.kill_when(" marked ")
        working = Job(cluster, helm, release, "ensure", 8)  # the same Job: its pods are the same
        assert working.ended()[0] == "Complete"
        assert " moved " in working.said()
        time.sleep(5)
        cuts = how_it_is_cut(kafka)
        cut = {"generation": cuts[-1].generation, "partitions": cuts[-1].partitions}
        helm.upgrade(replaced(release, kafka__cut=cut))
        helm.test()
    outcome = calls.outcome(cuts)

    assert cut["partitions"] == 8
    assert outcome.exact, outcome
    assert told_of(hook, outcome)


# -- the end -------------------------------------------------------------------------------------------------------


def _nothing_runs(cluster):
    links = subprocess.run(
        ["ip", "-brief", "link", "show", "master", "cni0"], capture_output=True, check=True
    )
    return not cluster.pods() and not cluster.tasks() and not links.stdout


def test_an_uninstalled_release_leaves_nothing_that_runs(cluster, helm, release):
    helm.uninstall()

    cluster.until("nothing runs", lambda: _nothing_runs(cluster))
    kinds = "deployments,statefulsets,jobs,services,poddisruptionbudgets,networkpolicies,serviceaccounts,configmaps"
    selector = f"app.kubernetes.io/instance={chart.RELEASE}"
    assert not cluster.kubectl("get", kinds, "--selector", selector, "--output", "name").strip()


def test_helm_3_does_the_same(cluster, kafka, hook, release):
    helm = Helm3(cluster)
    own = replaced(release, kafka__prefix="three.")
    helm.install(own)
    try:
        helm.test()
        helm.upgrade(replaced(own, collector__settings__MISSEDCALL_REPORT_S=30))
        helm.test()
    finally:
        helm.uninstall()
    cluster.until("nothing runs", lambda: _nothing_runs(cluster))
