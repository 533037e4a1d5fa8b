"""Header names and methods as they are spelled, and what they are called here.

Rule 1: a header has one name, the long form in lower case, however it was written (RFC 3261 s.7.3.1, s.7.3.3).
Rule 2: the usual spellings are looked up; only unusual ones are worked out, once.
Rule 3: what says nothing about a call and can name no other one is recognised, and not kept.
"""

import re
from functools import lru_cache
from typing import Final

MAX_NAME_CHARS: Final = 128
"""One header's name; RFC 4475 s.3.1.1.7 sends one of 92. Above: nobody's names fill the name cache."""

# RFC 3261 s.7.3.3 and the registry's later compact forms.
COMPACT: Final[dict[str, str]] = {
    "a": "accept-contact",  # RFC 3841
    "b": "referred-by",  # RFC 3892
    "c": "content-type",
    "d": "request-disposition",  # RFC 3841
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",  # RFC 3841
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",  # RFC 4474
    "o": "event",  # RFC 6665
    "r": "refer-to",  # RFC 3515
    "s": "subject",
    "t": "to",
    "u": "allow-events",  # RFC 6665
    "v": "via",
    "x": "session-expires",  # RFC 4028
    "y": "identity",  # RFC 8224
}

# fmt: off
_USUAL = (
    "Accept-Contact", "Alert-Info", "Answer-Mode", "Call-ID", "Call-Info", "Contact", "Content-Length",
    "Content-Type", "CSeq", "Diversion", "From", "History-Info", "Identity", "In-Reply-To", "Join",
    "Organization", "P-Asserted-Identity", "P-Called-Party-ID", "P-Charging-Vector", "P-Preferred-Identity",
    "Priority", "Privacy", "Reason", "Refer-To", "Referred-By", "Reject-Contact", "Remote-Party-ID",
    "Replaces", "Request-Disposition", "Session-ID", "Subject", "To", "Via", "Warning", "ms-diagnostics",
    "ms-diagnostics-public", "ms-client-diagnostics", "ms-conversation-id", "X-CID", "X-Call-ID",
)
_UNREAD = (
    "Accept", "Accept-Encoding", "Accept-Language", "Allow", "Allow-Events", "Authorization",
    "Content-Disposition", "Content-Encoding", "Content-Language", "Date", "Event", "Expires", "Max-Forwards",
    "MIME-Version", "Min-Expires", "Min-SE", "P-Access-Network-Info", "Path", "Proxy-Authenticate",
    "Proxy-Authorization", "Proxy-Require", "RAck", "RSeq", "Record-Route", "Require", "Retry-After", "Route",
    "Server", "Service-Route", "Session-Expires", "Subscription-State", "Supported", "Timestamp",
    "Unsupported", "User-Agent", "WWW-Authenticate",
)
# fmt: on

UNREAD: Final[frozenset[str]] = frozenset(name.lower() for name in _UNREAD)
"""What nobody here reads, but nearly every message carries. A header is no longer of these once something reads it;
none may be that could carry another call's Call-ID (`correlation_headers`)."""


# Where the headers that are read stand in `SipHead.known`.
VIA: Final = 0
FROM: Final = 1
TO: Final = 2
CALL_ID: Final = 3
CSEQ: Final = 4
CONTACT: Final = 5
CONTENT_TYPE: Final = 6
CONTENT_LENGTH: Final = 7
REASON: Final = 8
MS_DIAGNOSTICS: Final = 9
MS_DIAGNOSTICS_PUBLIC: Final = 10
MS_CLIENT_DIAGNOSTICS: Final = 11
WARNING: Final = 12
HISTORY_INFO: Final = 13
DIVERSION: Final = 14
REPLACES: Final = 15
REFERRED_BY: Final = 16
REFER_TO: Final = 17
P_ASSERTED_IDENTITY: Final = 18
REMOTE_PARTY_ID: Final = 19
PRIVACY: Final = 20
SESSION_ID: Final = 21
P_CHARGING_VECTOR: Final = 22
MS_CONVERSATION_ID: Final = 23
PRIORITY: Final = 24
REQUEST_DISPOSITION: Final = 25
ANSWER_MODE: Final = 26
PRIV_ANSWER_MODE: Final = 27
CALL_INFO: Final = 28
ALERT_INFO: Final = 29
OTHER: Final = 30
"""Of all others that are kept; and how many have a place of their own."""
UNKEPT: Final = -1
"""Of `UNREAD`."""

PLACES: Final[dict[str, int]] = {
    "via": VIA,
    "from": FROM,
    "to": TO,
    "call-id": CALL_ID,
    "cseq": CSEQ,
    "contact": CONTACT,
    "content-type": CONTENT_TYPE,
    "content-length": CONTENT_LENGTH,
    "reason": REASON,
    "ms-diagnostics": MS_DIAGNOSTICS,
    "ms-diagnostics-public": MS_DIAGNOSTICS_PUBLIC,
    "ms-client-diagnostics": MS_CLIENT_DIAGNOSTICS,
    "warning": WARNING,
    "history-info": HISTORY_INFO,
    "diversion": DIVERSION,
    "replaces": REPLACES,
    "referred-by": REFERRED_BY,
    "refer-to": REFER_TO,
    "p-asserted-identity": P_ASSERTED_IDENTITY,
    "remote-party-id": REMOTE_PARTY_ID,
    "privacy": PRIVACY,
    "session-id": SESSION_ID,
    "p-charging-vector": P_CHARGING_VECTOR,
    "ms-conversation-id": MS_CONVERSATION_ID,
    "priority": PRIORITY,
    "request-disposition": REQUEST_DISPOSITION,
    "answer-mode": ANSWER_MODE,
    "priv-answer-mode": PRIV_ANSWER_MODE,
    "call-info": CALL_INFO,
    "alert-info": ALERT_INFO,
}
"""Name -> place."""


def _spellings() -> dict[str, str]:
    known = {}
    for name in (*_USUAL, *_UNREAD):
        for spelling in (name, name.lower(), name.upper(), name.title()):
            known[spelling] = "" if name in _UNREAD else name.lower()
    for short, long in COMPACT.items():
        known[short] = known[short.upper()] = "" if long in UNREAD else long
    return known


KNOWN: Final[dict[str, str]] = _spellings()
"""Usual spelling -> name; "" for one of `UNREAD`."""
TOKEN: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
"""RFC 3261 s.25.1 token."""

# fmt: off
METHODS: Final[frozenset[str]] = frozenset({
    "ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS",
    "PRACK", "PUBLISH", "REFER", "REGISTER", "SERVICE", "SUBSCRIBE", "UPDATE",
})
# fmt: on
"""The registered methods, and SERVICE of Lync."""


@lru_cache(maxsize=1024)
def long_name(name: str) -> str:
    """Return the long lower-case name for any spelling, "" if `name` cannot be a header's."""
    name = name.strip(" \t\r")  # RFC 3261 s.25.1 HCOLON: blanks may stand before the colon
    if not TOKEN.fullmatch(name):
        return ""
    name = name.lower()
    return COMPACT.get(name, name)
