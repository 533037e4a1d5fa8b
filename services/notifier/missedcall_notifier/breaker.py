"""One channel's breaker: when it is down, ask again with one probe at a time, ever less often.

Rule 1: only `channel-down` opens it, and `gone` for good. A refused recipient or notice says nothing about
        the channel. A target that says for how long it wants to be left alone is left alone: it stays closed,
        and waits.
Rule 2: while it is open no delivery is begun, so none is used up by an outage.
"""

from msgspec import Struct

from .failure import Failed, Failure, Report

FIRST_PAUSE_S = 5.0
"""Pause after the first failure. Less: a relay that restarts is hit while it does. More: late notices."""

LONGEST_PAUSE_S = 300.0
"""Longest pause, asked for or not. Less: a wrong password is tried so often that the account is locked. More:
the channel stays paused that much longer after somebody has repaired it."""


class Breaker(Struct, frozen=True):
    """Nothing goes before `opens_at`; then all if it is closed, which is without failures, else one probe."""

    failures: int = 0
    """Failed probes in a row, the first failure included."""
    opens_at: float = 0.0
    """POSIX seconds; no delivery is begun before."""
    gone: bool = False
    """Whether the channel said that it is gone: no probe goes either."""

    @property
    def closed(self) -> bool:
        """Whether all is well."""
        return self.failures == 0 and not self.gone

    def allows(self, concurrency: int, now: float) -> int:
        """How many deliveries may run at once: none, one probe, or `concurrency`."""
        if self.gone:
            return 0
        set_back = self.opens_at - now > LONGEST_PAUSE_S  # the wall clock was, since it opened
        if now < self.opens_at and not set_back:
            return 0
        return concurrency if self.closed else 1


GONE = Breaker(gone=True)


def after(breaker: Breaker, report: Report, now: float) -> Breaker:
    """Return the breaker after an attempt came to `report`."""
    if breaker.gone or (isinstance(report, Failed) and report.failure is Failure.GONE):
        return GONE  # whatever those that were on their way came to
    if not (isinstance(report, Failed) and report.failure is Failure.CHANNEL_DOWN):
        closed = breaker if breaker.closed else Breaker()
        if isinstance(report, Failed) and report.failure is Failure.THROTTLED and report.asked_s:
            return Breaker(0, max(closed.opens_at, now + min(report.asked_s, LONGEST_PAUSE_S)))
        return closed
    if now < breaker.opens_at and not breaker.closed:
        return breaker  # others that were on their way when it broke: one outage, one pause
    pause_s = min(FIRST_PAUSE_S * 2.0 ** min(breaker.failures, 16), LONGEST_PAUSE_S)
    return Breaker(breaker.failures + 1, max(breaker.opens_at, now + pause_s))
