"""The call that `trial` makes: it rings, and the caller gives up; as a proxy would mirror it by HEP.

Rule 1: its Call-ID is its own each time: an old trial is never taken for this one.
Rule 2: caller and network are nobody's (RFC 6761 s.6.4, RFC 5737).
"""

from .hep_packet import HepPacket

CALLER = "sip:missedcall-trial@missedcall.invalid"
PROXY, PHONE = "192.0.2.1:5060", "192.0.2.2:5060"
RINGS_MS = 6_000
"""More than any usual `min_ring_s`."""


def trial_call(call_id: str, callee: str, ended_ms: int, auth_key: bytes = b"") -> list[HepPacket]:
    """Return the frames of one call.

    Args:
        call_id: of this call alone.
        callee: who is called, `sip:user@host`.
        ended_ms: when the call was over, Unix time; it began some seconds before.
        auth_key: HEP authenticate key; empty: none.
    """
    began = ended_ms - RINGS_MS - 200
    steps = (
        (began, True, "INVITE", "", "", "1 INVITE"),
        (began + 100, False, "", "180 Ringing", ";tag=callee", "1 INVITE"),
        (began + 100 + RINGS_MS, True, "CANCEL", "", "", "1 CANCEL"),
        (began + 150 + RINGS_MS, False, "", "487 Request Terminated", ";tag=callee", "1 INVITE"),
    )
    packets = []
    for at_ms, to_phone, method, status, to_tag, cseq in steps:
        head = [
            f"{method} {callee} SIP/2.0" if method else f"SIP/2.0 {status}",
            f"Via: SIP/2.0/UDP {PROXY};branch=z9hG4bK{call_id.partition('@')[0]}",
            *(["Max-Forwards: 69"] if method else []),
            f"From: <{CALLER}>;tag=caller",
            f"To: <{callee}>{to_tag}",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq}",
            *([f"Contact: <sip:missedcall-test@{PROXY}>"] if method == "INVITE" else []),
            "Content-Length: 0",
        ]
        packets.append(
            HepPacket(
                payload="\r\n".join([*head, "", ""]).encode(),
                src=PROXY if to_phone else PHONE,
                dst=PHONE if to_phone else PROXY,
                captured_ms=at_ms,
                auth_key=auth_key,
            )
        )
    return packets
