"""`missedcall replay`: captures in, every call decided, nothing sent.

Rule 1: the log goes on for ever: after the last message every open call is decided.
Rule 2: facts are printed when they are decided; a retraction is a second line with the same fact_id.
Rule 3: what was readable is printed before the complaint about what was not.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from shutil import get_terminal_size
from typing import TextIO

from missedcall_classifier.decision import Decision
from missedcall_classifier.engine import Engine
from missedcall_schemas import codec
from missedcall_schemas.records import CaptureBatch, MissedCall, Party, Verdict

from . import table
from .ahead import Ahead, worth
from .policy_input import InputError, policy_of
from .progress import Progress
from .source import COLLECTOR, Sources
from .table import Column

WIDTH_OF_A_PIPE = 160
"""What columns are laid out for if nobody looks: wide, and cells are not cut."""
FOR_EVER_MS = 366 * 86_400_000
"""No timer of a policy is longer: the configuration allows a day."""

FACTS = (
    Column("RANG AT", 19),
    Column("CAUSE", 16),
    Column("RANG", 5, right=True, optional=True),
    Column("CALLEE", 0, flexible=True),
    Column("CALLER", 0, flexible=True),
    Column("RULE", 24, optional=True),
)
VERDICTS = (
    Column("RANG AT", 19),
    Column("OUTCOME", 21),
    Column("CAUSE", 16, optional=True),
    Column("CALLEE", 0, flexible=True),
    Column("CALLER", 0, flexible=True),
    Column("RULE", 24, optional=True),
)

Rows = Callable[[Decision], Iterable[str]]
"""What is printed for one decision, line ends included."""


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    try:
        policy = policy_of(args)
    except InputError as error:
        print(table.printable_lines(str(error)), file=sys.stderr)
        return 2
    engine = Engine(policy)
    sources: Sources | Ahead
    if worth(args.files):
        sources = Ahead(args.files, args.zone, policy)
        steps = (engine.feed_read(batch) for batch in sources.batches())
    else:
        sources = Sources(args.files, args.zone)
        steps = (engine.feed(batch) for batch in sources.batches())
    tally = Tally()
    rows = json_rows(args.verdicts) if args.format == "jsonl" else table_rows(args.verdicts, sys.stdout)
    with Progress() as progress:
        for decisions in decided(engine, steps, sources, progress):
            progress.clear()
            for decision in decisions:
                tally.take(decision)
                sys.stdout.writelines(rows(decision))
            sys.stdout.flush()
    if args.stats:
        sys.stderr.writelines(
            f"{text}\n" for text in tally.lines(sources.read, sources.counts + engine.counts)
        )
    return complain(sources)


def complain(sources: Sources | Ahead) -> int:
    """Print a line per file that could not be read to its end; return the exit status that goes with it."""
    for error in sources.errors:
        print(table.printable(error), file=sys.stderr)
    return 2 if sources.errors else 0


def decided(
    engine: Engine, steps: Iterable[list[Decision]], sources: Sources | Ahead, progress: Progress
) -> Iterator[list[Decision]]:
    """Yield what was decided of the batches of ``sources`` at each step of ``engine``, and at the end."""
    for decisions in steps:
        if decisions:
            yield decisions
        # Nobody keeps the state of a replay: what changed is forgotten, not written.
        next(engine.changes(), None)
        if progress.due:
            progress.show(f"{reading(sources, progress)}, {engine.open_calls:,} calls open")
    # The log goes on for ever, without another message: every timer runs out, those of late answers too.
    end = CaptureBatch(COLLECTOR, 0, 0, engine.clock_ms + FOR_EVER_MS)
    if decisions := engine.feed(end) + engine.finish():
        yield decisions


def reading(sources: Sources | Ahead, progress: Progress) -> str:
    """Return how far reading is: `42 %, 1,000,000 messages, 50,000/s`."""
    rate = sources.read / (time.monotonic() - progress.started)
    percent = f"{sources.share:.0%}, " if sources.share else ""
    return f"{percent}{sources.read:,} messages, {rate:,.0f}/s"


def json_rows(verdicts: bool) -> Rows:
    """Return the printer of jsonl: one record per line."""
    if verdicts:
        return lambda decision: [codec.encode_verdict(v).decode() + "\n" for v in decision.verdicts]
    return lambda decision: [codec.encode_missed_call(f).decode() + "\n" for f in decision.facts]


def table_rows(verdicts: bool, out: TextIO) -> Rows:
    """Print the heading to ``out`` and return the printer of its rows."""
    whole = not out.isatty()
    total = WIDTH_OF_A_PIPE if whole else get_terminal_size().columns
    columns = table.fit(VERDICTS if verdicts else FACTS, total)
    titles = [column.title for column in columns]

    def row(values: dict[str, str]) -> str:
        return table.line(columns, [values[title] for title in titles], whole=whole) + "\n"

    out.write(row({title: title for title in titles}))
    if verdicts:
        return lambda decision: [row(verdict_cells(verdict)) for verdict in decision.verdicts]
    return lambda decision: [row(fact_cells(fact)) for fact in decision.facts]


def fact_cells(fact: MissedCall) -> dict[str, str]:
    """Return a fact's cells by column title."""
    return {
        "RANG AT": when(fact.rang_at),
        "CAUSE": "retracted" if fact.state == "retracted" else fact.cause,
        "RANG": f"{fact.ring_s:.0f} s",
        "CALLEE": short(fact.callee),
        "CALLER": caller(fact.caller),
        "RULE": fact.rule,
    }


def verdict_cells(verdict: Verdict) -> dict[str, str]:
    """Return a verdict's cells by column title."""
    return {
        "RANG AT": when(verdict.rang_at),
        "OUTCOME": verdict.outcome,
        "CAUSE": verdict.cause,
        "CALLEE": short(verdict.callee),
        "CALLER": caller(verdict.caller),
        "RULE": verdict.rule,
    }


def when(at: float) -> str:
    """Return POSIX seconds as date and time of the local time zone; "" for 0, which says unknown."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else ""


def short(address: str) -> str:
    """Return an address of record as people write it: without the scheme that nearly all of them have."""
    return address.removeprefix("sip:")


def caller(party: Party) -> str:
    """Return the caller as one cell."""
    return "anonymous" if party.anonymous else short(party.uri) or party.number or "unknown"


class Tally:
    """What `--stats` counts."""

    def __init__(self) -> None:
        self.facts: Counter[str] = Counter()

    def take(self, decision: Decision) -> None:
        """Count the facts of one decision."""
        self.facts.update("retracted" if fact.state == "retracted" else fact.cause for fact in decision.facts)

    def lines(self, read: int, counts: Counter[str]) -> Iterator[str]:
        """Yield the lines of `--stats`: what was read, what was missed, and what became of everything else.

        Args:
            read: messages.
            counts: everything else that the readers and the engine counted, by cause.
        """
        yield f"{read:>12}  messages"
        yield from _counted("missed ", self.facts)
        yield from _counted("", counts)


def _counted(title: str, counts: Counter[str]) -> Iterator[str]:
    for name, count in sorted(counts.items()):
        yield f"{count:>12}  {title}{name}"
