"""HEP versions 1 and 2: a fixed header, the addresses, with version 2 a time, then the message.

What senders write (struct layouts of Kamailio siptrace, OpenSIPS, captagent, sofia-sip, sngrep):
- the time is in the sender's native order, which is little-endian; Kamailio makes sure of it;
- the time struct has a 16-bit agent id and two bytes of padding, whatever was on the stack;
- sngrep puts the total length's low byte where the header length belongs, sofia-sip counts the time in,
  the others do not: nobody can rely on it;
- OpenSIPS lets the message be followed by NUL bytes.
"""

import re
import struct

from .address import endpoint
from .hep_packet import SIP, TRANSPORTS, HepError, HepPacket, clock_ms

_IPV4 = struct.Struct("!BBBBHH4s4s")  # version, length, family, protocol, ports, addresses
_IPV6 = struct.Struct("!BBBBHH16s16s")
_TIME = struct.Struct("<IIH")
_TIME_BIG = struct.Struct(">IIH")
_PADDING = 2
_START = re.compile(
    rb"(?:SIP/2\.0|INVITE|ACK|BYE|CANCEL|REFER|INFO|OPTIONS|REGISTER|SUBSCRIBE|NOTIFY|PUBLISH|MESSAGE|PRACK"
    rb"|UPDATE) "
)
_FAMILIES = {2: _IPV4, 10: _IPV6, 23: _IPV6, 24: _IPV6, 28: _IPV6, 30: _IPV6}
"""AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 28 on FreeBSD, 30 on macOS, 23 or 24 elsewhere."""


def looks_like_v1_or_v2(frame: bytes) -> bool:
    """Whether the first bytes can begin a version 1 or 2 frame."""
    return len(frame) > _IPV4.size and frame[0] in (1, 2) and frame[2] in _FAMILIES and frame[3] in TRANSPORTS


def decode_v1_v2(frame: bytes) -> HepPacket:
    """Return the packet of a version 1 or 2 frame.

    Raises:
        HepError: shorter than its headers, or of an unknown address family.
    """
    if len(frame) < 3:
        raise HepError(f"HEP{frame[0]} frame of {len(frame)} bytes, expected {_IPV4.size} or more")
    header = _FAMILIES.get(frame[2])
    if header is None:
        raise HepError(f"address family {frame[2]} at offset 2, expected 2 (IPv4) or 10 (IPv6)")
    if len(frame) < header.size:
        raise HepError(f"HEP{frame[0]} frame of {len(frame)} bytes, expected {header.size} or more")
    version, _, _, protocol, source_port, destination_port, source, destination = header.unpack_from(frame)
    at = header.size
    captured_ms = None
    agent_id = 0
    if version == 2:
        if len(frame) < at + _TIME.size:
            raise HepError(f"HEP2 frame of {len(frame)} bytes, expected {at + _TIME.size} or more")
        seconds, micros, agent_id = _TIME.unpack_from(frame, at)
        captured_ms = clock_ms(seconds, micros)
        if captured_ms is None:  # a sender on a big-endian machine, or by the book
            seconds, micros, agent_big = _TIME_BIG.unpack_from(frame, at)
            captured_ms = clock_ms(seconds, micros)
            if captured_ms is not None:
                agent_id = agent_big
        at += _TIME.size
        if _START.match(frame, at) is None or _START.match(frame, at + _PADDING) is not None:
            at += _PADDING
    return HepPacket(
        version=version,
        payload=frame[at:],
        protocol_type=SIP,
        ip_protocol=protocol,
        src=endpoint(source, source_port),
        dst=endpoint(destination, destination_port),
        captured_ms=captured_ms,
        agent_id=agent_id,
    )
