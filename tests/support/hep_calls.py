"""Any number of calls for load and kill tests: four ladders, each call with users and a Call-ID of its own."""

import heapq
from collections.abc import Iterator
from functools import cache
from textwrap import dedent

from msgspec.structs import replace
from support import ladder

from missedcall_collector import hep
from missedcall_schemas.records import CaptureBatch, SipMessage

CALLER, CALLEE = b"caller000000", b"callee000000"
USERS = 1_000_000
"""Callers and callees; then they come again."""

LADDERS = (
    """
    # the caller gives up: missed
    0.000  caller000000>proxy>callee000000.1   INVITE callee000000
    0.100  callee000000.1>proxy>caller000000   180
    0.700  caller000000>proxy>callee000000.1   CANCEL
    0.720  callee000000.1>proxy>caller000000   487
    """,
    """
    # answered
    0.000  caller000000>proxy>callee000000.1   INVITE callee000000
    0.100  callee000000.1>proxy>caller000000   180
    0.600  callee000000.1>proxy>caller000000   200
    0.620  caller000000>proxy>callee000000.1   ACK
    1.500  caller000000>proxy>callee000000.1   BYE
    1.520  callee000000.1>proxy>caller000000   200 BYE
    """,
    """
    # busy: missed
    0.000  caller000000>proxy>callee000000.1   INVITE callee000000
    0.100  callee000000.1>proxy>caller000000   486
    """,
    """
    # two phones ring, the caller gives up: missed once
    0.000  caller000000>proxy>callee000000.1   INVITE callee000000
    0.001  proxy>callee000000.2                INVITE callee000000
    0.100  callee000000.1>proxy>caller000000   180
    0.120  callee000000.2>proxy                180
    0.800  caller000000>proxy>callee000000.1   CANCEL
    0.801  proxy>callee000000.2                CANCEL
    0.820  callee000000.1>proxy>caller000000   487
    0.830  callee000000.2>proxy                487
    """,
)
MISSED_OF_FOUR = 3

_SECONDS = b"\x00\x00\x00\x09\x00\x0a"


@cache
def templates() -> tuple[tuple[SipMessage, ...], ...]:
    """Return the messages of each ladder, times in milliseconds since its first."""
    found = []
    for text in LADDERS:
        messages = ladder.parse(dedent(text)).messages()
        first = messages[0].received_ms
        found.append(
            tuple(
                replace(m, captured_ms=m.captured_ms - first, received_ms=m.received_ms - first)
                for m in messages
            )
        )
    return tuple(found)


def one_call(number: int, start_ms: int = 0) -> Iterator[SipMessage]:
    """Yield the messages of call ``number``, whose first is received at ``start_ms``."""
    for message in templates()[number % len(LADDERS)]:
        call_id = f"{number:016x}@10.0.0.10"
        head = message.head.replace(message.call_id.encode(), call_id.encode())
        user = number % USERS
        head = head.replace(CALLER, b"caller%06d" % user).replace(CALLEE, b"callee%06d" % user)
        yield replace(
            message,
            key=call_id,
            call_id=call_id,
            head=head,
            captured_ms=start_ms + message.captured_ms,
            received_ms=start_ms + message.received_ms,
        )


def in_time(
    count: int, calls_per_s: float, start_ms: int = 1_700_000_000_000, first: int = 0
) -> Iterator[SipMessage]:
    """Yield the messages of ``count`` calls from the ``first`` on, in order of time."""
    each = (one_call(first + number, start_ms + int(number * 1000 / calls_per_s)) for number in range(count))
    waiting: list[tuple[int, int, SipMessage, Iterator[SipMessage]]] = []
    for number, call in enumerate(each):
        message = next(call)
        while waiting and waiting[0][0] <= message.received_ms:
            yield from _step(waiting)
        heapq.heappush(waiting, (message.received_ms, number, message, call))
    while waiting:
        yield from _step(waiting)


def _step(waiting: list[tuple[int, int, SipMessage, Iterator[SipMessage]]]) -> Iterator[SipMessage]:
    _, number, message, call = waiting[0]
    yield message
    following = next(call, None)
    if following is None:
        heapq.heappop(waiting)
    else:
        heapq.heapreplace(waiting, (following.received_ms, number, following, call))


def frames(count: int, calls_per_s: float) -> Iterator[tuple[float, bytes]]:
    """Yield the same as HEP v3 frames, each with the seconds after the first at which it is due."""
    start_ms = None
    for message in in_time(count, calls_per_s):
        start_ms = message.received_ms if start_ms is None else start_ms
        frame = hep.encode(
            hep.HepPacket(
                payload=message.head,
                src=message.src,
                dst=message.dst,
                captured_ms=message.captured_ms,
            )
        )
        yield (message.received_ms - start_ms) / 1000, frame


def dated(frame: bytes, now_ms: int) -> bytes:
    """Return the frame as if it had been captured at ``now_ms``."""
    at = frame.index(_SECONDS) + len(_SECONDS)
    seconds, millis = divmod(now_ms, 1000)
    return (
        frame[:at]
        + seconds.to_bytes(4, "big")
        + frame[at + 4 : at + 10]
        + (millis * 1000).to_bytes(4, "big")
        + frame[at + 14 :]
    )


def batches(count: int, calls_per_s: float, span_ms: int = 200, ticks: int = 400) -> Iterator[CaptureBatch]:
    """Yield the calls as batches of one collector, and then as many seconds of ticks."""
    sequence = 0
    held: list[SipMessage] = []
    until = clock_ms = 0
    for message in in_time(count, calls_per_s):
        if held and message.received_ms >= until:
            yield CaptureBatch("missedcall", 1, sequence, clock_ms, tuple(held))
            sequence += 1
            held = []
        if not held:
            until = message.received_ms + span_ms
        held.append(message)
        clock_ms = message.received_ms
    yield CaptureBatch("missedcall", 1, sequence, clock_ms, tuple(held))
    for second in range(1, ticks + 1):
        yield CaptureBatch("missedcall", 1, sequence + second, clock_ms + second * 1000)
