"""Records to bytes and back.

Rule 1: a writer is deterministic: equal records give equal bytes, fields in the order of the struct.
Rule 2: a reader is tolerant: it skips a field that it does not know and gives a missing one its default.
Rule 3: a reader keeps a fact whose cause, outcome, role, confidence or source is newer than itself; what it
        reads instead is in `vocabularies.READ_UNKNOWN_AS`, and the caller may count how often.
Rule 4: bytes that are no such record, and values that have no encoding, give one error: `CodecError`.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct

from .records import CaptureBatch, MissedCall, Person, Preferences, SipMessage, Verdict
from .vocabularies import READ_UNKNOWN_AS, values_of

JSON = "application/json"
MSGPACK = "application/vnd.msgpack"

_WHERE = re.compile(r" - at `([^`]+)`$| \((byte \d+)\)$")
_MAX_WHAT = 200
"""Characters of a reason that are kept. Less: the expected type is cut off. More: a broken record could
carry a page of its own content into a log line."""

_FOREIGN_BYTES = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_NO_ENCODING = (msgspec.MsgspecError, UnicodeEncodeError, OverflowError, TypeError)

R = TypeVar("R", bound=Struct)


class CodecError(ValueError):
    """The bytes are not such a record, or the record has no encoding."""

    def __init__(self, record: str, what: str) -> None:
        place = _WHERE.search(what)
        self.record = record
        """Name of the record that was expected."""
        self.where = (place[1] or place[2]) if place else ""
        """`$.caller.uri` or `byte 12`; "" if the reader could not say."""
        self.what = (what[: place.start()] if place else what)[:_MAX_WHAT]
        """What was found and what was expected."""
        super().__init__(f"{record}: {self.what}" + (f", at {self.where}" if self.where else ""))


def _write(encoder: msgspec.json.Encoder | msgspec.msgpack.Encoder, record: Struct) -> bytes:
    try:
        return encoder.encode(record)
    except _NO_ENCODING as error:
        raise CodecError(type(record).__name__, str(error)) from error


_TO_MSGPACK = msgspec.msgpack.Encoder()
_TO_JSON = msgspec.json.Encoder(order="deterministic")

_MESSAGE = msgspec.msgpack.Decoder(SipMessage)
_BATCH = msgspec.msgpack.Decoder(CaptureBatch)
_MISSED_CALL = msgspec.json.Decoder(MissedCall)
_VERDICT = msgspec.json.Decoder(Verdict)
_PERSON = msgspec.json.Decoder(Person)
_PREFERENCES = msgspec.json.Decoder(Preferences)


def encode_message(message: SipMessage) -> bytes:
    """Return one message as msgpack: an array, fields by position.

    Raises:
        CodecError: a text is not Unicode or an integer needs more than 64 bits.
    """
    return _write(_TO_MSGPACK, message)


def decode_message(data: bytes) -> SipMessage:
    """Read what `encode_message` of any release wrote.

    Raises:
        CodecError: the bytes are no SipMessage.
    """
    try:
        return _MESSAGE.decode(data)
    except _FOREIGN_BYTES as error:
        raise CodecError("SipMessage", str(error)) from error


def encode_batch(batch: CaptureBatch) -> bytes:
    """Return the value of one record of `sip-transactions`: msgpack arrays, fields by position.

    Raises:
        CodecError: a text is not Unicode or an integer needs more than 64 bits.
    """
    return _write(_TO_MSGPACK, batch)


def decode_batch(data: bytes) -> CaptureBatch:
    """Read a value of `sip-transactions`, written by this release, an older or a newer one.

    Raises:
        CodecError: the bytes are no CaptureBatch.
    """
    try:
        return _BATCH.decode(data)
    except _FOREIGN_BYTES as error:
        raise CodecError("CaptureBatch", str(error)) from error


def encode_missed_call(fact: MissedCall) -> bytes:
    """Return the value of one record of `missed-calls`: one line of JSON, every field written.

    Raises:
        CodecError: a text is not Unicode or a number is not finite.
    """
    return _write_json(fact)


def decode_missed_call(data: bytes, unknown: Counter[str] | None = None) -> MissedCall:
    """Read a value of `missed-calls`, written by this release, an older or a newer one.

    Args:
        data: the value as read from the topic.
        unknown: counts, by field, values of a newer release that were read as an older one.

    Raises:
        CodecError: the bytes are no MissedCall, or its `state` is unknown.
    """
    return _read_json(_MISSED_CALL, MissedCall, data, unknown)


def encode_verdict(verdict: Verdict) -> bytes:
    """Return the value of one record of `call-verdicts`: one line of JSON.

    Raises:
        CodecError: a text is not Unicode or a number is not finite.
    """
    return _write_json(verdict)


def decode_verdict(data: bytes, unknown: Counter[str] | None = None) -> Verdict:
    """Read a value of `call-verdicts`, written by this release, an older or a newer one.

    Args:
        data: the value as read from the topic.
        unknown: counts, by field, values of a newer release that were read as an older one.

    Raises:
        CodecError: the bytes are no Verdict.
    """
    return _read_json(_VERDICT, Verdict, data, unknown)


def encode_person(person: Person) -> bytes:
    """Return the value of one record of `directory`: one line of JSON, every field written.

    Raises:
        CodecError: a text is not Unicode.
    """
    return _write_json(person)


def decode_person(data: bytes) -> Person:
    """Read a value of `directory`, written by this release, an older or a newer one.

    Raises:
        CodecError: the bytes are no Person.
    """
    return _read_json(_PERSON, Person, data, None)


def encode_preferences(preferences: Preferences) -> bytes:
    """Return the value of one record of `preferences`: one line of JSON, the fields that were chosen.

    Raises:
        CodecError: a text is not Unicode or a number is not finite.
    """
    return _write_json(preferences)


def decode_preferences(data: bytes) -> Preferences:
    """Read a value of `preferences`, written by this release, an older or a newer one.

    Raises:
        CodecError: the bytes are no Preferences.
    """
    return _read_json(_PREFERENCES, Preferences, data, None)


class Codec(Struct, frozen=True):
    """How one record is written on a topic."""

    record: type[Struct]
    content_type: str
    """Media type of the encoded value."""
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "SipMessage": Codec(SipMessage, MSGPACK, encode_message, decode_message),
        "CaptureBatch": Codec(CaptureBatch, MSGPACK, encode_batch, decode_batch),
        "MissedCall": Codec(MissedCall, JSON, encode_missed_call, decode_missed_call),
        "Verdict": Codec(Verdict, JSON, encode_verdict, decode_verdict),
        "Person": Codec(Person, JSON, encode_person, decode_person),
        "Preferences": Codec(Preferences, JSON, encode_preferences, decode_preferences),
    }
)
"""By the record's name, as the topic files have it."""


def _write_json(record: Struct) -> bytes:
    data = _write(_TO_JSON, record)
    # No field may be null, but JSON has no other word for NaN and infinity: every reader would refuse it.
    if b":null" in data:
        for path, value in _leaves(msgspec.json.decode(data), "$"):
            if value is None:
                raise CodecError(type(record).__name__, f"expected a finite number - at `{path}`")
    return data


def _read_json(
    decoder: msgspec.json.Decoder[R], record: type[R], data: bytes, unknown: Counter[str] | None
) -> R:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        return _read_newer(record, data, unknown, str(error))
    except _FOREIGN_BYTES as error:
        raise CodecError(record.__name__, str(error)) from error


def _read_newer(record: type[R], data: bytes, unknown: Counter[str] | None, first: str) -> R:
    """Read once more with the values of newer vocabularies replaced; `first` is why it was refused."""
    replaced: Counter[str] = Counter()
    try:
        raw = msgspec.json.decode(data)
    except _FOREIGN_BYTES as error:
        raise CodecError(record.__name__, first) from error
    if not isinstance(raw, dict):
        raise CodecError(record.__name__, first)
    _replace_newer_values(raw, record, replaced)
    try:
        value = msgspec.convert(raw, record)
    except _FOREIGN_BYTES as error:
        raise CodecError(record.__name__, str(error)) from error
    if unknown is not None:
        unknown.update(replaced)
    return value


def _replace_newer_values(raw: dict[str, Any], record: type[Struct], replaced: Counter[str]) -> None:
    for field in msgspec.structs.fields(record):
        value = raw.get(field.encode_name)
        if isinstance(value, str):
            known = values_of(field.type)
            stand_in = READ_UNKNOWN_AS.get(field.name)
            if known and value not in known and stand_in is not None:
                raw[field.encode_name] = stand_in
                replaced[field.name] += 1
            continue
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, Struct):
                for item in value if isinstance(value, list) else [value]:
                    if isinstance(item, dict):
                        _replace_newer_values(item, inner, replaced)


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{path}.{key}")]
    if isinstance(value, list):
        return [leaf for at, inner in enumerate(value) for leaf in _leaves(inner, f"{path}[{at}]")]
    return [(path, value)]
