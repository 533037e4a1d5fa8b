"""The mutators that know files: packets, blocks, logs and gzip; and packets made anew from messages.

Rule 1: what is taken apart here is taken apart by this module: the code under test has no part in it.
"""

import gzip
import struct
import zlib
from collections.abc import Sequence
from random import Random

from support import captures
from support.fuzz_bytes import MAX_INPUT, few, number, raw
from support.fuzz_hep import hep, stream
from support.fuzz_sip import sip

from missedcall_collector.pcap_writer import ethernet

_ORDERS = {
    b"\xd4\xc3\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">",
    b"\x4d\x3c\xb2\xa1": "<",
    b"\xa1\xb2\x3c\x4d": ">",
}
_HEP = (b"HEP3", b"EEP3")


def file(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return a file of the same kind as `data`, changed."""
    if data[:2] == b"\x1f\x8b":
        return _gzip(rng, data, others)
    if data[:4] in _ORDERS and len(data) >= 24:
        return _pcap(rng, data, others)
    if data[:4] == b"\x0a\x0d\x0d\x0a" and len(data) >= 28:
        return _pcapng(rng, data, others)
    if data[:4] in _HEP:
        return stream(rng, data, others)
    return _log(rng, data, others)


def _changed(rng: Random, parts: list[bytes], others: Sequence[bytes]) -> list[bytes]:
    """Drop, repeat, exchange or change some of the parts of something."""
    for _ in range(few(rng)):
        if not parts:
            break
        at = rng.randrange(len(parts))
        what = rng.randrange(6)
        if what == 0:
            del parts[at]
        elif what == 1:
            parts[at:at] = [parts[at]] * rng.choice((1, 1, 1, 300))
        elif what == 2:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        else:
            parts[at] = raw(rng, parts[at], others)[:65_535]
    return parts


def _pcap(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    order = _ORDERS[data[:4]]
    header, at, records = bytearray(data[:24]), 24, []
    while at + 16 <= len(data):
        size = struct.unpack_from(order + "I", data, at + 8)[0]
        records.append(data[at : at + 16 + size])
        at += 16 + size
    frames = _changed(rng, [record[16:] for record in records], others)
    if rng.random() < 0.1:
        link = rng.choice((*(link for link, _ in captures.LINKS.values()), 252, 105, number(rng, 2)))
        header[20:24] = struct.pack(order + "I", link)
    out = [bytes(header)]
    for n, frame in enumerate(frames):
        times = records[n % len(records)][:8] if records and rng.random() < 0.9 else rng.randbytes(8)
        size = len(frame) if rng.random() < 0.98 else number(rng, 4)
        out += (times, struct.pack(order + "II", size, len(frame)), frame)
    return b"".join(out)[:MAX_INPUT]


def _pcapng(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    order = "<" if data[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
    bodies, at = [], 0
    while at + 12 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if size < 12:
            break
        bodies.append(struct.pack(order + "I", kind) + data[at + 8 : at + size - 4])
        at += size
    out = []
    for n, body in enumerate(_changed(rng, bodies[1:], others)):
        kind = body[:4] if rng.random() < 0.95 else struct.pack(order + "I", rng.randrange(12))
        padded = body[4:] + b"\0" * (-len(body) % 4)
        size = struct.pack(order + "I", 12 + len(padded) if rng.random() < 0.98 else number(rng, 4))
        out.append(kind + size + padded + size)
        if n == 3 and rng.random() < 0.1:
            out.append(captures.section(rng.choice("<>")) + captures.interface())
    return (data[: struct.unpack_from(order + "I", data, 4)[0]] + b"".join(out))[:MAX_INPUT]


def _log(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change the lines of a text log; now and then its encoding."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw(rng, data, others)
    lines = data.split(b"\n")
    for _ in range(few(rng)):
        at = rng.randrange(len(lines))
        what = rng.randrange(7)
        if what == 0 and len(lines) > 1:
            del lines[at]
        elif what == 1:
            lines[at:at] = [rng.choice(lines)] * rng.choice((1, 1, 1, 1000))
        elif what == 2:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif what == 3:
            lines[at] = sip(rng, lines[at], others)[:60_000]
        elif what == 4:
            lines[at:at] = rng.choice(others)[:20_000].split(b"\n")
        elif what == 5:
            lines[at] += rng.choice((b"$$begin_record", b"$$end_record", b"Message-Body: -", b"Start-Line: "))
        else:
            lines[at] = raw(rng, lines[at], others)[:60_000]
    changed = b"\n".join(lines)[:MAX_INPUT]
    if rng.random() < 0.05:
        return changed.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-8-sig")))[:MAX_INPUT]
    return changed


def _gzip(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if rng.random() < 0.3:
        return raw(rng, data, others)
    try:
        inner = zlib.decompressobj(31).decompress(data, MAX_INPUT)
    except zlib.error:
        return raw(rng, data, others)
    packed = gzip.compress(file(rng, inner, others), 1, mtime=0)
    what = rng.random()
    if what < 0.1:
        return packed[: rng.randrange(len(packed) + 1)]
    return packed + (rng.choice((packed, b"\0" * 9, b"garbage")) if what < 0.2 else b"")


def packets(rng: Random, message: bytes, others: Sequence[bytes]) -> bytes:
    """Return a pcap file with `message` and others in it, changed, and sent in every way there is."""
    frames: list[bytes] = []
    link, wrap = rng.choice(list(captures.LINKS.values()))
    for _ in range(few(rng)):
        payload = sip(rng, message, others) if rng.random() < 0.7 else message
        packets = rng.choice((_datagram, _datagram, _fragments, _segments, _segments, _websocket))(
            rng, payload
        )
        if rng.random() < 0.2:
            tunnel = rng.choice(list(captures.TUNNELS.values()))
            packets = [tunnel(packet) for packet in packets if len(packet) < 60_000]
        frames += map(wrap, packets)
        message = rng.choice(others)
    if rng.random() < 0.3:
        rng.shuffle(frames)
    if rng.random() < 0.3:
        frames = _changed(rng, frames, others)
    return captures.pcap(*frames, link=link, ms=captures.CAPTURED_MS)[:MAX_INPUT]


def exported(rng: Random, message: bytes, others: Sequence[bytes]) -> bytes:
    """Return a file as Wireshark exports messages, changed."""
    frames = [
        captures.exported(sip(rng, message, others), transport=rng.randrange(5)) for _ in range(few(rng))
    ]
    return captures.pcapng(*_changed(rng, frames, others), link=252)[:MAX_INPUT]


def _datagram(rng: Random, payload: bytes) -> list[bytes]:
    payload = payload[:60_000]
    return [captures.udp6(payload) if rng.random() < 0.2 else captures.udp4(payload)]


def _fragments(rng: Random, payload: bytes) -> list[bytes]:
    size = 8 * rng.choice((1, 4, 20, 180))
    payload = payload[: size * 300]
    six = rng.random() < 0.3
    cut = captures.ipv6_fragments(captures.udp6(payload[:60_000]), size) if six else None
    cut = cut or captures.ipv4_fragments(captures.udp4(payload[:60_000]), size)
    return _disturbed(rng, cut)


def _segments(rng: Random, payload: bytes) -> list[bytes]:
    size = rng.choice((1, 10, 100, 1400, 9000))
    payload = payload[: size * 400]
    first = rng.choice((1, 0xFFFF_FFF0, 1 << 31))
    ports = (rng.choice((5060, 5061, 40_000)), 5060)
    cut = [
        captures.tcp4(payload[at : at + size], first + at & 0xFFFF_FFFF, ports=ports)
        for at in range(0, len(payload), size)
    ]
    if rng.random() < 0.5:
        cut.insert(0, captures.tcp4(b"", first - 1 & 0xFFFF_FFFF, captures.SYN, ports))
    if rng.random() < 0.3:
        cut.append(captures.tcp4(b"", first + len(payload) & 0xFFFF_FFFF, rng.choice((1, 4)), ports))
    return _disturbed(rng, cut)


def _websocket(rng: Random, payload: bytes) -> list[bytes]:
    mask = rng.choice((b"", b"", rng.randbytes(4)))
    shake = rng.choice((b"", captures.HANDSHAKE_REQUEST, captures.HANDSHAKE_RESPONSE))
    first = rng.choice((0x81, 0x81, 0x82, 0x01, 0x89, rng.randrange(256)))
    return _segments(rng, shake + captures.ws_frame(payload[:20_000], first=first, mask=mask))


def _disturbed(rng: Random, parts: list[bytes]) -> list[bytes]:
    """Lose, repeat and exchange some of the parts."""
    if rng.random() < 0.3 and parts:
        del parts[rng.randrange(len(parts))]
    if rng.random() < 0.3 and parts:
        parts.append(rng.choice(parts))
    if rng.random() < 0.3:
        rng.shuffle(parts)
    return parts


def hep_packets(rng: Random, frame: bytes, others: Sequence[bytes]) -> bytes:
    """Return a pcap file with HEP in it, over UDP and TCP."""
    first = captures.udp4(hep(rng, frame, others)[:60_000], destination_port=9060)
    second = _segments(rng, hep(rng, frame, others) + frame)
    return captures.pcap(*map(ethernet, (first, *second)))[:MAX_INPUT]
