"""What a body says about media: its `m=` lines (RFC 8866 s.5.14), also inside a multipart body."""

import re
from typing import Final

MAX_MEDIA_LINES: Final = 32
"""`m=` lines read per body; conferences send 10. Above: bodies of `m=` lines fill the topic."""

MAX_MEDIA_LINE_BYTES: Final = 512
"""One `m=` line; honest ones list 30 formats in 150 bytes."""

_MEDIA_TYPE: Final = re.compile(rb"m=[ \t]*([A-Za-z0-9.\-_!#$%&'*+^`{|}~]{1,64})")
_USUAL: Final = {b"m=audio ": "audio", b"m=video ": "video", b"m=image ": "image"}
# A part's last header line, the empty line, then a session description up to the next boundary.
_SDP_PART: Final = re.compile(rb"\n\r?\n(v=[0-9]\r?\n.*?(?:\n(?=--)|\Z))", re.DOTALL)


def _media_lines(body: bytes) -> list[bytes]:
    if not body.endswith(b"\n"):
        body += b"\r\n"
    if body.startswith(b"m="):
        body = b"\n" + body
    lines: list[bytes] = []
    at = body.find(b"\nm=")
    while at >= 0 and len(lines) < MAX_MEDIA_LINES:
        end = body.find(b"\n", at + 1)
        whole = end - at <= MAX_MEDIA_LINE_BYTES
        lines.append(
            body[at + 1 : end + 1] if whole else body[at + 1 : at + MAX_MEDIA_LINE_BYTES - 1] + b"\r\n"
        )
        at = body.find(b"\nm=", end)
    return lines


def media_types(body: bytes) -> tuple[str, ...]:
    """Return the media type of each `m=` line in lower case: `("audio", "video")`."""
    found: list[str] = []
    for line in _media_lines(body):
        media = _USUAL.get(line[:8])
        if media is None:
            match = _MEDIA_TYPE.match(line)
            if match is None:
                continue
            media = match[1].decode("ascii").lower()
        found.append(media)
    return tuple(found)


USER_NOTIFICATION: Final = "application/ms-rtc-usernotification+xml"
"""What Lync tells Exchange UM about a user's call (MS-OCEXUM): who is meant stands in the body alone."""

MAX_NOTIFICATION_BYTES: Final = 4096
"""Of such a body. Real ones have about 600 bytes; less would cut the Call-ID behind long display names."""


def media_lines(body: bytes, content_type: str) -> bytes:
    """Return the `m=` lines of a session description as received; b"" if the body is none.

    `content_type` is in lower case. Other text is never looked into: it is what people wrote. The one exception
    is a `USER_NOTIFICATION`, which is kept whole.
    """
    if content_type and USER_NOTIFICATION in content_type:
        return body[:MAX_NOTIFICATION_BYTES]
    if body.startswith(b"v="):
        pass
    elif "multipart/" in content_type:
        body = b"\n".join(_SDP_PART.findall(body))
    elif "/sdp" not in content_type:
        return b""
    return b"".join(_media_lines(body))
