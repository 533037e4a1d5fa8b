#!/bin/sh
# Puts a whole Kubernetes of one node on this machine: what tests/cluster/install.sh compiles, and scheduler, kubelet and
# kube-proxy of the same modules into build/cluster/bin; containerd, CoreDNS, kube-router and what holds a pod, from the
# modules that tests/node/tools/go.sum pins, into build/node/bin; and Debian packages, as root. Twenty minutes once.
# Ends with 0 if it is there afterwards; otherwise it says why not and ends with 1.
set -eu

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
PACKAGES="runc containernetworking-plugins iptables ipset iproute2 buildah podman catatonit netavark aardvark-dns mmdebstrap"

MORE="kube-scheduler kubelet kube-proxy" sh "$ROOT/tests/cluster/install.sh"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "node: runc, network plugins and the building of images need root on a Debian"
	exit 1
fi
DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=60 install --no-install-recommends $PACKAGES >/dev/null
TO=$ROOT/build/node/bin
mkdir -p "$TO"
cd "$ROOT/tests/node/tools"
echo "node: compiling containerd, CoreDNS and kube-router"
export GOFLAGS=-mod=readonly
for name in containerd containerd-shim-runc-v2 ctr; do
	go build -ldflags "-s -w" -o "$TO/$name" "github.com/containerd/containerd/v2/cmd/$name"
done
go build -ldflags "-s -w" -o "$TO/kube-router" github.com/cloudnativelabs/kube-router/v2/cmd/kube-router
CGO_ENABLED=0 go build -ldflags "-s -w" -o "$TO" ./dns ./pause
