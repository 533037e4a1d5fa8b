"""What is in the images: each service's own packages, at the versions that the tests run with."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
SERVICES = ("collector", "classifier", "notifier")
EXTRAS = {"collector": ["kafka"], "classifier": ["kafka"], "notifier": ["kafka", "ews", "graph"]}
"""Of each service, what its image has."""
FOLDERS = {
    "missedcall-schemas": ROOT / "schemas",
    "missedcall-common": ROOT / "services/common",
    **{f"missedcall-{service}": ROOT / "services" / service for service in SERVICES},
}
WINDOWS = {"colorama", "sspilib"}
"""Pinned for Windows only: in no image."""
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?")


def _pins(lock):
    text = (REQUIREMENTS / f"{lock}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def _named(path):
    """Return what a file of requirements names, with the files that it includes."""
    found = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= _named(path.parent / line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            found.add(_REQUIREMENT.match(line).group(1))
    return found


def _needed(name, extras):
    """Return the packages of others that one of ours asks for, with those of ours that it asks for."""
    project = tomllib.loads((FOLDERS[name] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {})
    found = set()
    for line in [*project.get("dependencies", []), *(line for e in extras for line in optional.get(e, []))]:
        package, wanted = _REQUIREMENT.match(line).groups()
        found |= _needed(package, wanted.split(",") if wanted else []) if package in FOLDERS else {package}
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_asks_for_what_its_package_asks_for(service):
    needed = _needed(f"missedcall-{service}", EXTRAS[service]) | _needed("missedcall-common", ["telemetry"])

    assert _named(REQUIREMENTS / f"{service}.in") >= needed


@pytest.mark.parametrize("lock", [*SERVICES, "build"])
def test_an_image_has_the_versions_that_the_tests_run_with(lock):
    tested = _pins("dev")

    assert {name: tested.get(name) for name in _pins(lock)} == _pins(lock), "run: make lock"


@pytest.mark.parametrize("service", SERVICES)
def test_a_lock_holds_what_is_asked_for_and_says_where_nothing_comes_from(service):
    text = (REQUIREMENTS / f"{service}.txt").read_text(encoding="utf-8")

    assert _named(REQUIREMENTS / f"{service}.in") <= _pins(service).keys()
    assert "://" not in text
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z])", text))


@pytest.mark.parametrize(
    ("service", "foreign"),
    [
        ("collector", {"faust-streaming", "aiokafka", "exchangelib", "msal", "aiohttp", "jinja2"}),
        ("classifier", {"exchangelib", "msal", "aiosmtplib", "jinja2"}),
        ("notifier", {"faust-streaming", "aiokafka", "uvloop"}),
    ],
)
def test_a_service_carries_nothing_of_the_others(service, foreign):
    assert foreign.isdisjoint(_pins(service))
    assert {"pytest", "mypy", "hatchling"}.isdisjoint(_pins(service))


def _sbom():
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "tools/sbom.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("service", SERVICES)
def test_the_bill_of_materials_names_all_of_it(service):
    bill = json.loads(json.dumps(_sbom().bill(service)))

    listed = {component["name"]: component["version"] for component in bill["components"]}
    expected = {name: version for name, version in _pins(service).items() if name not in WINDOWS}
    assert {name: listed.get(name) for name in expected} == expected
    assert {"missedcall-schemas", "missedcall-common", f"missedcall-{service}"} <= listed.keys()
    assert len(listed) == len(expected) + 3
    assert all(component["purl"].startswith("pkg:pypi/") for component in bill["components"])


def test_the_image_needs_no_root_and_no_shell():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert "\nUSER 65532:65532\n" in text
    for service in SERVICES:
        assert f'ENTRYPOINT ["/opt/missedcall/bin/python3", "-m", "missedcall_{service}"]' in text
