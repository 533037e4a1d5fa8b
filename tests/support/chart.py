"""The chart rendered, by whichever Helm is here, and what else its tests ask about."""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/missedcall"
TOOLS = ROOT / "build/chart"
"""Where `tests/chart/install.sh` puts things."""
CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
PREFIX = "MISSEDCALL_"
RELEASE, NAMESPACE = "mc", "voip"
VERSIONS = ("1.29", "1.37")
"""Of Kubernetes: the oldest that the chart takes, and the newest of which schemas are here."""

NEWEST = "1.36.0"
"""What Helm takes for the cluster."""

Object = dict[str, Any]


class RefusedError(Exception):
    """The chart refuses the values; the text is what a user sees."""


def given(case: str) -> dict[str, Any]:
    """Return the values of a case."""
    return yaml.safe_load((CHART / "ci" / f"{case}-values.yaml").read_text(encoding="utf-8"))


def helm_4() -> Any:
    """Return the package that holds Helm 4; skip the test where it is not here."""
    library = TOOLS / "lib"
    if not library.is_dir():
        pytest.skip("Helm 4 is not here: sh tests/chart/install.sh")
    if str(library) not in sys.path:
        sys.path.append(str(library))  # behind .venv: what both have is .venv's
    import helm_python

    return helm_python


def binary(name: str) -> str:
    """Return the path of a program; skip the test where it is not here."""
    found = TOOLS / "bin" / name
    path = str(found) if found.exists() else shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not here: sh tests/chart/install.sh (Go 1.26)")
    return path


def render(values: Mapping[str, Any], chart: Path = CHART) -> list[Object]:
    """Return what Helm 4 makes of the values, hooks and tests among it.

    Raises:
        RefusedError: schema or templates refuse them.
    """
    return objects("\n---\n".join(texts(values, chart).values()))


def texts(values: Mapping[str, Any], chart: Path = CHART) -> dict[str, str]:
    """Return the rendered templates by path, NOTES.txt left out."""
    helm = helm_4()
    try:
        found = helm.Chart.load(str(chart)).render(dict(values), name=RELEASE, namespace=NAMESPACE)
    except helm.HelmError as error:
        raise RefusedError(str(error)) from error
    return {path: text for path, text in found.items() if not path.endswith("NOTES.txt")}


def notes(values: Mapping[str, Any]) -> str:
    """Return what a user is told after an installation."""
    found = helm_4().Chart.load(str(CHART)).render(dict(values), name=RELEASE, namespace=NAMESPACE)
    return next(text for path, text in found.items() if path.endswith("NOTES.txt"))


def objects(text: str) -> list[Object]:
    """Return the objects in a stream of YAML, by kind and name."""
    found = [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]
    return sorted(found, key=lambda each: (each["kind"], each["metadata"]["name"]))


@cache
def _rendered(case: str) -> str:
    return json.dumps(render(given(case)))


def rendered(case: str) -> list[Object]:
    """Return the objects of a case."""
    return json.loads(_rendered(case))


def replaced(given: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a copy of the values with some replaced: `collector__kind="DaemonSet"`."""
    values = copy.deepcopy(dict(given))
    for path, value in changes.items():
        *above, last = path.split("__")
        at = values
        for name in above:
            at = at.setdefault(name, {})
        at[last] = value
    return values


def changed(case: str, **changes: Any) -> dict[str, Any]:
    """Return the values of a case with some replaced."""
    return replaced(given(case), **changes)


def pods(found: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield name and template (metadata and spec) of every pod that the objects make."""
    for each in found:
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "Pod":
            yield name, each
        elif "template" in each.get("spec", {}):
            yield name, each["spec"]["template"]


def golden(found: list[Object]) -> str:
    """Return objects as the golden manifests have them: of alerts and dashboards only the names."""
    found = copy.deepcopy(found)
    for each in found:
        if each["kind"] == "PrometheusRule":
            each["spec"]["groups"] = [group["name"] for group in each["spec"]["groups"]]
        elif "-dashboard-" in each["metadata"]["name"]:
            each["data"] = sorted(each["data"])
    return yaml.safe_dump_all(found, sort_keys=True, width=120)


def helm_program(name: str, *arguments: str) -> str:
    """Run a Helm and return what it prints.

    Raises:
        RefusedError: it fails.
    """
    done = subprocess.run(
        [binary(name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(TOOLS), "HELM_NO_PLUGINS": "1"},
    )
    if done.returncode:
        raise RefusedError(done.stderr)
    return done.stdout


def write_golden() -> None:
    """Write the golden manifests anew."""
    for case in CASES:
        path = ROOT / "tests/chart/golden" / f"{case}.yaml"
        path.write_text(golden(render(given(case))), encoding="utf-8")
