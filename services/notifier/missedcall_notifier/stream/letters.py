"""Dead deliveries on `dead-letters`, and what asks for them to be tried again on `notify-redrive`.

Rule 1: a letter holds the whole delivery: whoever reads it can tell whom it was for, why it failed, and send it
        again under the same name.
Rule 2: a request says which version of the delivery it means: made twice, or come late, it changes nothing.
"""

import base64
import binascii
from typing import TypeVar

import msgspec
from msgspec import Struct

from missedcall_notifier.delivery import Delivery, State, decode, encode

T = TypeVar("T")


class DeadDelivery(Struct, frozen=True, kw_only=True):
    """A record of `dead-letters`; the first three fields are those of every dead letter."""

    topic: str
    """The journal, without prefix and generation."""
    error: str
    """The failure."""
    record: str
    """The delivery as JSON, base64."""
    channel: str
    delivery_id: str
    detail: str
    attempts: int
    at: float
    """When it was given up, POSIX seconds."""
    part: int
    """The partition of the journal, and of the fact."""

    def delivery(self) -> Delivery:
        """Return the delivery.

        Raises:
            LetterError: it is none.
        """
        return _delivery(self.record)


class Request(Struct, frozen=True, kw_only=True):
    """A record of `notify-redrive`."""

    channel: str
    part: int
    asked_at: float
    record: str
    """The dead delivery as JSON, base64."""

    def delivery(self) -> Delivery:
        """Return the delivery.

        Raises:
            LetterError: it is none.
        """
        return _delivery(self.record)


class LetterError(ValueError):
    """The record is of another kind, or cannot be read."""


_LETTER = msgspec.json.Decoder(DeadDelivery)
_REQUEST = msgspec.json.Decoder(Request)


def letter(delivery: Delivery, part: int) -> bytes:
    """Return the record for a delivery that was given up."""
    return msgspec.json.encode(
        DeadDelivery(
            topic=f"notify-journal-{delivery.channel}",
            error=str(delivery.failure or ""),
            record=_packed(delivery),
            channel=delivery.channel,
            delivery_id=delivery.delivery_id,
            detail=delivery.detail,
            attempts=delivery.attempts,
            at=delivery.changed_at,
            part=part,
        )
    )


def read_letter(value: bytes) -> DeadDelivery:
    """Read a record of `dead-letters`.

    Raises:
        LetterError: it is no dead delivery; the classifier's letters are not.
    """
    return _read(_LETTER, value)


def request(dead: DeadDelivery, now: float) -> bytes:
    """Return the record that asks for a delivery to be tried again."""
    return msgspec.json.encode(
        Request(channel=dead.channel, part=dead.part, asked_at=now, record=dead.record)
    )


def read_request(value: bytes) -> Request:
    """Read a record of `notify-redrive`.

    Raises:
        LetterError: it is none.
    """
    return _read(_REQUEST, value)


def _read(decoder: msgspec.json.Decoder[T], value: bytes) -> T:
    try:
        return decoder.decode(value)
    except msgspec.DecodeError as error:
        raise LetterError(str(error)) from error


def _packed(delivery: Delivery) -> str:
    return base64.b64encode(encode(delivery)).decode()


def _delivery(record: str) -> Delivery:
    try:
        delivery = decode(base64.b64decode(record, validate=True))
    except (binascii.Error, msgspec.DecodeError) as error:
        raise LetterError(str(error)) from error
    if delivery.state is not State.DEAD:
        raise LetterError(f"a delivery in state {delivery.state}")
    return delivery
