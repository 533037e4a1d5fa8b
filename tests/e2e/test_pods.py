"""The images, built for real, run as the chart's pods against a real Kafka: `make pods-test`.

What it takes from the rendered manifests: image, command, environment, user, read-only root, capabilities, volumes.
What it puts in their place: the node's network for the cluster's, so each service has a health port of its own, and
127.0.0.1 for the names of Services. What it leaves out: kubelets' probes and preStop, Services, limits, policies.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from support import chart
from support.chart import ROOT, pods

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.environ.get("MISSEDCALL_PODS") != "yes",
        reason="builds images, which takes minutes: make pods-test",
    ),
]

SERVICES = ("collector", "classifier", "notifier")
BASE = "localhost/missedcall-base:debian"
CA = "/etc/ssl/certs"
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def run(*words, check=True, **more):
    return subprocess.run(words, check=check, capture_output=True, text=True, **more)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """Return the environment for buildah and podman, with the images there."""
    for program in ("buildah", "podman", "runc", "mmdebstrap"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here: apt-get install buildah podman runc catatonit mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("building and running containers here needs root")
    conf = tmp_path_factory.mktemp("podman") / "containers.conf"
    conf.write_text(CONFIGURATION)
    env = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot", "CONTAINERS_CONF": str(conf)}
    if run("buildah", "inspect", "--type", "image", BASE, check=False, env=env).returncode:
        folder = tmp_path_factory.mktemp("base")
        include = "--include=python3,python3-venv,ca-certificates"
        run("mmdebstrap", "--quiet", "--variant=minbase", include, "bookworm", str(folder / "base.tar"))
        (folder / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        run("buildah", "bud", "--quiet", "-t", BASE, str(folder), env=env)
    for service in SERVICES:
        run(
            *("buildah", "bud", "--quiet", "--pull-never", "--layers"),
            *("--build-arg", f"BASE_IMAGE={BASE}", "--build-arg", f"SERVICE={service}"),
            *(
                "-v",
                f"{CA}:{CA}:ro",
                "-v",
                "/usr/local/share/ca-certificates:/usr/local/share/ca-certificates:ro",
            ),
            *("-v", "/usr/share/ca-certificates:/usr/share/ca-certificates:ro"),
            *("--env", f"PIP_CERT={CA}/ca-certificates.crt"),
            *("-t", f"localhost/missedcall-{service}:0.1.0", str(ROOT)),
            env=env,
        )
    return env


class Node:
    """Runs pods; ends and removes them at the end."""

    def __init__(self, env, folder, objects):
        self.env = env
        self.folder = folder
        self.maps = {
            each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"
        }
        self.started = []

    def podman(self, *words, check=True):
        return run("podman", *words, check=check, env=self.env)

    def words(self, name, pod, replaced):
        """Return the arguments of `podman run` for the one container of a pod."""
        spec = pod["spec"]
        (container,) = spec["containers"]
        user = spec["securityContext"]
        yield from ("--network", "host", "--name", name)
        yield from ("--user", f"{user['runAsUser']}:{user['runAsGroup']}")
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        yield from ("--security-opt", "no-new-privileges")
        if own["readOnlyRootFilesystem"]:
            yield from ("--read-only", "--read-only-tmpfs=false")
        for capability in own["capabilities"]["drop"]:
            yield from ("--cap-drop", capability)
        for variable in container["env"]:
            value = variable.get("value", name)  # fieldRef: the pod's name
            yield from ("--env", f"{variable['name']}={replaced.get(variable['name'], value)}")
        mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
        for volume in spec.get("volumes", []):
            place = self.folder / f"{name}-{volume['name']}"
            place.mkdir()
            if "configMap" in volume:
                for key, text in self.maps[volume["configMap"]["name"]].items():
                    (place / key).write_text(text)
                yield from ("--volume", f"{place}:{mounts[volume['name']]}:ro")
            else:
                assert "emptyDir" in volume
                os.chown(place, user["runAsUser"], user["fsGroup"])
                yield from ("--volume", f"{place}:{mounts[volume['name']]}")
        command = container.get("command", [])
        if command:
            yield from ("--entrypoint", json.dumps(command))
        yield f"localhost/{container['image']}"

    def start(self, name, pod, **replaced):
        self.podman("run", "--detach", *self.words(name, pod, replaced))
        self.started.append(name)

    def finish(self, name, pod, **replaced):
        """Run a pod that ends by itself; return its status and output."""
        done = self.podman("run", "--rm", *self.words(name, pod, replaced), check=False)
        return done.returncode, done.stdout + done.stderr

    def until_ready(self, name, port):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(urllib.error.URLError, OSError):
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2).status
            state = self.podman("inspect", "--format", "{{.State.Status}}", name).stdout.strip()
            assert state in ("running", "created"), self.podman("logs", name).stderr
            time.sleep(0.3)
        raise AssertionError(f"{name} is not ready: {self.podman('logs', name).stderr[-2000:]}")

    def stop(self, name, grace_s):
        """End a pod as Kubernetes does; return its status and the seconds that it took."""
        began = time.monotonic()
        self.podman("stop", "--time", str(grace_s), name)
        status = self.podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip()
        return int(status), time.monotonic() - began

    def remove(self):
        for name in self.started:
            self.podman("rm", "--force", "--time", "1", name, check=False)


def test_the_charts_pods_take_a_call_and_end_in_order(kafka, engine, tmp_path):
    from kafka_nodes import free_ports

    health = dict(zip(("collector", "classifier", "notifier-smtp"), free_ports(3), strict=True))
    values = chart.given("minimal")
    values["kafka"] |= {
        "bootstrapServers": [kafka.bootstrap],
        "prefix": "pods.",
        "partitions": 4,
        "replicas": 1,
    }
    (hep,) = free_ports(1)
    values["collector"] = {"tcp": {"port": hep}, "udp": {"port": hep}}
    values["classifier"] = {"users": ["sip:missedcall-test@missedcall.invalid"], "replicas": 1}
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
    templates = {name.partition("/")[2].removeprefix("mc-missedcall-"): pod for name, pod in pods(objects)}
    node = Node(engine, tmp_path, objects)
    try:
        status, said = node.finish("mc-topics", templates["topics"])
        assert (status, said.count(" created: ")) == (0, len(said.splitlines())), said
        for name, port in health.items():
            node.start(f"mc-{name}", templates[name], MISSEDCALL_HEALTH=f"127.0.0.1:{port}")
        for name, port in health.items():
            assert node.until_ready(f"mc-{name}", port) == 200

        trial = templates["test"]
        command = trial["spec"]["containers"][0]["command"]
        service = "mc-missedcall-collector-tcp"
        assert any(service in word for word in command)
        command[:] = [word.replace(service, "127.0.0.1") for word in command]
        status, said = node.finish("mc-test", trial)
        assert status == 0, said
        assert "missed, and its fact is there" in said

        status, said = node.finish("mc-topics-again", templates["topics"])  # as before an upgrade
        assert (status, said) == (0, "")
        variable = {"MISSEDCALL_KAFKA_PARTITIONS": "8"}
        status, said = node.finish("mc-topics-other", templates["topics"], **variable)
        assert status == 1
        assert "is never changed" in said

        for name in health:
            grace = templates[name]["spec"]["terminationGracePeriodSeconds"]
            status, seconds = node.stop(f"mc-{name}", grace)
            assert status == 0, f"{name}: {node.podman('logs', f'mc-{name}').stderr[-2000:]}"
            assert seconds < grace
    finally:
        node.remove()


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_its_own_packages_and_no_others(engine, service):
    foreign = {
        "collector": ["faust", "exchangelib", "missedcall_classifier"],
        "classifier": ["exchangelib", "missedcall_notifier"],
        "notifier": ["faust", "missedcall_collector"],
    }[service]
    script = (
        "import importlib.util as u, os, zoneinfo; zoneinfo.ZoneInfo('Europe/Berlin'); "
        f"assert not [n for n in {[*foreign, 'pip', 'pytest']} if u.find_spec(n)]; "
        f"assert u.find_spec('missedcall_{service}') and os.getuid() == 65532"
    )
    flags = ("--rm", "--read-only", "--read-only-tmpfs=false", "--network", "none", "--cap-drop", "ALL")
    image = f"localhost/missedcall-{service}:0.1.0"
    python = ("--entrypoint", '["/opt/missedcall/bin/python3"]')

    done = run("podman", "run", *flags, *python, image, "-c", script, check=False, env=engine)

    assert (done.returncode, done.stderr) == (0, "")
