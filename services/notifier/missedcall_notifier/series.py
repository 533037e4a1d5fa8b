"""Calls of one caller to one callee that are told as one notice: what the journal keeps of it.

Rule 1: pure values. Who is told over a channel that cannot show several calls as one, or has not asked for it, has
        no series, and nothing of this is in the record.
Rule 2: a series is a chain of notices. Each tells all calls so far and takes the place of the one before it.
"""

from msgspec import Struct

from missedcall_schemas.records import MissedCall, Party

from .sanitise import clean_address


class Shown(Struct, frozen=True):
    """A notice that its recipient has or may have, and that is to give way."""

    fact_id: str
    revision: int
    sure: bool
    """Whether the target said that it has it."""


class Series(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a notice stands in its series."""

    key: str
    """Of all series over one channel to one recipient about calls of one caller to one callee."""
    within_s: float
    """Seconds from the first call of the series to the last, at most."""
    root: str = ""
    """Delivery id of its first notice; "" before the journal has found that out."""
    number: int = 1
    """Of the notice within the series."""
    after: str = ""
    """Delivery id of the notice before it; "" for the first."""
    others: tuple[MissedCall, ...] = ()
    """Missed calls that the notice tells of besides its own fact."""
    replaces: tuple[Shown, ...] = ()
    """What gives way to it, the latest first; known when its attempt begins."""


def identity(caller: Party) -> str:
    """Return what a caller is told from others by; "" if nothing does (anonymous, unknown)."""
    return "" if caller.anonymous else clean_address(caller.number or caller.uri)
