"""Kubernetes as its authors publish it: etcd, API server and controllers, with or without somebody who runs pods.

Deployments, StatefulSets, DaemonSets and Jobs make real pods, which admission looks at. In `Kubernetes` scheduler
and kubelet are played: each pod is on the one node, and at once ready, or through with its work if it is a Job's or
a test's; one that is to end does. `support.node` has real ones.
"""

import json
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from kafka_nodes import free_ports
from support import chart

BIN = chart.ROOT / "build/cluster/bin"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
ABSENT = (
    ""
    if all((BIN / name).exists() for name in PROGRAMS)
    else "no Kubernetes is here: make cluster-test compiles it (Go 1.26, about ten minutes once)"
)
NAMESPACE = "voip"
NODE = "node"
SERVICES = "10.96.0.0/16"
START_S = 60.0
TOKEN = "of-this-test"

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: here, user: admin, namespace: {namespace}}}}}]
clusters: [{{name: here, cluster: {{server: "{url}", insecure-skip-tls-verify: true}}}}]
users: [{{name: admin, user: {{token: {token}}}}}]
"""


class ControlPlane:
    """Use as a context manager: a namespace `voip` in which the Pod Security Standard *restricted* is enforced."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", without: tuple[str, ...] = ()) -> None:
        """Prepare.

        Args:
            folder: for data, logs and `kubeconfig`.
            address: where the API server listens.
            without: controllers that are left out.
        """
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        client, peer, api, controllers = free_ports(4)
        self.url = f"https://{address}:{api}"
        etcd = f"http://127.0.0.1:{client}"
        key = folder / "accounts.key"
        self._commands = {
            "etcd": [
                str(BIN / "etcd"),
                *("--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"),
                *("--listen-client-urls", etcd, "--advertise-client-urls", etcd),
                *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
            ],
            "kube-apiserver": [
                str(BIN / "kube-apiserver"),
                *("--etcd-servers", etcd, "--secure-port", str(api)),
                *("--cert-dir", str(folder / "certificates")),
                *("--bind-address", address, "--advertise-address", address),
                *("--kubelet-preferred-address-types", "InternalIP"),
                *("--endpoint-reconciler-type", "none", "--service-cluster-ip-range", SERVICES),
                *("--authorization-mode", "RBAC", "--token-auth-file", str(folder / "tokens")),
                *("--service-account-issuer", "https://kubernetes.default.svc"),
                *("--service-account-key-file", str(key), "--service-account-signing-key-file", str(key)),
            ],
            "kube-controller-manager": [
                str(BIN / "kube-controller-manager"),
                *("--kubeconfig", str(self.kubeconfig), "--leader-elect=false"),
                *("--bind-address", "127.0.0.1"),
                *("--secure-port", str(controllers), "--cert-dir", str(folder / "certificates")),
                *("--service-account-private-key-file", str(key)),
                *("--controllers", ",".join(("*", *(f"-{name}" for name in without)))),
            ],
        }
        (folder / "tokens").write_text(f"{TOKEN},admin,1,system:masters\n")
        self.kubeconfig.write_text(KUBECONFIG.format(url=self.url, token=TOKEN, namespace=NAMESPACE))
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        self._tls = ssl._create_unverified_context()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _begin(self) -> None:
        self._start("etcd")
        self._start("kube-apiserver")
        self._until("the API server is ready", lambda: self.ask("GET", "/readyz") == "ok")
        self._start("kube-controller-manager")
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
        account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
        self._until("the namespace has its account", lambda: self.ask("GET", account) is not None)

    def kubectl(self, *words: str, text: str = "") -> str:
        """Run kubectl and return what it prints, warnings among it.

        Raises:
            chart.RefusedError: it fails.
        """
        done = subprocess.run(
            [str(BIN / "kubectl"), "--kubeconfig", str(self.kubeconfig), *words],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={"HOME": str(self.folder), "PATH": ""},
        )
        if done.returncode:
            raise chart.RefusedError(done.stdout)
        return done.stdout

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """Return the API server's answer, None where there is no such thing, or the server is not there."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, context=self._tls, timeout=10) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode()
            if error.code in (404, 409, 500, 503):
                return None
            raise chart.RefusedError(said) from error
        except OSError:
            return None
        return json.loads(text) if text.startswith("{") else text

    def objects(self, path: str) -> list[chart.Object]:
        """Return the objects of a kind in the namespace: `apps/v1`, `deployments` as `apis/apps/v1/deployments`."""
        group, _, plural = path.rpartition("/")
        found = self.ask("GET", f"/{group}/namespaces/{NAMESPACE}/{plural}")
        return [] if found is None else found["items"]

    def _start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(self._commands[name], stdout=log, stderr=subprocess.STDOUT)
            )

    def _stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _until(self, what: str, holds: Any) -> None:
        ends = time.monotonic() + START_S
        while not holds():
            for process in self._processes:
                if process.poll() is not None:
                    raise AssertionError(f"{process.args[0]} ended: see {self.folder}")  # type: ignore[index]
            if time.monotonic() > ends:
                raise AssertionError(f"not within {START_S} s: {what}; see {self.folder}")
            time.sleep(0.05)


class Kubernetes(ControlPlane):
    """The same, with scheduler and kubelet as they are played here."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, without=("node-lifecycle-controller", "node-ipam-controller"))
        self._ends = threading.Event()
        self._kubelet = threading.Thread(target=self._play_kubelet, name="kubelet")
        self.refused: list[str] = []
        """What the kubelet that is played here was refused."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._kubelet.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._kubelet.join()
        super().__exit__()

    def _begin(self) -> None:
        super()._begin()
        self.ask("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})

    def _play_kubelet(self) -> None:
        while not self._ends.wait(0.1):
            try:
                for pod in self.objects("api/v1/pods"):
                    self._look_after(pod)
                for service in self.objects("api/v1/services"):
                    if service["spec"]["type"] == "LoadBalancer" and not service["status"]["loadBalancer"]:
                        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
                        self._say("services", service, status)
            except chart.RefusedError as error:
                self.refused.append(str(error))

    def _look_after(self, pod: chart.Object) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}"
        if "deletionTimestamp" in pod["metadata"]:
            self.ask(
                "DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
            )
        elif "nodeName" not in pod["spec"]:
            target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
            self.ask(
                "POST", f"{path}/binding", {"metadata": {"name": pod["metadata"]["name"]}, "target": target}
            )
            self._say("pods", pod, _status(pod))
        elif pod["status"]["phase"] == "Pending":
            self._say("pods", pod, _status(pod))

    def _say(self, plural: str, which: chart.Object, status: chart.Object) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}/{plural}/{which['metadata']['name']}/status"
        self.ask("PATCH", path, {"status": status}, "application/merge-patch+json")


def _status(pod: chart.Object) -> chart.Object:
    """Return what a kubelet says of a pod that it has started, or that is through."""
    owners = pod["metadata"].get("ownerReferences", [{"kind": ""}])
    begun = pod["metadata"]["creationTimestamp"]
    if owners[0]["kind"] in ("Job", ""):
        state = {
            "terminated": {"exitCode": 0, "reason": "Completed", "startedAt": begun, "finishedAt": begun}
        }
        phase, ready = "Succeeded", "False"
    else:
        state, phase, ready = {"running": {"startedAt": begun}}, "Running", "True"
    conditions = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": phase,
        "startTime": begun,
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [
            {
                "type": each,
                "status": ready if "Ready" in each else "True",
                "lastTransitionTime": begun,
            }
            for each in conditions
        ],
        "containerStatuses": [
            {
                "name": each["name"],
                "image": each["image"],
                "imageID": "",
                "restartCount": 0,
                "ready": ready == "True",
                "started": ready == "True",
                "state": state,
            }
            for each in pod["spec"]["containers"]
        ],
    }
