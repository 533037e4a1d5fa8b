"""What the notifier says in its log: a closed catalogue, one line per change that a person may look for.

Rule 1: a line names deliveries by their id, and channels; never a caller, a callee, an address or a Call-ID.
Rule 2: an event is a noun and what happened to it; its level says whether somebody has to act.
"""

import logging
from enum import StrEnum

from .breaker import Breaker
from .delivery import Delivery, State

_log = logging.getLogger("missedcall.notifier")


class Event(StrEnum):
    """The names, each with its level and fields."""

    NOTICE_SENT = "notice.sent"
    """info: channel, delivery, attempts, ref"""
    NOTICE_RETRY_SCHEDULED = "notice.retry_scheduled"
    """warning: channel, delivery, attempts, failure, detail, wait_s"""
    NOTICE_DEAD_LETTERED = "notice.dead_lettered"
    """error: channel, delivery, attempts, failure, detail; a person has to look"""
    NOTICE_SUPPRESSED = "notice.suppressed"
    """info: channel, delivery, detail"""
    CHANNEL_PAUSED = "channel.paused"
    """error: channel, failures, wait_s; the settings or the target need a person, nothing is lost"""
    CHANNEL_RESUMED = "channel.resumed"
    """warning: channel"""


def log_delivery(delivery: Delivery) -> None:
    """Say what became of a delivery; nothing of an intent or an attempt under way."""
    named = {"channel": delivery.channel, "delivery": delivery.delivery_id, "attempts": delivery.attempts}
    failed = {"failure": delivery.failure, "detail": delivery.detail}
    match delivery.state:
        case State.SENT:
            _emit(logging.INFO, Event.NOTICE_SENT, named | {"ref": delivery.ref})
        case State.RETRY | State.UNCERTAIN:
            wait_s = round(delivery.next_at - delivery.changed_at, 1)
            _emit(logging.WARNING, Event.NOTICE_RETRY_SCHEDULED, named | failed | {"wait_s": wait_s})
        case State.DEAD:
            _emit(logging.ERROR, Event.NOTICE_DEAD_LETTERED, named | failed)
        case State.SUPPRESSED:
            _emit(logging.INFO, Event.NOTICE_SUPPRESSED, named | {"detail": delivery.detail})
        case State.PENDING | State.ATTEMPT:
            pass


def log_breaker(channel: str, before: Breaker, now_is: Breaker, now: float) -> None:
    """Say that a channel was paused or goes on."""
    if now_is.failures > before.failures:
        wait_s = round(now_is.opens_at - now, 1)
        fields = {"channel": channel, "failures": now_is.failures, "wait_s": wait_s}
        _emit(logging.ERROR, Event.CHANNEL_PAUSED, fields)
    elif now_is.closed and not before.closed:
        _emit(logging.WARNING, Event.CHANNEL_RESUMED, {"channel": channel})


def _emit(level: int, event: Event, fields: dict[str, object]) -> None:
    shown = " ".join(f"{name}={value}" for name, value in fields.items() if value not in {None, ""})
    _log.log(level, "%s %s", event.value, shown, extra={"event": event.value, "fields": fields})
