"""Images built for real, and pods run from rendered manifests, by buildah and podman with runc."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.chart import ROOT, Object

SERVICES = ("collector", "classifier", "notifier")
BASE, BUILD = "localhost/missedcall-base:debian", "localhost/missedcall-build:debian"
PACKAGES = "buildah podman runc catatonit netavark aardvark-dns iptables mmdebstrap"
CA = "/etc/ssl/certs"
READY_S = 60
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "netavark"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

Environment = dict[str, str]
Done = subprocess.CompletedProcess[str]


def run(*words: str, env: Environment, check: bool = True) -> Done:
    """Run a program and return what it said; unless `check` is off, it must not fail."""
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 0 or not check, f"{' '.join(words[:3])}: {done.stderr[-4000:]}"
    return done


def engine(folder: Path) -> Environment:
    """Return the environment of buildah and podman; skip the test where they cannot work."""
    where = f"{os.environ['PATH']}:/usr/lib/podman"
    for program in ("buildah", "podman", "runc", "netavark", "aardvark-dns", "mmdebstrap"):
        if shutil.which(program, path=where) is None:
            pytest.skip(f"{program} is not here: apt-get install {PACKAGES}")
    if os.geteuid() != 0:
        pytest.skip("building and running containers here needs root")
    conf = folder / "containers.conf"
    conf.write_text(CONFIGURATION)
    return {
        **os.environ,
        "STORAGE_DRIVER": "vfs",
        "BUILDAH_ISOLATION": "chroot",
        "CONTAINERS_CONF": str(conf),
    }


def system_image(env: Environment, name: str, packages: str, folder: Path) -> None:
    """Make an image of a small Debian with these packages, if it is not there: no registry is asked."""
    if run("buildah", "inspect", "--type", "image", name, check=False, env=env).returncode == 0:
        return
    folder.mkdir()
    include = f"--include={packages}"
    run("mmdebstrap", "--quiet", "--variant=minbase", include, "bookworm", str(folder / "base.tar"), env=env)
    (folder / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
    run("buildah", "bud", "--quiet", "-t", name, str(folder), env=env)
    shutil.rmtree(folder)


def service_image(env: Environment, service: str) -> None:
    """Build a service's image from the Dockerfile, on small Debians."""
    authorities = (CA, "/usr/local/share/ca-certificates", "/usr/share/ca-certificates")
    run(
        *("buildah", "bud", "--quiet", "--pull-never", "--layers"),
        *("--build-arg", f"BASE_IMAGE={BASE}", "--build-arg", f"BUILD_IMAGE={BUILD}"),
        *("--build-arg", f"SERVICE={service}"),
        *(word for path in authorities for word in ("-v", f"{path}:{path}:ro")),
        *("--env", f"PIP_CERT={CA}/ca-certificates.crt"),
        *("-t", f"localhost/missedcall-{service}:0.1.0", str(ROOT)),
        env=env,
    )


def images(folder: Path) -> Environment:
    """Build the services' images; return the environment of buildah and podman, or skip the test."""
    env = engine(folder)
    python = "python3,python3-venv,ca-certificates"
    system_image(env, BASE, python, folder / "base")
    system_image(env, BUILD, f"{python},python3-dev,gcc,libc6-dev", folder / "build")
    for service in SERVICES:
        service_image(env, service)
    return env


class Node:
    """Runs pods; ends and removes them at the end."""

    def __init__(
        self,
        env: Environment,
        folder: Path,
        objects: list[Object],
        secrets: Mapping[str, Mapping[str, str]] = {},
    ) -> None:
        """Take ConfigMaps from the objects; the Secrets are those that a user has made."""
        self.env = env
        self.folder = folder
        self.maps = {
            each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"
        }
        self.secrets = secrets
        self.started: list[str] = []
        self._pods = 0

    def podman(self, *words: str, check: bool = True) -> Done:
        return run("podman", *words, check=check, env=self.env)

    def words(self, name: str, pod: Object, replaced: Mapping[str, str]) -> Iterator[str]:
        """Yield the arguments of `podman run` for the one container of a pod."""
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
        self._pods += 1
        mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
        for volume in spec.get("volumes", []):
            place = self.folder / f"{self._pods}-{volume['name']}"
            place.mkdir()
            if "emptyDir" in volume:
                os.chown(place, user["runAsUser"], user["fsGroup"])
                yield from ("--volume", f"{place}:{mounts[volume['name']]}")
            else:
                for path, text in self._files(volume):
                    file = place / path
                    file.write_text(text)
                    file.chmod(0o440)
                    os.chown(file, 0, user["fsGroup"])
                yield from ("--volume", f"{place}:{mounts[volume['name']]}:ro")
        command = container.get("command", [])
        if command:
            yield from ("--entrypoint", json.dumps(command))
        yield f"localhost/{container['image']}"

    def _files(self, volume: Object) -> Iterator[tuple[str, str]]:
        """Yield path and text of what a ConfigMap or a Secret is mounted as."""
        if "secret" in volume:
            source, data = volume["secret"], self.secrets[volume["secret"]["secretName"]]
        else:
            source, data = volume["configMap"], self.maps[volume["configMap"]["name"]]
        items = source.get("items") or [{"key": key, "path": key} for key in data]
        for item in items:
            yield item["path"], data[item["key"]]

    def start(self, name: str, pod: Object, **replaced: str) -> None:
        """Start a pod, in the place of an earlier one of that name, or of one of a run that was killed."""
        self.started.append(name)
        self.podman("run", "--detach", "--replace", *self.words(name, pod, replaced))

    def finish(self, name: str, pod: Object, **replaced: str) -> tuple[int, str]:
        """Run a pod that ends by itself; return its status and output."""
        done = self.podman("run", "--rm", *self.words(name, pod, replaced), check=False)
        return done.returncode, done.stdout + done.stderr

    def wait(self, name: str) -> tuple[int, str]:
        """Wait until a pod has ended; return its status and output."""
        return int(self.podman("wait", name).stdout), self.said(name)

    def said(self, name: str) -> str:
        """Return what a pod has said so far."""
        done = self.podman("logs", name, check=False)
        return done.stdout + done.stderr

    def until_said(self, name: str, word: str) -> None:
        """Wait until a pod that runs has said something."""
        end = time.monotonic() + READY_S
        while word not in self.said(name):
            assert self._runs(name), self.said(name)
            assert time.monotonic() < end, f"{name} does not say {word!r}: {self.said(name)[-2000:]}"
            time.sleep(0.1)

    def until_ready(self, name: str, port: int) -> int:
        """Wait until a pod answers that it is ready; return the status of the answer."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            with contextlib.suppress(urllib.error.URLError, OSError):
                return int(urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2).status)
            assert self._runs(name), self.said(name)
            time.sleep(0.3)
        raise AssertionError(f"{name} is not ready: {self.said(name)[-2000:]}")

    def _runs(self, name: str) -> bool:
        state = self.podman("inspect", "--format", "{{.State.Status}}", name).stdout.strip()
        return state in ("running", "created")

    def stop(self, name: str, grace_s: int) -> tuple[int, float]:
        """End a pod as Kubernetes does; return its status and the seconds that it took."""
        began = time.monotonic()
        self.podman("stop", "--time", str(grace_s), name)
        status = self.podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip()
        return int(status), time.monotonic() - began

    def remove(self) -> None:
        """End and remove everything."""
        for name in self.started:
            self.podman("rm", "--force", "--time", "5", name, check=False)
