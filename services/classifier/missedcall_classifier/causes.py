"""What a cause code says about a call that was not answered.

Rule 1: a code is looked up, never its text. An unknown code is no information (`None`).
Rule 2: a Reason is a hint: it refines a status, it never turns a captured 2xx into a miss.
Rule 3: SIP status, Q.850 and ms-diagnostics are three tables; a row names its source.
"""

from enum import StrEnum


class Says(StrEnum):
    """What a code says about why a branch ended."""

    ELSEWHERE = "elsewhere"  # somebody else took the call
    DECLINED = "declined"  # a person refused it
    DECLINED_ELSEWHERE = "declined-elsewhere"  # the same person refused it on another device
    RING_TIMEOUT = "ring-timeout"  # it rang until a timer ended it
    CALLER_CANCELLED = "caller-cancelled"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    UNKNOWN_USER = "unknown-user"
    NOT_ANSWERED = "not-answered"  # the 2xx does not count: it crossed a CANCEL
    OUTBOUND = "outbound"  # a call to the telephone network failed
    VOICEMAIL_FAILED = "voicemail-failed"


# ITU-T Q.850 as carried in Reason (RFC 3326 s.2); meaning for SIP from RFC 3398 s.7.2.4.1.
# 0, 16 (normal clearing) and 31 (normal, unspecified) are no information and so have no row.
# fmt: off
Q850: dict[int, Says] = {
    1:   Says.UNREACHABLE,   # unallocated number
    3:   Says.UNREACHABLE,   # no route to destination
    17:  Says.BUSY,          # user busy
    18:  Says.RING_TIMEOUT,  # no user responding
    19:  Says.RING_TIMEOUT,  # no answer from user (user alerted)
    20:  Says.UNREACHABLE,   # subscriber absent
    21:  Says.DECLINED,      # call rejected
    22:  Says.UNREACHABLE,   # number changed
    26:  Says.ELSEWHERE,     # non-selected user clearing
    27:  Says.UNREACHABLE,   # destination out of order
    28:  Says.UNREACHABLE,   # invalid number format
    34:  Says.UNREACHABLE,   # no circuit available
    38:  Says.UNREACHABLE,   # network out of order
    41:  Says.UNREACHABLE,   # temporary failure
    102: Says.UNREACHABLE,   # recovery on timer expiry
}

# Reason: SIP;cause=n on a CANCEL: why the sender ended this branch (RFC 3326 s.2, s.3.1).
# 487 is no information. FreeSWITCH writes private values here (switch_types.h), told from
# RFC 3261 statuses by their text; they are in PRIVATE.
SIP_ON_CANCEL: dict[int, Says] = {
    200: Says.ELSEWHERE,           # Call completed elsewhere
    600: Says.DECLINED_ELSEWHERE,  # Busy everywhere
    603: Says.DECLINED_ELSEWHERE,  # Decline
    408: Says.RING_TIMEOUT,
    480: Says.RING_TIMEOUT,
}

PRIVATE: dict[str, Says | None] = {
    "LOSE_RACE":           Says.ELSEWHERE,
    "PICKED_OFF":          Says.ELSEWHERE,
    "ALLOTTED_TIMEOUT":    Says.RING_TIMEOUT,
    "USER_NOT_REGISTERED": Says.UNREACHABLE,
    "ORIGINATOR_CANCEL":   None,
}

# ms-diagnostics, ms-diagnostics-public, ms-client-diagnostics: MS-OCER and Lync traces.
DIAGNOSTICS: dict[int, Says] = {
    1003:  Says.UNKNOWN_USER,      # user does not exist
    1007:  Says.UNREACHABLE,       # temporarily cannot route
    1008:  Says.UNREACHABLE,       # unable to resolve DNS SRV record
    1009:  Says.UNREACHABLE,       # certificate trust
    1010:  Says.UNREACHABLE,       # certificate name
    4005:  Says.UNKNOWN_USER,      # destination URI not enabled for SIP or does not exist
    5002:  Says.CALLER_CANCELLED,  # request was cancelled
    5009:  Says.NOT_ANSWERED,      # Bye/Ack on 200 as INVITE was cancelled
    5010:  Says.NOT_ANSWERED,      # application cancels a transaction that already has its 2xx
    5025:  Says.RING_TIMEOUT,      # CANCEL sent by an application (default routing's ring timer)
    12000: Says.OUTBOUND,          # no gateway
    12004: Says.OUTBOUND,          # no route
    13001: Says.UNREACHABLE,       # inbound routing got no final response
    13002: Says.UNREACHABLE,       # inbound routing got no suitable final response
    13014: Says.UNREACHABLE,       # no final response, callee not enabled for UM
    15000: Says.VOICEMAIL_FAILED,  # UM contact properties unreadable
    15030: Says.VOICEMAIL_FAILED,  # failed to route to Exchange
    52051: Says.RING_TIMEOUT,      # callee timeout on no response
}

RETRIED = frozenset({
    401, 407,             # challenge, RFC 3261 s.22
    413, 415, 416, 420,   # RFC 3261 s.8.1.3.5
    422, 423,             # RFC 4028 s.7.3, RFC 3261 s.10.2.8
    488, 494,             # Lync tries another ICE version; RFC 3329
    300, 301, 302, 305, 380,
})
"""Finals after which the same caller may try again with a higher CSeq: one attempt, not two."""
# fmt: on

LOOPS = frozenset({482, 483, 440})
"""A branch that came back to itself or went too far: it says nothing about the user (row 45)."""

NO_SUCH_USER = frozenset({404, 410, 416, 484, 485, 604})
"""Nobody is provisioned there, as far as the answering server knows (row 10)."""

ROUTING_REFUSED = frozenset({415, 488, 500, 501, 502, 503, 504, 505, 513, 580, 606})
"""The call failed for a technical reason (row 19)."""


def of_reason(protocol: str, cause: int, text: str, *, on_cancel: bool) -> Says | None:
    """Return what one Reason value says.

    Args:
        protocol: Upper case, `SIP` or `Q.850`; others say nothing.
        cause: Its `cause` parameter.
        text: Its `text` parameter, read only for FreeSWITCH's private values.
        on_cancel: Whether a request (CANCEL, BYE) carried it; a response's SIP cause repeats a status.
    """
    if protocol == "Q.850":
        return Q850.get(cause)
    if protocol != "SIP":
        return None
    private = text.upper().replace(" ", "_")
    if private in PRIVATE:
        return PRIVATE[private]
    return SIP_ON_CANCEL.get(cause) if on_cancel else None
