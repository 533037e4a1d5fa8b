"""A fact in plain words of the reader's language: what a person reads, as values that a template puts in order.

Rule 1: pure, and the same words for the same delivery, in every process and on every attempt.
Rule 2: a name from the directory comes first. A name from the signalling comes behind the number, in quotes and
        with the word of who gave it: callers choose their names, hardly anybody chooses his number.
Rule 3: an anonymous caller has no number, no name and no address here, whatever the record holds (RFC 3323).
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from msgspec import Struct

from missedcall_schemas.records import MissedCall, Party

from .language import Language
from .people import phone
from .reader import Reader
from .sanitise import clean_address, clean_name, is_time

LISTED = 5
"""Other users or targets named in a notice; the rest is a number. More: a ring group fills the screen."""

_MINUTES_FROM_S = 100


class Notice(Struct, frozen=True):
    """One line to recognise it by, and the text in two forms."""

    subject: str
    text: str
    html: str = ""


class Row(Struct, frozen=True):
    """One line of the table in a notice."""

    label: str
    value: str
    link: str = ""
    """`tel:...` (RFC 3966) or `mailto:...`; "" for none."""


class Caller(Struct, frozen=True):
    """The caller as the reader may see him."""

    shown: str
    """Never "": `Alice Miller (030 123)`, `030 123 (“Alice”)`, `an anonymous caller`."""
    number: str = ""
    """What to call back, as the reader writes it: a number, an extension or an address; "" if there is none."""
    e164: str = ""
    """`+493023125001`; "" if it is no number of the world."""
    link: str = ""
    """`tel:+49-30-23125001`; ""."""
    name: str = ""
    """The directory's, else what the signalling says; ""."""
    known: bool = False
    """Whether the name is the directory's, and to be trusted."""
    address: str = ""
    """Address of record; ""."""
    mailbox: str = ""
    """Where the caller gets mail, if the directory knows; ""."""
    anonymous: bool = False


class View(Struct, frozen=True, kw_only=True):
    """What a template is given."""

    kind: str
    """`missed` or `retracted`."""
    language: str
    """BCP 47, for `<html lang>`."""
    subject: str
    sentence: str
    """The notice in one sentence."""
    reason: str
    """Why the call was missed, as the sentence has it."""
    cause: str
    """As on the topic `missed-calls`."""
    caller: Caller
    callee: str
    date: str
    time: str
    zone: str
    """Of the time: `CET`."""
    urgent: bool
    rows: tuple[Row, ...]
    count: int
    """Calls that the notice tells of: 1, or those of one caller that are told together."""
    since: str
    """When the first of them began, the time of day; `time` is that of the last."""
    width: int
    """Characters of the longest label, a colon and a space."""


class ImplausibleTimeError(ValueError):
    """None of the fact's times can be a time of a call."""


def view(
    fact: MissedCall,
    reader: Reader,
    language: Language,
    zone: tzinfo,
    *,
    earlier: Sequence[MissedCall] = (),
    taken: MissedCall | None = None,
) -> View:
    """Return what the templates are given.

    Args:
        fact: what it is about; of several calls the last.
        reader: who reads it.
        language: the reader's.
        zone: the reader's.
        earlier: missed calls of the same caller that are told with it, the earliest first.
        taken: a call of the same caller that is told no more, since it was taken after all.

    Raises:
        ImplausibleTimeError: no time of a fact lies between 1970 and 2100.
    """
    at = when(fact, zone)
    first = when(earlier[0], zone) if earlier else at
    caller = caller_of(fact.caller, reader, language)
    why = reason(fact, language)
    short = _in_sentence(fact.caller, caller, language)
    source = _source(fact.caller, language)
    full = short
    if fact.state == "missed" and caller.name and caller.number and not caller.known:
        full = language.text("caller.named-by", name=caller.name, number=caller.number, source=source)
    clock = language.time(at)
    count, since = 1 + len(earlier), language.time(first)
    times = (_exactly(first, language), _exactly(at, language)) if earlier else (_exactly(at, language),)
    note = language.text("note.taken", time=language.time(when(taken, zone))) if taken else ""
    rows = _rows(fact, reader, caller, language, times, note)
    if earlier:
        subject = language.counted("subject.repeated", count, caller=short)
        within = "sentence.repeated" if since != clock else "sentence.repeated-at"
        sentence = language.counted(within, count, caller=full, since=since, time=clock, reason=why)
    else:
        subject = language.text(f"subject.{fact.state}", caller=short)
        sentence = language.text(f"sentence.{fact.state}", caller=full, time=clock, reason=why)
    return View(
        kind=fact.state,
        language=language.tag,
        subject=subject,
        sentence=sentence,
        reason=why,
        cause=fact.cause,
        caller=caller,
        callee=_person(fact.callee, reader),
        date=language.date(at),
        time=clock,
        zone=language.zone(at),
        urgent=fact.urgent,
        rows=rows,
        count=count,
        since=since,
        width=max((len(row.label) for row in rows), default=0) + 2,
    )


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
        if is_time(at):
            return datetime.fromtimestamp(at, UTC).astimezone(zone)
    raise ImplausibleTimeError(f"no time of {candidates!r} lies between 1970 and 2100")


def caller_of(party: Party, reader: Reader, language: Language) -> Caller:
    """Return the caller as the reader may see him."""
    if party.anonymous:
        return Caller(shown=language.text("caller.anonymous-alone"), anonymous=True)
    read = phone.read(clean_address(party.number or _user_of(party.uri)), reader.region)
    # A user part may look like a number and be none: then the whole address is what can be called.
    number = read.shown if read.e164 or party.number else ""
    number = number or clean_address(party.number or party.uri)
    name = clean_name(reader.caller_name) or clean_name(party.display_name)
    name = "" if name in {number, party.number} else name
    known = bool(reader.caller_name and name)
    if name and number:
        shown = language.text("caller.known" if known else "caller.named", name=name, number=number)
    elif name:
        shown = (
            name if known else language.text("caller.name-only", name=name, source=_source(party, language))
        )
    else:
        shown = number or language.text("caller.unknown-alone")
    address = clean_address(party.uri)
    return Caller(
        shown=shown,
        number=number,
        e164=read.e164,
        link=read.link,
        name=name,
        known=known,
        address="" if address == number else address,
        mailbox=reader.caller_mailbox,
    )


def reason(fact: MissedCall, language: Language) -> str:
    """Return why the call was missed, in words that follow a comma or a colon."""
    detail = f"detail.{'error' if fact.detail.startswith('error-') else fact.detail}"
    if language.has(detail):
        return language.text(detail)
    if not (math.isfinite(fact.ring_s) and fact.ring_s > 0):
        return language.text(f"reason.{fact.cause}.unrung")
    seconds = max(1, round(min(fact.ring_s, 86400.0)))
    minutes = seconds // 60 if seconds >= _MINUTES_FROM_S else 0
    rang = language.text(
        f"rang.{'minutes' if minutes else 'seconds'}{'-devices' if fact.devices_rung > 1 else ''}",
        minutes=minutes,
        seconds=seconds - 60 * minutes,
        devices=fact.devices_rung,
    )
    return language.text(f"reason.{fact.cause}.rang", rang=rang)


def _exactly(at: datetime, language: Language) -> str:
    return f"{language.date(at)}, {language.time(at, seconds=True)} ({language.zone(at)})"


def _rows(
    fact: MissedCall, reader: Reader, caller: Caller, language: Language, times: Sequence[str], note: str
) -> tuple[Row, ...]:
    """Return the table; `times` are that of the call, or those of the first and the last."""
    missed = fact.state == "missed"
    link = caller.link or (f"mailto:{caller.mailbox}" if caller.mailbox else "")
    found = (
        ("when" if len(times) == 1 else "first", times[0], ""),
        ("last", times[-1] if len(times) > 1 else "", ""),
        ("caller", caller.shown if missed else "", link),
        ("address", caller.address if missed else "", ""),
        ("called", _person(fact.callee, reader), ""),
        ("also-rang", _list(fact.also_rang, reader, language) if missed else "", ""),
        ("went-on-to", _list(fact.diverted_via, reader, language) if missed else "", ""),
        ("note", language.text("note.urgent") if missed and fact.urgent else "", ""),
        ("note", language.text("note.blind") if missed and fact.blind_window else "", ""),
        ("note", note, ""),
    )
    return tuple(Row(language.text(f"label.{label}"), value, link) for label, value, link in found if value)


def _in_sentence(party: Party, caller: Caller, language: Language) -> str:
    """Return the caller as he stands in a sentence, which in some languages is not as he stands alone."""
    if party.anonymous:
        return language.text("caller.anonymous")
    return caller.shown if caller.name or caller.number else language.text("caller.unknown")


def _source(party: Party, language: Language) -> str:
    """Return who vouches for a display name: RFC 3325 s.5 for the network; From is what the caller likes."""
    return language.text(f"source.{party.source or 'from'}")


def _person(address: str, reader: Reader) -> str:
    name = clean_name(reader.names.get(address, ""))
    shown = _short(address, reader)
    return f"{name} ({shown})" if name else shown


def _short(address: str, reader: Reader) -> str:
    """Return a telephone number as the reader writes it, any other address as it is."""
    read = phone.read(_user_of(address), reader.region)
    return read.shown if read.e164 else clean_address(address)


def _user_of(address: str) -> str:
    return address.partition(":")[2].partition("@")[0]


def _list(addresses: tuple[str, ...], reader: Reader, language: Language) -> str:
    shown = ", ".join(_person(address, reader) for address in addresses[:LISTED])
    more = len(addresses) - LISTED
    return language.text("list.more", shown=shown, count=more) if more > 0 else shown
