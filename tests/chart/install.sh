#!/bin/sh
# Puts what the chart's tests need into build/chart: Helm 4 as a library and the schemas of Kubernetes, as Python
# packages by the hashes of requirements/chart.txt; and where Go is, Helm 3 and kubeconform, compiled from the modules
# that tests/chart/tools/go.sum pins (a minute or two, once).
# What is not there afterwards is said; tests that need it are skipped and counted. Ends with 1 without Helm 4.
set -eu

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
TO=$ROOT/build/chart
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}

mkdir -p "$TO/bin"
if ! cmp -s "$ROOT/requirements/chart.txt" "$TO/lib/.installed"; then
	echo "chart: installing Helm 4 and the schemas of Kubernetes"
	rm -rf "$TO/lib"
	if ! "$PYTHON" -m pip install --quiet --target "$TO/lib" --require-hashes -r "$ROOT/requirements/chart.txt" 2>"$TO/pip.log"; then
		echo "chart: pip could not install them:"
		tail -n 3 "$TO/pip.log"
		exit 1
	fi
	cp "$ROOT/requirements/chart.txt" "$TO/lib/.installed"
fi

cd "$ROOT/tests/chart/tools"
if cmp -s go.sum "$TO/bin/.compiled"; then
	exit 0
fi
if ! command -v go >/dev/null; then
	echo "chart: no Go here, so no Helm 3 and no kubeconform"
	exit 0
fi
echo "chart: compiling Helm 3 and kubeconform"
# Not optimised, which takes a quarter off the time: they render some small charts.
if ! CGO_ENABLED=0 go build -mod=readonly -gcflags='all=-N -l' -ldflags='-s -w' -o "$TO/bin/" \
	helm.sh/helm/v3/cmd/helm github.com/yannh/kubeconform/cmd/kubeconform 2>"$TO/go.log"; then
	echo "chart: Go could not compile them:"
	tail -n 3 "$TO/go.log"
	exit 0
fi
mv "$TO/bin/helm" "$TO/bin/helm3"
cp go.sum "$TO/bin/.compiled"
