"""What the notifier says in its log, in the words of the shared catalogue.

Rule 1: one line per change that a person may look for: an intent and the begin of an attempt are none.
Rule 2: a line names a delivery by its id; never a caller, a callee, an address or a Call-ID.
"""

from missedcall_common.runtime.events import Event, emit

from .breaker import Breaker
from .delivery import Delivery, State


def log_delivery(delivery: Delivery) -> None:
    """Say what became of a delivery."""
    name, channel, attempts = delivery.delivery_id, delivery.channel, delivery.attempts
    failure, detail = str(delivery.failure or ""), delivery.detail
    match delivery.state:
        case State.PENDING | State.ATTEMPT:
            pass
        case State.SENT:
            took_s = round(delivery.changed_at - max(delivery.opened_at, delivery.not_before), 3)
            emit(
                Event.NOTICE_SENT,
                channel=channel,
                delivery_id=name,
                attempts=attempts,
                ref=delivery.ref,
                took_s=took_s,
            )
        case State.RETRY | State.UNCERTAIN:
            emit(
                Event.NOTICE_RETRY_SCHEDULED,
                channel=channel,
                delivery_id=name,
                attempts=attempts,
                failure=failure,
                detail=detail,
                wait_s=round(delivery.next_at - delivery.changed_at, 1),
            )
        case State.DEAD:
            emit(
                Event.NOTICE_DEAD_LETTERED,
                channel=channel,
                delivery_id=name,
                attempts=attempts,
                failure=failure,
                detail=detail,
            )
        case State.SUPPRESSED:
            emit(Event.NOTICE_SUPPRESSED, channel=channel, delivery_id=name, detail=detail)


def log_breaker(channel: str, before: Breaker, now_is: Breaker, now: float) -> None:
    """Say that a channel was suspended, or goes on."""
    if now_is.gone:
        if not before.gone:
            emit(Event.CHANNEL_GONE, channel=channel)
    elif now_is.failures > before.failures:
        wait_s = round(now_is.opens_at - now, 1)
        emit(Event.CHANNEL_SUSPENDED, channel=channel, failures=now_is.failures, wait_s=wait_s)
    elif now_is.closed and not before.closed:
        emit(Event.CHANNEL_RESUMED, channel=channel)


def log_template(template: str, where: str, error: str) -> None:
    """Say that a template of the operator's was passed over; its own words may hold whom the notice is about."""
    emit(Event.TEMPLATE_FAILED, record=template, where=where, cause=error)
