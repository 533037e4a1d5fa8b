"""`missedcall explain`: one call, its ladder, the rule that fired, and who is told and who is not.

Rule 1: one pass in bounded memory: the engine keeps the ladders of the calls it remembers, nothing else does.
Rule 2: an unknown Call-ID is answered with what is known of it, never with a similar one.
Rule 3: what is shown is what was decided: the records and the rule table, nothing is worked out anew.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from shutil import get_terminal_size

from missedcall_classifier.decision import Decision
from missedcall_classifier.engine import Engine
from missedcall_classifier.rules import RULES
from missedcall_schemas.records import CaptureBatch, Evidence, Verdict

from . import drawing, telling
from .joins import Joins
from .policy_input import InputError, policy_of
from .progress import Progress
from .replay import caller, complain, decided, short, when
from .source import Sources
from .table import printable, printable_lines

WIDTH_OF_A_PIPE = 132
"""What the ladder is drawn for if nobody looks: a wide page."""

SOURCES = {
    "secondary": "RFC 7044 s.10.2; rows 24, 34, 35",
    "group-member": "row 37",
    "member-told": "the policy's members; row 37",
    "answered-by-another": "row 36",
} | {rule.name: rule.source for rule in RULES}
"""By rule; the first few are of users whom the call only reached as well."""


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit status: 1 if no such call was decided."""
    try:
        policy = policy_of(args)
    except InputError as error:
        print(printable_lines(str(error)), file=sys.stderr)
        return 2
    sources = Sources(args.files, args.zone)
    search = Search(args.call_id)
    joins = Joins(policy)
    with Progress() as progress:
        batches = _watched(sources.batches(), search, joins)
        engine = Engine(policy, keep_ladders=True)
        steps = (engine.feed(batch) for batch in batches)
        for decisions in decided(engine, steps, sources, progress):
            search.take(decisions)
    width = get_terminal_size().columns if sys.stdout.isatty() else WIDTH_OF_A_PIPE
    for number, decision in enumerate(search.found, 1):
        if number > 1:
            print(f"Decision {number}, after messages that came when the call had been decided:")
        sys.stdout.writelines(f"{text}\n" for text in explanation(decision, joins, width))
    if not search.found:
        sys.stdout.flush()
        print(printable(search.missing()), file=sys.stderr)
    return complain(sources) or int(not search.found)


def _watched(batches: Iterator[CaptureBatch], search: "Search", joins: Joins) -> Iterator[CaptureBatch]:
    for batch in batches:
        for message in batch.messages:
            search.note(message.call_id, message.head)
            joins.note(message)
        yield batch


class Search:
    """Looks for one Call-ID, and remembers what it was seen in if no call comes of it."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.found: list[Decision] = []
        """The decisions about the call; a later one revises an earlier one."""
        self.calls = 0
        self._messages = 0
        self._methods: Counter[str] = Counter()

    def note(self, call_id: str, head: bytes) -> None:
        """Take one message's Call-ID and head."""
        if call_id == self.call_id:
            self._messages += 1
            method = head[:32].split(b" ", 1)[0].decode("ascii", "replace")
            if not method.startswith("SIP/"):
                self._methods[method] += 1

    def take(self, decisions: list[Decision]) -> None:
        """Keep those that are about the call."""
        self.calls += len(decisions)
        self.found += [decision for decision in decisions if self.call_id in decision.call_ids]

    def missing(self) -> str:
        """Return one line that helps on when no call was found."""
        if not self._messages:
            return (
                f"no message of a call has the Call-ID {self.call_id}; calls decided: {self.calls}, "
                "`missedcall replay --verdicts --format jsonl` lists their Call-IDs"
            )
        methods = ", ".join(sorted(self._methods)) or "responses only"
        return (
            f"no call begins with the Call-ID {self.call_id}; "
            f"messages that have it: {self._messages} ({methods})"
        )


def explanation(decision: Decision, joins: Joins, width: int) -> Iterator[str]:
    """Yield the lines that explain one decision."""
    legs = drawing.leg_names(decision.call_ids)
    start = drawing.start_of(decision.ladder)
    yield from _call(decision, start)
    yield from _legs(legs, joins)
    yield ""
    evidence = {message for verdict in decision.verdicts for message in verdict.evidence}
    yield from drawing.draw(decision.ladder, legs, width, evidence)
    if evidence:
        yield "* what a rule fired on"
    retracted = {fact.callee for fact in decision.facts if fact.state == "retracted"}
    for verdict in decision.verdicts:
        yield ""
        yield f"{printable(short(verdict.callee))}  " + telling.headline(
            verdict, retracted=verdict.callee in retracted
        )
        yield from _verdict(verdict, start, legs)
    yield ""


def _call(decision: Decision, start: float) -> Iterator[str]:
    parties = {caller(verdict.caller) for verdict in decision.verdicts}
    yield f"Call from {printable(', '.join(sorted(parties)) or 'unknown')}, {when(start)}, " + (
        f"{decision.ladder[-1].at - start:.1f} s, {len(decision.ladder)} messages"
        if decision.ladder
        else "no messages"
    )


def _legs(legs: Mapping[str, str], joins: Joins) -> Iterator[str]:
    if len(legs) == 1:
        yield f"Call-ID {printable(next(iter(legs)))}"
        return
    for call_id, letter in legs.items():
        yield f"Leg {letter}  {printable(call_id)}"
        yield f"       {printable(joins.why(call_id, legs))}"


def _verdict(verdict: Verdict, start: float, legs: Mapping[str, str]) -> Iterator[str]:
    yield f"  because   {telling.why(verdict)}"
    source = SOURCES.get(verdict.rule)
    yield f"  rule      {verdict.rule}" + (f" ({source})" if source else "")
    title = "fired on"
    for message in verdict.evidence:
        yield f"  {title:<9} {printable(_shown(message, start, legs))}"
        title = ""
    if verdict.near:
        yield f"  near      {', '.join(verdict.near)}: held as well, but stand below it"
    if verdict.role != "primary":
        yield f"  role      {verdict.role}"
    if verdict.confidence == "low":
        yield "  joined    by resemblance only: low confidence"


def _shown(message: Evidence, start: float, legs: Mapping[str, str]) -> str:
    leg = f"{legs.get(message.call_id, '?')}  " if len(legs) > 1 else ""
    route = f"{message.src or drawing.UNKNOWN} -> {message.dst or drawing.UNKNOWN}"
    reason = f"  [{message.reason}]" if message.reason else ""
    return f"{message.at - start:+.3f}  {leg}{route}  {message.first_line}{reason}"
