"""The definitions of custom resources that Strimzi, KEDA and the Prometheus operator ship."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from support import chart

CRDS = Path(os.environ.get("MISSEDCALL_CRDS", chart.ROOT.parent / "shared/crds"))
"""Where the definitions are; they are not part of this repository."""
GROUPS = ("kafka.strimzi.io", "keda.sh", "monitoring.coreos.com")


def needed() -> None:
    """Skip the test where the definitions are not here."""
    if not CRDS.is_dir():
        pytest.skip(f"no custom resource definitions in {CRDS} (MISSEDCALL_CRDS)")


def strict(schema: Any) -> Any:
    """Return a schema of OpenAPI as one of JSON Schema that refuses what it does not know."""
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {
        name: {key: strict(each) for key, each in value.items()}
        if name == "properties"
        else [strict(each) for each in value]
        if isinstance(value, list)
        else strict(value)
        for name, value in schema.items()
        if name not in ("format", "example")
    }
    if found.pop("x-kubernetes-int-or-string", False):
        found["type"] = ["integer", "string"]
        found.pop("anyOf", None)
    if found.pop("nullable", False) and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    preserved = found.pop("x-kubernetes-preserve-unknown-fields", False)
    if "properties" in found and "additionalProperties" not in found and not preserved:
        found["additionalProperties"] = False
    return found


@cache
def schema(version: str, kind: str) -> dict[str, Any]:
    """Return the strict schema of a kind: `kafka.strimzi.io/v1`, `KafkaTopic`."""
    group = version.partition("/")[0]
    for path in sorted(CRDS.glob("*.yaml")):
        for crd in yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader):
            if crd and crd["spec"]["group"] == group and crd["spec"]["names"]["kind"] == kind:
                for each in crd["spec"]["versions"]:
                    if each["served"] and f"{group}/{each['name']}" == version:
                        found = strict(each["schema"]["openAPIV3Schema"])
                        found["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
                        return found
    raise AssertionError(f"no definition of {version} {kind} in {CRDS}")


def validator(version: str, kind: str) -> Any:
    """Return what says what is wrong in an object of a kind."""
    return jsonschema.Draft202012Validator(schema(version, kind))
