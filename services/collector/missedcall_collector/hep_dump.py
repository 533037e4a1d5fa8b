"""A file of HEP frames one after the other: what a TCP sender wrote, kept."""

from collections import Counter
from collections.abc import Iterator

from .hep_stream import HepStream
from .source import Source


def frames(source: Source, counts: Counter[str]) -> Iterator[bytes]:
    """Yield the frames; bytes between them that are none are skipped, and counted as `malformed-hep`.

    Raises:
        CaptureError: after the last whole frame, if the file is damaged or ends in the middle of one.
    """
    stream = HepStream()
    while data := source.take():
        resyncs = stream.resyncs
        yield from stream.feed(data)
        counts["malformed-hep"] += stream.resyncs - resyncs
    if stream.pending:
        source.at -= stream.pending
    source.end("a whole HEP frame")
