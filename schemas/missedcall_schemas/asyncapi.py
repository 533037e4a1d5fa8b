"""The AsyncAPI 3.0 document of all topics, made of the topic files and the records.

Rule 1: nothing is said here that a topic file or a record could say.
Rule 2: operations are the services': `send` is ours to write, `receive` ours to read. An integrator's own
        operation on `missed-calls` is the opposite of `classifier-sends`: he receives.
"""

import json
from pathlib import Path
from typing import Any

from .cloudevents import DATASCHEMA, DEFAULT_SOURCE, TYPE
from .codec import CODECS, JSON, MSGPACK
from .json_schema import Schema, schemas
from .topics import TOPICS, Topic

_CONTENT_TYPES = {"json": JSON, "msgpack": MSGPACK}
_BINDING = "0.5.0"
_REF = "#/components/schemas/{name}"


def document(examples: Path) -> dict[str, Any]:
    """Return the document; `examples` is the folder with a subfolder of files per topic."""
    names = [topic.record for topic in TOPICS.values() if topic.record]
    records = schemas(*(CODECS[name].record for name in names), ref_template=_REF)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:missedcall",
        "info": {
            "title": "missedcall",
            "version": "v1",
            "description": (
                "The topics of missedcall. `missed-calls` and `call-verdicts` are made for subscribers; "
                "channels whose tag is `private` are listed so that nobody wonders about them. "
                "Each topic's name takes a prefix and, from the second on, a generation."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_channel_id(topic): _channel(topic) for topic in TOPICS.values()},
        "operations": {
            f"{service}-{action}s-{_channel_id(topic)}": _operation(topic, action)
            for topic in TOPICS.values()
            if topic.status == "used"
            for action, services in (("send", topic.writers), ("receive", topic.readers))
            for service in services
        },
        "components": {
            "messages": {_channel_id(topic): _message(topic, examples) for topic in TOPICS.values()},
            "schemas": {name: _draft_07(schema) for name, schema in records.items()}
            | {"CloudEvent": _cloudevent_headers()},
        },
    }


def _channel_id(topic: Topic) -> str:
    return topic.name.replace("-{channel}", "")


def _channel(topic: Topic) -> dict[str, Any]:
    parameters = {
        "prefix": {"description": "Put in front of every topic of a deployment.", "default": ""},
        "generation": {
            "description": "Empty for the first, `.g2`, `.g3` ... after a change of the partition count.",
            "default": "",
        },
    }
    if "{channel}" in topic.name:
        parameters["channel"] = {"description": "The delivery channel: `ews`, `graph`, `smtp`, `webhook`."}
    return {
        "address": f"{{prefix}}{topic.name}{{generation}}",
        "title": topic.name,
        "summary": topic.summary,
        "description": f"{_prose(topic.value)}\n\nCompatibility: {_prose(topic.compatibility)}",
        "parameters": parameters,
        "messages": {_channel_id(topic): {"$ref": f"#/components/messages/{_channel_id(topic)}"}},
        "tags": [{"name": "public" if topic.public else "private"}, {"name": topic.status}],
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "replicas": topic.replicas,
                "topicConfiguration": _topic_configuration(topic),
                "bindingVersion": _BINDING,
            }
        },
        "x-partition-by": topic.partition_by,
        "x-config": topic.kafka_config(),
    }


def _topic_configuration(topic: Topic) -> dict[str, Any]:
    """Return what the Kafka binding has words for; the whole is under `x-config`."""
    configuration: dict[str, Any] = {"cleanup.policy": [topic.cleanup]}
    if topic.retention_s is not None:
        configuration["retention.ms"] = topic.retention_s * 1000
    if "delete.retention.ms" in topic.config:
        configuration["delete.retention.ms"] = topic.config["delete.retention.ms"]
    return configuration


def _operation(topic: Topic, action: str) -> dict[str, Any]:
    channel = f"#/channels/{_channel_id(topic)}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{_channel_id(topic)}"}],
    }


def _message(topic: Topic, examples: Path) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": topic.record or _channel_id(topic),
        "title": topic.record or f"{topic.name} ({'private' if topic.status == 'used' else 'reserved'})",
        "summary": topic.summary,
        "contentType": _CONTENT_TYPES[topic.codec],
    }
    if topic.envelope == "cloudevents-binary":
        message["headers"] = {"$ref": _REF.format(name="CloudEvent")}
    message["payload"] = (
        {"$ref": _REF.format(name=topic.record)} if topic.record else {"description": _prose(topic.value)}
    )
    message["bindings"] = {
        "kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": _BINDING}
    }
    # What a newer or an older release writes is for tests, not for a reader who learns the record.
    shown = [name for name in topic.examples if name.endswith(".json") and not name.startswith("from-the-")]
    if shown:
        message["examples"] = [
            {
                "name": name.removesuffix(".json"),
                "payload": json.loads((examples / _channel_id(topic) / name).read_text(encoding="utf-8")),
            }
            for name in shown
        ]
    return message


def _cloudevent_headers() -> Schema:
    text = {"type": "string"}
    return {
        "title": "CloudEvent",
        "description": "CloudEvents 1.0, Kafka Protocol Binding, binary mode; header values are UTF-8.",
        "type": "object",
        "properties": {
            "content-type": {**text, "const": "application/json"},
            "ce_specversion": {**text, "const": "1.0"},
            "ce_id": {**text, "description": "`fact_id`, a colon, `revision`."},
            "ce_source": {
                **text,
                "format": "uri-reference",
                "default": DEFAULT_SOURCE,
                "description": "The deployment; the same for all its processes.",
            },
            "ce_type": {**text, "const": TYPE},
            "ce_subject": {**text, "description": "`callee`."},
            "ce_dataschema": {**text, "const": DATASCHEMA},
            "ce_time": {**text, "format": "date-time", "description": "`decided_at`."},
        },
        "required": ["content-type", "ce_specversion", "ce_id", "ce_source", "ce_type"],
    }


def _draft_07(schema: Schema) -> Schema:
    """Say in draft 07, which AsyncAPI builds on, what 2020-12 says by `prefixItems` and `contentEncoding`."""
    if "prefixItems" not in schema:
        return schema
    items = [
        {key: value for key, value in item.items() if key != "contentEncoding"}
        | ({"format": "binary"} if "contentEncoding" in item else {})
        for item in schema["prefixItems"]
    ]
    return {key: value for key, value in schema.items() if key != "prefixItems"} | {"items": items}


def _prose(text: str) -> str:
    return " ".join(text.split())
