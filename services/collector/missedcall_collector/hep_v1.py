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
from functools import lru_cache
from typing import Final

from .hep_packet import FLOWS, SIP, TRANSPORTS, Fields, Flow, HepError, clock_ms

_IPV4: Final = struct.Struct("!BxBBHH4s4s")  # version, length, family, protocol, ports, addresses
_IPV6: Final = struct.Struct("!BxBBHH16s16s")
_time: Final = struct.Struct("<IIH").unpack_from
_time_big: Final = struct.Struct(">IIH").unpack_from
_TIME: Final = 10
_PADDING: Final = 2
_START: Final = re.compile(
    rb"(?:SIP/2\.0|INVITE|ACK|BYE|CANCEL|REFER|INFO|OPTIONS|REGISTER|SUBSCRIBE|NOTIFY|PUBLISH|MESSAGE|PRACK"
    rb"|UPDATE) "
)
_SIZES: Final = {2: _IPV4.size, **dict.fromkeys((10, 23, 24, 28, 30), _IPV6.size)}
"""Bytes of the header by address family. AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 28 on FreeBSD, 30 on
macOS, 23 or 24 elsewhere."""


def looks_like_v1_or_v2(frame: bytes) -> bool:
    """Whether the first bytes can begin a version 1 or 2 frame."""
    return len(frame) > _IPV4.size and frame[0] in (1, 2) and frame[2] in _SIZES and frame[3] in TRANSPORTS


def read_v1_v2(frame: bytes) -> Fields:
    """Return what a version 1 or 2 frame says.

    Raises:
        HepError: shorter than its headers, or of an unknown address family.
    """
    size = len(frame)
    if size < 3:
        raise HepError(f"HEP{frame[0]} frame of {size} bytes, expected {_IPV4.size} or more")
    at = _SIZES.get(frame[2], 0)
    if not at:
        raise HepError(f"address family {frame[2]} at offset 2, expected 2 (IPv4) or 10 (IPv6)")
    if size < at:
        raise HepError(f"HEP{frame[0]} frame of {size} bytes, expected {at} or more")
    captured_ms = 0
    seconds: int
    micros: int
    agent_id = agent_big = 0
    header = frame[:at]
    if frame[0] == 2:
        if size < at + _TIME:
            raise HepError(f"HEP2 frame of {size} bytes, expected {at + _TIME} or more")
        seconds, micros, agent_id = _time(frame, at)
        captured_ms = clock_ms(seconds, micros)
        if not captured_ms:  # a sender on a big-endian machine, or by the book
            seconds, micros, agent_big = _time_big(frame, at)
            captured_ms = clock_ms(seconds, micros)
            if captured_ms:
                agent_id = agent_big
        at += _TIME
        if _START.match(frame, at) is None or _START.match(frame, at + _PADDING) is not None:
            at += _PADDING
    return _flow(header, agent_id), frame[at:], captured_ms, "", b"", "", None


@lru_cache(maxsize=FLOWS)
def _flow(header: bytes, agent_id: int) -> Flow:
    unpack = _IPV4.unpack if len(header) == _IPV4.size else _IPV6.unpack
    version, _, protocol, source_port, destination_port, source, destination = unpack(header)
    return Flow(version, protocol, SIP, (source, source_port), (destination, destination_port), agent_id)
