"""SIPp message logs (`-trace_msg`): what each instance sent and received, message by message.

Rule 1: a record is what stands between two headers; the sizes in them are not needed and not believed.
Rule 2: the log names neither end: ours is `sipp`, the other `peer`.
Rule 3: times are the local time of the machine that ran SIPp; the operator says which zone that was.

    ----------------------------------------------- 2023-11-14 22:13:20.123456
    UDP message sent (514 bytes):

    INVITE sip:bob@example.com SIP/2.0
    ...the message as it was sent...

"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from .capture_error import CaptureError
from .lync import MAX_RECORD, Message

OURS, PEER = "sipp", "peer"

_HEADER = re.compile(
    rb"-{20,} (?P<date>\d{4}-\d\d-\d\d)[ \tT](?P<time>\d\d:\d\d:\d\d)[.:](?P<fraction>\d{3,6})"
    rb"(?:[ \t]+(?P<epoch>\d{9,10}\.\d{3,6}))?\s*\Z"
)
_WAY = re.compile(
    rb"(?P<transport>[A-Z]{2,4}) (?P<control>control )?message (?P<way>sent|received) "
    rb"(?:\(\d+ bytes\)|\[\d+\] bytes)"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def looks_like_sipp(text: bytes) -> bool:
    """Whether the beginning of a text file is that of a message log."""
    lines = iter(text.splitlines()[:1000])
    return any(_HEADER.match(line) and _WAY.match(next(lines, b"")) for line in lines)


def messages(lines: Iterable[bytes], zone: tzinfo, counts: Counter[str]) -> Iterator[Message]:
    """Yield the messages of a log in the order written.

    Args:
        lines: its lines, without line ends.
        zone: where its times are at home.
        counts: `diagnostic`, `malformed-sip` and `limit` are counted here.
    """
    record: _Record | None = None
    try:
        for line in lines:
            header = _HEADER.match(line) if line.startswith(b"--------------------") else None
            if header is not None:
                if record is not None:
                    yield from record.close(zone, counts)
                record = _Record(header)
            elif record is not None:
                record.add(line, counts)
    except CaptureError:
        if record is not None:
            yield from record.close(zone, counts)
        raise
    if record is not None:
        yield from record.close(zone, counts)


class _Record:
    """The lines of one record."""

    def __init__(self, header: re.Match[bytes]) -> None:
        self._header = header
        self._way: re.Match[bytes] | None = None
        self._begun = False
        self._bytes = 0
        self._lines: list[bytes] = []

    def add(self, line: bytes, counts: Counter[str]) -> None:
        """Take a line."""
        if not self._begun:
            self._begun = True
            self._way = _WAY.match(line)
            return
        self._bytes += len(line) + 2
        if self._bytes <= MAX_RECORD:
            self._lines.append(line)
        elif self._bytes - len(line) - 2 <= MAX_RECORD:
            counts["limit"] += 1

    def close(self, zone: tzinfo, counts: Counter[str]) -> Iterator[Message]:
        """Yield the message, if the record holds one."""
        if self._way is None or self._way["control"]:  # control: between two SIPp instances, not SIP
            counts["diagnostic"] += 1
            return
        captured_ms = _captured_ms(self._header, zone)
        if captured_ms is None or not self._lines:
            counts["malformed-sip"] += 1
            return
        ends = (OURS, PEER) if self._way["way"] == b"sent" else (PEER, OURS)
        transport = self._way["transport"].decode("ascii").lower()
        yield captured_ms, b"\r\n".join(self._lines).lstrip(b"\r\n"), *ends, transport


def _captured_ms(header: re.Match[bytes], zone: tzinfo) -> int | None:
    """Return the time of a record in milliseconds since the epoch; None if there is none."""
    if header["epoch"]:  # some versions write it too: no zone is needed
        return int(float(header["epoch"]) * 1000)
    try:
        when = datetime.fromisoformat(f"{header['date'].decode()}T{header['time'].decode()}").replace(
            microsecond=int(header["fraction"].ljust(6, b"0")), tzinfo=zone
        )
        since = when - _EPOCH
    except (ValueError, OverflowError):
        return None
    return since // _MS if since.days >= 0 else None
