"""SIP and tel URIs, and the address of record that people and rules are compared by.

Rule 1: nothing here raises, whatever the text; what cannot be used gives "" or an empty field.
Rule 2: two URIs of one user have one address of record: `sip:user@host`, or `tel:+49...` for a number that
        nobody gave a host. What names a device, a way or a service (port, parameters, GRUU) is dropped.
Rule 3: escapes are normalised and never interpreted further (RFC 3261 s.19.1.4): `%75` is `u`, `%40` stays.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Final, final
from urllib.parse import quote

from mypy_extensions import mypyc_attr

MAX_PARAMS: Final = 64
"""Parameters read per URI or header value; honest ones have up to 10. Above: `;;;;` costs memory."""

CACHED_CHARS: Final = 256
"""URIs up to this length are remembered, so that the cache cannot be filled with megabytes."""


@final
@mypyc_attr(acyclic=True)
class SipUri:
    """The parts of a URI as received; nothing is unescaped."""

    __slots__ = ("headers", "host", "params", "port", "scheme", "user", "userinfo_params")

    def __init__(
        self,
        scheme: str,
        user: str,
        host: str,
        port: int,
        params: dict[str, str],
        headers: str,
        userinfo_params: dict[str, str],
    ) -> None:
        self.scheme: Final = scheme
        """Lower case; "" if the text had none."""
        self.user: Final = user
        """Without password and user parameters; the number of a `tel:`, the rest of any other scheme."""
        self.host: Final = host
        """As received, IPv6 in brackets; "" if there is none."""
        self.port: Final = port
        """0 if absent or impossible."""
        self.params: Final = params
        """URI parameters, for `tel:` the number's; names in lower case, "" for a flag."""
        self.headers: Final = headers
        """What follows the question mark, still escaped."""
        self.userinfo_params: Final = userinfo_params
        """Parameters inside the user part (`;ext=`, `;phone-context=`, RFC 3261 s.19.1.6)."""

    def _parts(self) -> tuple[str, str, str, int, dict[str, str], str, dict[str, str]]:
        return (
            self.scheme,
            self.user,
            self.host,
            self.port,
            self.params,
            self.headers,
            self.userinfo_params,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SipUri) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((self.scheme, self.user, self.host))

    def __repr__(self) -> str:
        return f"SipUri{self._parts()!r}"


_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_HOST: Final = re.compile(r"[^\x00-\x20\x7f@,;:?&=%\"'<>()\[\]/\\]+")
_SEPARATORS: Final = str.maketrans(
    "", "", "-.() "
)  # RFC 3966 s.3 visual-separator, and the blanks people type
_DIGITS: Final = re.compile(r"\+?[*#]*[0-9][0-9*#]*")
_SPACED_DIGITS: Final = re.compile(r"\+?[*#(]*[0-9][0-9\-.() *#]*")
_LOCAL_DIGITS: Final = re.compile(r"[0-9A-Fa-f*#\-.() ]+")  # RFC 3966 s.3 local-number-digits
# RFC 3261 s.25.1 unreserved: what %HH may be replaced by without changing the meaning (s.19.1.4).
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")
_CONTEXT: Final = re.compile(r"\+?[A-Za-z0-9.\-]{1,255}")
_URN: Final = re.compile(r"[A-Za-z0-9:.\-]{1,64}")
_USER_CHARS: Final = "-_.!~*'()&=+$,;?/"
_PLAIN_USER: Final = re.compile(
    rf"[A-Za-z0-9{re.escape(_USER_CHARS)}]+"
)  # RFC 3261 s.25.1 user without escapes
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")


def _pairs(text: str) -> dict[str, str]:
    """Read `a=b;c`; the first of two equal names counts."""
    found: dict[str, str] = {}
    if text:
        for piece in text.split(";", MAX_PARAMS)[:MAX_PARAMS]:
            name, _, value = piece.partition("=")
            name = name.strip().lower()
            if name and name not in found:
                found[name] = value.strip()
    return found


def parse_uri(text: str) -> SipUri:
    """Take `text` apart; a text without a scheme counts as a SIP URI if it has an `@`."""
    text = text.strip(" \t<>")
    if text.startswith("sip:"):
        scheme, rest = "sip", text[4:]
    else:
        match = _SCHEME.match(text)
        scheme = match[1].lower() if match else ""
        rest = text[match.end() :] if match else text
        if scheme == "tel":
            rest, _, headers = rest.partition("?")  # not in RFC 3966, but in History-Info
            number, _, context = rest.partition(";")
            return SipUri("tel", number.strip(), "", 0, _pairs(context), headers, {})
        if match and scheme not in ("sip", "sips"):
            return SipUri(scheme, rest, "", 0, {}, "", {})
        if not match and "@" not in text:
            return SipUri("", "", "", 0, {}, "", {})

    # `;` and `?` are legal in a user part (RFC 3261 s.25.1 user-unreserved), `@` is not, but it is seen both
    # there (`user@domain@proxy`) and in parameters (`;target=sip:user@domain`).
    at = rest.find("@")
    end = len(rest)  # of host and port
    headers = params = ""
    question = rest.find("?", at + 1)
    if question >= 0:
        end = question
        headers = rest[question + 1 :]
    semicolon = rest.find(";", at + 1, end)
    if semicolon >= 0:
        params = rest[semicolon + 1 : end]
        end = semicolon
    user = user_params = ""
    if at >= 0:
        at = rest.rfind("@", at, end)
        user = rest[:at]
        if not user.isalnum():
            # A colon begins the password (s.19.1.1).
            user, _, user_params = user.partition(":")[0].partition(";")
            user = user.strip()
    host, port = _host_port(rest[at + 1 : end])
    return SipUri(scheme, user, host, port, _pairs(params), headers, _pairs(user_params))


def _host_port(text: str) -> tuple[str, int]:
    """Split `host:port`; IPv6 keeps or gets its brackets (RFC 5118 s.4.2: some peers forget them)."""
    text = text.strip()
    colon = text.find(":")
    if colon < 0 and not text.startswith("["):
        return text, 0
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        if not bracket:
            return "", 0
        return host + bracket, _port(rest.strip()[1:])
    if text.find(":", colon + 1) >= 0:
        return (f"[{text}]", 0) if _ipv6(text) else ("", 0)
    return text[:colon].rstrip(), _port(text[colon + 1 :])


def _port(text: str) -> int:
    text = text.strip()
    if text.isdigit() and len(text) <= 5 and text.isascii():
        port = int(text)
        return port if port < 65_536 else 0
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


KEPT_HOSTS: Final = 1_024
"""Hosts that are remembered: few are in nearly every URI. Below: registered phones push the domains out."""

_HOSTS: Final[dict[str, str]] = {}


def _canonical_host(host: str) -> str:
    known = _HOSTS.get(host)
    if known is None:
        known = _host(host)
        if len(host) <= CACHED_CHARS:
            if len(_HOSTS) >= KEPT_HOSTS:
                _HOSTS.clear()
            _HOSTS[host] = known
    return known


def _host(host: str) -> str:
    """Lower case, without the root's dot; IPv6 in its canonical spelling; "" if it cannot be a host."""
    if host.startswith("["):
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
    if user.isalnum() and user.isascii():
        return user
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
    if user.isalnum() and user.isascii():
        return user if user.isdigit() else ""
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
    if "ext" not in params:
        return ""
    digits = params["ext"].translate(_SEPARATORS)
    return f";ext={digits}" if digits.isascii() and digits.isdigit() else ""


def address_of_record(uri: str | SipUri) -> str:
    """Return whom `uri` means: `sip:user@host`, `sip:host`, `tel:+49...`, `urn:service:...` or "".

    `;ext=` is kept, since it is all that tells the people behind one number apart; so is the
    `;phone-context=` of a local number, which means nothing without it (RFC 3966 s.5.1.5).
    """
    if isinstance(uri, str):
        return _cached_address(uri) if len(uri) <= CACHED_CHARS else _address_in(uri)
    return _address(uri)


def _address_in(text: str) -> str:
    return _address(parse_uri(text))


_cached_address: Final = lru_cache(maxsize=4_096)(_address_in)


def _is_sip(scheme: str) -> bool:
    return scheme in ("sip", "sips", "")


def _address(uri: SipUri) -> str:
    if _is_sip(uri.scheme):
        host = _canonical_host(uri.host)
        if not host:
            return ""
        if not uri.user:
            return f"sip:{host}"
        user = _canonical_user(uri.user, phone=_says_phone(uri))
        return f"sip:{user}{_extension(uri.userinfo_params)}@{host}"
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
    return uri.scheme == "tel" or ("user" in uri.params and uri.params["user"].lower() == "phone")


def telephone_number(uri: str | SipUri) -> str:
    """Return the number that the user part is, visual separators and extension removed; "" if it is none.

    Feature codes (`*21#`) count as numbers: they are dialled.
    """
    if isinstance(uri, str):
        uri = parse_uri(uri)
    return _as_number(uri.user, phone=_says_phone(uri)) if uri.scheme == "tel" or _is_sip(uri.scheme) else ""
