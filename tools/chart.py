"""What is generated in the chart: README.md, values.schema.json, files/topics.json and rights.json.

    .venv/bin/python tools/chart.py

Rule 1: values.yaml is the only place where a value, its default and its meaning are written.
Rule 2: the schema is strict: what is not in values.yaml is refused, and so is a variable that no service knows.
Rule 3: a comment `# -- text` describes the key below it; `# @...` says more about its type:
        `@schema {...}` JSON Schema besides the default's type; `@open` all of the default's type;
        `@settings SERVICE [CHANNEL]`, `@files SERVICE [CHANNEL]` variables of a service; `@auth`, `@port`,
        `@nullport`, `@ports` shapes that come again.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from missedcall_classifier.stream.settings import ClassifierSettings
from missedcall_collector.service_settings import CollectorSettings
from missedcall_common.kafka.rights import RIGHTS
from missedcall_common.runtime.settings import PREFIX, variables
from missedcall_notifier.stream.settings import ServiceSettings
from missedcall_schemas.topics import TOPICS

CHART = Path(__file__).resolve().parents[1] / "helm/missedcall"
SERVICES = {"collector": CollectorSettings, "classifier": ClassifierSettings, "notifier": ServiceSettings}
CHANNELS = ("SMTP", "EWS", "GRAPH", "WEBHOOK")
OURS = re.compile(
    r"KAFKA_|HEALTH$|WORKER$|CHANNEL$|APPLICATION$|LISTEN_(?:UDP|TCP|TLS|COLLECTOR|TLS_.*_FILE)$|SPOOL_"
)
"""Variables that the chart sets; nobody else may."""
TABLES = re.compile(r"_(?:RECIPIENTS|WEBHOOKS)$|DECIDE_USERS$")
"""Tables, which no variable can hold; users are in a file."""
_KEY = re.compile(r"^( *)([A-Za-z0-9_]+):(?: |$)")


class Value(NamedTuple):
    """A key of values.yaml."""

    path: tuple[str, ...]
    default: Any
    text: str
    """Its description; "" for a group."""
    marks: tuple[str, ...]
    """What follows `# @`."""


def values(text: str) -> Iterator[Value]:
    """Yield the keys that have a description."""
    defaults = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    said: list[str] = []
    marks: list[str] = []
    for line in text.splitlines():
        comment = line.strip()
        if comment.startswith("# @"):
            marks.append(comment.removeprefix("# @"))
        elif comment.startswith("# -- "):
            said = [comment.removeprefix("# -- ")]
        elif comment.startswith("# ") and said:
            said.append(comment.removeprefix("# "))
        elif (match := _KEY.match(line)) is not None:
            indent = len(match[1])
            path = [*(step for step in path if step[0] < indent), (indent, match[2])]
            names = tuple(name for _, name in path)
            if said:
                yield Value(names, _at(defaults, names), " ".join(said), tuple(marks))
            said, marks = [], []
        elif not comment:
            said, marks = [], []


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def settings_of(service: str, channel: str, *, files: bool) -> list[str]:
    """Return the variables of a service that the chart leaves to its user.

    Args:
        service: one of `SERVICES`.
        channel: of the notifier; "" for what is common to all channels.
        files: those that name a file or a folder, or the others.
    """
    found = []
    for name in variables(SERVICES[service], PREFIX):
        plain = name.removeprefix(PREFIX)
        if service == "notifier":
            of = next((each for each in CHANNELS if plain.startswith(f"NOTIFY_{each}_")), "")
            if of != channel.upper():
                continue
        ours = OURS.match(plain) or TABLES.search(plain)
        if not ours and plain.endswith(("_FILE", "_FOLDER")) == files:
            found.append(name)
    return sorted(found)


def schema(found: list[Value]) -> dict[str, Any]:
    """Return the JSON Schema of the values."""
    root = _group()
    for value in found:
        at = root
        for name in value.path[:-1]:
            at = at["properties"].setdefault(name, _group())
        at["properties"][value.path[-1]] = _property(value)
    root["properties"]["global"] = {"type": "object"}  # Helm puts it there when the chart is part of another
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart missedcall",
        **root,
        "definitions": {
            "setting": {
                "type": ["string", "number", "boolean", "array"],
                "items": {"type": ["string", "number"]},
            },
            "file": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    name: {"type": "string", "minLength": 1} for name in ("secret", "configMap", "key")
                },
                "oneOf": [{"required": ["secret"]}, {"required": ["configMap"]}],
            },
            "auth": {
                "type": "object",
                "additionalProperties": False,
                "properties": {name: {"type": "string", "minLength": 1} for name in ("username", "secret")},
            },
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        },
    }


def _group() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _property(value: Value) -> dict[str, Any]:
    said: dict[str, Any] = {"description": value.text}
    kind = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}.get(
        type(value.default)
    )
    said["type"] = kind or ["integer", "null"]
    for mark in value.marks:
        word, _, rest = mark.partition(" ")
        match word:
            case "schema":
                said |= json.loads(rest)
            case "open":
                pass
            case "settings" | "files":
                service, _, channel = rest.partition(" ")
                names = settings_of(service, channel, files=word == "files")
                each = {"$ref": f"#/definitions/{word.removesuffix('s')}"}
                said |= {"additionalProperties": False, "properties": dict.fromkeys(names, each)}
            case "auth":
                said = {"description": value.text, "allOf": [{"$ref": "#/definitions/auth"}]}
            case "port":
                said |= {"minimum": 1, "maximum": 65535}
            case "nullport":
                said |= {"minimum": 1, "maximum": 65535}
            case "ports":
                said |= {"items": {"$ref": "#/definitions/port"}}
            case _:
                raise ValueError(f"{'.'.join(value.path)}: no such mark: @{mark}")
    return said


def readme(found: list[Value]) -> str:
    """Return the chart's README."""
    lines = [
        "# missedcall on Kubernetes",
        "",
        "<!-- Made by `make chart-docs` of values.yaml. -->",
        "",
        "How to install and run it: [docs/kubernetes.md](../../docs/kubernetes.md). What the variables mean:",
        "[docs/collector.md](../../docs/collector.md#settings),",
        "[docs/classifier.md](../../docs/classifier.md#settings),",
        "[docs/notifier.md](../../docs/notifier.md#settings).",
        "",
        "`settings` and `files` take the variables of the service, and no others: a name that it does not know",
        "fails before anything is installed. Secrets are named, never given: `files` and `auth` name yours.",
    ]
    section = ""
    for value in sorted(found, key=lambda value: len(value.path) > 1):
        first = value.path[0] if len(value.path) > 1 else ""
        if first != section or not lines[-1].startswith("|"):
            section = first
            lines += ["", f"## {section or 'Everything'}", "", "| value | default | |", "|---|---|---|"]
        default = json.dumps(value.default, ensure_ascii=False)
        text = value.text.replace("|", "\\|")
        lines.append(f"| `{'.'.join(value.path)}` | `{default}` | {text} |")
    return "\n".join([*lines, ""])


def topics() -> str:
    """Return what KafkaTopic objects are made of."""
    return (
        json.dumps(
            [
                {
                    "name": topic.name,
                    "partitions": topic.partitions,
                    "byPartition": topic.partitions == TOPICS["sip-transactions"].partitions,
                    "config": topic.kafka_config(),
                }
                for topic in TOPICS.values()
                if topic.status == "used"
            ],
            indent=1,
        )
        + "\n"
    )


def rights() -> str:
    """Return what KafkaUser objects are made of."""
    found = {
        program: [msgspec.structs.asdict(right) for right in RIGHTS[program]]
        for program in ("collector", "classifier", "notifier", "test", "scale")
    }
    return json.dumps(found, indent=1) + "\n"


def generated() -> dict[Path, str]:
    """Return every file of the chart that is made, with what has to be in it."""
    found = list(values((CHART / "values.yaml").read_text(encoding="utf-8")))
    return {
        CHART / "README.md": readme(found),
        CHART / "values.schema.json": json.dumps(schema(found), indent=1, ensure_ascii=False) + "\n",
        CHART / "files/topics.json": topics(),
        CHART / "files/rights.json": rights(),
    }


def main() -> int:
    """Write them."""
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
