"""HEP version 3: `HEP3` or `EEP3`, the total length, then chunks (sipcapture/HEP, rev 37).

Rule 1: only chunks of vendor 0 have a generic meaning: type 0x11 of vendor 3 is not the correlation id.
Rule 2: the chunks of fixed size with which every known sender begins come in one of four orders. But for the
        time they are the same in all frames of a flow: they are read once, and found again by their bytes.
        Whatever else comes, in whatever order, is read chunk by chunk: same result, slower.
"""

import struct
from functools import lru_cache
from typing import Final

from .address import parse_endpoint
from .hep_packet import (
    FLOWS,
    MAX_FRAME,
    MAX_PAYLOAD,
    Fields,
    Flow,
    HepError,
    HepLimitError,
    HepPacket,
    clock_ms,
)
from .inflate import BombError, InflateError, inflate

MAGIC: Final = (b"HEP3", b"EEP3")

# bytes of a correlation id or agent name; the key of every message of a call is made of it
_MAX_ID: Final = 256

_chunk: Final = struct.Struct("!IH").unpack_from  # vendor << 16 | type, length with these 6 bytes
_times: Final = struct.Struct("!I6xI").unpack_from  # the bodies of chunks 9 and 10, one behind the other

# Chunks as their vendor and type stand in a frame.
_PAYLOAD: Final = b"\0\0\0\x0f"
_KEY: Final = b"\0\0\0\x0e"
_CORRELATION: Final = b"\0\0\0\x11"
_NAME: Final = b"\0\0\0\x13"
_COMPRESSED: Final = 0x10
_FIXED: Final = frozenset(range(1, 13))

# The orders in which senders write the chunks of fixed size, by the number of bytes of an address.
_SIZES: Final = {1: 1, 2: 1, 7: 2, 8: 2, 9: 4, 10: 4, 11: 1, 12: 4}
_ADDRESSES_FIRST: Final = {
    4: (1, 2, 3, 4, 7, 8, 9, 10, 11, 12),  # Kamailio, heplify, hep-js
    16: (1, 2, 5, 6, 7, 8, 9, 10, 11, 12),
}
_ADDRESSES_LAST: Final = {
    4: (1, 2, 7, 8, 9, 10, 11, 12, 3, 4),  # captagent, OpenSIPS, Asterisk, sofia-sip, sngrep
    16: (1, 2, 7, 8, 9, 10, 11, 12, 5, 6),
}


def _before_seconds(order: tuple[int, ...], width: int) -> int:
    """Return the offset in the frame of the body of chunk 9."""
    return 6 + sum(6 + _SIZES.get(kind, width) for kind in order[: order.index(9)]) + 6


_SECONDS_4: Final = _before_seconds(_ADDRESSES_FIRST[4], 4)
_SECONDS_16: Final = _before_seconds(_ADDRESSES_FIRST[16], 16)
_SECONDS: Final = _before_seconds(_ADDRESSES_LAST[4], 4)
_END_4: Final = 6 + sum(6 + _SIZES.get(kind, 4) for kind in _ADDRESSES_LAST[4])
_END_16: Final = 6 + sum(6 + _SIZES.get(kind, 16) for kind in _ADDRESSES_LAST[16])


def read_v3(frame: bytes) -> Fields:
    """Return what a version 3 frame says; bytes behind its length are ignored.

    Raises:
        HepError: a length does not fit, or a number is not one.
        HepLimitError: chunk 0x10 decompresses to more than `MAX_PAYLOAD` bytes.
    """
    size = len(frame)
    end = frame[4] << 8 | frame[5] if size >= 6 else 6
    if end > size or end < 6:
        raise HepError(f"length field at offset 4 says {end} bytes, found {size}")
    if end < _END_4:
        return _read_any(frame, end)
    third = frame[23]  # the type of the third chunk, if this is one of the orders
    if third == 7:
        seconds_at = _SECONDS
        at = _END_4 if frame[12] == 2 else _END_16
    elif third == 3:
        seconds_at, at = _SECONDS_4, _END_4
    elif third == 5:
        seconds_at, at = _SECONDS_16, _END_16
    else:
        return _read_any(frame, end)
    if at > end:
        return _read_any(frame, end)
    flow = _flow(frame[6:seconds_at] + frame[seconds_at + 4 : seconds_at + 10] + frame[seconds_at + 14 : at])
    if flow is None:
        return _read_any(frame, end)
    payload = key = correlation = name = compressed = b""
    others: dict[int, bytes] | None = None
    while at < end:
        if end - at < 6:
            return _read_any(frame, end)
        stop = at + (frame[at + 4] << 8 | frame[at + 5])
        if stop - at < 6 or stop > end:
            return _read_any(frame, end)
        kind = frame[at : at + 4]
        body = frame[at + 6 : stop]
        at = stop
        if kind == _PAYLOAD:
            payload = body
        elif kind == _CORRELATION:
            correlation = body
        elif kind == _KEY:
            key = body
        elif kind == _NAME:
            name = body
        else:
            number = int.from_bytes(kind, "big")
            if number in _FIXED:  # one of the run comes again: the last counts
                return _read_any(frame, end)
            if number == _COMPRESSED:
                compressed = body
            else:
                others = others or {}
                others[number] = body
    if compressed and not payload:
        payload = _inflated(compressed)
    seconds: int
    micros: int
    seconds, micros = _times(frame, seconds_at)
    return (
        flow,
        payload,
        clock_ms(seconds, micros),
        _text(correlation) if correlation else "",
        key,
        _text(name) if name else "",
        others,
    )


@lru_cache(maxsize=FLOWS)
def _flow(run: bytes) -> Flow | None:
    """Return the flow of a run of the chunks of fixed size, without the bodies of 9 and 10; None if it is none."""
    width = 4 if len(run) == _END_4 - 14 else 16
    order = (_ADDRESSES_LAST if run[17] == 7 else _ADDRESSES_FIRST)[width]
    chunks: dict[int, bytes] = {}
    at = 0
    for kind in order:
        size = _SIZES.get(kind, width)
        if run[at : at + 6] != struct.pack("!IH", kind, 6 + size):
            return None
        at += 6
        if kind not in (9, 10):
            chunks[kind] = run[at : at + size]
            at += size
    return _flow_of(chunks)


def _flow_of(chunks: dict[int, bytes]) -> Flow:
    """Return the flow that these chunks say, and take them out of `chunks`."""
    chunks.pop(1, None)  # the addresses' own length says it
    protocol, source_port, destination_port, protocol_type, agent_id = [
        _number(kind, chunks.pop(kind, b"\1" if kind == 11 else b"")) for kind in (2, 7, 8, 11, 12)
    ]
    source = chunks.pop(3, b"") or chunks.pop(5, b"")
    destination = chunks.pop(4, b"") or chunks.pop(6, b"")
    if agent_id & 0xFFFF == 0:  # captagent and sngrep put a 16-bit id into the upper half (htons)
        agent_id >>= 16
    return Flow(
        3,
        protocol,
        protocol_type,
        (source, source_port & 0xFFFF),
        (destination, destination_port & 0xFFFF),
        agent_id,
    )


def _read_any(frame: bytes, end: int) -> Fields:
    """Return what `read_v3` returns, whatever chunks come in whatever order."""
    chunks = _chunks(frame, 6, end)
    pop = chunks.pop
    seconds = _number(9, pop(9, b""))
    micros = _number(10, pop(10, b""))
    flow = _flow_of(chunks)
    payload = pop(0x0F, b"")
    compressed = pop(_COMPRESSED, b"")
    if compressed and not payload:
        payload = _inflated(compressed)
    captured_ms = clock_ms(seconds, micros)
    correlation_id, agent_name = _text(pop(0x11, b"")), _text(pop(0x13, b""))
    return flow, payload, captured_ms, correlation_id, pop(0x0E, b""), agent_name, chunks or None


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


def _inflated(body: bytes) -> bytes:
    try:
        return inflate(body, MAX_PAYLOAD)
    except BombError as bomb:
        raise HepLimitError(f"chunk 0x0010 {bomb}") from bomb
    except InflateError as broken:
        raise HepError(f"chunk 0x0010: {broken}") from broken


def _text(body: bytes) -> str:
    if len(body) > _MAX_ID:
        body = body[:_MAX_ID]
    if body.endswith(b"\0"):
        body = body.rstrip(b"\0")
    return body.decode("utf-8", "replace")


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
