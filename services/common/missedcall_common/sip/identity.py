"""Who calls: P-Asserted-Identity over Remote-Party-ID over From (RFC 3325), unless Privacy hides him.

Rule 1: when in doubt the caller is anonymous: then nothing that names him leaves this file.
Rule 2: a response asserts the called side (RFC 3325 s.5), so of a response only From names the caller.
"""

from functools import lru_cache
from typing import Final, final

from mypy_extensions import mypyc_attr

from .grammar import NameAddr, parse_name_addr, split_all, split_name_addr
from .message import SipHead
from .names import FROM, P_ASSERTED_IDENTITY, PRIVACY, REMOTE_PARTY_ID
from .uri import CACHED_CHARS, SipUri, address_of_record, parse_uri, telephone_number


@final
@mypyc_attr(acyclic=True)
class Identity:
    """The caller as far as the signalling names him."""

    __slots__ = ("anonymous", "display_name", "number", "source", "uri")

    def __init__(self, uri: str, number: str, display_name: str, anonymous: bool, source: str) -> None:
        self.uri: Final = uri
        """Address of record; "" if anonymous or unusable."""
        self.number: Final = number
        """Telephone number, visual separators removed; "" if there is none."""
        self.display_name: Final = display_name
        """As signalled: never to be trusted."""
        self.anonymous: Final = anonymous
        self.source: Final = source
        """`p-asserted-identity`, `remote-party-id`, `from`, or "" if nobody is named."""

    def _parts(self) -> tuple[str, str, str, bool, str]:
        return self.uri, self.number, self.display_name, self.anonymous, self.source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((self.uri, self.display_name))

    def __repr__(self) -> str:
        return f"Identity{self._parts()!r}"


ANONYMOUS: Final = Identity("", "", "", anonymous=True, source="")
NOBODY: Final = Identity("", "", "", anonymous=False, source="")

HIDING: Final = frozenset({"id", "user", "header", "session", "history"})
"""Values of Privacy that ask for the caller's name not to be shown (RFC 3323 s.4.2, RFC 3325 s.9.3)."""


# A Remote-Party-ID's privacy that lets the URI be shown. All else hides it: `full`, `uri`, `name,uri`, and the
# `yes` of old exchanges.
_SHOWN: Final = frozenset({"", "off", "no", "none", "name", "ipaddr"})


def privacy(head: SipHead) -> frozenset[str]:
    """Return the values of Privacy in lower case."""
    field = head.known[PRIVACY]
    if field is None:
        return frozenset()
    words = ";".join(head.all_of(field)).replace(",", ";").lower().split(";")
    return frozenset(word.strip() for word in words if word.strip())


def _is_anonymous(uri: SipUri) -> bool:
    """Whether a From says that the caller does not want to be named (RFC 3261 s.8.1.1.3, RFC 3323 s.4.1)."""
    return uri.user.lower() == "anonymous" or uri.host.lower().rstrip(".").endswith("anonymous.invalid")


def _from(value: str) -> Identity:
    display_name, text, _ = split_name_addr(value)
    uri = parse_uri(text)
    if _is_anonymous(uri):
        return ANONYMOUS
    address = address_of_record(uri)
    return (
        Identity(address, telephone_number(uri), display_name, anonymous=False, source="from")
        if address
        else NOBODY
    )


_cached_from: Final = lru_cache(maxsize=4096)(_from)  # every message of a call carries the same From


def caller_identity(head: SipHead) -> Identity:
    """Return the caller of a request, or of the transaction that a response belongs to."""
    field = head.known[FROM]
    value = "" if field is None else field.value
    identity = _cached_from(value) if len(value) <= CACHED_CHARS else _from(value)
    # RFC 5079: 433 refuses a caller because he is anonymous.
    if head.status == 433 or identity.anonymous:
        return ANONYMOUS
    if head.status:
        return identity
    known = head.known
    if known[PRIVACY] is not None and not HIDING.isdisjoint(privacy(head)):
        return ANONYMOUS
    asserted = known[P_ASSERTED_IDENTITY]
    if asserted is not None:
        better = _asserted(split_all(head.all_of(asserted)))
        if better is not None:
            return better
    remote = known[REMOTE_PARTY_ID]
    if remote is not None:
        better = _remote_party([parse_name_addr(value) for value in split_all(head.all_of(remote))])
        if better is not None:
            return better
    return identity


def _asserted(values: list[str]) -> Identity | None:
    """Join the SIP URI and the tel URI that may stand side by side (RFC 3325 s.9.1)."""
    uri = number = display_name = ""
    for value in values:
        name, text, _ = split_name_addr(value)
        parsed = parse_uri(text)
        address = address_of_record(parsed)
        if address and (not uri or (uri[:4] == "tel:" and address[:4] == "sip:")):
            uri = address
        if parsed.scheme == "tel" or not number:
            number = telephone_number(parsed) or number
        display_name = display_name or name
    return Identity(uri, number, display_name, anonymous=False, source="p-asserted-identity") if uri else None


def _remote_party(values: list[NameAddr]) -> Identity | None:
    """Read the caller's Remote-Party-ID (draft-ietf-sip-privacy-04) with its own privacy parameter."""
    for value in values:
        if value.params.get("party", "calling").lower() != "calling":
            continue
        hidden = value.params.get("privacy", "off").lower()
        if hidden not in _SHOWN:
            return ANONYMOUS
        uri = parse_uri(value.uri)
        address = address_of_record(uri)
        if address:
            name = "" if hidden == "name" else value.display_name
            return Identity(address, telephone_number(uri), name, anonymous=False, source="remote-party-id")
    return None
