"""Writes SIP messages as a pcap file that every tool reads: Ethernet, IPv4 or IPv6, UDP or TCP.

Rule 1: a message of transport `udp` is one datagram; of `tcp`, `tls` or `ws` it is segments of a connection
        in clear, opened by a SYN in each direction: what a capture behind TLS termination shows.
Rule 2: the same messages give the same file.

For samples, tests and benchmarks; addresses that are names become documentation addresses (RFC 5737).
"""

import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from zlib import crc32

from missedcall_schemas.records import SipMessage

from .address import parse_endpoint

_FILE_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)  # nanoseconds, Ethernet
_RECORD = struct.Struct("<IIII").pack
_TO, _FROM = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
_UDP, _TCP = 17, 6
_SYN, _PSH_ACK = 2, 24
_LENGTH = re.compile(rb"(\n(?:Content-Length|l)[ \t]*:[ \t]*)[0-9]+", re.IGNORECASE)


def write_pcap(path: Path | str, messages: Iterable[SipMessage], *, segment: int = 1400) -> int:
    """Write `messages` in the order given, at their capture times; return how many packets it took.

    Args:
        path: the file; it is replaced.
        messages: any iterable; it is not held in memory.
        segment: bytes of SIP in one TCP segment.
    """
    count = 0
    sequences: dict[tuple[str, str], int] = {}
    with Path(path).open("wb") as file:
        file.write(_FILE_HEADER)
        for message in messages:
            seconds, millis = divmod(message.captured_ms, 1000)
            for packet in _packets(message, sequences, segment):
                frame = ethernet(packet)
                file.write(_RECORD(seconds, millis * 1_000_000, len(frame), len(frame)) + frame)
                count += 1
    return count


def _packets(message: SipMessage, sequences: dict[tuple[str, str], int], segment: int) -> Iterator[bytes]:
    """Yield the IP packets that carry `message`."""
    source, source_port = _address(message.src)
    destination, destination_port = _address(message.dst)
    if message.transport not in ("tcp", "tls", "ws", "wss"):
        ports = struct.pack("!HHHH", source_port, destination_port, 8 + len(message.head), 0)
        yield ip_packet(_UDP, source, destination, ports + message.head)
        return
    flow = (message.src, message.dst)
    sequence = sequences.get(flow)
    if sequence is None:
        sequence = crc32("".join(flow).encode())
        yield tcp_packet(source, source_port, destination, destination_port, sequence, _SYN, b"")
        sequence += 1
    payload = framed(message.head)
    for at in range(0, len(payload), segment):
        piece = payload[at : at + segment]
        yield tcp_packet(source, source_port, destination, destination_port, sequence, _PSH_ACK, piece)
        sequence += len(piece)
    sequences[flow] = sequence


def framed(head: bytes) -> bytes:
    """Return the message with a Content-Length that is true: a record's body is cut, its header is not."""
    begin, blank, body = head.partition(b"\r\n\r\n")
    if not blank:
        begin, body = head.rstrip(b"\r\n"), b""
    size = str(len(body)).encode()
    if _LENGTH.search(begin):
        begin = _LENGTH.sub(rb"\g<1>" + size, begin)
    else:
        begin += b"\r\nContent-Length: " + size
    return begin + b"\r\n\r\n" + body


def _address(endpoint: str) -> tuple[bytes, int]:
    packed, port = parse_endpoint(endpoint)
    return packed or bytes((192, 0, 2, crc32(endpoint.rpartition(":")[0].encode()) & 0xFF)), port


def ethernet(packet: bytes) -> bytes:
    """Return an Ethernet frame that carries an IP packet."""
    return _TO + _FROM + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\0") + packet


def ip_packet(protocol: int, source: bytes, destination: bytes, body: bytes) -> bytes:
    """Return an IPv4 or IPv6 packet with its checksums; packed addresses, the shorter one mapped if needed."""
    if len(source) != len(destination):
        source, destination = (
            b"\0" * 10 + b"\xff\xff" + a if len(a) == 4 else a for a in (source, destination)
        )
    at = {_UDP: 6, _TCP: 16}.get(protocol)
    if at is not None:
        pseudo = source + destination + struct.pack("!II", len(body), protocol)  # RFC 8200 s.8.1
        body = body[:at] + _checksum(pseudo + body).to_bytes(2, "big") + body[at + 2 :]
    total = 20 + len(body)
    if total > 0xFFFF:
        raise ValueError(f"a packet of {total} bytes, IP carries {0xFFFF}")
    if len(source) == 16:
        return struct.pack("!IHBB", 0x6000_0000, len(body), protocol, 64) + source + destination + body
    header = struct.pack("!BBHHHBBH", 0x45, 0, total, 0, 0, 64, protocol, 0) + source + destination
    return header[:10] + _checksum(header).to_bytes(2, "big") + header[12:] + body


def tcp_packet(
    source: bytes,
    source_port: int,
    destination: bytes,
    destination_port: int,
    sequence: int,
    flags: int,
    data: bytes,
) -> bytes:
    """Return an IP packet with one TCP segment; `flags` as RFC 9293 s.3.1 numbers them."""
    header = struct.pack(
        "!HHIIBBHHH", source_port, destination_port, sequence & 0xFFFF_FFFF, 0, 0x50, flags, 65_535, 0, 0
    )
    return ip_packet(_TCP, source, destination, header + data)


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071): sums modulo 65,535 are remainders of one large number."""
    total = int.from_bytes(data + b"\0" * (len(data) & 1), "big") % 0xFFFF
    return (~total & 0xFFFF) or 0xFFFF
