"""An upgrade looks at what is installed, here an API server that knows one ConfigMap."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support import chart
from support.chart import RefusedError

LAYOUT = f"/api/v1/namespaces/{chart.NAMESPACE}/configmaps/mc-missedcall-layout"
DISCOVERY = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {
                "name": "configmaps",
                "singularName": "configmap",
                "namespaced": True,
                "kind": "ConfigMap",
                "verbs": ["get"],
            }
        ],
    },
}


@contextmanager
def cluster(layout):
    """Run an API server whose namespace has the layout, or none; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answers = dict(DISCOVERY)
            if layout is not None:
                meta = {"name": "mc-missedcall-layout", "namespace": chart.NAMESPACE}
                answers[LAYOUT] = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, "data": layout}
            found = answers.get(self.path.partition("?")[0])
            body = found or {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": "NotFound",
                "code": 404,
            }
            text = json.dumps(body).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def upgrade(layout, *settings):
    with cluster(layout) as address:
        values = str(chart.CHART / "ci/minimal-values.yaml")
        return chart.helm_program(
            *("helm3", "template", chart.RELEASE, str(chart.CHART), "--namespace", chart.NAMESPACE),
            *(
                "--values",
                values,
                "--dry-run=server",
                "--kube-apiserver",
                address,
                "--kube-version",
                chart.NEWEST,
            ),
            *(word for each in settings for word in ("--set", each)),
        )


INSTALLED = {"prefix": "", "generation": "1", "partitions": "48"}


def test_another_partition_count_is_refused_with_the_way_that_there_is():
    with pytest.raises(RefusedError, match=r"never changed\. .*docs/kubernetes\.md#another-partition-count"):
        upgrade(INSTALLED, "kafka.partitions=24")


@pytest.mark.parametrize(
    ("layout", "settings"),
    [
        (INSTALLED, []),
        (INSTALLED, ["kafka.partitions=24", "kafka.generation=2"]),
        (INSTALLED, ["kafka.partitions=24", "kafka.prefix=other."]),
        (None, ["kafka.partitions=24"]),
    ],
)
def test_everything_else_may_change(layout, settings):
    assert "mc-missedcall-layout" in upgrade(layout, *settings)


def test_the_page_that_the_refusal_names_is_there():
    text = (chart.ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")

    assert "## Another partition count\n" in text
