"""Random calls whose outcome is known because we made them.

Rule 1: a `Plan` says what happens; `play` makes the messages and the truth from it, always the same ones.
Rule 2: the truth is what a person beside the phones would say, not what a capture may show of it.

For laws: `plans()` with Hypothesis, which shrinks them. For load: `messages(seed, calls)` and `load`, a mix of
overlapping calls in bounded memory.
"""

import heapq
from collections.abc import Iterable, Iterator
from random import Random

from hypothesis import strategies as st
from support.scenario_stage import ENDINGS, SHAPES, Call, Plan, play

from missedcall_schemas.records import SipMessage

__all__ = [
    "ENDINGS",
    "SHAPES",
    "Call",
    "Plan",
    "load",
    "messages",
    "plan",
    "plans",
    "play",
    "reordered",
    "repeated",
    "thinned",
]


def plans() -> st.SearchStrategy[Plan]:
    """Return plans for Hypothesis; the simplest is one answered call through one proxy."""
    return st.builds(
        Plan,
        shape=st.sampled_from(("proxy", *SHAPES)),
        ending=st.sampled_from(ENDINGS),
        phones=st.integers(1, 4),
        winner=st.integers(0, 3),
        challenged=st.booleans(),
        ring_s=st.sampled_from((2.0, 0.5, 9.0, 35.0, 120.0)),
        talk_s=st.sampled_from((20.0, 3.0, 200.0)),
        reason=st.booleans(),
        retransmits=st.booleans(),
        early_media=st.booleans(),
    )


_WEIGHTS = (50, 14, 8, 2, 5, 2, 4, 0.3, 0.3, 3, 1, 4, 1.4, 1, 1, 1, 0.5, 0.5, 0.5, 0.5)


def plan(rng: Random) -> Plan:
    """Return a plan as a telephone system would see them: most calls are answered, some ring long."""
    return Plan(
        shape=rng.choices(SHAPES, (5, 50, 15, 20, 10))[0],
        ending=rng.choices(ENDINGS, _WEIGHTS)[0],
        phones=rng.choices((1, 2, 3, 4), (60, 25, 10, 5))[0],
        winner=rng.randrange(4),
        challenged=rng.random() < 0.4,
        ring_s=round(min(0.8 + rng.expovariate(1 / 9), 110.0), 3),
        talk_s=round(min(2.6 + rng.expovariate(1 / 90), 1800.0), 3),
        reason=rng.random() < 0.6,
        retransmits=rng.random() < 0.05,
        early_media=rng.random() < 0.1,
    )


def messages(seed: int, calls: int, *, calls_per_s: float = 50.0) -> Iterator[SipMessage]:
    """Yield the messages of `calls` random calls in order of receipt; memory holds open calls only.

    Call number i is `play(plan(rng), index=i, start=i / calls_per_s, seed=str(seed))`.
    """
    rng = Random(seed)
    yield from _overlapping(
        play(plan(rng), index=index, start=index / calls_per_s, seed=str(seed)).messages()
        for index in range(calls)
    )


_MARK = "x00000000"


def load(seed: int, calls: int, *, calls_per_s: float = 50.0, variety: int = 256) -> Iterator[SipMessage]:
    """Yield like `messages`, twenty times as fast: `variety` calls are played, then stamped with new names."""
    rng = Random(seed)
    played = [play(plan(rng), index=index, seed=str(seed), mark=_MARK).messages() for index in range(variety)]
    mark = _MARK.encode()

    def stamped(index: int) -> Iterator[SipMessage]:
        stamp = f"x{index:08d}"
        after_ms = round(index * 1000 / calls_per_s)
        new = stamp.encode()
        for each in played[rng.randrange(variety)]:
            yield SipMessage(
                each.key.replace(_MARK, stamp),
                each.call_id.replace(_MARK, stamp),
                each.captured_ms + after_ms,
                each.received_ms + after_ms,
                each.src,
                each.dst,
                each.transport,
                each.head.replace(mark, new),
                each.agent,
                each.correlation_id.replace(_MARK, stamp),
            )

    yield from _overlapping(stamped(index) for index in range(calls))


def _overlapping(calls: Iterable[Iterable[SipMessage]]) -> Iterator[SipMessage]:
    """Merge calls, given in the order in which they begin."""
    pending: list[tuple[int, int, SipMessage]] = []
    count = 0
    for call in calls:
        first_ms = 0
        for message in call:
            first_ms = first_ms or message.received_ms
            count += 1
            heapq.heappush(pending, (message.received_ms, count, message))
        while pending[0][0] < first_ms:
            yield heapq.heappop(pending)[2]
    while pending:
        yield heapq.heappop(pending)[2]


# -- what a capture does to messages ------------------------------------------------------------------


def repeated(seen: Iterable[SipMessage], rng: Random, share: float = 0.3) -> list[SipMessage]:
    """Return the messages with some of them captured again, up to a second later."""
    made = []
    for message in seen:
        made.append(message)
        while rng.random() < share:
            later = rng.randrange(1000)
            made.append(_moved(message, later))
    return sorted(made, key=lambda each: each.received_ms)


def reordered(seen: Iterable[SipMessage], rng: Random, within_s: float = 2.5) -> list[SipMessage]:
    """Return the messages as late agents deliver them: each up to `within_s` after its time."""
    moved = [_moved(message, rng.randrange(round(within_s * 1000))) for message in seen]
    return sorted(moved, key=lambda each: each.received_ms)


def thinned(seen: Iterable[SipMessage], rng: Random, share: float = 0.05) -> list[SipMessage]:
    """Return the messages without those that the capture lost."""
    return [message for message in seen if rng.random() >= share]


def _moved(message: SipMessage, by_ms: int) -> SipMessage:
    return SipMessage(
        message.key,
        message.call_id,
        message.captured_ms,
        message.received_ms + by_ms,
        message.src,
        message.dst,
        message.transport,
        message.head,
        message.agent,
        message.correlation_id,
    )
