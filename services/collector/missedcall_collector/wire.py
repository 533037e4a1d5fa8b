"""From a captured packet to SipMessages: link, IP, UDP or TCP, and what is in them.

Rule 1: what a payload is, is told by its content; the port only names its sender.
Rule 2: HEP in a capture is opened: its inner addresses and time count, not those of the agent's packet.
"""

import struct

from missedcall_schemas.records import SipMessage

from .address import endpoint
from .hep import looks_like_hep
from .hep_v3 import MAGIC as HEP
from .intake import Intake
from .ip import UDP, Reassembler
from .link import LINKS, ethernet
from .sip_stream import split
from .streams import Completed, Streams
from .upper_pdu import LINK as UPPER_PDU
from .upper_pdu import upper_pdu

LINK_TYPES = LINKS.keys() | {UPPER_PDU}
"""What `Wire.packet` can open (LINKTYPE_*)."""

_VXLAN = 4789
_HEP_FIRST = frozenset({1, 2, 0x1F})  # version 1, version 2, gzip
_MAX_DEPTH = 3  # VXLAN in VXLAN; traffic mirroring in a cloud needs one

_udp = struct.Struct("!HHH").unpack_from


class Wire:
    """One capture's network: fragments and connections in the making, and the capture's clock."""

    def __init__(self, intake: Intake) -> None:
        self.clock_ms = 0
        """The latest capture time so far, milliseconds since the epoch."""
        self._intake = intake
        self._ip = Reassembler(intake.counts)
        self._tcp = Streams(intake.counts)

    def packet(self, captured_ms: int, link: int, data: bytes) -> list[SipMessage]:
        """Return the messages that one packet completes. `link` is one of `LINK_TYPES`."""
        self.clock_ms = max(self.clock_ms, captured_ms)
        if link == UPPER_PDU:
            return self._exported(data, captured_ms)
        return self._ip_packet(data, LINKS[link](data), captured_ms)

    def close(self) -> list[SipMessage]:
        """Return what the end of the capture leaves incomplete but readable."""
        self._ip.close()
        return self._messages(self._tcp.close(), self.clock_ms)

    def _ip_packet(self, data: bytes, at: int, captured_ms: int, depth: int = 0) -> list[SipMessage]:
        segment = self._ip.segment(data, at, captured_ms) if at >= 0 else None
        if segment is None:
            self._intake.counts["not-ip"] += 1
            return []
        protocol, source, destination, body = segment
        if protocol != UDP:
            return self._messages(self._tcp.segment(source, destination, body, captured_ms), captured_ms)
        if len(body) < 8:
            self._intake.counts["not-sip"] += 1
            return []
        source_port, destination_port, size = _udp(body)
        payload = body[8:size] if size > 8 else body[8:]
        first = payload[0] if payload else 0
        if destination_port == _VXLAN and first == 8 and depth < _MAX_DEPTH:  # RFC 7348 s.5: flag I
            return self._ip_packet(payload, ethernet(payload, 8), captured_ms, depth + 1)
        if payload[:4] in HEP or (first in _HEP_FIRST and looks_like_hep(payload)):
            return self._intake.from_frame(payload, self.clock_ms)
        if not 0x20 < first < 0x7F and first not in (0x0A, 0x0D):  # RTP, STUN, DNS: told by one byte
            self._intake.counts["not-sip"] += 1
            return []
        message = self._intake.from_sip(
            payload,
            endpoint(source, source_port),
            endpoint(destination, destination_port),
            "udp",
            captured_ms,
            self.clock_ms,
        )
        return [message] if message is not None else []

    def _exported(self, data: bytes, captured_ms: int) -> list[SipMessage]:
        pdu = upper_pdu(data)
        if pdu is None:
            self._intake.counts["not-ip"] += 1
            return []
        if pdu.payload[:4] in HEP:
            return self._intake.from_frame(pdu.payload, self.clock_ms)
        key = (pdu.source, pdu.source_port, pdu.destination, pdu.destination_port)
        payloads = [pdu.payload] if pdu.transport == "udp" else split(pdu.payload)
        return self._messages([(key, pdu.transport, payload) for payload in payloads], captured_ms)

    def _messages(self, completed: list[Completed], captured_ms: int) -> list[SipMessage]:
        messages = []
        for (source, source_port, destination, destination_port), transport, payload in completed:
            if payload[:4] in HEP:
                messages += self._intake.from_frame(payload, self.clock_ms)
                continue
            message = self._intake.from_sip(
                payload,
                endpoint(source, source_port),
                endpoint(destination, destination_port),
                transport,
                captured_ms,
                self.clock_ms,
            )
            if message is not None:
                messages.append(message)
        return messages
