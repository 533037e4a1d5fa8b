"""What a ladder expects, and how a disagreement is shown.

Rule 1: every verdict is expected or the ladder says `...`; every fact is expected, always.
Rule 2: only what an expectation names is compared; times in seconds from the ladder's beginning, with a
        tolerance of what hops and clocks may add.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from support.ladder_capture import EPOCH_MS

from missedcall_classifier.decision import Decision
from missedcall_schemas.records import Cause, MissedCall, Outcome, Verdict

TOLERANCE_S = 0.06

_OUTCOMES: tuple[str, ...] = get_args(Outcome)
_CAUSES: tuple[str, ...] = get_args(Cause)
_BOTH = ("detail", "role", "suppressed", "rang_at", "ring_s", "ended_at", "confidence")
_FACT_ONLY = ("devices_rung", "diverted_via", "also_rang", "urgent", "blind_window")
_CALLER = ("caller", "number", "name", "anonymous", "source")
_KEYS = {*_BOTH, *_FACT_ONLY, *_CALLER, "state", "revision", "rule", "leg"}

Kind = Literal["verdict", "fact"]


@dataclass(slots=True)
class Expectation:
    """One `=>` line."""

    callee: str
    outcome: str
    cause: str = ""
    values: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        values = " ".join(f"{key}={value}" for key, value in self.values.items())
        return " ".join(filter(None, (self.callee, self.outcome, self.cause, values)))


def expectation(words: Sequence[str]) -> Expectation:
    """Read the words of a `=>` line.

    Raises:
        ValueError: a word is none that verdicts know.
    """
    callee, outcome, *rest = words
    for each in outcome.split("|"):
        if each not in _OUTCOMES:
            raise ValueError(f"{each} is no outcome; one of {', '.join(_OUTCOMES)}")
    found = Expectation(callee, outcome)
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals and set(word.split("|")) <= set(_CAUSES):
            found.cause = word
        elif equals and key in _KEYS:
            found.values[key] = value
        else:
            raise ValueError(f"{word} is no cause and no field; fields are {', '.join(sorted(_KEYS))}")
    if (outcome == "missed") != bool(found.cause):
        raise ValueError("`missed` needs a cause, anything else has none")
    return found


def differences(
    expected: Sequence[Expectation],
    decisions: Iterable[Decision],
    *,
    aor: Callable[[str], str],
    call_id: Callable[[str], str],
    open_ended: bool = False,
) -> list[str]:
    """Return what is wrong, one line each; nothing if the decisions are as expected.

    Args:
        expected: the ladder's lines.
        decisions: what the engine decided, in order.
        aor: name -> address of record.
        call_id: leg -> Call-ID.
        open_ended: unexpected verdicts that are not facts are fine.
    """
    decided = list(decisions)
    verdicts = [verdict for decision in decided for verdict in decision.verdicts]
    facts = [fact for decision in decided for fact in decision.facts]
    wrong: list[str] = []
    first_ids: dict[str, str] = {}
    for line in expected:
        callee = aor(line.callee)
        verdict = next((each for each in verdicts if each.callee == callee), None)
        if verdict is None:
            wrong.append(f"expected {line}: no verdict for {callee}")
            continue
        verdicts.remove(verdict)
        wrong += [f"expected {line}: {each}" for each in _verdict_faults(line, verdict, aor, call_id)]
        if line.outcome != "missed" and line.values.get("state") != "retracted":
            continue
        fact = next((each for each in facts if each.callee == callee), None)
        if fact is None:
            wrong.append(f"expected {line}: no fact for {callee}")
            continue
        facts.remove(fact)
        wrong += [f"expected {line}: {each}" for each in _fact_faults(line, fact, verdict, aor)]
        if (
            first_ids.setdefault(callee, fact.fact_id) != fact.fact_id
            and line.values.get("state") == "retracted"
        ):
            wrong.append(f"expected {line}: it retracts another fact_id")
        first_ids[callee] = fact.fact_id
    wrong += [f"unexpected fact: {describe(fact)}" for fact in facts]
    if not open_ended:
        wrong += [f"unexpected verdict: {describe(verdict)}" for verdict in verdicts]
    return wrong


def _verdict_faults(line: Expectation, verdict: Verdict, aor, call_id) -> Iterable[str]:
    if verdict.outcome not in line.outcome.split("|"):
        yield f"outcome is {verdict.outcome}"
    if (verdict.cause or "") not in line.cause.split("|"):
        yield f"cause is {verdict.cause or 'none'}"
    for key, wanted in line.values.items():
        if key in _BOTH or key == "rule":
            if not _same(key, wanted, getattr(verdict, key)):
                yield f"verdict's {key} is {_shown(key, getattr(verdict, key))}"
        elif key in _CALLER:
            yield from _caller_faults(key, wanted, verdict, aor)
        elif key == "leg" and verdict.call_id != call_id(wanted):
            yield f"call_id is {verdict.call_id}"
        elif key == "revision" and verdict.revision != int(wanted):
            yield f"verdict's revision is {verdict.revision}"


def _fact_faults(line: Expectation, fact: MissedCall, verdict: Verdict, aor) -> Iterable[str]:
    state = line.values.get("state", "missed")
    if fact.state != state:
        yield f"the fact says {fact.state}"
    if fact.revision != (2 if state == "retracted" else int(line.values.get("revision", 1))):
        yield f"the fact's revision is {fact.revision}"
    if verdict.fact_id != fact.fact_id:
        yield "verdict and fact differ in fact_id"
    if state == "missed" and fact.cause not in line.cause.split("|"):
        yield f"the fact's cause is {fact.cause}"
    for key, wanted in line.values.items():
        if key in ("diverted_via", "also_rang"):
            people = tuple(aor(each) for each in wanted.split(",") if each)
            if getattr(fact, key) != people:
                yield f"the fact's {key} is {', '.join(getattr(fact, key)) or 'empty'}"
        elif (key in _BOTH or key in _FACT_ONLY) and not _same(key, wanted, getattr(fact, key)):
            yield f"the fact's {key} is {_shown(key, getattr(fact, key))}"
        elif key in _CALLER:
            yield from _caller_faults(key, wanted, fact, aor)


def _caller_faults(key: str, wanted: str, record: Verdict | MissedCall, aor) -> Iterable[str]:
    caller = record.caller
    got = {
        "caller": caller.uri,
        "number": caller.number,
        "name": caller.display_name,
        "anonymous": str(caller.anonymous).lower(),
        "source": caller.source,
    }[key]
    if got != (aor(wanted) if key == "caller" and wanted else wanted):
        yield f"{key} is {got or 'empty'}"


def _same(key: str, wanted: str, got: object) -> bool:
    if wanted == "*":
        return bool(got)
    if key in ("rang_at", "ended_at"):
        return abs(float(str(got)) - EPOCH_MS / 1000 - float(wanted)) <= TOLERANCE_S
    if key == "ring_s":
        return abs(float(str(got)) - float(wanted)) <= TOLERANCE_S
    return str(got).lower() == wanted.lower()


def _shown(key: str, got: object) -> str:
    if key in ("rang_at", "ended_at"):
        return f"{float(str(got)) - EPOCH_MS / 1000:.3f}"
    return str(got) or "empty"


def describe(record: Verdict | MissedCall) -> str:
    """Return one line that says what was decided and by which rule."""
    kind = record.outcome if isinstance(record, Verdict) else f"{record.state} (fact)"
    detail = f"/{record.detail}" if record.detail else ""
    return f"{record.callee} {kind} {record.cause}{detail} role={record.role} rule={record.rule}"


def report(decisions: Iterable[Decision]) -> str:
    """Return what the engine decided, with its evidence, for a failing test."""
    lines = []
    for decision in decisions:
        lines.append(f"call {' + '.join(decision.call_ids)}")
        for verdict in decision.verdicts:
            lines.append(f"  got {describe(verdict)}")
            lines += [f"      near: {near}" for near in verdict.near]
            for each in verdict.evidence:
                at = each.at - EPOCH_MS / 1000
                lines.append(
                    f"      {at:9.3f}  {each.src} > {each.dst}  {each.first_line}  {each.reason}".rstrip()
                )
        lines += [f"  fact {describe(fact)}" for fact in decision.facts]
    return "\n".join(lines) or "nothing was decided"
