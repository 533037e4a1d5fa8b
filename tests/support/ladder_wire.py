"""A SIP message as bytes, and its headers as ladders give them."""

PHRASES = {
    100: "Trying",
    101: "Progress Report",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    433: "Anonymity Disallowed",
    440: "Max-Breadth Exceeded",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    503: "Service Unavailable",
    504: "Server Time-out",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}

MEDIA = {
    "none": (),
    "audio": ("audio 49170 RTP/AVP 0 8 101",),
    "video": ("audio 49170 RTP/AVP 0 8 101", "video 49174 RTP/AVP 96"),
    "message": ("message 5060 sip null",),
    "x-ms-message": ("x-ms-message 5060 sip null",),
    "applicationsharing": ("applicationsharing 40803 TCP/RTP/SAVP 127",),
    "data": ("data 40803 TCP/RTP/AVP 127",),
    "fax": ("image 49180 udptl t38",),
}
"""Short names of session descriptions: their m= lines without `m=` (RFC 8866 s.5.14)."""

Headers = tuple[tuple[str, str], ...]


def merge(old: Headers, new: Headers) -> Headers:
    """Return `old` with `new` over it: same name replaces, `+Name` adds, an empty value drops."""
    if not new:
        return old
    replaced = {name.lower() for name, _ in new if not name.startswith("+")}
    kept = [(name, value) for name, value in old if name.lower() not in replaced]
    return (*kept, *((name.removeprefix("+"), value) for name, value in new))


def message(start: str, own: list[tuple[str, str]], headers: Headers, media: str) -> bytes:
    """Return the message: the headers that the stack writes, with the ladder's over them, and a body.

    A header named `Phrase` is the reason phrase of a response, one named `Body` the body.
    """
    pseudo = {name: value for name, value in headers if name in ("Phrase", "Body")}
    headers = tuple(each for each in headers if each[0] not in pseudo)
    if "Phrase" in pseudo:
        start = " ".join((*start.split(" ")[:2], pseudo["Phrase"]))
    given = {name.lower() for name, _ in headers if not name.startswith("+")}
    lines = [(name, value) for name, value in own if name == "Via" or name.lower() not in given]
    lines += [(name.removeprefix("+"), value) for name, value in headers if value]
    content = pseudo.get("Body", "").encode() or body(media)
    if content and "content-type" not in given:
        lines.append(("Content-Type", "application/sdp"))
    lines.append(("Content-Length", str(len(content))))
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"{start}\r\n{text}\r\n".encode() + content


def body(media: str) -> bytes:
    """Return a session description with these m= lines; nothing without any."""
    lines = MEDIA[media] if media in MEDIA else tuple(media.split("|"))
    if not lines:
        return b""
    session = "v=0\r\no=- 3724394400 1 IN IP4 10.9.0.1\r\ns=-\r\nc=IN IP4 10.9.0.1\r\nt=0 0\r\n"
    return (session + "".join(f"m={line}\r\n" for line in lines)).encode()
