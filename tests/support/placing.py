"""A call decided as on Kafka, at worst: each key has a partition of its own, which sees no other's messages."""

from collections.abc import Iterable
from itertools import count

from support.ladder_capture import batches

from missedcall_classifier.decision import Decision
from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_collector.correlation import CorrelationRules, LegKeys
from missedcall_common.placing import BETWEEN
from missedcall_common.sip.peek import peek
from missedcall_schemas.records import CaptureBatch, SipMessage


def keys_of(messages: Iterable[SipMessage], policy: Policy, *, forgets: bool = False) -> list[list[str]]:
    """Return the keys of each message; one that ``forgets`` stands for a collector that saw no other message."""
    rules = CorrelationRules(policy.correlation_headers, policy.call_id_suffixes)
    legs = LegKeys(rules)
    found = []
    for message in messages:
        if forgets:
            legs = LegKeys(rules)
        seen = peek(message.head)
        key = legs.key(message.head, message.call_id, seen.method, seen.status, message.correlation_id)
        found.append(key.split(BETWEEN))
    return found


def decide(messages: list[SipMessage], policy: Policy) -> list[Decision]:
    """Return what one partition decides that sees all."""
    engine = Engine(policy)
    decisions = [decision for batch in batches(messages) for decision in engine.feed(batch)]
    return decisions + engine.finish()


def decide_apart(messages: list[SipMessage], policy: Policy, *, forgets: bool = False) -> list[Decision]:
    """Return what the partitions decide together."""
    keys = {
        id(message): found
        for message, found in zip(messages, keys_of(messages, policy, forgets=forgets), strict=True)
    }
    decisions: list[Decision] = []
    for key in sorted({each for found in keys.values() for each in found}):
        engine, numbers = Engine(policy), count()
        for batch in batches(messages):
            mine = tuple(message for message in batch.messages if key in keys[id(message)])
            one = CaptureBatch(batch.collector, batch.incarnation, next(numbers), batch.clock_ms, mine)
            decisions += engine.feed(one)
        decisions += engine.finish()
    return decisions


def told(decisions: list[Decision]) -> list[tuple[str, str]]:
    """Return callee and cause of each notice that stands at the end."""
    standing: dict[str, tuple[str, str]] = {}
    for decision in decisions:
        for fact in decision.facts:
            if fact.state == "missed" and not fact.suppressed:
                standing[fact.fact_id] = (fact.callee, fact.cause)
            else:
                standing.pop(fact.fact_id, None)
    return sorted(standing.values())
