"""A notice of every kind, to try templates with."""

from collections.abc import Iterator
from typing import get_args

from msgspec.structs import replace

from missedcall_schemas.records import Cause, MissedCall, Party

from .delivery import Delivery, intent
from .reader import Reader
from .series import Series

_AT = 1_795_430_527.0
_NAMED = Party(uri="sip:alice@example.net", number="+493023125001", display_name="Alice", source="from")
_CALLERS = (
    _NAMED,
    Party(uri="sip:alice@example.net", display_name='<b>"Alice" & Co</b>', source="p-asserted-identity"),
    Party(number="613"),
    Party(display_name="Alice", source="from"),
    Party(anonymous=True),
    Party(),
)
_KNOWN = Reader(region="DE", caller_name="Alice Miller", caller_mailbox="alice@example.net")


def samples(locale: str) -> Iterator[Delivery]:
    """Yield deliveries to a reader of this language."""
    for caller in _CALLERS:
        for state in ("missed", "retracted"):
            yield _delivery(locale, caller=caller, state=state)
    for cause in get_args(Cause):
        yield _delivery(locale, cause=cause, ring_s=0.0, devices_rung=0)
    others = tuple(f"sip:user{n}@example.com" for n in range(7))
    yield _delivery(locale, also_rang=others, diverted_via=others[:1], urgent=True, blind_window=True)
    yield _delivery(locale, reader=_KNOWN)
    once = _delivery(locale, reader=_KNOWN)
    series = Series(key="sample", within_s=600.0, others=(replace(once.fact, fact_id="earlier"),) * 2)
    yield replace(once, series=series)
    yield replace(_delivery(locale, reader=_KNOWN, revision=2, state="retracted"), series=series)


def described(delivery: Delivery) -> str:
    """Return which sample it is: `missed, caller-cancelled, anonymous caller`."""
    fact, caller = delivery.fact, delivery.fact.caller
    parts = {"number": caller.number, "name": caller.display_name, "address": caller.uri}
    told = " and ".join(name for name, value in parts.items() if value)
    who = "anonymous caller" if caller.anonymous else f"caller with {told}" if told else "unknown caller"
    return f"{fact.state}, {fact.cause}, {who}"


def _delivery(locale: str, *, reader: Reader = _KNOWN, **changes: object) -> Delivery:
    if "caller" in changes:
        reader = Reader()
    given: dict[str, object] = {
        "fact_id": "sample",
        "call_id": "sample@example.com",
        "callee": "sip:bob@example.com",
        "caller": _NAMED,
        "cause": "caller-cancelled",
        "rang_at": _AT,
        "ring_s": 9.2,
        "ended_at": _AT + 9.4,
        "devices_rung": 2,
        "rule": "sample",
        "decided_at": _AT + 12.4,
    }
    fact = MissedCall(**(given | changes))  # type: ignore[arg-type]
    spoken = Reader(
        locale=locale, region="DE", caller_name=reader.caller_name, caller_mailbox=reader.caller_mailbox
    )
    return intent(fact, "sample", "bob@example.com", _AT, reader=spoken)
