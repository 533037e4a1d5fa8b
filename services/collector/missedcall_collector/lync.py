"""Lync and Skype for Business traces: what OCSLogger, CLS and the clients write about each SIP message.

Rule 1: a record is what stands between two headers; an end marker may be missing, and a body may look like one.
Rule 2: a record without a start line is a diagnostic, not a message: skipped and counted.
Rule 3: the trace does not say its zone, so the operator does. Servers log UTC, clients their local time.

Server records (OCSLogger 2007 R2 to 2010; CLS 2013 and later put pool and server into the brackets):

    TL_INFO(TF_PROTOCOL) [0]06E4.0EB4::01/18/2012-05:00:43.101.00005386 (SIPStack,...)$$begin_record
    Direction: incoming;source="internal edge";destination="external edge"
    Peer: server.example.com:61182
    Start-Line: INVITE sip:bob@example.com SIP/2.0
    ...headers in any order and case...
    Message-Body: v=0
    ...
    $$end_record

Client records (UccApi logs):

    04/16/2013|03:17:30.168 1F68:C14 INFO  :: Sending Packet - 192.0.2.1:5061 (From Local Address: 192.0.2.2:1)
    04/16/2013|03:17:30.168 1F68:C14 INFO  :: INVITE sip:bob@example.com SIP/2.0
    ...the rest of the message as it was sent...
    04/16/2013|03:17:30.168 1F68:C14 INFO  :: End of Sending Packet - ...
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeAlias

from .capture_error import CaptureError

Message: TypeAlias = tuple[int, bytes, str, str, str]
"""Capture time in milliseconds since the epoch, the SIP message, source, destination, transport."""

MAX_RECORD = 1 << 20
"""Bytes of one record. Below: a conference's document is cut. Above: memory for a log without end markers."""

_SERVER = re.compile(
    rb"\s*TL_\w+\(TF_\w+\)\s*\[(?:[^\]\\]*\\)?(?P<host>[^\]]*)\]\s*[0-9A-Fa-f]+\.[0-9A-Fa-f]+::"
    rb"(?P<time>\d\d/\d\d/\d{4}.\d\d:\d\d:\d\d\.\d{3})"
)
_CLIENT = re.compile(
    rb"(?P<time>\d\d/\d\d/\d{4}\|\d\d:\d\d:\d\d\.\d{3})\s+(?P<thread>[0-9A-Fa-f]+:[0-9A-Fa-f]+)\s+\w+\s*::\s?"
)
_PACKET = re.compile(
    rb"(?P<end>End of )?(?P<way>Sending Packet|Data Received)\s*-\s*(?P<peer>\S+)\s+"
    rb"\((?:From|To) Local Address:\s*(?P<local>[^)\s]+)\)"
)
_VIA = re.compile(rb"\n(?:Via|v)[ \t]*:[ \t]*SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*(\w{2,4})", re.IGNORECASE)
_FIELD = re.compile(rb"(Direction|Peer|Start-Line|Message-Body)[ \t]*:[ \t]*(.*)", re.IGNORECASE | re.DOTALL)
_BEGIN, _END = b"$$begin_record", b"$$end_record"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def looks_like_lync(text: bytes) -> bool:
    """Whether the beginning of a text file shows records of a server's or a client's log."""
    return any(
        _SERVER.match(line) is not None or _CLIENT.match(line) is not None
        for line in text.splitlines()[:1000]
    )


def messages(lines: Iterable[bytes], zone: tzinfo, counts: Counter[str]) -> Iterator[Message]:
    """Yield the SIP messages of a trace in the order written.

    Args:
        lines: its lines, as UTF-8.
        zone: where its times are at home.
        counts: `diagnostic`, `malformed-sip` and `limit` are counted here.
    """
    record: _Record | None = None
    try:
        for line in lines:
            begun = _begun(line)
            if begun is not None or (record is not None and not record.add(line, counts)):
                if record is not None:
                    yield from record.close(zone, counts)
                record = begun
    except CaptureError:
        if record is not None:
            yield from record.close(zone, counts)
        raise
    if record is not None:
        yield from record.close(zone, counts)


def _begun(line: bytes) -> "_Record | None":
    """Return the record that begins with `line`, if one does."""
    if b"TL_" in line[:8]:
        server = _SERVER.match(line)
        if server is not None:
            return _ServerRecord(server["time"], server["host"], begun=line.endswith(_BEGIN))
    elif line[2:3] == b"/":
        client = _CLIENT.match(line)
        packet = _PACKET.match(line, client.end()) if client else None
        if client and packet and not packet["end"]:
            return _ClientRecord(client, packet)
    return None


class _Record:
    """The lines of one record; both dialects."""

    def __init__(self, time: bytes) -> None:
        self._time = time
        self._bytes = 0
        self._lines: list[bytes] = []

    def add(self, line: bytes, counts: Counter[str]) -> bool:
        """Take a line; return False if it ends the record."""
        raise NotImplementedError

    def close(self, zone: tzinfo, counts: Counter[str]) -> Iterator[Message]:
        """Yield the message, if the record holds one."""
        raise NotImplementedError

    def _keep(self, line: bytes, counts: Counter[str]) -> None:
        self._bytes += len(line) + 2
        if self._bytes <= MAX_RECORD:
            self._lines.append(line)
        elif self._bytes - len(line) - 2 <= MAX_RECORD:
            counts["limit"] += 1


class _ServerRecord(_Record):
    """OCSLogger and CLS."""

    def __init__(self, time: bytes, host: bytes, *, begun: bool) -> None:
        super().__init__(time)
        self._begun = begun
        self._host = "" if host.isdigit() else host.decode("ascii", "replace").lower()

    def add(self, line: bytes, counts: Counter[str]) -> bool:
        """Take a line; return False if it ends the record."""
        if not self._begun:
            self._begun = line.endswith(_BEGIN)
            return self._begun
        if line == _END:
            return False
        self._keep(line, counts)
        return True

    def close(self, zone: tzinfo, counts: Counter[str]) -> Iterator[Message]:
        """Yield the message, if the record holds one."""
        if not self._begun:
            return
        fields: dict[bytes, bytes] = {}
        head: list[bytes] = []
        body: list[bytes] = []
        for at, line in enumerate(self._lines):
            field = _FIELD.match(line)
            name = field[1].lower() if field else b""
            if field and name == b"message-body":
                body = [field[2], *self._lines[at + 1 :]]
                break
            if field and not head:
                fields[name] = field[2]
                if name == b"start-line":
                    head.append(field[2])
            elif head:
                head.append(line)
        captured_ms = _captured_ms(self._time, zone)
        if not head:
            counts["diagnostic"] += 1
        elif captured_ms is None:
            counts["malformed-sip"] += 1
        else:
            text = b"" if body[:1] == [b"-"] else b"\r\n".join(body)
            message = b"\r\n".join(head) + b"\r\n\r\n" + text
            peer = fields.get(b"peer", b"").decode("ascii", "replace").strip().lower()
            ends = peer, self._host
            if fields.get(b"direction", b"").lower().startswith(b"outgoing"):
                ends = self._host, peer
            yield captured_ms, message, *ends, _transport(message)


class _ClientRecord(_Record):
    """UccApi."""

    def __init__(self, client: re.Match[bytes], packet: re.Match[bytes]) -> None:
        super().__init__(client["time"])
        self._thread = client["thread"]
        peer, local = (packet[name].decode("ascii", "replace").lower() for name in ("peer", "local"))
        self._ends = (local, peer) if packet["way"].startswith(b"Sending") else (peer, local)

    def add(self, line: bytes, counts: Counter[str]) -> bool:
        """Take a line; return False if it ends the record."""
        client = _CLIENT.match(line) if line[2:3] == b"/" else None
        if client is None:
            self._keep(line, counts)
        elif _PACKET.match(line, client.end()):
            return False
        elif client["thread"] == self._thread:  # another thread's line may fall into the middle
            self._keep(line[client.end() :], counts)
        return True

    def close(self, zone: tzinfo, counts: Counter[str]) -> Iterator[Message]:
        """Yield the message, if the record holds one."""
        captured_ms = _captured_ms(self._time, zone)
        if captured_ms is None or not self._lines:
            counts["malformed-sip"] += 1
            return
        message = b"\r\n".join(self._lines).lstrip(b"\r\n") + b"\r\n"
        yield captured_ms, message, *self._ends, _transport(message)


def _captured_ms(time: bytes, zone: tzinfo) -> int | None:
    """Return the time of `MM/DD/YYYY?hh:mm:ss.mmm` in milliseconds since the epoch; None if there is none."""
    month, day, year = int(time[0:2]), int(time[3:5]), int(time[6:10])
    if month > 12:  # a locale that writes the day first, where it shows
        month, day = day, month
    try:
        when = datetime(
            year,
            month,
            day,
            int(time[11:13]),
            int(time[14:16]),
            int(time[17:19]),
            int(time[20:23]) * 1000,
            zone,
        )
        since = when - _EPOCH
    except (ValueError, OverflowError):
        return None
    return since // _MS if since.days >= 0 else None


def _transport(message: bytes) -> str:
    """Return the transport in the topmost Via, in lower case: it names the hop that the trace shows."""
    via = _VIA.search(message)
    return via[1].decode("ascii").lower() if via else ""
