"""What nearly all SIP header values are built of (RFC 3261 s.25.1): lists, parameters, name-addr.

Rule 1: nothing here raises; what cannot be read is left out.
Rule 2: quotes and angle brackets that are never closed reach to the end, so every scan is linear.
Rule 3: parameter names come in lower case, values unquoted, otherwise as received.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from .uri import MAX_PARAMS

MAX_VALUES: Final = 256
"""Values read per comma-separated header line; as many as there may be header lines."""


class NameAddr(NamedTuple):
    """`"Display name" <uri>;params`."""

    display_name: str
    """Unquoted, otherwise as signalled: never to be trusted, to be cleaned before it is shown."""
    uri: str
    """Without the brackets, escaped headers included."""
    params: dict[str, str]
    """The header's parameters (`tag`, `index` ...), not the URI's."""


_QUOTED = r'"(?:[^"\\]++|\\.?)*+"?'
_BY_COMMA: Final = re.compile(rf'(?:[^,"<]++|{_QUOTED}|<[^>]*+>?)++', re.DOTALL)
_BY_SEMICOLON: Final = re.compile(rf'(?:[^;"<]++|{_QUOTED}|<[^>]*+>?)++', re.DOTALL)
_LEADING_QUOTED: Final = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)

MAX_CSEQ: Final = 2**32
"""RFC 3261 s.8.1.1.5 allows up to 2**31; some peers count on to 32 bits."""


def number(text: str, limit: int = 2**31) -> int:
    """Return the decimal number in `text`, -1 if it is none or not below `limit`."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 20:
        value = int(text)
        return value if value < limit else -1
    return -1


def cseq_value(value: str) -> tuple[int, str]:
    """Return number and method of a CSeq; -1 for a number that is missing or impossible, "" for no method."""
    return _cached_cseq(value) if len(value) <= 32 else _cseq(value)


def _cseq(value: str) -> tuple[int, str]:
    words = value.split()
    if len(words) < 2:
        return (number(words[0], MAX_CSEQ) if words else -1), ""
    return number(words[0], MAX_CSEQ), words[1].upper()


_cached_cseq: Final = lru_cache(maxsize=1024)(_cseq)  # nearly all are `1 INVITE` and the like


def split_values(text: str) -> list[str]:
    """Split at the commas outside quotes and angle brackets; empty values are left out."""
    if "," not in text:
        text = text.strip()
        return [text] if text else []
    pieces = _BY_COMMA.findall(text) if '"' in text or "<" in text else text.split(",")
    return [value for piece in pieces[:MAX_VALUES] if (value := piece.strip())]


def split_all(values: list[str]) -> list[str]:
    """Split every line of one header, in order (RFC 3261 s.7.3.1: the lines may as well be one)."""
    if len(values) == 1:
        return split_values(values[0])
    return [value for line in values for value in split_values(line)][:MAX_VALUES]


def unquote(text: str) -> str:
    """Remove the quotes and escapes of a quoted-string; other text comes back stripped."""
    text = text.strip()
    if text[:1] != '"':
        return text
    text = text[1:-1] if text[-1] == '"' and len(text) > 1 else text[1:]
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def parse_params(text: str) -> dict[str, str]:
    """Read `;a=b;c="d"`, with or without the first semicolon; the first of two equal names counts."""
    if not text:
        return {}
    params: dict[str, str] = {}
    pieces = _BY_SEMICOLON.findall(text) if '"' in text or "<" in text else text.split(";")
    for piece in pieces:
        if len(params) == MAX_PARAMS:
            break
        name, _, value = piece.partition("=")
        name = name.strip().lower()
        if name and name not in params:
            params[name] = unquote(value)
    return params


def parse_name_addr(text: str) -> NameAddr:
    """Read a name-addr or addr-spec with its header parameters."""
    display_name, uri, params = split_name_addr(text)
    return NameAddr(display_name, uri, parse_params(params))


def split_name_addr(text: str) -> tuple[str, str, str]:
    """Return what `parse_name_addr` does, with the parameters as one text: most readers need none of them."""
    text = text.strip()
    display_name = ""
    if text.startswith('"'):
        closing = text.find('"', 1)
        if closing > 0 and text.find("\\", 1, closing) < 0:
            display_name = text[1:closing]
            text = text[closing + 1 :].lstrip()
        else:
            quoted = _LEADING_QUOTED.match(text)
            if quoted:
                display_name = _ESCAPED.sub(r"\1", quoted[1])
                text = text[quoted.end() :].lstrip()
    bracket = text.find("<")
    if bracket >= 0:
        end = text.find(">", bracket)
        if not display_name and bracket:
            display_name = text[:bracket].strip(' \t"')
        if end < 0:
            return display_name.strip(), text[bracket + 1 :].strip(), ""
        return display_name.strip(), text[bracket + 1 : end].strip(), text[end + 1 :]
    # RFC 3261 s.20: without brackets every parameter is the header's. A user part with parameters would need
    # brackets; peers that forget them are recognised by the @ behind the semicolon.
    semicolon = text.find(";")
    if semicolon < 0:
        return display_name, text, ""
    at = text.find("@", semicolon)
    if at >= 0 and "@" not in text[:semicolon] and text[semicolon + 1 :].lstrip()[:3].lower() != "tag":
        semicolon = text.find(";", at)
        if semicolon < 0:
            return display_name, text, ""
    return display_name, text[:semicolon].rstrip(), text[semicolon:]


def tag(value: str) -> str:
    """Return the tag of a From or To value, "" if it has none."""
    at = value.find(">;tag=")
    if at >= 0 and value.find('"', at) < 0:  # the way nearly everyone writes, and not inside quotes
        end = value.find(";", at + 6)
        return (value[at + 6 :] if end < 0 else value[at + 6 : end]).strip()
    if "=" not in value:
        return ""
    return parse_params(split_name_addr(value)[2]).get("tag", "")
