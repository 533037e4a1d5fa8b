"""What joins dialogs: Replaces (RFC 3891), Session-ID (RFC 7989), and what a Contact says of its device."""

import re
from typing import NamedTuple

from .grammar import parse_name_addr, parse_params, split_values
from .history import escaped_headers
from .uri import parse_uri

NIL_UUID = "0" * 32
"""Session-ID of a side that is not known yet (RFC 7989 s.5)."""


class Replaces(NamedTuple):
    """The dialog that a request wants to take the place of."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool
    """Only while it has not been answered: a pickup (RFC 3891 s.4)."""


def parse_replaces(value: str) -> Replaces | None:
    """Read a Replaces value, or the Replaces escaped in a Refer-To URI; None if there is none."""
    if "?" in value:
        uri = parse_name_addr(value).uri if "<" in value else value
        escaped = escaped_headers(parse_uri(uri).headers)
        value = next((content for name, content in escaped if name == "replaces"), value)
    call_id, _, rest = value.partition(";")
    call_id = call_id.strip()
    params = parse_params(rest)
    if not call_id or not ("to-tag" in params or "from-tag" in params):
        return None
    return Replaces(call_id, params.get("to-tag", ""), params.get("from-tag", ""), "early-only" in params)


_UUID = re.compile(r"[0-9a-f]{32}")


def _uuid(text: str) -> str:
    text = text.strip().strip('"').lower().replace("-", "")
    return text if _UUID.fullmatch(text) else ""


def parse_session_id(value: str) -> tuple[str, str]:
    """Return the local and the remote UUID, 32 lower-case hex digits each; "" for what is not given.

    RFC 7329 has one UUID for both sides: it is the local one here. The nil UUID comes back as it is.
    """
    local, _, rest = value.partition(";")
    return _uuid(local), _uuid(parse_params(rest).get("remote", "")) if rest else ""


# RFC 3840 s.9 and s.10, RFC 4235's text, RFC 4569: the tags that have no leading plus sign.
_BASE_TAGS = frozenset(
    (
        "actor",
        "application",
        "audio",
        "automata",
        "class",
        "control",
        "data",
        "description",
        "duplex",
        "events",
        "extensions",
        "image",
        "isfocus",
        "language",
        "message",
        "methods",
        "mobility",
        "priority",
        "schemes",
        "text",
        "type",
        "video",
    )
)


def feature_tags(contact: str) -> dict[str, str]:
    """Return the feature tags of a Contact value (RFC 3840), names in lower case.

    A flag has the value ""; one that is denied (`automata="FALSE"`) is left out. The instance comes without
    its angle brackets.
    """
    tags: dict[str, str] = {}
    values = split_values(contact)
    for name, value in parse_name_addr(values[0]).params.items() if values else ():
        if (name in _BASE_TAGS or name[0] == "+") and value.upper() not in ("FALSE", "!TRUE"):
            tags[name] = value[1:-1] if value[:1] == "<" and value[-1:] == ">" else value
    return tags
