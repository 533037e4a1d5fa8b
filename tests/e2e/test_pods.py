"""The images, built for real, run as the chart's pods against a real Kafka: `make pods-test`.

What it takes from the rendered manifests: image, command, environment, user, read-only root, capabilities, volumes.
What it puts in their place: the node's network for the cluster's, so each service has a health port of its own, and
127.0.0.1 for the names of Services. What it leaves out: kubelets' probes and preStop, Services, limits, policies.
"""

import os
from contextlib import closing

import pytest
from kafka_nodes import free_ports
from support import chart
from support.chart import pods
from support.containers import SERVICES, Node, run
from support.kafka_rights import Place

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.environ.get("MISSEDCALL_PODS") != "yes",
        reason="builds images, which takes minutes: make pods-test",
    ),
]


def given(bootstrap, prefix, hep):
    """Return values for a Kafka on this machine, and for `helm test`."""
    values = chart.given("minimal")
    values["kafka"] |= {"bootstrapServers": [bootstrap], "prefix": prefix, "partitions": 4, "replicas": 1}
    values["collector"] = {"tcp": {"port": hep}, "udp": {"port": hep}}
    values["classifier"] = {"users": ["sip:missedcall-test@missedcall.invalid"], "replicas": 1}
    return values


def templates(objects):
    """Return the pods that the objects make, by the name of what makes them, with 127.0.0.1 for a Service."""
    found = {name.partition("/")[2].removeprefix("mc-missedcall-"): pod for name, pod in pods(objects)}
    command = found["test"]["spec"]["containers"][0]["command"]
    service = "mc-missedcall-collector-tcp"
    assert any(service in word for word in command)
    command[:] = [word.replace(service, "127.0.0.1") for word in command]
    return found


def test_the_charts_pods_take_a_call_and_end_in_order(kafka, engine, tmp_path):
    hep, *ports = free_ports(4)
    health = dict(zip(("collector", "classifier", "notifier-smtp"), ports, strict=True))
    values = given(kafka.bootstrap, "pods.", hep)
    values["notifier"] = {
        "channels": {
            "smtp": {
                "enabled": True,
                "settings": {
                    "MISSEDCALL_NOTIFY_SMTP_HOST": "127.0.0.1",
                    "MISSEDCALL_NOTIFY_SMTP_PORT": 9,
                    "MISSEDCALL_NOTIFY_SMTP_SECURITY": "none",
                    "MISSEDCALL_NOTIFY_SMTP_SENDER": "missed-calls@example.com",
                    "MISSEDCALL_NOTIFY_SMTP_ALWAYS": ["nobody@missedcall.invalid"],
                },
            }
        }
    }
    objects = chart.render(values)
    pod = templates(objects)
    node = Node(engine, tmp_path, objects)
    try:
        status, said = node.finish("mc-topics", pod["topics"])
        assert (status, said.count(" created: ")) == (0, len(said.splitlines())), said
        for name, port in health.items():
            node.start(f"mc-{name}", pod[name], MISSEDCALL_HEALTH=f"127.0.0.1:{port}")
        for name, port in health.items():
            assert node.until_ready(f"mc-{name}", port) == 200

        status, said = node.finish("mc-test", pod["test"])
        assert status == 0, said
        assert "missed, and its fact is there" in said

        status, said = node.finish("mc-topics-again", pod["topics"])  # as before an upgrade
        assert (status, said) == (0, "")
        variable = {"MISSEDCALL_KAFKA_PARTITIONS": "8"}
        status, said = node.finish("mc-topics-other", pod["topics"], **variable)
        assert status == 1
        assert "is never changed" in said

        for name in health:
            grace = pod[name]["spec"]["terminationGracePeriodSeconds"]
            status, seconds = node.stop(f"mc-{name}", grace)
            assert status == 0, f"{name}: {node.said(f'mc-{name}')[-2000:]}"
            assert seconds < grace
    finally:
        node.remove()


def test_the_charts_job_cuts_the_log_into_more_partitions_and_calls_go_on(kafka, engine, tmp_path):
    """Each pod logs in as a user with its own rights alone; a pod of the job is killed while the log is sealed."""
    hep, *ports = free_ports(3)
    health = dict(zip(("collector", "classifier"), ports, strict=True))
    with closing(Place(kafka, partitions=4)) as place:
        prefix = place.environment["MISSEDCALL_KAFKA_PREFIX"]
        values = given(kafka.secure.sasl, prefix, hep)
        values["kafka"] |= {
            "tls": {"enabled": True, "ca": {"secret": "kafka-ca"}},
            "sasl": {"mechanism": "SCRAM-SHA-256"},
        }
        for part, program in {"scalePartitions": "scale", "tests": "test"}.items():
            values[part] = {"auth": {"username": place.user(program), "secret": "kafka-login"}}
        for part in ("topics", "collector", "classifier"):
            own = values.setdefault(part, {})
            own["auth"] = {"username": place.user(part), "secret": "kafka-login"}
        values["classifier"]["application"] = place.environment["MISSEDCALL_APPLICATION"]
        secrets = {
            "kafka-ca": {"ca.crt": kafka.secure.ca_file.read_text()},
            "kafka-login": {"password": kafka.secure.password_file.read_text()},
        }

        def job(step, to):
            scale = values["scalePartitions"] | {"enabled": True, "step": step, "to": to}
            objects = chart.render(values | {"scalePartitions": scale})
            (found,) = [
                each for each in objects if each["kind"] == "Job" and "-scale-" in each["metadata"]["name"]
            ]
            return found["spec"]

        objects = chart.render(values)
        pod = templates(objects)
        plan, ensure = job("plan", 8), job("ensure", 8)
        node = Node(engine, tmp_path, objects, secrets)

        def start(name):
            node.start(f"mc-{name}", pod[name], MISSEDCALL_HEALTH=f"127.0.0.1:{health[name]}")

        try:
            assert node.finish("mc-topics", pod["topics"]) == (0, "")
            for name in health:
                start(name)
            for name, port in health.items():
                assert node.until_ready(f"mc-{name}", port) == 200
            status, said = node.finish("mc-test", pod["test"])
            assert status == 0, said

            status, said = node.finish("mc-scale-plan", plan["template"])
            assert status == 0, said
            assert "nothing is in the way" in said
            refused, said = node.finish("mc-scale-other", job("ensure", 6)["template"])
            (rule,) = ensure["podFailurePolicy"]["rules"]
            assert rule == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [refused]}}, said

            # without a classifier the log stays sealed: the job waits until everything in it is decided
            assert node.stop("mc-classifier", 30)[0] == 0
            node.start("mc-scale", ensure["template"])
            node.until_said("mc-scale", " marked ")
            node.podman("kill", "--signal", "KILL", "mc-scale")
            assert node.wait("mc-scale")[0] not in (0, refused)
            node.start("mc-test", pod["test"])
            node.until_said("mc-test", "sent one call")
            node.start("mc-scale", ensure["template"])  # as a Job does
            start("classifier")
            status, said = node.wait("mc-scale")
            assert status == 0, said
            assert " moved " in said
            status, said = node.wait("mc-test")  # the collector held the call, and sent it into the new log
            assert (status, "missed, and its fact is there" in said) == (0, True), said

            after = values["kafka"] | {"cut": {"generation": 2, "partitions": 8}}
            more = values["classifier"] | {"replicas": 8}
            pod = templates(chart.render(values | {"kafka": after, "classifier": more}))
            for name in health:  # as an upgrade to these values does
                assert node.stop(f"mc-{name}", 60)[0] == 0
                start(name)
            for name, port in health.items():
                assert node.until_ready(f"mc-{name}", port) == 200
            status, said = node.finish("mc-test-after", pod["test"])
            assert status == 0, said
            topics = (0, "the log is cut into 8 partitions, generation 2\n")
            assert node.finish("mc-topics-after", pod["topics"]) == topics
            status, said = node.finish("mc-scale-again", ensure["template"])
            assert (status, "nothing is to be done" in said) == (0, True), said
        finally:
            node.remove()


def python_says(engine, service, script):
    """Return status and standard error of a script in a service's image."""
    flags = ("--rm", "--read-only", "--read-only-tmpfs=false", "--network", "none", "--cap-drop", "ALL")
    python = ("--entrypoint", '["/opt/missedcall/bin/python3"]')
    image = f"localhost/missedcall-{service}:0.1.0"
    done = run("podman", "run", *flags, *python, image, "-c", script, check=False, env=engine)
    return done.returncode, done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_its_own_packages_and_no_others(engine, service):
    foreign = {
        "collector": ["faust", "exchangelib", "missedcall_classifier"],
        "classifier": ["exchangelib", "missedcall_notifier"],
        "notifier": ["faust", "missedcall_collector"],
    }[service]
    script = (
        "import importlib.util as u, os, shutil, zoneinfo; zoneinfo.ZoneInfo('Europe/Berlin'); "
        f"assert not [n for n in {[*foreign, 'pip', 'pytest', 'mypy']} if u.find_spec(n)]; "
        f"assert u.find_spec('missedcall_{service}') and os.getuid() == 65532 and not shutil.which('cc')"
    )

    assert python_says(engine, service, script) == (0, "")


@pytest.mark.parametrize(
    ("service", "modules"),
    [
        ("collector", ["missedcall_collector.hep_v3", "missedcall_common.sip.message"]),
        ("classifier", ["missedcall_classifier.engine", "missedcall_common.sip.message"]),
    ],
)
def test_the_cores_in_an_image_are_compiled(engine, service, modules):
    script = (
        "import importlib as i; "
        f"assert all(i.import_module(name).__file__.endswith('.so') for name in {modules})"
    )

    assert python_says(engine, service, script) == (0, "")
