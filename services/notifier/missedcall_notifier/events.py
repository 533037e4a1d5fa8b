"""What the notifier says in its log, in the words of the shared catalogue.

Rule 1: one line per change that a person may look for: an intent and the begin of an attempt are none.
Rule 2: a line names a delivery by its id; never a caller, a callee, an address or a Call-ID.
"""

from missedcall_common.runtime.events import Event, Fields, emit
from missedcall_common.runtime.sampling import CallTrace

from .breaker import Breaker
from .delivery import Delivery, State


def log_delivery(delivery: Delivery, call: CallTrace | None = None) -> None:
    """Say what became of a delivery; `call` if its call is traced."""
    said: Fields = {"channel": delivery.channel, "delivery_id": delivery.delivery_id}
    if call is not None:
        said["trace_id"] = call.name
    match delivery.state:
        case State.PENDING | State.ATTEMPT:
            return
        case State.SENT:
            event = Event.NOTICE_SENT
            took_s = round(delivery.changed_at - max(delivery.opened_at, delivery.not_before), 3)
            said |= {"attempts": delivery.attempts, "ref": delivery.ref, "took_s": took_s}
        case State.RETRY | State.UNCERTAIN:
            event = Event.NOTICE_RETRY_SCHEDULED
            said |= _failed(delivery)
            said["wait_s"] = round(delivery.next_at - delivery.changed_at, 1)
        case State.DEAD:
            event = Event.NOTICE_DEAD_LETTERED
            said |= _failed(delivery)
        case State.SUPPRESSED:
            event = Event.NOTICE_SUPPRESSED
            said["detail"] = delivery.detail
    emit(event, **said)


def _failed(delivery: Delivery) -> Fields:
    failure = str(delivery.failure or "")
    return {"attempts": delivery.attempts, "failure": failure, "detail": delivery.detail}


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
