"""SIP and tel URIs, and the address of record that people and rules are compared by.

Rule 1: nothing here raises, whatever the text; what cannot be used gives "" or an empty field.
Rule 2: two URIs of one user have one address of record: `sip:user@host`, or `tel:+49...` for a number that
        nobody gave a host. What names a device, a way or a service (port, parameters, GRUU) is dropped.
Rule 3: escapes are normalised and never interpreted further (RFC 3261 s.19.1.4): `%75` is `u`, `%40` stays.
"""

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

MAX_PARAMS = 64
"""Parameters read per URI or header value; honest ones have up to 10. Above: `;;;;` costs memory."""

CACHED_CHARS = 256
"""URIs up to this length are remembered, so that the cache cannot be filled with megabytes."""


class SipUri(NamedTuple):
    """The parts of a URI as received; nothing is unescaped."""

    scheme: str
    """Lower case; "" if the text had none."""
    user: str
    """Without password and user parameters; the number of a `tel:`, the rest of any other scheme."""
    host: str
    """As received, IPv6 in brackets; "" if there is none."""
    port: int
    """0 if absent or impossible."""
    params: dict[str, str]
    """URI parameters, for `tel:` the number's; names in lower case, "" for a flag."""
    headers: str
    """What follows the question mark, still escaped."""
    userinfo_params: dict[str, str]
    """Parameters inside the user part (`;ext=`, `;phone-context=`, RFC 3261 s.19.1.6)."""


_EMPTY = SipUri("", "", "", 0, {}, "", {})
_SIP = ("sip", "sips", "")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_TAIL = re.compile(r"[;?]")
_HOST = re.compile(r"[^\x00-\x20\x7f@,;:?&=%\"'<>()\[\]/\\]+")
_SEPARATORS = str.maketrans("", "", "-.() ")  # RFC 3966 s.3 visual-separator, and the blanks people type
_DIGITS = re.compile(r"\+?[*#]*[0-9][0-9*#]*")
_SPACED_DIGITS = re.compile(r"\+?[*#(]*[0-9][0-9\-.() *#]*")
_LOCAL_DIGITS = re.compile(r"[0-9A-Fa-f*#\-.() ]+")  # RFC 3966 s.3 local-number-digits
# RFC 3261 s.25.1 unreserved: what %HH may be replaced by without changing the meaning (s.19.1.4).
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")
_CONTEXT = re.compile(r"\+?[A-Za-z0-9.\-]{1,255}")
_URN = re.compile(r"[A-Za-z0-9:.\-]{1,64}")
_USER_CHARS = "-_.!~*'()&=+$,;?/"
_PLAIN_USER = re.compile(rf"[A-Za-z0-9{re.escape(_USER_CHARS)}]+")  # RFC 3261 s.25.1 user without escapes
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")


def _pairs(text: str) -> dict[str, str]:
    """Read `a=b;c`; the first of two equal names counts."""
    found: dict[str, str] = {}
    for piece in text.split(";", MAX_PARAMS)[:MAX_PARAMS]:
        name, _, value = piece.partition("=")
        name = name.strip().lower()
        if name and name not in found:
            found[name] = value.strip()
    return found


def parse_uri(text: str) -> SipUri:
    """Take `text` apart; a text without a scheme counts as a SIP URI if it has an `@`."""
    text = text.strip(" \t<>")
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else ""
    if match and scheme in ("sip", "sips"):
        rest = text[match.end() :]
    elif match and scheme == "tel":
        rest, _, headers = text[match.end() :].partition("?")  # not in RFC 3966, but in History-Info
        number, _, params = rest.partition(";")
        return SipUri("tel", number.strip(), "", 0, _pairs(params) if params else {}, headers, {})
    elif "@" in text and not match:
        rest = text
    elif match:
        return SipUri(scheme, text[match.end() :], "", 0, {}, "", {})
    else:
        return _EMPTY

    # `;` and `?` are legal in a user part (RFC 3261 s.25.1 user-unreserved), `@` is not, but it is seen both
    # there (`user@domain@proxy`) and in parameters (`;target=sip:user@domain`).
    userinfo = ""
    at = rest.find("@")
    if at >= 0:
        tail = _TAIL.search(rest, at)
        at = rest.rfind("@", 0, tail.start() if tail else len(rest))
        userinfo, rest = rest[:at], rest[at + 1 :]
    rest, _, headers = rest.partition("?")
    hostport, _, params = rest.partition(";")
    user, _, user_params = userinfo.partition(":")[0].partition(";")  # a colon begins the password (s.19.1.1)
    host, port = _host_port(hostport)
    return SipUri(
        scheme,
        user.strip(),
        host,
        port,
        _pairs(params) if params else {},
        headers,
        _pairs(user_params) if user_params else {},
    )


def _host_port(text: str) -> tuple[str, int]:
    """Split `host:port`; IPv6 keeps or gets its brackets (RFC 5118 s.4.2: some peers forget them)."""
    text = text.strip()
    if text[:1] == "[":
        host, bracket, rest = text.partition("]")
        if not bracket:
            return "", 0
        return host + bracket, _port(rest.strip()[1:])
    host, colon, port = text.partition(":")
    if not colon:
        return host, 0
    if ":" in port:
        return (f"[{text}]", 0) if _ipv6(text) else ("", 0)
    return host.rstrip(), _port(port)


def _port(text: str) -> int:
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65_536:
        return int(text)
    return 0


def _ipv6(text: str) -> str:
    """Return the address in its one canonical spelling (RFC 5952), "" if it is none."""
    # RFC 5118 s.4.10: the grammar of RFC 3261 makes some write three colons before an IPv4 part.
    try:
        address = ipaddress.IPv6Address(text.replace(":::", "::", 1))
    except ValueError:
        return ""
    # RFC 5952 s.5; written out since Python 3.13 does so and the versions before it do not.
    return f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else address.compressed


def _canonical_host(host: str) -> str:
    """Lower case, without the root's dot; IPv6 in its canonical spelling; "" if it cannot be a host."""
    if host[:1] == "[":
        address = _ipv6(host[1:-1])
        return f"[{address}]" if address else ""
    host = host.lower().rstrip(".")
    return host if _HOST.fullmatch(host) else ""


def _canonical_escape(match: re.Match[str]) -> str:
    if match[1] is None:
        return "%25"  # a percent sign that escapes nothing
    char = chr(int(match[1], 16))
    return char if char in _UNRESERVED else match[0].upper()


def _canonical_user(user: str, *, phone: bool) -> str:
    number = _as_number(user, phone=phone)
    if number:
        return number.replace("#", "%23")
    if _PLAIN_USER.fullmatch(user):
        return user
    return quote(_ESCAPE.sub(_canonical_escape, user), safe=_USER_CHARS + "%", errors="replace")


def _as_number(user: str, *, phone: bool) -> str:
    """Return the telephone number in a user part, without visual separators; "" if it is none.

    Separators count only in a number that says so, by its plus sign or by `phone` (`tel:`, `;user=phone`):
    `100-2` is the second device of extension 100 in some exchanges, and not extension 1002.
    """
    if "%" in user:
        # `+` and `#` have to be escaped in some places, and are in others (`%2B49...`, `%2331%23`).
        user = user.replace("%2B", "+").replace("%2b", "+").replace("%23", "#").replace("%20", " ")
    if _DIGITS.fullmatch(user):
        return user
    if (phone or user[:1] == "+") and _SPACED_DIGITS.fullmatch(user):
        return user.translate(_SEPARATORS)
    return ""


def _extension(params: dict[str, str]) -> str:
    """Return `;ext=...` with the digits of the extension (RFC 3966 s.5.3), "" if there is none."""
    digits = params.get("ext", "").translate(_SEPARATORS)
    return f";ext={digits}" if digits.isascii() and digits.isdigit() else ""


def address_of_record(uri: str | SipUri) -> str:
    """Return whom `uri` means: `sip:user@host`, `sip:host`, `tel:+49...`, `urn:service:...` or "".

    `;ext=` is kept, since it is all that tells the people behind one number apart; so is the
    `;phone-context=` of a local number, which means nothing without it (RFC 3966 s.5.1.5).
    """
    if isinstance(uri, str):
        if len(uri) <= CACHED_CHARS:
            return _cached_address(uri)
        uri = parse_uri(uri)
    return _address(uri)


@lru_cache(maxsize=16_384)
def _cached_address(text: str) -> str:
    return _address(parse_uri(text))


def _address(uri: SipUri) -> str:
    if uri.scheme in _SIP:
        host = _canonical_host(uri.host)
        if not host:
            return ""
        if not uri.user:
            return f"sip:{host}"
        user = _canonical_user(uri.user, phone=_says_phone(uri))
        return f"sip:{user}{_extension(uri.userinfo_params) if uri.userinfo_params else ''}@{host}"
    if uri.scheme == "tel":
        number = _as_number(uri.user, phone=True)
        if not number and _LOCAL_DIGITS.fullmatch(uri.user):
            number = uri.user.translate(_SEPARATORS).lower()
        if not number:
            return ""
        context = uri.params.get("phone-context", "") if number[0] != "+" else ""
        suffix = f";phone-context={context.lower()}" if _CONTEXT.fullmatch(context) else ""
        return f"tel:{number}{_extension(uri.params)}{suffix}"
    if uri.scheme == "urn" and _URN.fullmatch(uri.user):
        return f"urn:{uri.user.lower()}"  # RFC 5031: urn:service:sos names whom to reach
    return ""


def _says_phone(uri: SipUri) -> bool:
    return uri.scheme == "tel" or uri.params.get("user", "").lower() == "phone"


def telephone_number(uri: str | SipUri) -> str:
    """Return the number that the user part is, visual separators and extension removed; "" if it is none.

    Feature codes (`*21#`) count as numbers: they are dialled.
    """
    if isinstance(uri, str):
        uri = parse_uri(uri)
    return _as_number(uri.user, phone=_says_phone(uri)) if uri.scheme == "tel" or uri.scheme in _SIP else ""
