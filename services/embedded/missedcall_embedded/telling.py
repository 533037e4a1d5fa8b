"""Verdicts in words: who is told of a call, who is not, and why.

Rule 1: one sentence per value of the vocabularies; a newer value is shown as it is, never guessed at.
Rule 2: whether somebody is told is read from the record, not decided again.
"""

from collections.abc import Mapping
from types import MappingProxyType

from missedcall_schemas.records import Verdict

CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "caller-cancelled": "the caller gave up before anybody took the call",
        "no-answer": "nobody took the call until the server's or the phone's timer ended it",
        "unreachable": "no phone of theirs could be reached",
        "busy": "they were busy",
        "declined": "they declined, and the policy asks to be told of that",
        "blocked": "the call was blocked, and the policy asks to be told of that",
    }
)
"""What a cause means for a call that was missed."""

OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "missed": "they missed the call",
        "answered": "they took the call",
        "answered-elsewhere": "somebody else took the call",
        "declined": "they declined the call themselves",
        "blocked": "the call was blocked as unwanted",
        "diverted-to-voicemail": "voicemail took the call, and the voicemail system tells them",
        "secondary-suppressed": "the call was for somebody else and only came to their phone as well",
        "suppressed": "the policy keeps this call back",
        "not-a-user": "they are not one of our users",
        "not-a-call": "this was no telephone call for them",
        "incomplete": "the end of the call was not captured, and nobody is told on a guess",
    }
)
"""What an outcome means for the user."""

SUPPRESSED: Mapping[str, str] = MappingProxyType(
    {
        "notified-by-exchange": "Exchange writes the missed-call item itself",
        "unrung": "no phone rang, and the policy asks for calls that rang",
        "short-ring": "it rang for less than the policy's min_ring_s",
        "cause-off": "the policy's notify does not name this cause",
        "anonymous": "the caller is anonymous, and the policy keeps such calls back",
        "internal": "the caller is one of ours, and the policy keeps such calls back",
    }
)
"""Why a missed call is not due a notice."""


def is_told(verdict: Verdict) -> bool:
    """Whether the user is due a notice for this verdict."""
    return verdict.outcome == "missed" and not verdict.suppressed


def why(verdict: Verdict) -> str:
    """Return the reason, in words, why the user is told or not."""
    if verdict.outcome == "missed":
        cause = CAUSES.get(verdict.cause, verdict.cause)
        if not verdict.suppressed:
            return cause
        return f"{SUPPRESSED.get(verdict.suppressed, verdict.suppressed)} (otherwise: {cause})"
    reason = OUTCOMES.get(verdict.outcome, verdict.outcome)
    if verdict.suppressed:
        reason += f" ({SUPPRESSED.get(verdict.suppressed, verdict.suppressed)})"
    return reason


def headline(verdict: Verdict, *, retracted: bool = False) -> str:
    """Return the verdict in a few words: `missed: caller-cancelled (unrung) -> is told`.

    Args:
        verdict: of one user.
        retracted: a fact published earlier is taken back with it.
    """
    what = verdict.outcome + (f": {verdict.cause}" if verdict.cause else "")
    if verdict.detail:
        what += f" ({verdict.detail})"
    if verdict.revision > 1:
        what += f", revision {verdict.revision}"
    if retracted:
        return f"{what} -> is told that the call was not missed after all"
    return f"{what} -> {'is told' if is_told(verdict) else 'is not told'}"
