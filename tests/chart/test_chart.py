"""The chart without a cluster: strict schemas, golden manifests, and what pods promise."""

import json
import re
import shutil

import pytest
import yaml
from support import chart
from support.chart import CASES, RefusedError, changed, given, pods, rendered


@pytest.mark.parametrize("case", CASES)
def test_helm_lints_it_without_a_warning(case):
    found = chart.helm_4().lint(str(chart.CHART), given(case), strict=True, namespace=chart.NAMESPACE)

    said = [m for m in found.get("messages") or [] if "icon is recommended" not in str(m)]
    assert said == []


@pytest.mark.parametrize("case", CASES)
def test_it_renders_what_the_golden_manifest_has(case):
    golden = (chart.ROOT / "tests/chart/golden" / f"{case}.yaml").read_text(encoding="utf-8")

    assert chart.golden(rendered(case)) == golden, "look at the difference, then: make chart-golden"


@pytest.mark.parametrize("case", CASES)
def test_helm_3_renders_the_same(case):
    values = str(chart.CHART / "ci" / f"{case}-values.yaml")
    where = ["--namespace", chart.NAMESPACE, "--values", values, "--kube-version", chart.NEWEST]
    text = chart.helm_program("helm3", "template", chart.RELEASE, str(chart.CHART), *where)

    assert chart.objects(text) == rendered(case)


@pytest.mark.parametrize("case", CASES)
def test_helm_3_lints_it_without_a_warning(case):
    values = str(chart.CHART / "ci" / f"{case}-values.yaml")

    assert "0 chart(s) failed" in chart.helm_program(
        "helm3", "lint", "--strict", str(chart.CHART), "--values", values, "--kube-version", chart.NEWEST
    )


@pytest.mark.parametrize("version", chart.VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_objects_are_what_kubernetes_takes(case, version):
    chart.helm_4()
    import kubernetes_validate

    validated = 0
    for each in rendered(case):
        if re.match(r"(v1|apps/|batch/|policy/|autoscaling/|networking\.k8s\.io/)", each["apiVersion"]):
            kubernetes_validate.validate(each, version, strict=True)
            validated += 1
    assert validated >= 5


def test_a_typing_error_is_refused():
    for path in (
        {"kafka__bootstrapServer": ["x:1"]},
        {"collector__replica": 3},
        {"collector__service__externaltrafficPolicy": "Local"},
        {"notifier__channels__smtp__setings": {}},
        {"notifier__channels__sms": {}},
        {"collectors": {}},
        {"collector__settings": {"MISSEDCALL_LISTEN_PER_SORCE": 1}},
        {"collector__settings": {"MISSEDCALL_KAFKA_PARTITIONS": 12}},
        {"classifier__settings": {"MISSEDCALL_LISTEN_PER_SOURCE": 1}},
        {"notifier__channels__smtp__settings": {"MISSEDCALL_NOTIFY_EWS_URL": "x"}},
        {"notifier__channels__smtp__settings": {"MISSEDCALL_NOTIFY_SMTP_PASSWORD_FILE": "x"}},
        {"collector__files": {"MISSEDCALL_LISTEN_AUTH_KEY_FILE": {"secret": "x", "configMap": "y"}}},
        {"collector__files": {"MISSEDCALL_LISTEN_AUTH_KEY_FILE": {"value": "x"}}},
        {"kafka__auth__password": "x"},
        {"kafka__bootstrapServers": ["kafka"]},
        {"collector__udp__port": 70000},
        {"collector__replicas": "many"},
    ):
        with pytest.raises(RefusedError):
            chart.render(changed("minimal", **path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kafka__bootstrapServers": []}, "kafka.bootstrapServers is not set"),
        ({"classifier__replicas": 49}, "49 classifiers for 48 partitions"),
        ({"collector__udp__enabled": False, "collector__tcp__enabled": False}, "are all off"),
        ({"collector__tls__enabled": True}, "collector.tls.secret is not set"),
        ({"collector__tls": {"enabled": True, "secret": "x", "port": 9060}}, "is that of TCP"),
        (
            {"collector__kind": "DaemonSet", "collector__autoscaling": {"type": "hpa"}},
            "no meaning for a DaemonSet",
        ),
        ({"topics__mode": "strimzi"}, "strimzi.cluster is not set"),
        ({"strimzi": {"cluster": "x", "users": {"enabled": True}}}, "runs before its user is there"),
        (
            {"strimzi": {"cluster": "x", "users": {"enabled": True}}, "topics__mode": "none"},
            "expected kafka.sasl.mechanism: SCRAM-SHA-512",
        ),
        ({"kafka__sasl__mechanism": "PLAIN"}, "kafka.auth.username is not set"),
        ({"kafka__sasl__mechanism": "PLAIN", "kafka__auth__username": "x"}, "kafka.auth.secret is not set"),
        ({"kafka__tls__clientCertificate": True, "kafka__auth__secret": "x"}, "kafka.tls.enabled is not"),
        (
            {
                "classifier__users": ["sip:a@b"],
                "classifier__files": {"MISSEDCALL_DECIDE_USERS_FILE": {"secret": "x", "key": "y"}},
            },
            "are both set",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(changes, said):
    with pytest.raises(RefusedError, match=re.escape(said)):
        chart.render(changed("minimal", **changes))


# -- pods ---------------------------------------------------------------------------------------------------


def _restricted(pod):
    """Yield what the Pod Security Standard *restricted* (v1.29) refuses in a pod."""
    spec = pod["spec"]
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    for volume in spec.get("volumes", []):
        kinds = {
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
        }
        if volume.keys().isdisjoint(kinds | {"secret"}):
            yield f"volume {volume['name']}"
    of_pod = spec.get("securityContext", {})
    if of_pod.get("sysctls"):
        yield "sysctls"
    for each in [*spec["containers"], *spec.get("initContainers", []), *spec.get("ephemeralContainers", [])]:
        own = each.get("securityContext", {})
        name = each["name"]
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: privileges"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            yield f"{name}: capabilities"
        if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
            yield f"{name}: root"
        if own.get("runAsUser", of_pod.get("runAsUser")) == 0:
            yield f"{name}: user 0"
        if own.get("seccompProfile", of_pod.get("seccompProfile", {})).get("type") != "RuntimeDefault":
            yield f"{name}: seccomp"
        if any("hostPort" in port for port in each.get("ports", [])):
            yield f"{name}: hostPort"


@pytest.mark.parametrize("case", CASES)
def test_pods_meet_the_standard_restricted(case):
    refused = {name: found for name, pod in pods(rendered(case)) if (found := list(_restricted(pod)))}

    assert refused == ({"DaemonSet/mc-missedcall-collector": ["hostNetwork"]} if case == "daemonset" else {})


@pytest.mark.parametrize("case", CASES)
def test_pods_have_no_way_to_kubernetes_and_a_root_that_is_read_only(case):
    for name, pod in pods(rendered(case)):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsUser"] == 65532
        for each in spec["containers"]:
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"requests", "limits"} <= each["resources"].keys(), name
            assert "memory" in each["resources"]["limits"]
            assert not re.search(r":latest$|^[^:@]+$", each["image"])


@pytest.mark.parametrize("case", CASES)
def test_no_secret_is_in_an_environment(case):
    for _, pod in pods(rendered(case)):
        for each in pod["spec"]["containers"]:
            assert "envFrom" not in each
            for variable in each["env"]:
                source = variable.get("valueFrom", {"fieldRef": {}})
                assert source.keys() == {"fieldRef"}
    assert "Secret" not in {each["kind"] for each in rendered(case)}


@pytest.mark.parametrize("case", CASES)
def test_services_are_asked_how_they_are(case):
    for name, pod in pods(rendered(case)):
        (container,) = pod["spec"]["containers"]
        if "ports" in container:
            assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "health"}
            assert container["startupProbe"]["httpGet"] == {"path": "/livez", "port": "health"}
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}
            assert "health" in {port["name"] for port in container["ports"]}
        else:
            assert name.startswith(("Job/", "Pod/"))


def test_a_pod_has_the_time_that_its_service_takes_to_end():
    from missedcall_collector.service import STOP_S
    from missedcall_notifier.settings import NotifierSettings
    from missedcall_notifier.stream.service import LEAVE_S

    values = yaml.safe_load((chart.CHART / "values.yaml").read_text(encoding="utf-8"))

    collector, notifier = values["collector"], values["notifier"]
    assert collector["terminationGracePeriodSeconds"] >= collector["drainSeconds"] + STOP_S + 5
    assert notifier["terminationGracePeriodSeconds"] >= NotifierSettings().stop_s + LEAVE_S + 5


def test_a_pods_name_fits_where_it_is_used():
    long = chart.render({**given("minimal"), "fullnameOverride": "x" * 36})

    for name, _ in pods(long):
        assert len(name.partition("/")[2]) + len("-0123456789-abcde") <= 64


# -- references ---------------------------------------------------------------------------------------------


def _references(spec):
    """Yield (kind, name) of what a pod needs."""
    yield "ServiceAccount", spec["serviceAccountName"]
    for secret in spec.get("imagePullSecrets", []):
        yield "Secret", secret["name"]
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]


def _named(tree):
    """Return every text in the values: what is not of the chart is named there."""
    if isinstance(tree, dict):
        return {text for value in tree.values() for text in _named(value)}
    if isinstance(tree, list):
        return {text for value in tree for text in _named(value)}
    return {tree} if isinstance(tree, str) else set()


@pytest.mark.parametrize("case", CASES)
def test_nothing_dangles(case):
    found = rendered(case)
    made = {(each["kind"], each["metadata"]["name"]) for each in found}
    made |= {("Secret", name) for kind, name in made if kind == "KafkaUser"}  # Strimzi makes them
    outside = _named(given(case)) | {"default"}

    for name, pod in pods(found):
        spec = pod["spec"]
        for kind, needed in _references(spec):
            assert (kind, needed) in made or needed in outside, f"{name} needs {kind} {needed}"
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        mounted = [mount for each in spec["containers"] for mount in each.get("volumeMounts", [])]
        assert {mount["name"] for mount in mounted} == volumes, name
        assert len({mount["mountPath"] for mount in mounted}) == len(mounted)
        for variable in spec["containers"][0]["env"]:
            path = variable.get("value", "")
            if path.startswith("/"):
                assert any(path.startswith(mount["mountPath"]) for mount in mounted), f"{name}: {path}"
    for each in found:
        target = each.get("spec", {}).get("scaleTargetRef")
        if target:
            assert (target["kind"], target["name"]) in made
            workload = next(
                w for w in found if (w["kind"], w["metadata"]["name"]) == (target["kind"], target["name"])
            )
            assert "replicas" not in workload["spec"]
        if each["kind"] == "StatefulSet":
            assert ("Service", each["spec"]["serviceName"]) in made
        for trigger in each.get("spec", {}).get("triggers", []):
            if "authenticationRef" in trigger:
                assert ("TriggerAuthentication", trigger["authenticationRef"]["name"]) in made


@pytest.mark.parametrize("case", CASES)
def test_selectors_choose_the_pods_that_they_mean(case):
    found = rendered(case)
    labels = {name: pod["metadata"].get("labels", {}) for name, pod in pods(found)}
    ports = {
        name: {
            port["name"]: port["protocol"]
            for each in pod["spec"]["containers"]
            for port in each.get("ports", [])
        }
        for name, pod in pods(found)
    }

    for each in found:
        kind, spec = each["kind"], each.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector"))
        if kind in ("Deployment", "DaemonSet", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"):
            selector = selector["matchLabels"]
        elif kind != "Service":
            continue
        chosen = [name for name, own in labels.items() if selector.items() <= own.items()]
        component = each["metadata"]["labels"]["app.kubernetes.io/component"]
        (name,) = [name.partition("/")[2] for name in chosen]
        assert name == f"mc-missedcall-{component}" or name.startswith("mc-missedcall-scale-")
        assert {"app.kubernetes.io/version", "helm.sh/chart"}.isdisjoint(selector)
        for port in spec.get("ports", []) if kind == "Service" else []:
            assert ports[chosen[0]][port["targetPort"]] == port["protocol"]
        for rule in spec.get("ingress", []) if kind == "NetworkPolicy" else []:
            for port in rule["ports"]:
                assert ports[chosen[0]][port["port"]] == port["protocol"]


@pytest.mark.parametrize("case", CASES)
def test_every_object_says_whose_it_is(case):
    for each in rendered(case):
        if not each["metadata"]["name"].endswith("-extra"):
            assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "mc"
            assert each["metadata"].get("namespace") == chart.NAMESPACE


def test_what_is_let_out_besides_is_let_out_of_every_pod_of_jobs_too():
    """Policies see the ports of the pods behind a Service: OpenShift's name servers listen on 5353."""
    names = {"ports": [{"port": 5353, "protocol": "UDP"}]}
    found = chart.render(
        changed(
            "minimal",
            networkPolicy={"enabled": True, "extraEgress": [names]},
            scalePartitions={"enabled": True, "to": 96},
        )
    )
    policies = {
        each["metadata"]["name"].removeprefix("mc-missedcall-"): each["spec"]["egress"]
        for each in found
        if each["kind"] == "NetworkPolicy"
    }

    assert {"collector", "classifier", "topics", "scale"} <= policies.keys()
    assert all(names in rules for rules in policies.values())


def test_a_classifier_that_is_missed_during_an_update_comes_back_as_it_is_after_it():
    """With a type and no `rollingUpdate` Kubernetes 1.37 makes it as it was, ends it, and so on for ever."""
    (found,) = [each for each in rendered("minimal") if each["kind"] == "StatefulSet"]

    assert found["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}


def test_changed_users_restart_the_classifiers_and_nobody_else():
    def annotations(users):
        found = chart.render(changed("production", classifier__users=users))
        return {name: pod["metadata"].get("annotations") for name, pod in pods(found)}

    one, other = annotations(["sip:a@example.com"]), annotations(["sip:b@example.com"])

    assert [name for name in one if one[name] != other[name]] == ["StatefulSet/mc-missedcall-classifier"]


# -- what it says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_notes_name_what_runs_and_what_to_do(case):
    said = chart.notes(given(case))

    assert "mc-missedcall-classifier" in said
    assert ("nobody is told" in said) == (case == "minimal")
    assert ("hostNetwork" in said) == (case == "daemonset")
    assert ("call data crosses the network in clear" in said) == ("tls" not in given(case)["kafka"])


def test_what_is_generated_is_fresh():
    import chart as tool

    for path, text in tool.generated().items():
        assert path.read_text(encoding="utf-8") == text, "run: make chart-docs"


def test_every_value_is_described():
    import chart as tool

    text = (chart.CHART / "values.yaml").read_text(encoding="utf-8")
    described = {value.path for value in tool.values(text)}

    def leaves(tree, path=()):
        for name, value in tree.items():
            here = (*path, name)
            if here in described:
                continue
            assert isinstance(value, dict), f"{'.'.join(here)} has no description"
            leaves(value, here)

    leaves(yaml.safe_load(text))


def test_alerts_and_dashboards_come_from_files(tmp_path):
    copy = tmp_path / "missedcall"
    shutil.copytree(chart.CHART, copy)
    for folder in ("rules", "dashboards"):
        (copy / "files" / folder).mkdir(exist_ok=True)
    group = {
        "name": "g",
        "rules": [{"alert": "A", "expr": "x > 1", "annotations": {"summary": "{{ $value }}"}}],
    }
    (copy / "files/rules/a.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    (copy / "files/dashboards/calls.json").write_text(json.dumps({"title": "{{ calls }}"}))

    found = chart.render(given("observability"), copy)

    (rule,) = [each for each in found if each["kind"] == "PrometheusRule"]
    assert rule["spec"]["groups"][-1] == group or group in rule["spec"]["groups"]
    board = next(each for each in found if each["metadata"]["name"] == "mc-missedcall-dashboard-calls")
    assert json.loads(board["data"]["calls.json"]) == {"title": "{{ calls }}"}
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
