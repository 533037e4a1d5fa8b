"""When to try again: a pure function of the failure.

Rule 1: no clock and no random numbers. Jitter is a value that the caller derives from the delivery id, so
        that a restart, a replay and a test all see the same schedule.
Rule 2: sleeping is the caller's job; the answer may be hours.
"""

from typing import Annotated

from msgspec import Meta, Struct

from .failure import Failure

Seconds = Annotated[
    float, Meta(gt=0, le=2_592_000, description="seconds, above 0, at most 2592000 (30 days)")
]

SPREAD = 0.25
"""Jitter lengthens a wait by up to this share. Less: after an outage all come back in step. More: notices are
late for nothing. It never shortens: a target that asked for 60 s gets at least 60 s."""


class RetryPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How patient a channel is. All durations are seconds."""

    first_s: Seconds = 5.0
    """Wait after the first failure. Less: a target that restarts is hit while it does. More: a hiccup of a
    second delays the notice by this."""
    factor: Annotated[float, Meta(ge=1, le=10, description="1 to 10")] = 4.0
    """Each further wait is this much longer: 5 s, 20 s, 80 s, 5 min, 21 min, then `longest_s`."""
    longest_s: Seconds = 3600.0
    """RFC 5321 s.4.5.4.1 wants 30 minutes and more between attempts in the long run."""
    throttled_s: Seconds = 30.0
    """First wait when the target says that we are too fast and does not say for how long."""
    asked_longest_s: Seconds = 3600.0
    """Longest wait that a target may ask for (Retry-After): no receiver can stall us for a year."""
    slow_s: Seconds = 3600.0
    """First wait for what takes a person: a full mailbox, a policy."""
    slow_longest_s: Seconds = 6 * 3600.0
    max_age_s: Seconds = 72 * 3600.0
    """A notice that could not be delivered for this long is dead. Less: a weekend's outage loses notices.
    More: people get notices that no longer help."""
    uncertain_attempts: Annotated[int, Meta(ge=1, description="1 or more")] = 5
    """Attempts that may have arrived before we stop. Each may be one more visible copy where the target does
    not remove repeats; where it does (webhook-id), a large number is right."""


def next_delay_s(
    policy: RetryPolicy,
    failure: Failure,
    *,
    attempt: int,
    elapsed_s: float,
    asked_s: float | None = None,
    jitter: float = 0.0,
) -> float | None:
    """Return the seconds to wait before the next attempt, or None to stop.

    Args:
        policy: the channel's patience.
        failure: what the last attempt came to.
        attempt: how many attempts failed so far; for `UNCERTAIN` how many of them may have arrived. From 1.
        elapsed_s: age of the delivery, seconds since its intent.
        asked_s: what the target asked for, in seconds.
        jitter: 0 <= jitter < 1, from the delivery id.
    """
    if failure in _NEVER_AGAIN:
        return None
    if failure in {Failure.CHANNEL_DOWN, Failure.GONE}:
        return 0.0  # due as soon as the channel is back: when that is, the breaker decides
    left_s = policy.max_age_s - elapsed_s
    if left_s <= 0 or (failure is Failure.UNCERTAIN and attempt >= policy.uncertain_attempts):
        return None
    first_s, longest_s = {
        Failure.TRANSIENT: (policy.first_s, policy.longest_s),
        Failure.UNCERTAIN: (policy.first_s, policy.longest_s),
        Failure.THROTTLED: (policy.throttled_s, policy.longest_s),
        Failure.SLOW: (policy.slow_s, policy.slow_longest_s),
    }[failure]
    wait_s = min(first_s * policy.factor ** min(attempt - 1, _EXPONENT_LIMIT), max(first_s, longest_s))
    if asked_s is not None:
        wait_s = max(wait_s, min(asked_s, policy.asked_longest_s))
    return min(wait_s * (1.0 + SPREAD * jitter), left_s)  # a last attempt at the very end of its life


_NEVER_AGAIN = frozenset({Failure.PERMANENT_RECIPIENT, Failure.PERMANENT_ITEM})
_EXPONENT_LIMIT = 64
"""10 ** 64 s is beyond every limit above, and no float overflows on the way there."""
