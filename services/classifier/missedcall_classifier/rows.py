"""State rows: a call as bytes, and back.

Rule 1: a row is `VERSION` and the call's fields in their order as msgpack; this release reads VERSION and
        VERSION - 1.
Rule 2: fields are only ever appended, with defaults: a row may have fewer fields than this release knows, or more.
Rule 3: a row that is none raises `StateError`, whatever its bytes; nothing is taken from it then.
"""

from typing import Any, Final

import msgspec

from .call import Call, Ruled
from .seen_rows import fields_of, offer_of, offer_row, seen_of, seen_row, texts_of

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
        call.home,
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


_CALL: Final = (str, int, int, int, list, dict, dict, int, bool, bool, list, int, str)
_RULED: Final = (str, str, str, int, str, str, int)


def _call(row: Any) -> Call:
    fields = fields_of(row, _CALL, 5)
    fields[4] = [seen_of(seen) for seen in fields[4]]
    if len(fields) > 5:
        fields[5] = {call_id: offer_of(hint) for call_id, hint in fields[5].items()}
    if len(fields) > 6:
        fields[6] = {callee: Ruled(*fields_of(ruled, _RULED, 2)) for callee, ruled in fields[6].items()}
    if len(fields) > 10:
        source, destination = texts_of(fields[10])
        fields[10] = (source, destination) if destination else None
    return Call(*fields)
