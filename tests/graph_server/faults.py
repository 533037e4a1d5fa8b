"""What a server may do to a request instead of, or after, carrying it out."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One request's fate. Without any field set it is served as it should be."""

    status: int = 0
    """Answered instead; with `code` as Graph's error, without as somebody's page."""
    code: str = ""
    inner: str = ""
    """The code of the error within the error."""
    headers: tuple[tuple[str, str], ...] = ()
    after_commit: bool = False
    """Whether the request is carried out first."""
    drop: bool = False
    """Whether the connection is closed without an answer."""
    silence: bool = False
    """Whether the answer is held back until the server closes."""
    slow_s: float = 0.0
    """For how long the answer is held back."""
    cut: bool = False
    """Whether the connection is closed in the middle of the answer."""
    drip: bool = False
    """Whether the answer comes a byte at a time, for as long as the client listens."""
    garbage: bytes = b""
    """Answered with status 200."""


def throttled(retry_after_s: int | None = None, code: str = "TooManyRequests") -> Fault:
    """Return 429, as an application that asks too much gets it."""
    headers = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
    return Fault(status=429, code=code, headers=headers)


def unavailable(retry_after_s: int | None = None) -> Fault:
    """Return 503 of Graph itself."""
    headers = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
    return Fault(status=503, code="serviceNotAvailable", headers=headers)


def says(status: int, code: str, inner: str = "") -> Fault:
    """Return an error of Graph."""
    return Fault(status=status, code=code, inner=inner)


SERVED = Fault()
DROPPED = Fault(drop=True)
DROPPED_AFTER_COMMIT = Fault(drop=True, after_commit=True)
BAD_GATEWAY_AFTER_COMMIT = Fault(status=502, after_commit=True, headers=(("Connection", "close"),))
SILENT_AFTER_COMMIT = Fault(silence=True, after_commit=True)
DRIPPING_AFTER_COMMIT = Fault(drip=True, after_commit=True)
HALF_A_BODY_AFTER_COMMIT = Fault(cut=True, after_commit=True)
GARBAGE_AFTER_COMMIT = Fault(garbage=b"<html>hello</html>", after_commit=True)
