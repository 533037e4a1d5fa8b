"""From a captured packet to SipMessages: link, IP, UDP or TCP, and what is in them.

Rule 1: what a payload is, is told by its content; the port only names its sender.
Rule 2: HEP in a capture is opened: its inner addresses and time count, not those of the agent's packet.
"""

from typing import Final

from missedcall_schemas.records import SipMessage

from .address import endpoint, ends
from .hep import looks_like_hep
from .hep_v3 import MAGIC as HEP
from .intake import Intake
from .ip import UDP, Reassembler
from .link import LINKS, ethernet
from .pcap import Packet
from .sip_stream import split
from .streams import Completed, Streams
from .upper_pdu import LINK as UPPER_PDU
from .upper_pdu import upper_pdu

LINK_TYPES: Final = LINKS.keys() | {UPPER_PDU}
"""What `Wire.packet` can open (LINKTYPE_*)."""

_VXLAN: Final = b"\x12\xb5"  # port 4789
_ETHERNET: Final = 1
_HEP_FIRST: Final = frozenset({1, 2, 0x1F})  # version 1, version 2, gzip
_HEP_LETTERS: Final = frozenset(magic[0] for magic in HEP)
_PLAIN: Final = 28  # bytes of an IPv4 header without options and of UDP's
_MAX_DEPTH: Final = 3  # VXLAN in VXLAN; traffic mirroring in a cloud needs one


class Wire:
    """One capture's network: fragments and connections in the making, and the capture's clock."""

    def __init__(self, intake: Intake) -> None:
        self.clock_ms = 0
        """The latest capture time so far, milliseconds since the epoch."""
        self._intake = intake
        self._ip = Reassembler(intake.counts)
        self._tcp = Streams(intake.counts)

    def packets(self, packets: list[Packet]) -> list[SipMessage]:
        """Return the messages that packets complete. What is of no known link type is counted."""
        messages: list[SipMessage] = []
        counts = self._intake.counts
        for captured_ms, link, data in packets:
            if link == _ETHERNET and len(data) > 14 and data[12] == 8 and data[13] == 0:
                at = 14
            elif link in LINKS:
                at = LINKS[link](data)
            elif link == UPPER_PDU:
                messages += self.packet(captured_ms, link, data)
                continue
            else:
                counts["not-ip"] += 1
                continue
            self.clock_ms = max(self.clock_ms, captured_ms)
            end = _plain_end(data, at)
            first = data[at + _PLAIN] if end else 0
            if first > 0x7E:  # RTP
                counts["not-sip"] += 1
            elif first > 0x40 and first not in _HEP_LETTERS:
                src, dst = ends(data[at + 12 : at + 24])
                message = self._intake.from_sip(
                    data[at + _PLAIN : end], src, dst, "udp", captured_ms, self.clock_ms
                )
                if message is not None:
                    messages.append(message)
            else:
                messages += self._ip_packet(data, at, captured_ms)
        return messages

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
        size = body[4] << 8 | body[5]
        payload = body[8:size] if size > 8 else body[8:]
        first = payload[0] if payload else 0
        if first == 8 and body[2:4] == _VXLAN and depth < _MAX_DEPTH:  # RFC 7348 s.5: flag I
            return self._ip_packet(payload, ethernet(payload, 8), captured_ms, depth + 1)
        if payload[:4] in HEP or (first in _HEP_FIRST and looks_like_hep(payload)):
            return self._intake.from_frame(payload, self.clock_ms)
        if not 0x20 < first < 0x7F and first not in (0x0A, 0x0D):  # RTP, STUN, DNS: told by one byte
            self._intake.counts["not-sip"] += 1
            return []
        message = self._intake.from_sip(
            payload,
            endpoint(source, body[0] << 8 | body[1]),
            endpoint(destination, body[2] << 8 | body[3]),
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
        src = endpoint(pdu.source, pdu.source_port)
        dst = endpoint(pdu.destination, pdu.destination_port)
        payloads = [pdu.payload] if pdu.transport == "udp" else split(pdu.payload)
        return self._messages([(src, dst, pdu.transport, payload) for payload in payloads], captured_ms)

    def _messages(self, completed: list[Completed], captured_ms: int) -> list[SipMessage]:
        messages: list[SipMessage] = []
        for src, dst, transport, payload in completed:
            if payload[:4] in HEP:
                messages += self._intake.from_frame(payload, self.clock_ms)
                continue
            message = self._intake.from_sip(payload, src, dst, transport, captured_ms, self.clock_ms)
            if message is not None:
                messages.append(message)
        return messages


def _plain_end(data: bytes, at: int) -> int:
    """Return where the payload of UDP in the IPv4 packet at `at` ends, which has neither options nor fragments.

    0 if it has, if it is something else, or if there is no payload: what is rare goes the long way.
    """
    end = len(data)
    if at < 0 or end - at <= _PLAIN or data[at] != 0x45 or data[at + 9] != UDP:
        return 0
    if data[at + 6] & 0x3F or data[at + 7]:
        return 0
    total = data[at + 2] << 8 | data[at + 3]
    if total and at + total < end:
        end = at + total
    length = data[at + 24] << 8 | data[at + 25]
    if length > 8 and at + 20 + length < end:
        end = at + 20 + length
    return end if end - at > _PLAIN else 0
