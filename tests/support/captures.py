"""Captures made byte by byte: packets of every link type, files of every kind, and their samples.

Rule 1: what reads captures is tested against bytes made here from the formats' specifications, not against
        what our own writer makes of them.
"""

import gzip
import struct

from support import hep_senders

from missedcall_collector.pcap_writer import ethernet, ip_packet, tcp_packet

CAPTURED_MS = 1_700_000_000_123
SRC, DST = bytes((192, 0, 2, 1)), bytes((198, 51, 100, 2))
SRC6, DST6 = hep_senders.SRC6, hep_senders.DST6
UDP, TCP = 17, 6
FIN, SYN, RST, PSH_ACK = 1, 2, 4, 24


def invite(call_id: str = "call-1", *headers: str, body: bytes = b"", method: str = "INVITE") -> bytes:
    """Write a short request."""
    lines = [
        f"{method} sip:bob@example.com SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        "From: <sip:alice@example.com>;tag=a",
        "To: <sip:bob@example.com>",
        f"Call-ID: {call_id}",
        f"CSeq: 1 {method}",
        *headers,
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join((*lines, "", "")).encode() + body


def ringing(call_id: str = "call-1") -> bytes:
    """Write the 180 to `invite`."""
    return invite(call_id).replace(b"INVITE sip:bob@example.com SIP/2.0", b"SIP/2.0 180 Ringing")


def zipped(data: bytes) -> bytes:
    """Gzip without the time of day: the same bytes in every run."""
    return gzip.compress(data, mtime=0)


def udp_segment(payload: bytes, source_port: int = 5060, destination_port: int = 5080) -> bytes:
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0) + payload


def udp4(payload: bytes, **ports: int) -> bytes:
    """An IPv4 packet from 192.0.2.1 to 198.51.100.2."""
    return ip_packet(UDP, SRC, DST, udp_segment(payload, **ports))


def udp6(payload: bytes) -> bytes:
    """An IPv6 packet from 2001:db8::1 to 2001:db8::2."""
    return ip_packet(UDP, SRC6, DST6, udp_segment(payload))


def tcp4(data: bytes, sequence: int, flags: int = PSH_ACK, ports: tuple[int, int] = (5060, 5080)) -> bytes:
    return tcp_packet(SRC, ports[0], DST, ports[1], sequence, flags, data)


def ipv4_fragments(packet: bytes, size: int) -> list[bytes]:
    """Cut an IPv4 packet into fragments of `size` bytes, a multiple of 8 (RFC 791 s.3.2)."""
    header, body = packet[:20], packet[20:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return [
        header[:2] + struct.pack("!HHH", 20 + len(piece), 7, (0x2000 if n + 1 < len(pieces) else 0) | n * size // 8)
        + header[8:] + piece
        for n, piece in enumerate(pieces)
    ]  # fmt: skip


def ipv6_fragments(packet: bytes, size: int) -> list[bytes]:
    """Cut an IPv6 packet into fragments (RFC 8200 s.4.5)."""
    header, body = packet[:40], packet[40:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return [
        header[:4] + struct.pack("!HB", 8 + len(piece), 44) + header[7:]
        + struct.pack("!BBHI", header[6], 0, n * size | (n + 1 < len(pieces)), 99) + piece
        for n, piece in enumerate(pieces)
    ]  # fmt: skip


def _ethertype(packet: bytes) -> bytes:
    return b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\0"


_MACS = bytes(12)


def vlan(packet: bytes) -> bytes:
    return _MACS + b"\x81\0\x00\x64" + _ethertype(packet) + packet


def qinq(packet: bytes) -> bytes:
    return _MACS + b"\x88\xa8\x00\x64\x81\0\x00\xc8" + _ethertype(packet) + packet


def pppoe(packet: bytes) -> bytes:
    protocol = b"\0\x57" if packet[0] >> 4 == 6 else b"\0\x21"
    return _MACS + b"\x88\x64" + struct.pack("!BBHH", 0x11, 0, 1, 2 + len(packet)) + protocol + packet


def mpls(packet: bytes) -> bytes:
    return _MACS + b"\x88\x47" + b"\x00\x01\x00\x40\x00\x02\x01\x40" + packet


def snap(packet: bytes) -> bytes:
    return _MACS + struct.pack("!H", 8 + len(packet)) + b"\xaa\xaa\x03\0\0\0" + _ethertype(packet) + packet


def sll(packet: bytes) -> bytes:
    return struct.pack("!HHH8s", 0, 1, 6, b"\2\0\0\0\0\1") + _ethertype(packet) + packet


def sll_vlan(packet: bytes) -> bytes:
    return struct.pack("!HHH8s", 0, 1, 6, b"\2\0\0\0\0\1") + b"\x81\0\x00\x64" + _ethertype(packet) + packet


def sll2(packet: bytes) -> bytes:
    return _ethertype(packet) + struct.pack("!HIHBB8s", 0, 2, 1, 0, 6, b"\2\0\0\0\0\1") + packet


def loopback(packet: bytes) -> bytes:
    return struct.pack("<I", 30 if packet[0] >> 4 == 6 else 2) + packet


def openbsd_loop(packet: bytes) -> bytes:
    return struct.pack(">I", 24 if packet[0] >> 4 == 6 else 2) + packet


def raw(packet: bytes) -> bytes:
    return packet


def ppp(packet: bytes) -> bytes:
    return b"\xff\x03" + (b"\0\x57" if packet[0] >> 4 == 6 else b"\0\x21") + packet


LINKS = {
    "ethernet": (1, ethernet),
    "vlan": (1, vlan),
    "qinq": (1, qinq),
    "pppoe": (1, pppoe),
    "mpls": (1, mpls),
    "snap": (1, snap),
    "linux-sll": (113, sll),
    "linux-sll-vlan": (113, sll_vlan),
    "linux-sll2": (276, sll2),
    "bsd-loopback": (0, loopback),
    "openbsd-loop": (108, openbsd_loop),
    "raw": (101, raw),
    "raw-openbsd": (12, raw),
    "ppp": (9, ppp),
}
"""Name -> link type and what wraps an IP packet."""


def gre(packet: bytes) -> bytes:
    return ip_packet(47, SRC, DST, b"\0\0" + _ethertype(packet) + packet)


def gre_key_sequence(packet: bytes) -> bytes:
    return ip_packet(47, SRC, DST, b"\x30\0" + _ethertype(packet) + bytes(8) + packet)


def gre_ethernet(packet: bytes) -> bytes:
    return ip_packet(47, SRC, DST, b"\0\0\x65\x58" + ethernet(packet))


def erspan(packet: bytes) -> bytes:
    return ip_packet(47, SRC, DST, b"\x10\0\x88\xbe" + bytes(4) + bytes(8) + ethernet(packet))


def erspan_3(packet: bytes) -> bytes:
    return ip_packet(47, SRC, DST, b"\x10\0\x22\xeb" + bytes(4) + bytes(12) + ethernet(packet))


def ip_in_ip(packet: bytes) -> bytes:
    return ip_packet(41 if packet[0] >> 4 == 6 else 4, SRC, DST, packet)


def vxlan(packet: bytes) -> bytes:
    return udp4(b"\x08\0\0\0\0\0\x2a\0" + ethernet(packet), destination_port=4789)


TUNNELS = {
    "ip-in-ip": ip_in_ip,
    "gre": gre,
    "gre-key-sequence": gre_key_sequence,
    "gre-ethernet": gre_ethernet,
    "erspan": erspan,
    "erspan-3": erspan_3,
    "vxlan": vxlan,
}


def exported(
    payload: bytes,
    *,
    source: bytes = SRC,
    destination: bytes = DST,
    transport: int = 3,
    protocol: bytes = b"sip",
) -> bytes:
    """Write a packet as Wireshark exports it: tags, their end, the payload (link type 252)."""
    four = len(source) == 4
    tags = [
        (12, protocol + b"\0" * (4 - len(protocol) % 4)),
        (20 if four else 22, source),
        (21 if four else 23, destination),
        (24, struct.pack("!I", transport)),
        (25, struct.pack("!I", 5060)),
        (26, struct.pack("!I", 5080)),
        (30, struct.pack("!I", 1)),
        (0, b""),
    ]
    return b"".join(struct.pack("!HH", kind, len(value)) + value for kind, value in tags) + payload


HANDSHAKE_REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: sip.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
HANDSHAKE_RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: sip\r\n\r\n"
)


def ws_frame(payload: bytes, *, first: int = 0x81, mask: bytes = b"") -> bytes:
    """Write a WebSocket frame (RFC 6455 s.5.2)."""
    masked = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 65_536:
        head = bytes((first, masked | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, masked | 127)) + size.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
    return head + mask + payload


def pcap(
    *frames: bytes, link: int = 1, order: str = "<", nanos: bool = False, ms: int = CAPTURED_MS
) -> bytes:
    """Write a pcap file; the packets are a millisecond apart."""
    out = [struct.pack(order + "IHHiIII", 0xA1B23C4D if nanos else 0xA1B2C3D4, 2, 4, 0, 0, 65_535, link)]
    for n, frame in enumerate(frames):
        seconds, millis = divmod(ms + n, 1000)
        fraction = millis * (1_000_000 if nanos else 1_000)
        out += (struct.pack(order + "IIII", seconds, fraction, len(frame), len(frame)), frame)
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """Write a pcapng block."""
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, order: str = "<", options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, 0) + options, order)


def enhanced(frame: bytes, ticks: int, number: int = 0, order: str = "<") -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFF_FFFF, len(frame), len(frame))
    return block(6, head + frame, order)


def pcapng(*frames: bytes, link: int = 1, order: str = "<") -> bytes:
    """Write a pcapng file with one interface in microseconds."""
    packets = (enhanced(frame, (CAPTURED_MS + n) * 1000, order=order) for n, frame in enumerate(frames))
    return section(order) + interface(link, order) + b"".join(packets)
