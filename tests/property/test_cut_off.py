"""One of two collectors is not heard by Kafka for a while: its backlog comes late, in order."""

from pathlib import Path

import pytest
from support import ladder
from support.placing import decide, told

from missedcall_classifier.engine import IDLE_COLLECTOR_S, Engine
from missedcall_classifier.policy import Policy
from missedcall_schemas.records import CaptureBatch, SipMessage

FOLDER = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.stem for path in FOLDER.glob("*.trace"))
STEP_MS = 500


def decided(
    messages: list[SipMessage], policy: Policy, *, after_ms: int, for_ms: int
) -> list[tuple[str, str]]:
    """Return who is told if one collector hears all messages and is cut off ``after_ms`` the first of them."""
    engine = Engine(policy)
    begin_ms = messages[0].received_ms + after_ms
    end_ms = begin_ms + for_ms
    decisions, rest = [], list(messages)
    first_ms = min(begin_ms, messages[0].received_ms)
    last_ms = max(end_ms, messages[-1].received_ms) + STEP_MS
    for number, clock_ms in enumerate(range(first_ms, last_ms + 1, STEP_MS)):
        decisions += engine.feed(CaptureBatch("other", 1, number, clock_ms))
        if not begin_ms <= clock_ms < end_ms:
            due = tuple(message for message in rest if message.received_ms <= clock_ms)
            rest = rest[len(due) :]
            decisions += engine.feed(CaptureBatch("cut-off", 1, number, clock_ms, due))
    return told(decisions + engine.finish())


@pytest.mark.parametrize("name", NAMES)
def test_for_less_than_others_wait_for_it_nothing_changes(name):
    trace = ladder.load(FOLDER / f"{name}.trace")
    messages = list(trace.messages())
    usual = told(decide(messages, trace.policy))
    whole_ms = messages[-1].received_ms - messages[0].received_ms
    for_ms = int(IDLE_COLLECTOR_S * 1000) - 2 * STEP_MS

    for part in range(4):
        after_ms = whole_ms * part // 4 + 1
        assert decided(messages, trace.policy, after_ms=after_ms, for_ms=for_ms) == usual


@pytest.mark.parametrize("name", NAMES)
def test_calls_that_are_whole_in_the_backlog_are_decided_as_if_in_time(name):
    trace = ladder.load(FOLDER / f"{name}.trace")
    messages = list(trace.messages())
    for_ms = 600_000 + messages[-1].received_ms - messages[0].received_ms

    assert decided(messages, trace.policy, after_ms=-1000, for_ms=for_ms) == told(
        decide(messages, trace.policy)
    )
