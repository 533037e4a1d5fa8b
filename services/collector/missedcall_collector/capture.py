"""Capture files: any kind, found by content, to SipMessages.

Rule 1: memory is bounded, whatever the size of the file: a piece of it, one record, and the limits of `wire`.
Rule 2: what was readable before an error has been yielded when the error is raised.
Rule 3: the clock of a file is the file's: `received_ms` is the latest capture time so far.

This is a shell: it opens files. What they mean is in the modules that it puts together.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TypeAlias
from zoneinfo import ZoneInfo

from missedcall_schemas.records import SipMessage

from . import hep_dump, lync, pcap, pcapng, sipp_log
from .capture_error import CaptureError
from .hep_v3 import MAGIC as HEP
from .intake import Intake
from .source import Source
from .text_lines import encoding_of, lines
from .wire import LINK_TYPES, Wire

__all__ = ["EXPECTED", "Capture", "CaptureError", "kind_of", "open_capture"]

EXPECTED = (
    "pcap, pcapng, HEP3 frames, a Lync/Skype for Business trace or a SIPp message log (any of them gzipped)"
)

_LOOK = 65_536  # bytes in which a text file has to show that it is a trace; logs begin with a banner at most

_ReadLog: TypeAlias = Callable[[Iterable[bytes], tzinfo, Counter[str]], Iterator[lync.Message]]
_LOGS: dict[str, _ReadLog] = {"lync": lync.messages, "sipp": sipp_log.messages}

_OTHERS = {
    b"\x28\xb5\x2f\xfd": "zstd (decompress it first)",
    b"\xfd7zX": "xz (decompress it first)",
    b"BZh": "bzip2 (decompress it first)",
    b"PK\x03\x04": "a zip archive (extract it first)",
    b"snoop\0\0\0": "snoop (convert it with editcap)",
    b"ElfFile\0": "a Windows event log (not a trace)",
}


def open_capture(path: Path | str, *, intake: Intake | None = None, zone: tzinfo | str = UTC) -> "Capture":
    """Return a reader of one capture file; nothing is opened before it is iterated over.

    Args:
        path: the file.
        intake: what filters and counts; by default one of its own, which asks for no key.
        zone: where the times of a text log (Lync, Skype for Business, SIPp) are at home, `Europe/Berlin`.

    Raises:
        ValueError: there is no such zone.
    """
    if isinstance(zone, str):
        try:
            zone = UTC if zone == "UTC" else ZoneInfo(zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(
                f"time zone {zone!r}: use one of the IANA database, like Europe/Berlin"
            ) from error
    return Capture(path, intake or Intake(), zone)


class Capture:
    """Iterate over it once for the messages, in the order captured."""

    def __init__(self, path: Path | str, intake: Intake, zone: tzinfo) -> None:
        self.path = Path(path)
        self.kind = ""
        """`pcap`, `pcapng`, `hep`, `lync` or `sipp`; "" before the first message is asked for."""
        self._intake = intake
        self._zone = zone
        self._source: Source | None = None

    @property
    def counts(self) -> Counter[str]:
        """What became no message, by cause (`intake.CAUSES`)."""
        return self._intake.counts

    @property
    def size(self) -> int:
        """Bytes of the file; 0 if it has no size (a pipe)."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def bytes_read(self) -> int:
        """Bytes of the file read so far: the progress, beside `size`."""
        return self._source.bytes_read if self._source is not None else 0

    def __iter__(self) -> Iterator[SipMessage]:
        """Yield the messages.

        Raises:
            CaptureError: the file cannot be opened, is of no known kind, is damaged or ends too early.
        """
        try:
            with self.path.open("rb") as file:
                self._source = Source(file)
                yield from self._messages(self._source)
        except CaptureError as error:
            error.path = str(self.path)
            raise
        except OSError as error:
            raise CaptureError(
                self.bytes_read, error.strerror or "an I/O error", "a readable file", str(self.path)
            ) from error

    def _messages(self, source: Source) -> Iterator[SipMessage]:
        source.need(_LOOK)
        begin = source.data[source.at : source.at + _LOOK]
        self.kind = kind_of(begin)
        if self.kind == "pcap":
            return self._packets(pcap.packets(source))
        if self.kind == "pcapng":
            return self._packets(pcapng.packets(source))
        if self.kind == "hep":
            return self._hep(source)
        if self.kind in _LOGS:
            return self._log(source, _LOGS[self.kind])
        if not begin:
            source.end(EXPECTED)
        found = next((name for magic, name in _OTHERS.items() if begin.startswith(magic)), "")
        raise CaptureError(0, found or (repr(begin[:8]) if begin else "an empty file"), EXPECTED)

    def _packets(self, pieces: Iterator[list[pcap.Packet]]) -> Iterator[SipMessage]:
        wire = Wire(self._intake)
        try:
            for packets in pieces:
                if self.kind == "pcap":
                    _check_link(packets[0][1])
                yield from wire.packets(packets)
        except CaptureError:
            yield from wire.close()
            raise
        yield from wire.close()

    def _hep(self, source: Source) -> Iterator[SipMessage]:
        clock_ms = 0
        for frame in hep_dump.frames(source, self._intake.counts):
            messages, clock_ms = self._intake.from_dumped(frame, clock_ms)
            yield from messages

    def _log(self, source: Source, read: _ReadLog) -> Iterator[SipMessage]:
        clock_ms = 0
        log = read(lines(source), self._zone, self._intake.counts)
        for captured_ms, payload, src, dst, transport in log:
            clock_ms = max(clock_ms, captured_ms)
            message = self._intake.from_sip(payload, src, dst, transport, captured_ms, clock_ms)
            if message is not None:
                yield message


def _check_link(link: int) -> None:
    """Refuse a pcap file of an unknown link type: it has one, and nothing can come of it."""
    if link not in LINK_TYPES:
        raise CaptureError(20, f"link type {link}", f"one of {sorted(LINK_TYPES)}")


def kind_of(begin: bytes) -> str:
    """Return the kind of a file by its first 64 kB, as `Capture.kind` has it; "" for anything else."""
    if begin[:4] in pcap.MAGIC:
        return "pcap"
    if begin[:4] == pcapng.MAGIC:
        return "pcapng"
    if begin[:4] in HEP:
        return "hep"
    bom, encoding = encoding_of(begin)
    text = begin[len(bom) :]
    if encoding:
        text = text.decode(encoding, "replace").encode()
    return "lync" if lync.looks_like_lync(text) else "sipp" if sipp_log.looks_like_sipp(text) else ""
