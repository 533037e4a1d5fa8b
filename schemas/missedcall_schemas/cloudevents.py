"""A MissedCall as a CloudEvents 1.0 event in binary mode: the value is the data, the headers say what it is.

Rule 1: `source` and `id` together name one event for ever. `id` is a function of the fact; `source` is
        configuration and the same for every process of a deployment. So a repeat is seen as a repeat.
Rule 2: nothing depends on our clock: `time` is the fact's own `decided_at`.
"""

from datetime import UTC, datetime
from urllib.parse import quote

from .codec import JSON
from .records import MissedCall

TYPE = "missedcall.missed-call.v1"
"""The version is part of the type: a reader of v1 never meets a v2 by surprise."""

DATASCHEMA = "urn:missedcall:schema:missed-call.v1"
"""`$id` of the JSON Schema."""

DEFAULT_SOURCE = "urn:missedcall"
"""For a single deployment; two that feed one topic or one receiver need a source each."""

_HTTP_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What stays as it is in an HTTP header: printable ASCII without space, quote and percent sign (HTTP
Protocol Binding s.3.1.3.2)."""


def attributes(fact: MissedCall, source: str = DEFAULT_SOURCE) -> dict[str, str]:
    """Return the context attributes under their bare names.

    Args:
        fact: what happened.
        source: URI reference of the deployment, never empty.

    `time` is left out where the fact's time is no date of the years 1 to 9999: the attribute is optional.
    """
    named = {
        "specversion": "1.0",
        "id": f"{fact.fact_id}:{fact.revision}",
        "source": source,
        "type": TYPE,
        "subject": fact.callee,
        "dataschema": DATASCHEMA,
        "datacontenttype": JSON,
    }
    if time := _rfc3339(fact.decided_at):
        named["time"] = time
    return named


def kafka_headers(fact: MissedCall, source: str = DEFAULT_SOURCE) -> list[tuple[str, bytes]]:
    """Return the headers of the Kafka record (Kafka Protocol Binding s.3.2): `ce_*` and `content-type`."""
    named = attributes(fact, source)
    content_type = named.pop("datacontenttype")
    return [
        ("content-type", content_type.encode()),
        *((f"ce_{name}", value.encode()) for name, value in named.items()),
    ]


def http_headers(fact: MissedCall, source: str = DEFAULT_SOURCE) -> dict[str, str]:
    """Return the headers of the HTTP request (HTTP Protocol Binding s.3.1): `ce-*` and `Content-Type`."""
    named = attributes(fact, source)
    content_type = named.pop("datacontenttype")
    return {
        "Content-Type": content_type,
        **{f"ce-{name}": quote(value, safe=_HTTP_SAFE) for name, value in named.items()},
    }


def _rfc3339(seconds: float) -> str:
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
