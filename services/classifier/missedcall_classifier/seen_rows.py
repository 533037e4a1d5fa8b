"""A message as it stands in a state row: its fields in their order, and back.

Rule 1: fields are only ever appended, with defaults: a row may have fewer fields than this release knows, or more.
Rule 2: a row that is none raises `ValueError`, whatever is in it.
"""

from typing import Any, Final

import msgspec

from .seen import PLAIN, Caller, Ending, Offer, Retarget, Seen

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def pack(messages: list[Seen]) -> bytes:
    """Return messages as bytes, for processes of this release: a fifth of the memory, for each text stands once."""
    texts: dict[str, int] = {}
    rows: list[tuple[object, ...]] = []
    for seen in messages:
        offer, ending = seen.offer, seen.ending
        rows.append(
            (
                seen.at_ms,
                _place(texts, seen.method),
                seen.status,
                _place(texts, seen.call_id),
                seen.cseq,
                _place(texts, seen.branch),
                _place(texts, seen.parent),
                seen.vias,
                _place(texts, seen.from_tag),
                _place(texts, seen.to_tag),
                _place(texts, seen.src),
                _place(texts, seen.dst),
                None if offer is None else offer_row(offer),
                None if ending is None else True if ending is PLAIN else _ending_row(ending),
                _place(texts, seen.request_uri),
                seen.again_ms,
            )
        )
    return _encode((list(texts), rows))


def _place(texts: dict[str, int], text: str) -> int:
    """Return which of the texts it is."""
    place = texts.get(text)
    if place is None:
        place = texts[text] = len(texts)
    return place


def unpack(data: bytes) -> list[Seen]:
    """Return what `pack` packed; nothing is checked."""
    packed: list[Any] = _decode(data)
    texts: list[str] = packed[0]
    rows: list[list[Any]] = packed[1]
    messages: list[Seen] = []
    for row in rows:
        offer, ending = row[12], row[13]
        messages.append(
            Seen(
                row[0],
                texts[row[1]],
                row[2],
                texts[row[3]],
                row[4],
                texts[row[5]],
                texts[row[6]],
                row[7],
                texts[row[8]],
                texts[row[9]],
                texts[row[10]],
                texts[row[11]],
                None if offer is None else offer_of(offer),
                None if ending is None else PLAIN if ending is True else _ending(ending),
                texts[row[14]],
                row[15],
            )
        )
    return messages


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


# -- back: the kinds of the fields -------------------------------------------------------------------------

_SEEN: Final = (
    int, str, int, str, int, str, str, int, str, str, str, str, (list, type(None)), (list, type(None)), str, int,
)  # fmt: skip
_OFFER: Final = (str, list, str, bool, list, list, str, str, list, list, list)
_CALLER: Final = (str, str, str, bool, str)
_RETARGET: Final = (str, str, int, bool, str, bool)
_ENDING: Final = (list, bool, bool, str, list, str, list)


def fields_of(row: Any, kinds: tuple[Any, ...], required: int) -> list[Any]:
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


def texts_of(values: list[Any]) -> tuple[str, ...]:
    """Return a row's list of texts.

    Raises:
        ValueError: one is none.
    """
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"expected a text, not a {type(value).__name__}")  # noqa: TRY004
    return tuple(values)


def seen_of(row: Any) -> Seen:
    """Return the message of a row.

    Raises:
        ValueError: it is none.
    """
    fields = fields_of(row, _SEEN, 12)
    if len(fields) > 12 and fields[12] is not None:
        fields[12] = offer_of(fields[12])
    if len(fields) > 13 and fields[13] is not None:
        fields[13] = _ending(fields[13])
    return Seen(*fields)


def offer_of(row: Any) -> Offer:
    """Return the offer of a row.

    Raises:
        ValueError: it is none.
    """
    fields = fields_of(row, _OFFER, 2)
    fields[1] = Caller(*fields_of(fields[1], _CALLER, 0))
    for at in (4, 5):
        if len(fields) > at:
            fields[at] = tuple([Retarget(*fields_of(entry, _RETARGET, 1)) for entry in fields[at]])
    for at in (8, 9, 10):
        if len(fields) > at:
            fields[at] = texts_of(fields[at])
    return Offer(*fields)


_PLAIN: Final[list[Any]] = [[], False, False, "", [], "", []]


def _ending(row: Any) -> Ending:
    if row == _PLAIN:
        return PLAIN
    fields = fields_of(row, _ENDING, 0)
    for at in (0, 4, 6):
        if len(fields) > at:
            fields[at] = texts_of(fields[at])
    return Ending(*fields)
