"""State rows: a call as bytes, and back.

Rule 1: a row is `VERSION` and the call's fields in their order as msgpack; this release reads VERSION and
        VERSION - 1.
Rule 2: fields are only ever appended, with defaults: a row may have fewer fields than this release knows, or more.
Rule 3: a row that is none raises `StateError`, whatever its bytes; nothing is taken from it then.
"""

from typing import Any, Final

import msgspec

from .call import Call, Ruled
from .seen import PLAIN, Caller, Ending, Offer, Retarget, Seen

VERSION: Final = 1
"""Of the state row. Raise it when a field changes its meaning; appending one with a default needs nothing."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class StateError(ValueError):
    """A state row that this release cannot read."""


def encode_row(call: Call) -> bytes:
    """Return the state row: one version byte, then the call as msgpack."""
    row = (
        call.key,
        call.opened_ms,
        call.last_ms,
        call.due_ms,
        [seen_row(seen) for seen in call.seen],
        {call_id: offer_row(hint) for call_id, hint in call.hints.items()},
        {callee: _ruled_row(ruled) for callee, ruled in call.ruled.items()},
        call.forget_ms,
        call.settling,
        call.low_confidence,
        call.held_by or ("", ""),
        call.refused,
    )
    return bytes((VERSION,)) + _encode(row)


def decode_row(row: bytes) -> Call:
    """Read a state row of this release or the one before.

    Raises:
        StateError: an unknown version, or bytes that are no call.
    """
    if not row or row[0] not in (VERSION, VERSION - 1):
        found = row[0] if row else "nothing"
        raise StateError(f"state row of version {found}: this release reads {VERSION - 1} and {VERSION}")
    try:
        return _call(_decode(row[1:]))
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise StateError(f"state row of {len(row)} bytes is no call: {error}") from error


def seen_row(seen: Seen) -> tuple[object, ...]:
    """Return the fields of a message as they stand in a row."""
    offer, ending = seen.offer, seen.ending
    return (
        seen.at_ms,
        seen.method,
        seen.status,
        seen.call_id,
        seen.cseq,
        seen.branch,
        seen.parent,
        seen.vias,
        seen.from_tag,
        seen.to_tag,
        seen.src,
        seen.dst,
        None if offer is None else offer_row(offer),
        None if ending is None else _ending_row(ending),
        seen.request_uri,
        seen.again_ms,
    )


def offer_row(offer: Offer) -> tuple[object, ...]:
    """Return the fields of an offer as they stand in a row."""
    who = offer.caller
    return (
        offer.to,
        (who.uri, who.number, who.display_name, who.anonymous, who.source),
        offer.target,
        offer.contact_like,
        [_retarget_row(entry) for entry in offer.history],
        [_retarget_row(entry) for entry in offer.diversions],
        offer.referred_by,
        offer.replaces,
        offer.media,
        offer.traits,
        offer.links,
    )


def _retarget_row(entry: Retarget) -> tuple[object, ...]:
    return (entry.aor, entry.index, entry.cause, entry.own_contact, entry.reason, entry.voicemail)


def _ending_row(ending: Ending) -> tuple[object, ...]:
    return (
        ending.says,
        ending.dnd,
        ending.blocked,
        ending.machine,
        ending.contacts,
        ending.raw,
        ending.links,
    )


def _ruled_row(ruled: Ruled) -> tuple[object, ...]:
    return (
        ruled.outcome,
        ruled.rule,
        ruled.fact_id,
        ruled.revision,
        ruled.state,
        ruled.cause,
        ruled.verdict_revision,
    )


# -- back: the kinds of the fields, and how many of them any row has ------------------------------------

_CALL: Final = (str, int, int, int, list, dict, dict, int, bool, bool, list, int)
_SEEN: Final = (
    int, str, int, str, int, str, str, int, str, str, str, str, (list, type(None)), (list, type(None)), str, int,
)  # fmt: skip
_OFFER: Final = (str, list, str, bool, list, list, str, str, list, list, list)
_CALLER: Final = (str, str, str, bool, str)
_RETARGET: Final = (str, str, int, bool, str, bool)
_ENDING: Final = (list, bool, bool, str, list, str, list)
_RULED: Final = (str, str, str, int, str, str, int)


def _fields(row: Any, kinds: tuple[Any, ...], required: int) -> list[Any]:
    """Return the fields of ``row`` that this release knows.

    Raises:
        ValueError: they are too few, or one is of another kind.
    """
    if not isinstance(row, list) or len(row) < required:
        raise ValueError(f"expected at least {required} fields")
    for at, (value, kind) in enumerate(zip(row, kinds, strict=False)):
        if not isinstance(value, kind):
            raise ValueError(f"field {at} is a {type(value).__name__}")  # noqa: TRY004 - one error for all
    return row[: len(kinds)]


def _texts(values: list[Any]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"expected a text, not a {type(value).__name__}")  # noqa: TRY004
    return tuple(values)


def _call(row: Any) -> Call:
    fields = _fields(row, _CALL, 5)
    fields[4] = [_seen(seen) for seen in fields[4]]
    if len(fields) > 5:
        fields[5] = {call_id: offer_of(hint) for call_id, hint in fields[5].items()}
    if len(fields) > 6:
        fields[6] = {callee: Ruled(*_fields(ruled, _RULED, 2)) for callee, ruled in fields[6].items()}
    if len(fields) > 10:
        source, destination = _texts(fields[10])
        fields[10] = (source, destination) if destination else None
    return Call(*fields)


def _seen(row: Any) -> Seen:
    fields = _fields(row, _SEEN, 12)
    if len(fields) > 12 and fields[12] is not None:
        fields[12] = offer_of(fields[12])
    if len(fields) > 13 and fields[13] is not None:
        fields[13] = _ending(fields[13])
    return Seen(*fields)


def seen_of(row: list[Any]) -> Seen:
    """Return the message of a row that this process's `seen_row` wrote: nothing is checked."""
    offer, ending = row[12], row[13]
    return Seen(
        row[0],
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        row[8],
        row[9],
        row[10],
        row[11],
        None if offer is None else offer_of(offer),
        None if ending is None else _ending(ending),
        row[14],
        row[15],
    )


def offer_of(row: Any) -> Offer:
    """Return the offer of a row.

    Raises:
        ValueError: it is none.
    """
    fields = _fields(row, _OFFER, 2)
    fields[1] = Caller(*_fields(fields[1], _CALLER, 0))
    for at in (4, 5):
        if len(fields) > at:
            fields[at] = tuple([Retarget(*_fields(entry, _RETARGET, 1)) for entry in fields[at]])
    for at in (8, 9, 10):
        if len(fields) > at:
            fields[at] = _texts(fields[at])
    return Offer(*fields)


_PLAIN: Final[list[Any]] = [[], False, False, "", [], "", []]


def _ending(row: Any) -> Ending:
    if row == _PLAIN:
        return PLAIN
    fields = _fields(row, _ENDING, 0)
    for at in (0, 4, 6):
        if len(fields) > at:
            fields[at] = _texts(fields[at])
    return Ending(*fields)
