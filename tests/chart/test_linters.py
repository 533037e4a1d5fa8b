"""What other people's linters ask of the manifests: kubeconform itself, and the checks of kube-linter as a list.

kube-linter cannot be installed from the sources that these tests install from. Its checks that are on by default
(`internal/defaultchecks/default_checks.go`, described in its `docs/generated/checks.md`) are rows
here, and each row is our own code: the list, not the tool.
"""

import json
import re
import subprocess

import pytest
from support import chart, crds
from support.chart import CASES, given, pods, rendered

PORT = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?\Z")
"""A name of a port: an IANA service name (RFC 6335 section 5.1), as Kubernetes takes them."""
OF_HOST = re.compile(r"/(boot|dev|etc|lib|proc|sys|usr)?\Z")


def _containers(found):
    for name, pod in pods(found):
        for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            yield name, pod["spec"], each


def _of(found, *kinds):
    return [each for each in found if each["kind"] in kinds]


def _labels(found):
    return [pod["metadata"].get("labels", {}) for _, pod in pods(found)]


def _chosen(selector, labels):
    return [own for own in labels if selector.items() <= own.items()]


def _probe(kind):
    def exposed(found):
        for name, _, each in _containers(found):
            known = {p for port in each.get("ports", []) for p in (port["name"], port["containerPort"])}
            if kind in each and each[kind]["httpGet"]["port"] not in known:
                yield name

    return exposed


def _security(wrong):
    """Return a check of a container's security settings, those of its pod where it has none of its own."""

    def check(found):
        for name, spec, each in _containers(found):
            if wrong(spec.get("securityContext", {}) | each.get("securityContext", {})):
                yield name

    return check


def _spec(wrong):
    def check(found):
        return [name for name, pod in pods(found) if wrong(pod["spec"])]

    return check


def _host_paths(wrong):
    return _spec(
        lambda spec: any(
            "hostPath" in volume and wrong(volume["hostPath"]["path"]) for volume in spec.get("volumes", [])
        )
    )


def _dangling_service(found):
    return [
        s["metadata"]["name"]
        for s in _of(found, "Service")
        if not _chosen(s["spec"]["selector"], _labels(found))
    ]


def _mismatching_selector(found):
    for each in _of(found, "Deployment", "StatefulSet", "DaemonSet"):
        labels = each["spec"]["template"]["metadata"]["labels"]
        if not _chosen(each["spec"]["selector"]["matchLabels"], [labels]):
            yield each["metadata"]["name"]


def _duplicate_variable(found):
    for name, _, each in _containers(found):
        names = [variable["name"] for variable in each.get("env", [])]
        yield from {f"{name} {n}" for n in names if names.count(n) > 1}


def _secret_variable(found):
    for name, _, each in _containers(found):
        for variable in each.get("env", []):
            if "secret" in variable["name"].lower() and variable.get("value"):
                yield f"{name} {variable['name']}"


def _target_ports(found):
    ports = [port["targetPort"] for each in _of(found, "Service") for port in each["spec"]["ports"]]
    ports += [port["name"] for _, _, each in _containers(found) for port in each.get("ports", [])]
    return [
        port for port in ports if not ((isinstance(port, int) and 0 < port < 65536) or PORT.match(str(port)))
    ]


def _no_anti_affinity(found):
    for each in _of(found, "Deployment", "StatefulSet"):
        affinity = each["spec"]["template"]["spec"].get("affinity", {})
        if each["spec"].get("replicas", 1) > 1 and "podAntiAffinity" not in affinity:
            yield f"{each['kind']}/{each['metadata']['name']}"


def _no_account(found):
    known = {each["metadata"]["name"] for each in _of(found, "ServiceAccount")} | {"default"}
    return [
        name for name, pod in pods(found) if pod["spec"].get("serviceAccountName", "default") not in known
    ]


def _pdb(wrong):
    return lambda found: [
        each["metadata"]["name"] for each in _of(found, "PodDisruptionBudget") if wrong(each["spec"])
    ]


def _container(wrong):
    return lambda found: [name for name, _, each in _containers(found) if wrong(each)]


CHECKS = {
    "dangling-service": _dangling_service,
    "deprecated-service-account-field": _spec(lambda spec: "serviceAccount" in spec),
    "docker-sock": _host_paths(lambda path: path.endswith("docker.sock")),
    "drop-net-raw-capability": _security(
        lambda own: not {"ALL", "NET_RAW"} & set(own["capabilities"]["drop"])
    ),
    "duplicate-env-var": _duplicate_variable,
    "env-var-secret": _secret_variable,
    "host-ipc": _spec(lambda spec: spec.get("hostIPC")),
    "host-network": _spec(lambda spec: spec.get("hostNetwork")),
    "host-pid": _spec(lambda spec: spec.get("hostPID")),
    "invalid-target-ports": _target_ports,
    "latest-tag": _container(lambda own: not re.search(r"(:(?!latest$)[^/:@]+|@sha256:.+)$", own["image"])),
    "liveness-port": _probe("livenessProbe"),
    "mismatching-selector": _mismatching_selector,
    "no-anti-affinity": _no_anti_affinity,
    "no-extensions-v1beta": lambda found: [
        e["kind"] for e in found if e["apiVersion"].startswith("extensions/v1beta")
    ],
    "no-read-only-root-fs": _security(lambda own: not own.get("readOnlyRootFilesystem")),
    "non-existent-service-account": _no_account,
    "pdb-max-unavailable": _pdb(lambda spec: str(spec.get("maxUnavailable", 1)) in ("0", "0%")),
    "pdb-min-available": _pdb(lambda spec: "minAvailable" in spec),
    "pdb-unhealthy-pod-eviction-policy": _pdb(lambda spec: spec.get("unhealthyPodEvictionPolicy") is None),
    "privilege-escalation-container": _security(lambda own: own.get("allowPrivilegeEscalation") is not False),
    "privileged-container": _security(lambda own: own.get("privileged")),
    "readiness-port": _probe("readinessProbe"),
    "run-as-non-root": _security(lambda own: not own.get("runAsNonRoot") or not own.get("runAsUser")),
    "sensitive-host-mounts": _host_paths(OF_HOST.match),
    "ssh-port": _container(lambda own: 22 in [port["containerPort"] for port in own.get("ports", [])]),
    "startup-port": _probe("startupProbe"),
    "unsafe-sysctls": _spec(lambda spec: spec["securityContext"].get("sysctls")),
    "unset-cpu-requirements": _container(lambda own: "cpu" not in own["resources"].get("requests", {})),
    "unset-memory-requirements": _container(lambda own: "memory" not in own["resources"].get("limits", {})),
}
"""What is wrong, by the check's name."""


def _excused(check, case, found):
    """Return what a check finds in a case and is meant so."""
    if check == "host-network" and case == "daemonset":
        return {
            "DaemonSet/mc-missedcall-collector"
        }  # by its values, and the notes after an installation say so
    if check == "no-anti-affinity":  # it does not look at the constraint that spreads them over nodes
        return {
            name
            for name, pod in pods(found)
            if "kubernetes.io/hostname"
            in [c["topologyKey"] for c in pod["spec"].get("topologySpreadConstraints", [])]
        }
    if check == "env-var-secret":  # the path of a file
        return {
            f"{name} {variable['name']}"
            for name, _, each in _containers(found)
            for variable in each["env"]
            if variable["name"].endswith("_FILE") and variable["value"].startswith("/etc/missedcall/files/")
        }
    if check == "non-existent-service-account":  # one that the values name
        return {name for name, pod in pods(found) if pod["spec"]["serviceAccountName"] in str(given(case))}
    return set()


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_of_kube_linter_finds_nothing(check):
    for case in CASES:
        found = rendered(case)
        assert set(CHECKS[check](found)) <= _excused(check, case, found), case


def test_a_check_finds_what_it_is_for():
    """Each check on manifests in which everything is wrong."""
    bad = chart.objects(WRONG)

    assert [name for name, check in CHECKS.items() if not list(check(bad))] == []


WRONG = """
{apiVersion: extensions/v1beta1, kind: Deployment, metadata: {name: a}, spec: {
  replicas: 2, selector: {matchLabels: {app: a}},
  template: {metadata: {labels: {app: b}}, spec: {
    serviceAccount: a, serviceAccountName: a, hostIPC: true, hostNetwork: true, hostPID: true,
    securityContext: {sysctls: [{name: net.core.somaxconn, value: "1"}]},
    volumes: [{name: a, hostPath: {path: /run/docker.sock}}, {name: b, hostPath: {path: /etc}}],
    containers: [{
      name: a, image: "a:latest", resources: {}, env: [{name: SECRET, value: a}, {name: SECRET, value: b}],
      ports: [{name: not_a_port, containerPort: 22}],
      livenessProbe: {httpGet: {port: 1}}, readinessProbe: {httpGet: {port: 1}}, startupProbe: {httpGet: {port: 1}},
      securityContext: {privileged: true, capabilities: {drop: []}}}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {app: a}, ports: [{targetPort: 0}]}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: a}, spec: {maxUnavailable: 0, minAvailable: 2}}
"""


# -- kubeconform ----------------------------------------------------------------------------------------------


def _schemas(folder, found, version):
    """Write the schemas of the objects' kinds as `kind-group-version.json`.

    Those of Kubernetes have an `$id`, and references, which would send kubeconform into the network.
    """
    of_kubernetes = chart.TOOLS / f"lib/kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict"
    names = {"_definitions.json"}
    for api, kind in {(each["apiVersion"], each["kind"]) for each in found}:
        group, _, number = api.rpartition("/")
        name = "-".join(filter(None, (kind.lower(), group.partition(".")[0], number))) + ".json"
        if api.startswith(crds.GROUPS):
            (folder / name).write_text(json.dumps(crds.schema(api, kind)))
        else:
            names.add(name)
    for name in names:
        text = (
            (of_kubernetes / name)
            .read_text(encoding="utf-8")
            .replace('"/api/_definitions.json', '"_definitions.json')
        )
        schema = json.loads(text)
        del schema["$id"]
        (folder / name).write_text(json.dumps(schema))


def _kubeconform(folder, version, text):
    done = subprocess.run(
        [
            *(chart.binary("kubeconform"), "-strict", "-summary", "-kubernetes-version", f"{version}.0"),
            *("-schema-location", f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"),
        ],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("version", chart.VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_kubeconform_finds_nothing(case, version, tmp_path):
    chart.binary("kubeconform")
    crds.needed()
    _schemas(tmp_path, rendered(case), version)
    text = "\n---\n".join(chart.texts(given(case)).values())

    code, said = _kubeconform(tmp_path, version, text)

    assert (code, said) == (0, said), said
    assert f"Valid: {len(rendered(case))}, Invalid: 0, Errors: 0, Skipped: 0" in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, datas: {}}", "datas"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nmetadata: {name: b}", "already set"),
    ],
)
def test_kubeconform_refuses_what_is_wrong(text, reason, tmp_path):
    """The second is what the schemas alone do not see: a key that is there twice."""
    chart.binary("kubeconform")
    _schemas(tmp_path, [{"apiVersion": "v1", "kind": "ConfigMap"}], chart.VERSIONS[-1])

    code, said = _kubeconform(tmp_path, chart.VERSIONS[-1], text)

    assert code == 1
    assert reason in said
