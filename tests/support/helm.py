"""Helm 3 and Helm 4 on a cluster, in the same words."""

import json

from support import chart
from support.chart import CHART, NAMESPACE, RELEASE, RefusedError

WAIT_S = 120


class Helm3:
    """The program; waits until what it made is ready."""

    def __init__(self, cluster):
        chart.binary("helm3")
        self._cluster = cluster

    def _run(self, verb, *words):
        where = ["--namespace", NAMESPACE, "--kubeconfig", str(self._cluster.kubeconfig)]
        return chart.helm_program("helm3", verb, RELEASE, *words, *where, "--timeout", f"{WAIT_S}s")

    def _apply(self, verb, values):
        path = self._cluster.folder / "values.json"
        path.write_text(json.dumps(values))
        self._run(verb, str(CHART), "--values", str(path), "--wait")

    def install(self, values):
        self._apply("install", values)

    def upgrade(self, values):
        self._apply("upgrade", values)

    def test(self):
        self._run("test")

    def uninstall(self):
        self._run("uninstall", "--wait")


class Helm4:
    """The library, in the same words."""

    def __init__(self, cluster):
        self._helm = chart.helm_4()
        self._config = self._helm.Config(kubeconfig_path=str(cluster.kubeconfig), namespace=NAMESPACE)

    def _do(self, what, *arguments, **options):
        try:
            what(*arguments, timeout=WAIT_S, **options)
        except self._helm.HelmError as error:
            raise RefusedError(str(error)) from error

    def install(self, values):
        self._do(self._config.install, str(CHART), RELEASE, values, wait="watcher")

    def upgrade(self, values):
        self._do(self._config.upgrade, str(CHART), RELEASE, values, wait="watcher", namespace=NAMESPACE)

    def test(self):
        self._do(self._config.test, RELEASE)

    def uninstall(self):
        self._do(self._config.uninstall, RELEASE, wait="watcher", ignore_not_found=True)
