"""What a server may do to a request instead of, or after, carrying it out."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One request's fate. Without any field set it is served as it should be."""

    code: str = ""
    """A ResponseCode that is answered; nothing is done."""
    in_message: bool = False
    """Whether the code is in the response message (status 200) and not in a soap:Fault (status 500)."""
    back_off_ms: int | None = None
    """With ErrorServerBusy: how long the client is to wait."""
    status: int = 0
    """An HTTP status, with a page that is no SOAP."""
    headers: tuple[tuple[str, str], ...] = ()
    page: str = "<html><body>An error</body></html>"
    after_commit: bool = False
    """Whether the request is carried out first."""
    drop: bool = False
    """Whether the connection is closed without an answer."""
    silence: bool = False
    """Whether the answer is held back until the server closes."""
    cut: bool = False
    """Whether the connection is closed in the middle of the answer."""
    drip: bool = False
    """Whether the answer comes a byte at a time, for as long as the client listens."""
    garbage: bytes = b""
    """Answered with status 200."""


def busy(back_off_ms: int | None = None) -> Fault:
    """Return ErrorServerBusy, as a throttled caller gets it."""
    return Fault(code="ErrorServerBusy", back_off_ms=back_off_ms)


def says(code: str) -> Fault:
    """Return a response message with an error."""
    return Fault(code=code, in_message=True)


def faults(code: str) -> Fault:
    """Return a soap:Fault with an error."""
    return Fault(code=code)


SERVED = Fault()
DROPPED = Fault(drop=True)
DROPPED_AFTER_COMMIT = Fault(drop=True, after_commit=True)
BAD_GATEWAY_AFTER_COMMIT = Fault(status=502, after_commit=True, headers=(("Connection", "close"),))
SILENT_AFTER_COMMIT = Fault(silence=True, after_commit=True)
DRIPPING_AFTER_COMMIT = Fault(drip=True, after_commit=True)
HALF_A_BODY_AFTER_COMMIT = Fault(cut=True, after_commit=True)
GARBAGE_AFTER_COMMIT = Fault(garbage=b"<html>hello</html>", after_commit=True)
