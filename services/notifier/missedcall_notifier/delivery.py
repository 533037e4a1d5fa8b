"""One delivery: one fact to one recipient over one channel, from the intent to its end.

Rule 1: whatever may change a delivery's state is in ROWS; a pair that is not in ROWS is an error of ours.
Rule 2: the intent is durable before the side effect, the outcome after it. A delivery found in ATTEMPT at the
        start was interrupted: nobody knows whether it arrived.
Rule 3: its id is a function of the fact, the channel and the recipient, so that reading a fact twice opens
        one delivery, and every attempt, before and after a crash, bears the same name.

                      begin                    accepted
    PENDING  ------------------->  ATTEMPT  ------------>  SENT
    RETRY      <--- postponed ---     |     ---refused-->  DEAD
    UNCERTAIN  <--- lost --------     |
       any of the three               ------withdrawn--->  SUPPRESSED
    DEAD       --- redriven --->  RETRY
"""

import hashlib
import uuid
from enum import StrEnum

import msgspec
from msgspec import UNSET, Struct, UnsetType

from missedcall_schemas.codec import decode_missed_call
from missedcall_schemas.records import MissedCall

from .failure import Failure, Report, Sent
from .reader import Reader
from .retry import RetryPolicy, next_delay_s
from .series import Series, Shown

NAMESPACE = uuid.UUID("6f1f4b0c-4c0f-5d0e-9b57-3f6d2a8e7c11")
"""Of all our ids. Never to change: a new one would deliver everything in the journal's horizon again."""


INTERRUPTED = "interrupted"
"""Detail of a delivery whose process died during the attempt; still there when the next attempt begins."""


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    """Intent recorded, never attempted."""
    ATTEMPT = "attempt"
    """An attempt is under way, or was when the process died."""
    RETRY = "retry"
    """The last attempt surely did not deliver; due again at `next_at`."""
    UNCERTAIN = "uncertain"
    """The last attempt may have delivered; due again at `next_at`, under the same id."""
    SENT = "sent"
    """The target has it."""
    DEAD = "dead"
    """Given up; a person has to look."""
    SUPPRESSED = "suppressed"
    """No longer wanted: the fact was retracted first, or a later notice tells it too."""


class Signal(StrEnum):
    """What happened to it."""

    BEGIN = "begin"
    ACCEPTED = "accepted"
    POSTPONED = "postponed"
    LOST = "lost"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    REDRIVEN = "redriven"
    """A person has mended what it failed for."""


S = State
# fmt: off
ROWS = (
    (S.PENDING,   Signal.BEGIN,     S.ATTEMPT),
    (S.RETRY,     Signal.BEGIN,     S.ATTEMPT),
    (S.UNCERTAIN, Signal.BEGIN,     S.ATTEMPT),
    (S.ATTEMPT,   Signal.ACCEPTED,  S.SENT),
    (S.ATTEMPT,   Signal.POSTPONED, S.RETRY),
    (S.ATTEMPT,   Signal.LOST,      S.UNCERTAIN),
    (S.ATTEMPT,   Signal.REFUSED,   S.DEAD),
    (S.PENDING,   Signal.WITHDRAWN, S.SUPPRESSED),
    (S.RETRY,     Signal.WITHDRAWN, S.SUPPRESSED),
    (S.UNCERTAIN, Signal.WITHDRAWN, S.SUPPRESSED),
    (S.DEAD,      Signal.REDRIVEN,  S.RETRY),
)
# fmt: on
TRANSITIONS = {(state, signal): after for state, signal, after in ROWS}
if len(TRANSITIONS) != len(ROWS):
    raise AssertionError("two rows for one state and signal")

OPEN = frozenset({S.PENDING, S.RETRY, S.UNCERTAIN})
"""Waiting for their next attempt."""
ENDED = frozenset({S.SENT, S.DEAD, S.SUPPRESSED})


class Delivery(Struct, frozen=True, kw_only=True, tag_field="type", tag="delivery.v1"):
    """The journal's record, complete enough to be delivered from after a restart. Times are POSIX seconds."""

    delivery_id: str
    channel: str
    recipient: str
    """Mail address, or the endpoint's name."""
    fact: MissedCall
    supersedes: str = ""
    """Id of the notice that this one corrects; "" if it corrects none."""
    state: State = S.PENDING
    version: int = 0
    """Number of changes: a writer who saw another version has lost the delivery to somebody else."""
    attempts: int = 0
    """Attempts that count against it; one that found the channel down does not."""
    lost: int = 0
    """Attempts that may have arrived without our knowing."""
    opened_at: float
    changed_at: float
    next_at: float
    """When the next attempt is due; without meaning once it has ended or while an attempt is under way."""
    failure: Failure | None = None
    """What the last attempt came to; None after success."""
    detail: str = ""
    """Of the failure, or why it was suppressed."""
    ref: str = ""
    """What the target calls it."""
    reader: Reader = Reader()
    """Who reads it, as the directory had it when the intent was recorded."""
    not_before: float = 0.0
    """When it was first due, if its reader's quiet hours made it wait: its age counts from there."""
    series: Series | UnsetType = UNSET
    """Its place among notices that tell several calls as one; UNSET: it stands alone."""

    @property
    def calls(self) -> tuple[MissedCall, ...]:
        """What the recipient is told of, the earliest call first; never empty."""
        others = () if self.series is UNSET else self.series.others
        if not others:
            return (self.fact,)
        own = (self.fact,) if self.fact.state == "missed" else ()
        return tuple(sorted((*others, *own), key=lambda call: (call.rang_at, call.fact_id)))

    @property
    def corrects(self) -> bool:
        """Whether it takes back what was told, and tells of no missed call."""
        return bool(self.supersedes) and (self.series is UNSET or not self.series.others)

    @property
    def replaces(self) -> tuple[Shown, ...]:
        """The notices that give way to it, the latest first."""
        return () if self.series is UNSET else self.series.replaces

    @property
    def maybe_made(self) -> bool:
        """Whether an attempt before this one may have brought it: lost, or what it replaces has not gone yet."""
        return self.lost > 0 or (bool(self.replaces) and self.version > _FIRST)

    @property
    def maybe_seen(self) -> bool:
        """Whether the recipient has it or may have it."""
        return self.state is S.SENT or self.lost > 0


_FIRST = 1
"""Version of a delivery whose first attempt is under way."""

_NOBODY = Reader()
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Delivery)


class TransitionError(ValueError):
    """A signal that the table does not know in this state: a mistake of ours, never of the input."""


def name_of(*parts: str | int) -> str:
    """Return the id that stands for `parts`, in order, and for no others."""
    return str(uuid.uuid5(NAMESPACE, msgspec.json.encode(parts).decode()))


def delivery_id(fact_id: str, revision: int, channel: str, recipient: str) -> str:
    """Return the name of this delivery: the same in every process, now and in a year."""
    return name_of(fact_id, revision, channel, recipient)


def correction_of(delivery: Delivery) -> str:
    """Return the id that the correction of a notice has, if there ever is one."""
    fact = delivery.fact
    return delivery_id(fact.fact_id, fact.revision + 1, delivery.channel, delivery.recipient)


def intent(
    fact: MissedCall,
    channel: str,
    recipient: str,
    now: float,
    *,
    reader: Reader = _NOBODY,
    not_before: float = 0.0,
    series: Series | UnsetType = UNSET,
) -> Delivery:
    """Return the delivery of `fact`, due at `now` or `not_before`, whichever is later.

    A retraction supersedes the revision before it.
    """
    retracted = fact.state == "retracted"
    earlier = delivery_id(fact.fact_id, fact.revision - 1, channel, recipient) if retracted else ""
    return Delivery(
        delivery_id=delivery_id(fact.fact_id, fact.revision, channel, recipient),
        channel=channel,
        recipient=recipient,
        fact=fact,
        supersedes=earlier,
        opened_at=now,
        changed_at=now,
        next_at=max(now, not_before),
        reader=reader,
        not_before=not_before if not_before > now else 0.0,
        series=series,
    )


def begin(delivery: Delivery, now: float, replaces: tuple[Shown, ...] = ()) -> Delivery:
    """Return the delivery with an attempt under way; to be made durable before anything is sent.

    Args:
        delivery: what is to be attempted.
        now: POSIX seconds.
        replaces: the notices of its series that are to give way to it.
    """
    series = delivery.series
    if series is not UNSET:
        series = msgspec.structs.replace(series, replaces=replaces)
    return _advance(delivery, Signal.BEGIN, now, attempts=delivery.attempts + 1, series=series)


def settle(delivery: Delivery, report: Report, policy: RetryPolicy, now: float) -> Delivery:
    """Return the delivery after its attempt came to `report`."""
    if isinstance(report, Sent):
        return _advance(delivery, Signal.ACCEPTED, now, failure=None, detail="", ref=report.ref)
    if report.failure in {Failure.CHANNEL_DOWN, Failure.GONE}:
        delivery = msgspec.structs.replace(delivery, attempts=delivery.attempts - 1)
    lost = delivery.lost + (report.failure is Failure.UNCERTAIN)
    delay_s = next_delay_s(
        policy,
        report.failure,
        attempt=lost if report.failure is Failure.UNCERTAIN else delivery.attempts,
        elapsed_s=now - max(delivery.opened_at, delivery.not_before),
        asked_s=report.asked_s,
        jitter=jitter(delivery.delivery_id, delivery.attempts),
    )
    if delay_s is None:
        signal = Signal.REFUSED
    else:
        signal = Signal.LOST if report.failure is Failure.UNCERTAIN else Signal.POSTPONED
    return _advance(
        delivery,
        signal,
        now,
        next_at=now + (delay_s or 0.0),
        lost=lost,
        failure=report.failure,
        detail=report.detail,
    )


def interrupted(delivery: Delivery, now: float) -> Delivery:
    """Return a delivery that was under way when its process died: uncertain, and due at once.

    The limit on uncertain attempts does not apply: it was our fault, not the target's.
    """
    lost = delivery.lost + 1
    return _advance(
        delivery, Signal.LOST, now, next_at=now, lost=lost, failure=Failure.UNCERTAIN, detail=INTERRUPTED
    )


def withdraw(delivery: Delivery, reason: str, now: float) -> Delivery:
    """Return a delivery that is no longer wanted; `reason` is named in the journal."""
    return _advance(delivery, Signal.WITHDRAWN, now, detail=reason)


def redriven(delivery: Delivery, now: float) -> Delivery:
    """Return a dead delivery as it begins anew: the same name, due at once, with its whole patience before it.

    One that may have arrived stays one that may have: it is searched for, where that can be done.
    """
    return _advance(
        delivery,
        Signal.REDRIVEN,
        now,
        opened_at=now,
        next_at=now,
        attempts=0,
        lost=min(delivery.lost, 1),
    )


def encode(delivery: Delivery) -> bytes:
    """Return the journal's record: one line of JSON.

    Raises:
        UnicodeEncodeError: a text of the fact is not Unicode.
    """
    return _ENCODER.encode(delivery)


def decode(record: bytes) -> Delivery:
    """Read what `encode` of any release wrote; words of a newer vocabulary are read as the codec reads them.

    Raises:
        msgspec.DecodeError: the bytes are no such record.
    """
    try:
        return _DECODER.decode(record)
    except msgspec.ValidationError:
        raw = msgspec.json.decode(record)
        read = {"fact": _known(raw.pop("fact"))}
        if others := raw.get("series", {}).get("others"):
            read["series"] = raw["series"] | {"others": [_known(fact) for fact in others]}
        return msgspec.convert(raw | read, Delivery)


def _known(fact: object) -> object:
    """Return a fact with words that this release knows."""
    return msgspec.to_builtins(decode_missed_call(msgspec.json.encode(fact)))


def jitter(name: str, attempt: int) -> float:
    """Return 0 <= x < 1, evenly spread over names and attempts, the same on every call."""
    digest = hashlib.blake2b(f"{name}/{attempt}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _advance(delivery: Delivery, signal: Signal, now: float, **changes: object) -> Delivery:
    state = TRANSITIONS.get((delivery.state, signal))
    if state is None:
        raise TransitionError(f"{signal} in state {delivery.state} of delivery {delivery.delivery_id}")
    return msgspec.structs.replace(
        delivery, state=state, version=delivery.version + 1, changed_at=now, **changes
    )
