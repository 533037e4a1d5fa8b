"""Which messages of a batch cannot be decided, found by trying.

Rule 1: the fewest messages are set aside: a message is to blame only if it fails with the good ones before it.
"""

from collections.abc import Callable, Iterator

from missedcall_schemas.records import SipMessage

Trial = Callable[[tuple[SipMessage, ...]], Exception | None]
"""Decides messages on the committed state and forgets the outcome; returns what they raised, None if nothing."""


def blame(messages: tuple[SipMessage, ...], trial: Trial) -> Iterator[tuple[SipMessage, Exception | None]]:
    """Yield each message with what it raises after the good ones before it; None if nothing.

    One bad message among n costs about 2 * log2(n) trials, not n.
    """
    good: tuple[SipMessage, ...] = ()
    parts = [messages]
    while parts:
        part = parts.pop()
        error = trial(good + part)
        if error is None:
            good += part
            yield from ((message, None) for message in part)
        elif len(part) == 1:
            yield part[0], error
        else:
            half = len(part) // 2
            parts += (part[half:], part[:half])
