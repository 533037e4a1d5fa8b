"""How fast the classifier's core decides records on one core, and what an open call costs in memory.

    .venv/bin/python benchmarks/classify.py [CALLS] [--ringing CALLS] [--rounds N]

The calls are the random mix of the property tests: direct, through proxies and through a PBX, answered, missed and
all the rest. The same numbers give the same messages. Times are processor time, the best of the rounds; memory
is what the process grew by.
"""

import argparse
import gc
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support import ladder  # noqa: E402 - after the line above, which `support` needs
from support.ladder_capture import EPOCH_MS  # noqa: E402
from support.scenarios import load  # noqa: E402

from missedcall_classifier.build import build_all  # noqa: E402
from missedcall_classifier.call import Call  # noqa: E402
from missedcall_classifier.case import Case  # noqa: E402
from missedcall_classifier.engine import Engine  # noqa: E402
from missedcall_classifier.picture import draw  # noqa: E402
from missedcall_classifier.policy import Policy  # noqa: E402
from missedcall_classifier.seen import Seen, see  # noqa: E402
from missedcall_classifier.verdicts import Ruling, rule_on  # noqa: E402
from missedcall_common.sip.message import parse  # noqa: E402
from missedcall_schemas.codec import decode_batch, encode_batch  # noqa: E402
from missedcall_schemas.records import CaptureBatch, SipMessage  # noqa: E402

CALLS_PER_S = 50.0
"""The busy hour of some 100,000 users: five thousand calls ring, talk or are remembered at a time."""
RINGING_PER_S = 5_000
"""Calls that begin to ring per second until all do, none for longer than it takes to look at it."""
BATCH = 200
POLICY = Policy()

RINGING = """
0.000   alice>proxy        INVITE bob
0.010   proxy>bob.1        INVITE
0.100   bob.1>proxy>alice  180
"""


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("calls", type=int, nargs="?", default=15_000)
    parser.add_argument("--ringing", type=int, default=100_000, metavar="CALLS", help="calls held in memory")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.ringing:
        print_memory(args.ringing)
    if args.calls:
        print_speed(args.calls, args.rounds)
    return 0


# -- memory ----------------------------------------------------------------------------------------


def print_memory(calls: int) -> None:
    """Let ``calls`` calls ring, and say what each of them holds."""
    templates = ladder.parse(RINGING, "ringing").messages()
    rows = Engine(POLICY)
    rows.feed(CaptureBatch("c", 0, 0, EPOCH_MS, tuple(ringing(templates, 100))))
    row = sum(len(value or b"") for _, value in rows.changes()) / 100

    engine = Engine(POLICY)
    before = resident()
    for batch in in_batches(ringing(templates, calls)):
        engine.feed(decode_batch(encode_batch(batch)))  # nothing shared that a topic would not share
        next(engine.changes(), None)
    gc.collect()
    held = resident() - before
    print(
        f"{engine.open_calls:,} calls ring, {len(templates)} messages each: {held / calls:,.0f} bytes a call"
    )
    print(f"in memory, {held / 1e6:,.0f} MB in all; {row:,.0f} bytes as a state row\n")


def ringing(templates: list[SipMessage], calls: int) -> Iterator[SipMessage]:
    """Yield the messages of calls that all ring at the same time, each with names of its own."""
    own = templates[0].call_id.encode()
    for number in range(calls):
        mark = b"%08x" % number
        begin_ms = number * 1000 // RINGING_PER_S
        for each in templates:
            head = each.head.replace(own, mark + own).replace(b"z9hG4bK", b"z9hG4bK" + mark)
            head = head.replace(b";tag=", b";tag=" + mark).replace(b"sip:bob@", b"sip:bob%d@" % number)
            head = head.replace(b"sip:alice@", b"sip:alice%d@" % number)
            call_id = (mark + own).decode()
            at_ms = begin_ms + each.captured_ms
            yield SipMessage(call_id, call_id, at_ms, at_ms, each.src, each.dst, each.transport, head)


def resident() -> int:
    """Return the memory that the process holds, in bytes (Linux, proc(5))."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# -- speed -----------------------------------------------------------------------------------------


def print_speed(made: int, rounds: int) -> None:
    """Time the way from records to decisions, then its stages."""
    messages = list(load(1, made, calls_per_s=CALLS_PER_S))
    records = [encode_batch(batch) for batch in in_batches(messages)]
    heads = [message.head for message in messages]
    legs = by_leg(messages)
    size = sum(map(len, heads)) / len(heads)
    print(f"{made:,} calls, {len(messages):,} messages of {size:,.0f} bytes, {len(records):,} batches\n")
    stages: dict[str, tuple[int, Callable[[], object]]] = {
        "per message": (len(messages), lambda: None),
        "records to decisions (Engine.feed)": (len(messages), lambda: decide(records)),
        "the same with state rows (changes)": (len(messages), lambda: decide(records, write=True)),
        "decode the record (codec.decode_batch)": (len(messages), every(decode_batch, records)),
        "parse the head (sip.message.parse)": (len(messages), every(parse, heads)),
        "parse and read (seen.see)": (
            len(messages),
            every(see, messages, repeat(POLICY.correlation_headers)),
        ),
        "per leg, each including the one above": (len(legs), lambda: None),
        "draw (picture.draw)": (len(legs), every(draw, legs, repeat({}))),
        "build (build.build_all)": (len(legs), every(built, legs)),
        "judge (verdicts.rule_on)": (len(legs), every(judged, legs)),
    }
    for name, (count, stage) in stages.items():
        us = min(timed(stage) for _ in range(rounds)) / count * 1e6
        if us < 0.01:
            print(f"{name:<44}{'us':>8}{'per second':>14}")
        else:
            print(f"  {name:<42}{us:>8.2f}{1e6 / us:>14,.0f}")


def timed(stage: Callable[[], object]) -> float:
    """Return the processor time of one round, in seconds."""
    gc.collect()
    begin = time.process_time()
    stage()
    return time.process_time() - begin


def every(function: Callable[..., object], *columns: Iterable[Any]) -> Callable[[], object]:
    """Return what calls ``function`` for each row of ``columns`` and drops the results."""
    return lambda: deque(map(function, *columns), maxlen=0)


def decide(records: list[bytes], *, write: bool = False) -> None:
    """Decide everything, as a replay does; with ``write`` as a service does, which keeps its state."""
    engine = Engine(POLICY)
    for record in records:
        engine.feed(decode_batch(record))
        deque(islice(engine.changes(), None if write else 1), maxlen=0)
    engine.finish()


def built(leg: list[Seen]) -> list[Case]:
    """Draw and build one leg."""
    picture = draw(leg, {})
    return build_all(picture, POLICY) if picture else []


def judged(leg: list[Seen]) -> list[Ruling]:
    """Draw, build and judge one leg."""
    return rule_on(Call("", 0, 0, 0, []), built(leg), 0, "")


def by_leg(messages: Iterable[SipMessage]) -> list[list[Seen]]:
    """Return what was seen of each Call-ID."""
    legs: dict[str, list[Seen]] = {}
    for message in messages:
        seen = see(message)
        if seen is not None:
            legs.setdefault(seen.call_id, []).append(seen)
    return list(legs.values())


def in_batches(messages: Iterable[SipMessage]) -> Iterator[CaptureBatch]:
    """Yield batches of `BATCH` messages."""
    following = iter(messages)
    sequence = 0
    while group := tuple(islice(following, BATCH)):
        yield CaptureBatch("c", 0, sequence, group[-1].received_ms, group)
        sequence += 1


if __name__ == "__main__":
    sys.exit(main())
