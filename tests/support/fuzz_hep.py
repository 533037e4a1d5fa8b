"""The mutator that knows HEP: chunks, headers and lengths change, and the message that they carry."""

import gzip
import struct
import zlib
from collections.abc import Sequence
from random import Random

from support.fuzz_bytes import MAX_INPUT, few, number, raw
from support.fuzz_sip import sip

_TYPES = (*range(0x2A), 0x65, 0xFFFF)
_VENDORS = (0, 0, 0, 0, 1, 2, 3, 4, 5, 0xFFFF)
_SIZES = {1: 1, 2: 1, 3: 4, 4: 4, 5: 16, 6: 16, 7: 2, 8: 2, 9: 4, 10: 4, 11: 1, 12: 4, 13: 2}

Chunk = tuple[int, int, bytes]
"""Vendor, type, body."""


def hep(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return the frame `data` changed; of frames that are not understood, their bytes."""
    if data[:2] == b"\x1f\x8b":
        return _gzipped(rng, data, others)
    if data[:4] in (b"HEP3", b"EEP3"):
        return _version_3(rng, data, others)
    return _version_1_or_2(rng, data, others)


def chunks_of(frame: bytes) -> list[Chunk]:
    """Return the chunks of a whole frame as far as they can be told apart."""
    found = []
    at = 6
    while at + 6 <= len(frame):
        vendor, kind, size = struct.unpack_from("!HHH", frame, at)
        if size < 6:
            break
        found.append((vendor, kind, frame[at + 6 : at + size]))
        at += size
    return found


def frame_of(chunks: Sequence[Chunk], magic: bytes = b"HEP3") -> bytes:
    """Write a frame; lengths that do not fit are cut to 16 bits."""
    body = b"".join(struct.pack("!HHH", v, k, (6 + len(b)) & 0xFFFF) + b for v, k, b in chunks)
    return magic + ((6 + len(body)) & 0xFFFF).to_bytes(2, "big") + body


def _version_3(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    chunks = chunks_of(data)
    for _ in range(few(rng)):
        _change(rng, chunks, others)
    frame = bytearray(frame_of(chunks, rng.choice((b"HEP3", b"HEP3", b"EEP3"))))
    if rng.random() < 0.1:
        frame[4:6] = number(rng, 2).to_bytes(2, "big")
    if rng.random() < 0.1:
        frame = bytearray(raw(rng, bytes(frame), others))
    if rng.random() < 0.05:
        return gzip.compress(bytes(frame), 1, mtime=0)[:MAX_INPUT]
    return bytes(frame[:MAX_INPUT])


def _change(rng: Random, chunks: list[Chunk], others: Sequence[bytes]) -> None:
    """Change one chunk, or which there are."""
    if not chunks or rng.random() < 0.2:
        kind = rng.choice(_TYPES)
        body = rng.randbytes(_SIZES.get(kind, rng.randrange(12)))
        chunks.insert(rng.randrange(len(chunks) + 1), (rng.choice(_VENDORS), kind, body))
        return
    at = rng.randrange(len(chunks))
    vendor, kind, body = chunks[at]
    what = rng.randrange(9)
    if what == 0:
        del chunks[at]
    elif what == 1:
        chunks += [chunks[at]] * rng.choice((1, 1, 2, 500))
    elif what == 2:
        other = rng.randrange(len(chunks))
        chunks[at], chunks[other] = chunks[other], chunks[at]
    elif what == 3:
        chunks[at] = (rng.choice(_VENDORS), rng.choice(_TYPES), body)
    elif what == 4 and len(body) <= 8:
        chunks[at] = (vendor, kind, number(rng, max(1, len(body))).to_bytes(max(1, len(body)), "big"))
    elif what == 5:
        chunks[at] = (vendor, kind, body[: rng.randrange(len(body) + 1)])
    else:
        _change_payload(rng, chunks, others)


def _change_payload(rng: Random, chunks: list[Chunk], others: Sequence[bytes]) -> None:
    for at, (vendor, kind, body) in enumerate(chunks):
        if kind == 0x0F:
            message = sip(rng, body, others)
            if rng.random() < 0.2:
                message += sip(rng, body, others)
            if rng.random() < 0.2:
                packed = rng.choice((zlib.compress, gzip.compress))(
                    message + b" " * rng.choice((0, 0, 1 << 18))
                )
                chunks[at] = (vendor, 0x10, packed[:60_000])
            else:
                chunks[at] = (vendor, kind, message[:60_000])
        elif kind == 0x10 and rng.random() < 0.5:
            chunks[at] = (vendor, kind, raw(rng, body, others)[:60_000])


def _gzipped(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if rng.random() < 0.3:
        return raw(rng, data, others)
    try:
        inner = zlib.decompressobj(31).decompress(data, MAX_INPUT)
    except zlib.error:
        return raw(rng, data, others)
    return gzip.compress(_version_3(rng, inner, others) + b"\0" * rng.choice((0, 0, 0, 300_000)), 1, mtime=0)


def _version_1_or_2(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    frame = bytearray(data)
    header = 16 if data[2:3] == b"\x02" else 40
    at = min(header + (12 if data[:1] == b"\x02" else 0), len(frame))
    for _ in range(few(rng)):
        what = rng.randrange(4)
        if what == 0 and frame[:at]:
            frame[rng.randrange(min(at, len(frame)))] = rng.choice(
                (0, 1, 2, 3, 6, 10, 17, 22, 30, 40, 127, 255)
            )
        elif what == 1:
            frame[at:] = sip(rng, bytes(frame[at:]), others)
        elif what == 2:
            del frame[rng.randrange(len(frame) + 1) :]
        elif len(frame) >= header + 12:
            frame[header : header + 4] = number(rng, 4).to_bytes(4, rng.choice(("big", "little")))
    return bytes(frame[:MAX_INPUT])


def frames_of(stream: bytes) -> list[bytes]:
    """Cut a stream of whole version 3 frames."""
    found = []
    at = 0
    while stream[at : at + 4] in (b"HEP3", b"EEP3") and len(stream) - at >= 6:
        size = int.from_bytes(stream[at + 4 : at + 6], "big")
        found.append(stream[at : at + max(6, size)])
        at += max(6, size)
    return found or [stream]


def stream(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return a stream of frames with some dropped, repeated, exchanged or changed."""
    frames = frames_of(data)
    for _ in range(few(rng)):
        at = rng.randrange(len(frames))
        what = rng.randrange(6)
        if what == 0 and len(frames) > 1:
            del frames[at]
        elif what == 1:
            frames.insert(at, frames[at])
        elif what == 2:
            other = rng.randrange(len(frames))
            frames[at], frames[other] = frames[other], frames[at]
        else:
            frames[at] = hep(rng, frames[at], others)
    if rng.random() < 0.1:
        frames.insert(rng.randrange(len(frames) + 1), rng.randbytes(rng.randrange(1, 40)))
    return b"".join(frames)[:MAX_INPUT]
