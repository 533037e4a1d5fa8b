"""Decompression of what strangers send: never more bytes than the caller allows.

Rule 1: the limit is enforced while inflating, not afterwards: 64 kB of deflate can hold 64 MB.
"""

import zlib
from typing import Final

_ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32  # the header tells RFC 1950 from RFC 1952
_RAW: Final = -zlib.MAX_WBITS  # RFC 1951 without either header
_GZIP: Final = zlib.MAX_WBITS | 16


class InflateError(ValueError):
    """The bytes are not a complete compressed stream."""


class BombError(InflateError):
    """The stream is larger than the caller allows."""


def inflate(data: bytes, limit: int) -> bytes:
    """Return the zlib, gzip or raw deflate stream `data`, decompressed.

    Raises:
        InflateError: it is none of these, or cut short.
        BombError: it has more than `limit` bytes.
    """
    try:
        return _run(zlib.decompressobj(_ZLIB_OR_GZIP), data, limit)
    except BombError:
        raise
    except InflateError:
        return _run(zlib.decompressobj(_RAW), data, limit)


def gunzip(data: bytes, limit: int) -> bytes:
    """Return the first gzip member of `data`, decompressed.

    Raises:
        InflateError: it is not gzip, or cut short.
        BombError: it has more than `limit` bytes.
    """
    return _run(zlib.decompressobj(_GZIP), data, limit)


def _run(stream: "zlib._Decompress", data: bytes, limit: int) -> bytes:
    try:
        plain = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise InflateError(f"not a compressed stream: {error}") from error
    if len(plain) > limit:
        raise BombError(f"decompresses to more than {limit} bytes")
    if not stream.eof:
        raise InflateError(f"compressed stream of {len(data)} bytes ends too early")
    return plain
