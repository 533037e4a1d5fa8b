"""A whole Kubernetes of one node: scheduler, kubelet, containerd with runc, kube-proxy, CoreDNS, network policies.

It takes over the machine that it is on: `tests/node/machine.sh` makes one for it.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from support import chart
from support.kubernetes import BIN, NAMESPACE, NODE, SERVICES, ControlPlane

BUILT = chart.ROOT / "build/node"
OWN = BUILT / "bin"
IMAGES = BUILT / "images"
"""Archives of the images, which no registry has."""
PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr", "dns", "kube-router")
PACKAGES = ("runc", "iptables", "ipset")
ADDRESS = os.environ.get("ADDRESS", "")
PODS, DNS_SERVICE, DOMAIN = "10.244.0.0/16", "10.96.0.10", "cluster.local"
FOLDER, CGROUP = os.environ.get("MISSEDCALL_NODE", ""), os.environ.get("MISSEDCALL_NODE_CGROUP", "")
ABSENT = (
    "" if FOLDER else "takes over the machine that it is on: make node-test makes one (Go 1.26, root, Debian)"
)

CONTAINERD = """
version = 3
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/missedcall-pause:1"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{folder}/cni"
"""
CNI = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}
KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "address": ADDRESS,
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": f"/{CGROUP}",
    "clusterDNS": [DNS_SERVICE],
    "clusterDomain": DOMAIN,
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%"},
    "failCgroupV1": False,
    "imageGCHighThresholdPercent": 100,
    "makeIPTablesUtilChains": False,
    "volumePluginDir": f"{FOLDER}/plugins",
    "resolvConf": f"{FOLDER}/resolv.conf",
}
PROXY = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "mode": "iptables",
    "clusterCIDR": PODS,
    "hostnameOverride": NODE,
    "clientConnection": {"kubeconfig": f"{FOLDER}/kubeconfig"},
    "conntrack": {
        "maxPerCore": 0,
        "min": 0,
        "tcpEstablishedTimeout": "0s",
        "tcpCloseWaitTimeout": "0s",
    },
    "iptables": {"localhostNodePorts": False},
}
DNS = """
.:53 {{
    bind {address}
    errors
    health {address}:8054
    ready {address}:8055
    kubernetes {domain} in-addr.arpa {{
        kubeconfig {folder}/kubeconfig
        ttl 5
    }}
    cache 5
}}
"""


class Node(ControlPlane):
    """Use as a context manager; one to a machine."""

    def __init__(self) -> None:
        folder = Path(FOLDER)
        super().__init__(folder, ADDRESS, without=("node-ipam-controller",))
        for name in ("cni", "kubelet", "plugins"):
            (folder / name).mkdir()
        (folder / "containerd.toml").write_text(CONTAINERD.format(folder=folder))
        (folder / "cni/10-pods.conflist").write_text(json.dumps(CNI))
        (folder / "kubelet.json").write_text(json.dumps(KUBELET))
        (folder / "proxy.json").write_text(json.dumps(PROXY))
        (folder / "Corefile").write_text(DNS.format(address=ADDRESS, domain=DOMAIN, folder=folder))
        kubeconfig = ("--kubeconfig", str(self.kubeconfig))
        self._commands |= {
            "kube-scheduler": [
                str(BIN / "kube-scheduler"),
                *(*kubeconfig, "--leader-elect=false", "--bind-address", "127.0.0.1"),
            ],
            "containerd": [str(OWN / "containerd"), "--config", str(folder / "containerd.toml")],
            "kubelet": [
                str(BIN / "kubelet"),
                *(
                    *kubeconfig,
                    "--config",
                    str(folder / "kubelet.json"),
                    "--root-dir",
                    str(folder / "kubelet"),
                ),
                *(
                    "--cert-dir",
                    str(folder / "kubelet/pki"),
                    "--hostname-override",
                    NODE,
                    "--node-ip",
                    ADDRESS,
                ),
            ],
            "kube-proxy": [str(BIN / "kube-proxy"), "--config", str(folder / "proxy.json")],
            "dns": [str(OWN / "dns"), "-conf", str(folder / "Corefile")],
            "kube-router": [
                str(OWN / "kube-router"),
                *(*kubeconfig, "--hostname-override", NODE, "--run-firewall", "--run-router=false"),
                *("--run-service-proxy=false", "--run-loadbalancer=false", "--iptables-sync-period", "1m"),
                *("--service-cluster-ip-range", SERVICES),
            ],
        }
        os.environ["PATH"] = f"{OWN}:{os.environ['PATH']}"  # containerd looks for its shim there

    def _begin(self) -> None:
        super()._begin()
        self._start("kube-scheduler")
        self._start("containerd")
        self._until("containerd answers", lambda: self._ctr("version").returncode == 0)
        for archive in sorted(IMAGES.glob("*.tar")):
            done = self._ctr("images", "import", str(archive))
            assert done.returncode == 0, done.stderr
        self._start("kubelet")
        self._until("the node is ready", self._ready)
        for name in ("kube-proxy", "dns", "kube-router"):
            self._start(name)
        for document in _dns():
            self.kubectl("apply", "--filename", "-", text=json.dumps(document))

    def pods(self, component: str = "") -> list[chart.Object]:
        """Return the pods of a component, by name; of all without one."""
        found = self.objects("api/v1/pods")
        label = "app.kubernetes.io/component"
        return sorted(
            (pod for pod in found if component in ("", pod["metadata"]["labels"].get(label))),
            key=lambda pod: pod["metadata"]["name"],
        )

    def service(self, name: str) -> str:
        """Return the address of a Service."""
        address: str = self.ask("GET", f"/api/v1/namespaces/{NAMESPACE}/services/{name}")["spec"]["clusterIP"]
        return address

    def python(self, pod: chart.Object, code: str) -> str:
        """Run Python in the container of a pod; return what it prints.

        Raises:
            chart.RefusedError: it fails.
        """
        words = ("exec", pod["metadata"]["name"], "--", "/opt/missedcall/bin/python3", "-c", code)
        return self.kubectl(*words).strip()

    def process(self, pod: chart.Object) -> int:
        """Return the number of the first process of a pod's container, as this machine counts; 0 if none runs."""
        (status,) = pod["status"]["containerStatuses"]
        identity = status.get("containerID", "none").removeprefix("containerd://")
        lines = self._ctr("tasks", "ls").stdout.splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(identity)), 0)

    def tasks(self) -> list[str]:
        """Return the containers that run, sandboxes of pods among them."""
        return [line.split()[0] for line in self._ctr("tasks", "ls", "-q").stdout.splitlines()]

    def until(self, what: str, holds: Callable[[], Any], wait_s: float = 120.0) -> None:
        """Wait until something holds, or that time is over, which fails the test."""
        ends = time.monotonic() + wait_s
        while not holds():
            assert time.monotonic() < ends, (
                f"not within {wait_s} s: {what}\n{self.kubectl('get', 'pods,jobs')}"
            )
            time.sleep(0.2)

    def _ctr(self, *words: str) -> subprocess.CompletedProcess[str]:
        program = [str(OWN / "ctr"), "--namespace", "k8s.io", *words]
        return subprocess.run(program, capture_output=True, text=True, check=False)

    def _ready(self) -> bool:
        node = self.ask("GET", f"/api/v1/nodes/{NODE}")
        conditions = [] if node is None else node["status"].get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def ready(pod: chart.Object) -> bool:
    """Whether a pod is ready, and not about to end."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def limits(process: int) -> tuple[int, float]:
    """Return bytes of memory and cores of CPU that the control group of a process may use."""
    groups = [line.split(":", 2)[1:] for line in Path(f"/proc/{process}/cgroup").read_text().splitlines()]
    at = {name: path for names, path in groups for name in names.split(",")}
    root = Path("/sys/fs/cgroup")
    if "memory" in at:
        memory, cpu = (root / name / at[name].lstrip("/") for name in ("memory", "cpu"))
        quota, period = (int((cpu / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return int((memory / "memory.limit_in_bytes").read_text()), quota / period
    group = root / at[""].lstrip("/")
    quota, period = map(int, (group / "cpu.max").read_text().split())
    return int((group / "memory.max").read_text()), quota / period


class Ends:
    """How containers ended, seen from begin to end of a `with` block: (pod, status, reason, seconds)."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._words = [str(BIN / "kubectl"), "--kubeconfig", str(node.kubeconfig), "get", "pods"]
        self._words += ["--watch", "--output", "json"]
        self.found: dict[str, tuple[str, int, str]] = {}
        """Container's identity -> pod, status, reason."""

    def __enter__(self) -> Self:
        self._watch = subprocess.Popen(self._words, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.terminate()
        self._thread.join()
        self._watch.wait()

    def _follow(self) -> None:
        assert self._watch.stdout is not None
        decoder, text = json.JSONDecoder(), ""
        with self._watch.stdout as lines:
            for line in lines:
                text += line
                if line.startswith("}"):
                    pod, _ = decoder.raw_decode(text)
                    text = ""
                    self._note(pod)

    def _note(self, pod: chart.Object) -> None:
        for status in pod["status"].get("containerStatuses", []):
            for state in (status.get("state", {}), status.get("lastState", {})):
                if (end := state.get("terminated")) is not None:
                    self.found[end.get("containerID", "")] = (
                        pod["metadata"]["name"],
                        end["exitCode"],
                        end.get("reason", ""),
                    )


def _dns() -> Iterator[chart.Object]:
    """Yield what makes the name server on the node a Service of the cluster."""
    meta = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [{"name": name.lower(), "port": 53, "protocol": name} for name in ("UDP", "TCP")]
    spec = {"clusterIP": DNS_SERVICE, "ports": ports}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta | {"labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [ADDRESS]}],
        "ports": ports,
    }
