"""The chart on a real API server and its controllers, by Helm 3 and Helm 4: `make cluster-test`.

Not seen here: what a kubelet, a scheduler, a network and the operators do.
"""

import json
import time

import pytest
from support import crds, kubernetes
from support.chart import CASES, NAMESPACE, RELEASE, RefusedError, given, pods, rendered
from support.helm import WAIT_S, Helm3, Helm4
from support.kubernetes import Kubernetes

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.ABSENT), reason=kubernetes.ABSENT),
    pytest.mark.xdist_group("kubernetes"),
    pytest.mark.timeout(900),
]
NAMED = f"""
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {{name: important}}
value: 1000
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: voice, namespace: {NAMESPACE}}}
"""
"""What cases name and do not make."""
STRICTLY = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-")
LISTED = (
    *(
        "configmaps",
        "secrets",
        "services",
        "serviceaccounts",
        "pods",
        "deployments",
        "statefulsets",
        "daemonsets",
    ),
    *("jobs", "poddisruptionbudgets", "networkpolicies", "horizontalpodautoscalers", "scaledobjects"),
    *(
        "triggerauthentications",
        "kafkatopics",
        "kafkausers",
        "podmonitors",
        "servicemonitors",
        "prometheusrules",
    ),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    crds.needed()
    with Kubernetes(tmp_path_factory.mktemp("kubernetes")) as found:
        for path in sorted(crds.CRDS.glob("*.yaml")):
            found.kubectl("apply", "--server-side", "--filename", str(path))
        found.kubectl("apply", "--filename", "-", text=NAMED)
        found.kubectl("wait", "--for=condition=Established", "crd", "--all", f"--timeout={WAIT_S}s")
        yield found


@pytest.fixture(params=[Helm3, Helm4], ids=["helm-3", "helm-4"])
def helm(cluster, request):
    found = request.param(cluster)
    yield found
    _clean(cluster)


def _clean(cluster):
    """Take away all of a release, also what one that failed has left."""
    Helm4(cluster).uninstall()
    cluster.kubectl(
        *("delete", ",".join(LISTED), "--namespace", NAMESPACE, "--ignore-not-found"),
        *("--selector", f"app.kubernetes.io/instance={RELEASE}"),
    )
    _gone(cluster)


def _left(cluster):
    """Return what of a release is there, as kind/name."""
    found = cluster.kubectl(
        *("get", ",".join(LISTED), "--namespace", NAMESPACE, "--output", "name"),
        *("--selector", f"app.kubernetes.io/instance={RELEASE}", "--ignore-not-found"),
    )
    return sorted(found.split())


def _gone(cluster, keeps=()):
    """Wait until the controllers have taken away what a release leaves them."""
    ends = time.monotonic() + WAIT_S
    while found := [each for each in _left(cluster) if not each.startswith(tuple(keeps))]:
        assert time.monotonic() < ends, found
        time.sleep(0.2)


def _values(case, **layout):
    """Return a case's values with the topics of every other, which an upgrade must not change.

    And without the HPA: once it has set a number, Helm 4 sets no other without `--force-conflicts`.
    """
    values = given(case)
    values.get("collector", {}).pop("autoscaling", None)
    values["kafka"] |= {"prefix": "", "generation": 1, "partitions": 48} | layout
    return values


# -- one object after the other -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_api_server_takes_every_object_without_a_warning(cluster, case):
    """But the pod of `helm test`, which needs its account there: see the next."""
    made = [each for each in rendered(case) if each["kind"] != "Pod"]
    text = "\n---\n".join(json.dumps(each) for each in made)
    said = cluster.kubectl(*STRICTLY, text=text)

    lines = said.splitlines()
    warned = [line for line in lines if not line.endswith("serverside-applied (server dry run)")]
    if case == "daemonset":  # its values say hostNetwork
        assert len(warned) == 1
        assert "hostNetwork=true" in warned[0]
        warned = []
    assert warned == []
    assert len(lines) >= len(made)


def test_it_refuses_a_name_that_it_does_not_know(cluster):
    text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, datas: {}}"

    with pytest.raises(RefusedError, match="datas"):
        cluster.kubectl(*STRICTLY, text=text)


@pytest.mark.parametrize("case", CASES)
def test_every_pod_is_admitted_where_the_standard_restricted_is_enforced(cluster, case):
    for name, pod in pods(rendered(case)):
        meta = {"name": "pod", "namespace": NAMESPACE, "labels": pod["metadata"].get("labels", {})}
        spec = pod["spec"] | {"serviceAccountName": "default"}
        text = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        if name == "DaemonSet/mc-missedcall-collector" and case == "daemonset":
            with pytest.raises(
                RefusedError, match=r"violates PodSecurity.*host namespaces \(hostNetwork=true\)"
            ):
                cluster.kubectl("create", "--dry-run=server", "--filename", "-", text=text)
        else:
            assert "created (server dry run)" in cluster.kubectl(
                "create", "--dry-run=server", "--filename", "-", text=text
            ), name


# -- releases -------------------------------------------------------------------------------------------------


@pytest.fixture
def privileged(cluster):
    """On the host's network, as the values `daemonset` say, pods do not meet the standard."""

    def enforce(level):
        cluster.kubectl(
            "label", "--overwrite", "namespace", NAMESPACE, f"pod-security.kubernetes.io/enforce={level}"
        )

    yield lambda: enforce("privileged")
    enforce("restricted")


@pytest.mark.parametrize("case", CASES)
def test_a_release_is_installed_tested_upgraded_and_uninstalled(cluster, helm, case, privileged):
    if case == "daemonset":
        privileged()
    helm.install(given(case))
    assert cluster.refused == []
    helm.test()
    helm.upgrade(given(case) | {"image": given(case).get("image", {}) | {"tag": "0.1.1"}})
    helm.uninstall()

    topics = "kafkatopic.kafka.strimzi.io/"
    _gone(cluster, keeps=[topics])
    kept = [each for each in _left(cluster) if each.startswith(topics)]
    assert len(kept) == len([each for each in rendered(case) if each["kind"] == "KafkaTopic"])


def test_a_release_goes_from_any_values_to_any_others(helm, privileged):
    privileged()
    helm.install(_values(CASES[0]))
    for case in (*CASES[1:], *reversed(CASES)):
        helm.upgrade(_values(case))


def test_helm_4_takes_over_what_helm_3_installed(cluster):
    try:
        Helm3(cluster).install(_values("minimal"))
        Helm4(cluster).upgrade(_values("production"))
        Helm4(cluster).upgrade(_values("minimal"))
    finally:
        _clean(cluster)


def test_another_partition_count_is_refused_and_nothing_changes(cluster, helm):
    helm.install(_values("minimal"))
    before = _left(cluster)

    with pytest.raises(RefusedError, match="another-partition-count"):
        helm.upgrade(_values("minimal", partitions=24))

    assert _left(cluster) == before
    helm.upgrade(_values("minimal"))


def test_other_values_reach_a_release_whose_log_is_being_cut(cluster, helm):
    """A Job's pods cannot be changed: an upgrade for something else must not stumble over it."""
    base = _values("minimal")
    helm.install(base)
    for step in ("plan", "ensure"):
        helm.upgrade(base | {"scalePartitions": {"enabled": True, "to": 96, "step": step}})
        helm.upgrade(
            base
            | {
                "scalePartitions": {"enabled": True, "to": 96, "step": step},
                "image": {"tag": f"0.1.1-{step}"},
            }
        )
    helm.upgrade(base | {"kafka": base["kafka"] | {"cut": {"generation": 2, "partitions": 96}}})

    assert not [each for each in _left(cluster) if each.startswith("job")]


def test_an_autoscaler_that_is_switched_on_takes_over_what_is_there(cluster, helm):
    """And what it has made of it meanwhile is not changed by an upgrade for something else."""

    def pods():
        kinds = ("statefulset/mc-missedcall-classifier", "deployment/mc-missedcall-collector")
        found = cluster.kubectl(
            "get", *kinds, "--namespace", NAMESPACE, "--output", "jsonpath={.items[*].spec.replicas}"
        )
        return tuple(map(int, found.split()))

    base = _values("minimal")
    base |= {
        "collector": base.get("collector", {}) | {"replicas": 3},
        "classifier": base.get("classifier", {}) | {"replicas": 4},
    }
    # A KEDA that is not there changes nothing: what is seen is the chart's doing alone.
    keda = {"autoscaling": {"type": "keda", "minReplicas": 2}}
    helm.install(base)
    scaled = base | {"classifier": base["classifier"] | keda}
    helm.upgrade(scaled)
    assert pods() == (4, 3)

    cluster.kubectl("scale", "statefulset/mc-missedcall-classifier", "--replicas=5", "--namespace", NAMESPACE)
    helm.upgrade(scaled | {"image": {"tag": "0.1.1"}})
    assert pods() == (5, 3)
