"""What a body says about media: its `m=` lines (RFC 8866 s.5.14), also inside a multipart body."""

import re

MAX_MEDIA_LINES = 32
"""`m=` lines read per body; conferences send 10. Above: bodies of `m=` lines fill the topic."""

MAX_MEDIA_LINE_BYTES = 512
"""One `m=` line; honest ones list 30 formats in 150 bytes."""

_MEDIA_TYPE = re.compile(rb"m=[ \t]*([A-Za-z0-9.\-_!#$%&'*+^`{|}~]{1,64})")
_MEDIA_LINES = re.compile(
    rb"\nm=[^\n]*"
).findall  # with the line feed before each, so that its length is right
# A part's last header line, the empty line, then a session description up to the next boundary.
_SDP_PART = re.compile(rb"\n\r?\n(v=[0-9]\r?\n.*?(?:\n(?=--)|\Z))", re.DOTALL)


def _media_lines(body: bytes) -> list[bytes]:
    if body[-1:] != b"\n":
        body += b"\r\n"
    if body[:2] == b"m=":
        body = b"\n" + body
    found = _MEDIA_LINES(body)
    if len(found) == 1 and len(found[0]) <= MAX_MEDIA_LINE_BYTES:  # as most have it
        return [found[0][1:] + b"\n"]
    return [
        line[1:] + b"\n"
        if len(line) <= MAX_MEDIA_LINE_BYTES
        else line[1 : MAX_MEDIA_LINE_BYTES - 1] + b"\r\n"
        for line in found[:MAX_MEDIA_LINES]
    ]


def media_types(body: bytes) -> tuple[str, ...]:
    """Return the media type of each `m=` line in lower case: `("audio", "video")`."""
    found = (_MEDIA_TYPE.match(line) for line in _media_lines(body))
    return tuple(match[1].decode("ascii").lower() for match in found if match)


USER_NOTIFICATION = "application/ms-rtc-usernotification+xml"
"""What Lync tells Exchange UM about a user's call (MS-OCEXUM): who is meant stands in the body alone."""

MAX_NOTIFICATION_BYTES = 4096
"""Of such a body. Real ones have about 600 bytes; less would cut the Call-ID behind long display names."""


def media_lines(body: bytes, content_type: str) -> bytes:
    """Return the `m=` lines of a session description as received; b"" if the body is none.

    `content_type` is in lower case. Other text is never looked into: it is what people wrote. The one exception
    is a `USER_NOTIFICATION`, which is kept whole.
    """
    if content_type and USER_NOTIFICATION in content_type:
        return body[:MAX_NOTIFICATION_BYTES]
    if body[:2] == b"v=":
        pass
    elif "multipart/" in content_type:
        body = b"\n".join(_SDP_PART.findall(body))
    elif "/sdp" not in content_type:
        return b""
    return b"".join(_media_lines(body))
