"""SIP over a stream: messages told apart by Content-Length (RFC 3261 s.18.3).

Rule 1: a message is what a receiver would take for one; where that cannot be told (a length that lies, a gap
        in the capture, a start in the middle) the stream is searched for the next start line.
Rule 2: a message whose head is whole is never thrown away for its body: the head decides about a call.
Rule 3: memory is bounded by the largest message, work by the input's length.
"""

import re
from typing import Final

MAX_HEAD: Final = 65_536
"""Bytes of a head; `missedcall_common.sip.message` reads no more either."""

MAX_BODY: Final = 262_144
"""Bytes of a body. Below: a conference's SDP or a presence document loses sync. Above: memory per connection."""

MAX_START_LINE: Final = 8_192
"""Bytes of a start line. Below: a Request-URI with embedded headers is not found again after a gap. Above: that
many bytes of something else are kept to see whether a start line comes of them."""

_RULE: Final = (
    rb"(?:SIP/2\.0[ \t]+[1-6][0-9][0-9]\b"
    rb"|[A-Za-z][A-Za-z0-9\-.!%*_+`'~]{1,31}[ \t]+[^\s][^\r\n]{0,8191}?[ \t]SIP/2\.0[ \t]*\r?$)"
)
_START: Final = re.compile(_RULE, re.MULTILINE)
_START_OF_LINE: Final = re.compile(b"^" + _RULE, re.MULTILINE)
_LENGTH: Final = re.compile(rb"\n(?:Content-Length|l)[ \t]*:\s*([0-9]{1,9})", re.IGNORECASE)
# keep-alives (RFC 5626 s.3.5.1), and what sloppy peers pad with
_BETWEEN: Final = re.compile(rb"[\r\n\0 \t]*")


_USUAL_LENGTH: Final = b"\nContent-Length: "
_AFTER_STATUS: Final = frozenset(b" \r\n")


class SipStream:
    """Cuts one direction of a connection into messages."""

    def __init__(self) -> None:
        self.resyncs = 0
        """How often the next start line had to be searched for."""
        self.fruitless = 0
        """Bytes since the last message: how a stream of something else shows."""
        self._buffer = bytearray()
        self._searched = 0
        self._need = 0
        self._end_of_large = 0
        """Where the body that was too large to keep ends if its length is true; 0 if there is none."""
        self._lost = False

    @property
    def pending(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that `data` completes, in order."""
        if not self._buffer and _is_one(data):
            self._need = self.fruitless = 0
            self._lost = False
            return [data]
        self._buffer += data
        self.fruitless += len(data)
        return self._cut(final=False) if len(self._buffer) >= self._need else []

    def gap(self) -> list[bytes]:
        """Call where bytes are missing, or at the end; return the message that they cut short, if any."""
        messages = self._cut(final=True)
        self._buffer.clear()
        self._searched = self._need = self._end_of_large = 0
        self._lost = True  # who calls knows that something is missing
        return messages

    def _cut(self, *, final: bool) -> list[bytes]:
        messages: list[bytes] = []
        buffer = self._buffer
        at = 0
        while True:
            if _START.match(buffer, at) is None:
                at, found = self._search(at, final=final)
                if not found:
                    break
            body_at = _body_at(buffer, max(at, self._searched))
            if not body_at and len(buffer) - at <= MAX_HEAD:
                self._searched = max(at, len(buffer) - 3)
                break
            if not 0 < body_at - at <= MAX_HEAD:
                at = buffer.find(b"\n", at) + 1 or len(buffer)
                continue
            self._need = self._stop(at, body_at)
            if self._need > len(buffer) and not final:
                self._need -= at
                break
            stop = min(self._need, len(buffer))
            messages.append(bytes(buffer[at:stop]))
            at = stop
            self._need = self.fruitless = 0
            self._lost = False
        del buffer[:at]
        self._searched = max(0, self._searched - at)
        self._end_of_large = max(0, self._end_of_large - at)
        return messages

    def _search(self, at: int, *, final: bool) -> tuple[int, bool]:
        """Return where the next start line is; else from where on the buffer has to be kept, and False."""
        buffer = self._buffer
        blank = _BETWEEN.match(buffer, at)
        at = blank.end() if blank else at
        if at == len(buffer):
            return at, False
        if _START.match(buffer, at):
            return at, True
        if len(buffer) - at < MAX_START_LINE and buffer.find(b"\n", at) < 0 and not final:
            return at, False  # the line may still become one
        if not self._lost:
            self._lost = True
            self.resyncs += 1
        # Where no line begins the pattern need not look: it is asked again for each byte of a line without end.
        following = _START_OF_LINE.search(buffer, at + 1) if buffer.find(b"\n", at) >= 0 else None
        end = self._end_of_large
        if at < end < len(buffer) and not (following and following.start() < end):
            if _START.match(buffer, end):
                return end, True
            if not final and len(buffer) - end < MAX_START_LINE:
                return end, False
        if following:
            return following.start(), True
        return max(at + 1, buffer.rfind(b"\n") + 1, len(buffer) - MAX_START_LINE), False

    def _stop(self, at: int, body_at: int) -> int:
        """Return where the message whose head is `at` to `body_at` ends, perhaps beyond the buffer."""
        usual = self._buffer.find(_USUAL_LENGTH, at, body_at)  # five times as fast as the pattern
        length = _LENGTH.match(self._buffer, usual) if usual >= 0 else None
        length = length or _LENGTH.search(self._buffer, at, body_at)
        if length is None:  # a MUST over streams (s.20.14), and left out nevertheless
            following = _START_OF_LINE.search(self._buffer, body_at)
            return following.start() if following else len(self._buffer)
        end = body_at + int(length[1])
        if end - body_at <= MAX_BODY:
            return end
        self._end_of_large = end
        return body_at


def _is_one(data: bytes) -> bool:
    """Whether `data` is one message and nothing else, spelled as nearly all are. False says nothing.

    `SipStream._cut` would say the same, after five times the work.
    """
    line_end = data.find(b"\n", 0, MAX_START_LINE)
    if line_end < 12:
        return False
    if data.startswith(b"SIP/2.0 "):
        if not (0x31 <= data[8] <= 0x36 and data[8:11].isdigit() and data[11] in _AFTER_STATUS):
            return False
    else:
        blank = data.find(b" ", 0, 33)
        if not (
            2 <= blank < line_end - 10
            and data[blank + 1] > 0x20
            and data[:blank].isalpha()
            and data.endswith(b" SIP/2.0\r", 0, line_end)
            and data.find(b"\r", 0, line_end) == line_end - 1
        ):
            return False
    body_at = _body_at(data, line_end)
    if not 0 < body_at <= MAX_HEAD:
        return False
    begin = data.find(_USUAL_LENGTH, line_end, body_at) + len(_USUAL_LENGTH)
    if begin < len(_USUAL_LENGTH):
        return False
    length = data[begin : data.find(b"\r", begin)]
    return (
        len(length) < 7
        and length.isdigit()
        and int(length) <= MAX_BODY
        and body_at + int(length) == len(data)
    )


def _body_at(buffer: bytes | bytearray, at: int) -> int:
    """Return where the first empty line from `at` on ends, 0 if there is none."""
    crlf = buffer.find(b"\n\r\n", at)
    bare = buffer.find(b"\n\n", at, crlf if crlf >= 0 else len(buffer))
    return bare + 2 if bare >= 0 else crlf + 3 if crlf >= 0 else 0


def split(payload: bytes) -> list[bytes]:
    """Return the messages in one payload: nearly always itself; agents join what came in one TCP segment."""
    body_at = payload.find(b"\r\n\r\n") + 4
    if body_at < 4 or payload.find(b"SIP/2.0", body_at) < 0:
        return [payload]
    stream = SipStream()
    return stream.feed(payload) + stream.gap() or [payload]
