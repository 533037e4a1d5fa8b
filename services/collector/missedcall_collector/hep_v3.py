"""HEP version 3: `HEP3` or `EEP3`, the total length, then chunks (sipcapture/HEP, rev 37).

Rule 1: only chunks of vendor 0 have a generic meaning: type 0x11 of vendor 3 is not the correlation id.
Rule 2: the fixed-size chunks with which every known sender begins are read by one struct; `_LAYOUTS` says in
        which order. Whatever else comes, in whatever order, is read by the loop: same result, slower.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from .address import endpoint, parse_endpoint
from .hep_packet import MAX_FRAME, MAX_PAYLOAD, HepError, HepLimitError, HepPacket, clock_ms
from .inflate import BombError, InflateError, inflate

MAGIC = (b"HEP3", b"EEP3")

_MAX_ID = 256  # bytes of a correlation id or agent name; the key of every message of a call is made of it

_CODES = {
    1: "B",
    2: "B",
    3: "4s",
    4: "4s",
    5: "16s",
    6: "16s",
    7: "H",
    8: "H",
    9: "I",
    10: "I",
    11: "B",
    12: "I",
}
_FIXED = frozenset(_CODES)
_chunk = struct.Struct("!IH").unpack_from  # vendor << 16 | type, length with these 6 bytes


class _Layout(NamedTuple):
    """A run of fixed-size chunks in the order in which a family of senders writes them."""

    end: int
    """Where it ends in the frame."""
    values: Callable[[bytes, int], tuple[Any, ...]]
    """Unpacks the chunks' bodies."""
    mask: int
    """The run as one number: ones where the chunks' headers are."""
    headers: int
    """What stands there."""
    addresses_first: bool
    """Whether the addresses come before ports, times, type and agent id, or after them."""


def _layout(*types: int) -> _Layout:
    sizes = [struct.calcsize("!" + _CODES[kind]) for kind in types]
    headers = b"".join(
        struct.pack("!IH", kind, 6 + size) + bytes(size) for kind, size in zip(types, sizes, strict=True)
    )
    return _Layout(
        6 + len(headers),
        struct.Struct(
            "!" + "".join("6x" + (_CODES[kind] if kind != 1 else "x") for kind in types)
        ).unpack_from,
        int.from_bytes(b"".join(b"\xff" * 6 + bytes(size) for size in sizes), "big"),
        int.from_bytes(headers, "big"),
        types[2] != 7,
    )


# By the IP family (byte 12 of the frame) and the type of the third chunk (byte 23).
_LAYOUTS = {
    (2, 3): _layout(1, 2, 3, 4, 7, 8, 9, 10, 11, 12),  # Kamailio, heplify, hep-js
    (10, 5): _layout(1, 2, 5, 6, 7, 8, 9, 10, 11, 12),
    (2, 7): _layout(1, 2, 7, 8, 9, 10, 11, 12, 3, 4),  # captagent, OpenSIPS, Asterisk, sofia-sip, sngrep
    (10, 7): _layout(1, 2, 7, 8, 9, 10, 11, 12, 5, 6),
}


def decode_v3(frame: bytes) -> HepPacket:
    """Return the packet of a version 3 frame; bytes behind its length are ignored.

    Raises:
        HepError: a length does not fit, or a number is not one.
        HepLimitError: chunk 0x10 decompresses to more than `MAX_PAYLOAD` bytes.
    """
    size = len(frame)
    end = frame[4] << 8 | frame[5] if size >= 6 else 6
    if end > size or end < 6:
        raise HepError(f"length field at offset 4 says {end} bytes, found {size}")
    layout = _LAYOUTS.get((frame[12], frame[23])) if end > 23 else None
    if layout is not None:
        at, values, mask, headers, addresses_first = layout
        if at <= end and int.from_bytes(frame[6:at], "big") & mask == headers:
            chunks = _chunks(frame, at, end)
            if not _FIXED.isdisjoint(chunks):
                pass  # one of the run comes again: the last counts, so all are read by the loop
            elif addresses_first:
                return _packet(chunks, *values(frame, 6))
            else:
                (protocol, source_port, destination_port, seconds, micros, protocol_type, agent_id,
                 source, destination) = values(frame, 6)  # fmt: skip
                return _packet(
                    chunks, protocol, source, destination, source_port, destination_port,
                    seconds, micros, protocol_type, agent_id,
                )  # fmt: skip
    chunks = _chunks(frame, 6, end)
    chunks.pop(1, None)  # the addresses' own length says it
    protocol, source_port, destination_port, seconds, micros, protocol_type, agent_id = (
        _number(kind, chunks.pop(kind, b"\1" if kind == 11 else b"")) for kind in (2, 7, 8, 9, 10, 11, 12)
    )
    source = chunks.pop(3, b"") or chunks.pop(5, b"")
    destination = chunks.pop(4, b"") or chunks.pop(6, b"")
    return _packet(
        chunks, protocol, source, destination, source_port & 0xFFFF, destination_port & 0xFFFF,
        seconds, micros, protocol_type, agent_id,
    )  # fmt: skip


def _chunks(frame: bytes, at: int, end: int) -> dict[int, bytes]:
    """Return the bodies of the chunks from `at` to `end`; of a repeated one the last."""
    chunks = {}
    while at < end:
        if end - at < 6:
            raise HepError(f"{end - at} bytes at offset {at}, expected a chunk header of 6")
        kind, size = _chunk(frame, at)
        stop = at + size
        if size < 6 or stop > end:
            at = _payload_behind(frame, at, end)
            if not at:
                at = stop - size
                raise HepError(f"chunk {kind:#06x} at offset {at} claims {size} bytes, {end - at} are left")
            continue
        chunks[kind] = frame[at + 6 : stop]
        at = stop
    return chunks


def _payload_behind(frame: bytes, at: int, end: int) -> int:
    """Return where the payload chunk that ends the frame begins, 0 if none does.

    sngrep writes 22 bytes of its stack in place of the IPv6 source address (src/capture_eep.c): its frames
    are all right from the payload on.
    """
    while True:
        at = frame.find(b"\0\0\0\x0f", at + 1, end)
        if at < 0:
            return 0
        if at + 6 <= end and at + (frame[at + 4] << 8 | frame[at + 5]) == end:
            return at


def _number(kind: int, body: bytes) -> int:
    if len(body) > 8:
        raise HepError(f"chunk {kind:#06x} has {len(body)} bytes, expected a number")
    return int.from_bytes(body, "big")


def _packet(
    chunks: dict[int, bytes],
    protocol: int,
    source: bytes,
    destination: bytes,
    source_port: int,
    destination_port: int,
    seconds: int,
    micros: int,
    protocol_type: int,
    agent_id: int,
) -> HepPacket:
    pop = chunks.pop
    payload = pop(0x0F, b"")
    if 0x10 in chunks:
        compressed = pop(0x10)
        if compressed and not payload:
            payload = _inflated(compressed)
    if agent_id & 0xFFFF == 0:  # captagent and sngrep put a 16-bit id into the upper half (htons)
        agent_id >>= 16
    return HepPacket(
        payload=payload,
        protocol_type=protocol_type,
        ip_protocol=protocol,
        src=endpoint(source, source_port),
        dst=endpoint(destination, destination_port),
        captured_ms=clock_ms(seconds, micros),
        agent_id=agent_id,
        agent_name=_text(chunks, 0x13) if 0x13 in chunks else "",
        correlation_id=_text(chunks, 0x11) if 0x11 in chunks else "",
        auth_key=pop(0x0E, b""),
        others=chunks or None,
    )


def _inflated(body: bytes) -> bytes:
    try:
        return inflate(body, MAX_PAYLOAD)
    except BombError as error:
        raise HepLimitError(f"chunk 0x0010 {error}") from error
    except InflateError as error:
        raise HepError(f"chunk 0x0010: {error}") from error


def _text(chunks: dict[int, bytes], kind: int) -> str:
    return chunks.pop(kind)[:_MAX_ID].rstrip(b"\0").decode("utf-8", "replace")


def encode_v3(packet: HepPacket) -> bytes:
    """Return `packet` as a version 3 frame; its payload is not compressed.

    Raises:
        HepLimitError: it does not fit into 65,535 bytes.
    """
    source, source_port = parse_endpoint(packet.src)
    destination, destination_port = parse_endpoint(packet.dst)
    ipv6 = len(source or destination) == 16
    chunks: list[tuple[int, bytes]] = [
        (1, b"\x0a" if ipv6 else b"\2"),
        (2, bytes((packet.ip_protocol & 0xFF,))),
    ]
    if source:
        chunks.append((5 if ipv6 else 3, source))
    if destination:
        chunks.append((6 if ipv6 else 4, destination))
    chunks += [(7, source_port.to_bytes(2, "big")), (8, destination_port.to_bytes(2, "big"))]
    if packet.captured_ms is not None:
        seconds, millis = divmod(packet.captured_ms, 1000)
        chunks += [(9, seconds.to_bytes(4, "big")), (10, (millis * 1000).to_bytes(4, "big"))]
    chunks += [
        (11, bytes((packet.protocol_type & 0xFF,))),
        (12, (packet.agent_id & 0xFFFF_FFFF).to_bytes(4, "big")),
    ]
    if packet.agent_name:
        chunks.append((0x13, packet.agent_name.encode()))
    if packet.auth_key:
        chunks.append((0x0E, packet.auth_key))
    if packet.correlation_id:
        chunks.append((0x11, packet.correlation_id.encode()))
    chunks += (packet.others or {}).items()
    chunks.append((0x0F, packet.payload))
    body = b"".join(
        struct.pack("!IH", kind, min(6 + len(value), MAX_FRAME)) + value for kind, value in chunks
    )
    if len(body) + 6 > MAX_FRAME:
        raise HepLimitError(f"packet of {len(body) + 6} bytes, a HEP3 frame holds {MAX_FRAME}")
    return b"HEP3" + (len(body) + 6).to_bytes(2, "big") + body
