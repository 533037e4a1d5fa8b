#!/bin/sh
# Compiles a Kubernetes without nodes into build/cluster/bin, from the modules that tests/cluster/tools/go.sum pins:
# etcd, API server, controllers, kubectl, and those that MORE names. About ten minutes once, and 3 GB of Go's caches.
# Ends with 0 if it is there afterwards; otherwise it says why not and ends with 1.
set -eu

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
TO=$ROOT/build/cluster/bin

if ! command -v go >/dev/null; then
	echo "cluster: no Go here, so no Kubernetes"
	exit 1
fi
mkdir -p "$TO"
cd "$ROOT/tests/cluster/tools"
VERSION=$(go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
MINOR=${VERSION#v1.}
IS=k8s.io/component-base/version
FLAGS="-s -w -X $IS.gitVersion=$VERSION -X $IS.gitMajor=1 -X $IS.gitMinor=${MINOR%%.*}"
echo "cluster: compiling Kubernetes $VERSION"
go build -mod=readonly -ldflags "-s -w" -o "$TO/etcd" go.etcd.io/etcd/server/v3
for name in kube-apiserver kube-controller-manager kubectl ${MORE:-}; do
	go build -mod=readonly -ldflags "$FLAGS" -o "$TO/$name" "k8s.io/kubernetes/cmd/$name"
done
