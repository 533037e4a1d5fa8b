"""The bill of materials of a service's image, as CycloneDX 1.5: what its lock pins, and our own packages.

    .venv/bin/python tools/sbom.py collector > collector.cdx.json

Rule 1: it is made of files of the repository alone: the same commit, the same bytes.
Rule 2: what the base image brings is not in it; a scanner of images adds that.
"""

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("collector", "classifier", "notifier")
_PIN = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+)(?: ; ([^\\]+?))? \\\n((?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.MULTILINE,
)
_NOT_HERE = "sys_platform == 'win32'"


def pins(lock: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield name, version and SHA-256 digests of what a lock pins for Linux."""
    for name, version, marker, hashes in _PIN.findall(lock):
        if _NOT_HERE not in marker:
            yield name, version, re.findall(r"sha256:([0-9a-f]{64})", hashes)


def ours(service: str) -> Iterator[tuple[str, str]]:
    """Yield name and version of our packages in the image."""
    for folder in ("schemas", "services/common", f"services/{service}"):
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        yield project["name"], project["version"]


def bill(service: str) -> dict[str, object]:
    """Return the document.

    Args:
        service: one of `SERVICES`.
    """
    own = list(ours(service))
    name, version = own[-1]
    lock = (ROOT / "requirements" / f"{service}.txt").read_text(encoding="utf-8")
    components: list[dict[str, object]] = [
        {
            "type": "library",
            "name": package,
            "version": number,
            "purl": f"pkg:pypi/{package}@{number}",
            "licenses": [{"license": {"id": "Apache-2.0"}}],
        }
        for package, number in own
    ]
    components += [
        {
            "type": "library",
            "name": package,
            "version": number,
            "purl": f"pkg:pypi/{package}@{number}",
            # One digest per file of the release: which of them is installed depends on the machine.
            "properties": [{"name": "missedcall:sha256", "value": digest} for digest in digests],
        }
        for package, number, digests in pins(lock)
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": components,
    }


def main() -> int:
    """Print it."""
    parser = argparse.ArgumentParser(description="Print the bill of materials of an image.")
    parser.add_argument("service", choices=SERVICES)
    json.dump(bill(parser.parse_args().service), sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
