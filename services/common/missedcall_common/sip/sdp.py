"""What a body says about media: its `m=` lines (RFC 8866 s.5.14), also inside a multipart body."""

import re
from typing import Final

MAX_MEDIA_LINES: Final = 32
"""`m=` lines read per body; conferences send 10. Above: bodies of `m=` lines fill the topic."""

MAX_MEDIA_LINE_BYTES: Final = 512
"""One `m=` line; honest ones list 30 formats in 150 bytes."""

_MEDIA_TYPE: Final = re.compile(r"m=[ \t]*([A-Za-z0-9.\-_!#$%&'*+^`{|}~]{1,64})")
_USUAL: Final[dict[str, str]] = {"m=audio ": "audio", "m=video ": "video", "m=image ": "image"}
# A part's last header line, the empty line, then a session description up to the next boundary.
_SDP_PART: Final = re.compile(rb"\n\r?\n(v=[0-9]\r?\n.*?(?:\n(?=--)|\Z))", re.DOTALL)


def _media_lines(body: bytes) -> list[str]:
    text = body.decode("latin-1")
    if not text.endswith("\n"):
        text += "\r\n"
    if text.startswith("m="):
        text = "\n" + text
    lines: list[str] = []
    at = text.find("\nm=")
    while at >= 0 and len(lines) < MAX_MEDIA_LINES:
        end = text.find("\n", at + 1)
        whole = end - at <= MAX_MEDIA_LINE_BYTES
        lines.append(
            text[at + 1 : end + 1] if whole else text[at + 1 : at + MAX_MEDIA_LINE_BYTES - 1] + "\r\n"
        )
        at = text.find("\nm=", end)
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
            media = match[1].lower()
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
    return "".join(_media_lines(body)).encode("latin-1")
