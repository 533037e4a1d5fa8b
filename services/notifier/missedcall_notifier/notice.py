"""A fact in plain words: what a person reads.

Rule 1: pure, and the same words for the same fact and time zone, in every process and on every attempt.
Rule 2: the number comes first and the name second, in quotes and with the word of who gave it: callers choose
        their names, hardly anybody chooses his number.
Rule 3: an anonymous caller has no number, no name and no address here, whatever the record holds (RFC 3323).
"""

import math
from datetime import UTC, datetime, tzinfo

from msgspec import Struct

from missedcall_schemas.records import MissedCall, Party

from .sanitise import clean_address, clean_name

LISTED = 5
"""Other users or targets named in a notice; the rest is a number. More: a ring group fills the screen."""

_LATEST = 4102444800.0  # 2100-01-01: beyond it a clock was wrong, and some calendars break

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
"""English, whatever the process's locale."""

NAMED_BY = {
    "p-asserted-identity": "as the telephone network names them",
    "remote-party-id": "as the telephone network names them",
    "from": "as the caller's system names them",
    "": "as the caller's system names them",
}
"""Who vouches for a display name: RFC 3325 s.5 for the network; From is what the caller likes."""


class Notice(Struct, frozen=True):
    """One line to recognise it by, and the text."""

    subject: str
    text: str


class ImplausibleTimeError(ValueError):
    """None of the fact's times can be a time of a call."""


def render(fact: MissedCall, zone: tzinfo = UTC) -> Notice:
    """Return what the callee reads.

    Raises:
        ImplausibleTimeError: no time of the fact lies between 1970 and 2100.
    """
    if fact.state == "retracted":
        return _correction(fact, zone)
    at = when(fact, zone)
    sentence = f"Missed call from {_caller(fact.caller)} at {at:%H:%M}, {reason(fact)}."
    lines = [
        ("When", f"{_date(at)}, {at:%H:%M:%S} ({at:%Z})"),
        ("Caller", caller_in_short(fact.caller)),
        ("Address", _address(fact.caller)),
        ("Called", clean_address(fact.callee)),
        ("Also rang", _list(fact.also_rang)),
        ("Went on to", _list(fact.diverted_via)),
        ("Note", "an emergency service calls back" if fact.urgent else ""),
        ("Note", "part of this call was not captured; it may be incomplete" if fact.blind_window else ""),
    ]
    return Notice(f"Missed call from {caller_in_short(fact.caller)}", _text(sentence, lines))


def when(fact: MissedCall, zone: tzinfo = UTC) -> datetime:
    """Return when the call began, in `zone`.

    Raises:
        ImplausibleTimeError: no time of the fact lies between 1970 and 2100.
    """
    return moment((fact.rang_at, fact.ended_at, fact.decided_at), zone)


def moment(candidates: tuple[float, ...], zone: tzinfo = UTC) -> datetime:
    """Return the first plausible time of `candidates` (POSIX seconds), in `zone`.

    Raises:
        ImplausibleTimeError: none lies between 1970 and 2100.
    """
    for at in candidates:
        if math.isfinite(at) and 0.0 < at < _LATEST:
            return datetime.fromtimestamp(at, UTC).astimezone(zone)
    raise ImplausibleTimeError(f"no time of {candidates!r} lies between 1970 and 2100")


def reason(fact: MissedCall) -> str:
    """Return why the call was missed, in words that follow a comma."""
    rang = _rang(fact)
    if fact.detail == "voicemail-hangup":
        return "hung up during the voicemail greeting"
    if fact.detail == "dnd":
        return "do not disturb was on"
    match fact.cause:
        case "caller-cancelled":
            return f"hung up after {rang}" if rang else "hung up before a phone rang"
        case "no-answer":
            return f"nobody answered within {rang}" if rang else "nobody answered"
        case "unreachable":
            return "no phone could be reached"
        case "busy":
            return "the line was busy"
        case "declined":
            return f"the call was declined after {rang}" if rang else "the call was declined"
        case "blocked":
            return "the call was blocked"


def _correction(fact: MissedCall, zone: tzinfo) -> Notice:
    at = when(fact, zone)
    sentence = (
        f"The call from {caller_in_short(fact.caller)} at {at:%H:%M} was taken after all. "
        "The earlier notice, which said that it was missed, was wrong."
    )
    lines = [("When", f"{_date(at)}, {at:%H:%M:%S} ({at:%Z})"), ("Called", clean_address(fact.callee))]
    return Notice(f"Not missed after all: call from {caller_in_short(fact.caller)}", _text(sentence, lines))


def _text(sentence: str, lines: list[tuple[str, str]]) -> str:
    shown = [f"{label + ':':<12}{value}" for label, value in lines if value]
    return "\n".join([sentence, "", *shown, ""])


def _caller(caller: Party) -> str:
    number, name = caller_number(caller), caller_name(caller)
    if number and name:
        return f"{number} (“{name}”, {NAMED_BY[caller.source]})"
    return caller_in_short(caller)


def caller_in_short(caller: Party) -> str:
    """Return the caller as a list of calls shows him; never ""."""
    number, name = caller_number(caller), caller_name(caller)
    if caller.anonymous:
        return "an anonymous caller"
    if number:
        return f"{number} (“{name}”)" if name else number
    return f"“{name}” ({NAMED_BY[caller.source]})" if name else "an unknown caller"


def caller_number(caller: Party) -> str:
    """Return what to call back: the number, else the address of record; "" if anonymous or unknown."""
    return "" if caller.anonymous else clean_address(caller.number or caller.uri)


def caller_name(caller: Party) -> str:
    """Return the display name, cleaned; "" if there is none besides the number."""
    name = "" if caller.anonymous else clean_name(caller.display_name)
    return "" if name == caller_number(caller) else name


def _address(caller: Party) -> str:
    return "" if caller.anonymous or not caller.number else clean_address(caller.uri)


def _rang(fact: MissedCall) -> str:
    """Return `9 s of ringing on 2 devices`; "" if no phone is known to have rung."""
    if not (math.isfinite(fact.ring_s) and fact.ring_s > 0):
        return ""
    seconds = max(1, round(min(fact.ring_s, 86400.0)))
    spoken = f"{seconds} s" if seconds < 100 else f"{seconds // 60} min {seconds % 60} s"
    devices = f" on {fact.devices_rung} devices" if fact.devices_rung > 1 else ""
    return f"{spoken} of ringing{devices}"


def _list(addresses: tuple[str, ...]) -> str:
    shown = ", ".join(clean_address(address) for address in addresses[:LISTED])
    more = len(addresses) - LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def _date(at: datetime) -> str:
    return f"{WEEKDAYS[at.weekday()]}, {at.day} {MONTHS[at.month - 1]} {at.year}"
