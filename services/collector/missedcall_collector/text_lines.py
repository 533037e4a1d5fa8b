"""Lines of a text log of any size, as UTF-8 without line ends."""

import codecs
from collections.abc import Iterator

from .source import Source

MAX_LINE = 1 << 20
"""Bytes of one line; a longer one is cut into pieces. Logs have no such lines, damaged files do."""

_BOMS = (
    (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def encoding_of(begin: bytes) -> tuple[bytes, str]:
    """Return the byte order mark that `begin` starts with and the encoding to convert from, "" for none."""
    return next(((bom, encoding) for bom, encoding in _BOMS if begin.startswith(bom)), (b"", ""))


def lines(source: Source) -> Iterator[bytes]:
    """Yield the lines from here to the end of the file.

    Raises:
        CaptureError: at the end of what is readable, if the file is damaged.
    """
    source.need(3)
    bom, encoding = encoding_of(source.data[source.at : source.at + 3])
    source.at += len(bom)
    decoder = codecs.getincrementaldecoder(encoding)("replace") if encoding else None
    rest = b""
    while True:
        data = source.take()
        if not data:
            break
        if decoder is not None:
            data = decoder.decode(data).encode("utf-8", "replace")
        pieces = (rest + data).split(b"\n")
        rest = pieces.pop()
        for line in pieces:
            yield line.removesuffix(b"\r")
        if len(rest) > MAX_LINE:
            yield rest
            rest = b""
    if rest:
        yield rest.removesuffix(b"\r")
    source.end("nothing")
