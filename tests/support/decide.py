"""Ladders through an engine, a step at a time."""

from collections.abc import Iterable

from support import ladder
from support.ladder_capture import EPOCH_MS, batches

from missedcall_classifier.decision import Decision
from missedcall_classifier.engine import Engine
from missedcall_schemas.records import CaptureBatch, MissedCall, SipMessage, Verdict


def captured(text: str, name: str = "ladder") -> list[SipMessage]:
    """Return the messages of a ladder in order of receipt."""
    return ladder.parse(text, name).messages()


def feed(engine: Engine, messages: Iterable[SipMessage]) -> list[Decision]:
    """Feed messages as one collector publishes them."""
    return [decision for batch in batches(messages) for decision in engine.feed(batch)]


def tick(engine: Engine, at_s: float, collector: str = "collector-1") -> list[Decision]:
    """Let a collector say that it is `at_s` seconds after the beginning of the ladders."""
    return engine.feed(CaptureBatch(collector, 0, 0, EPOCH_MS + round(at_s * 1000)))


def verdicts(decisions: Iterable[Decision]) -> list[Verdict]:
    """Return what was said about users, in order."""
    return [verdict for decision in decisions for verdict in decision.verdicts]


def facts(decisions: Iterable[Decision]) -> list[MissedCall]:
    """Return what was published, in order."""
    return [fact for decision in decisions for fact in decision.facts]


def rows_of(engine: Engine, rows: dict[str, bytes] | None = None) -> dict[str, bytes]:
    """Return `rows` as a compacted topic holds them after what changed in the engine."""
    kept = dict(rows or {})
    for key, row in engine.changes():
        if row is None:
            kept.pop(key, None)
        else:
            kept[key] = row
    return kept


def memory_of(engine: Engine) -> int:
    """Return how many names and calls an engine holds."""
    index = engine._index
    held = (engine._calls, engine._due, index._legs, index._others, index._callers, index._callees)
    return sum(map(len, held))
