"""All that one source partition has in memory: the engine, its position, and what is to be committed next.

Rule 1: what is published, the state rows, and the position are taken together (`turn`): at any moment they say the
        same.
Rule 2: the position in the state is the truth. A record before it was decided already, whoever delivers it again.
Rule 3: a record on which our own code fails is noted in the state, and nothing else of it; who loads the state next
        decides it with care: the messages that make it fail are set aside, the rest of the record is decided.
Rule 4: between two records nothing is passed over; where the log begins is for Kafka to say.
Rule 5: state of another partition count or another hash of the key is refused: its calls belong elsewhere.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from missedcall_classifier.decision import Decision
from missedcall_classifier.engine import Engine
from missedcall_classifier.poison import blame
from missedcall_classifier.policy import Policy
from missedcall_classifier.rows import StateError
from missedcall_common.runtime.sampling import NO_CALL, TRACEPARENT, CallTrace, Sampler
from missedcall_schemas import cloudevents, codec
from missedcall_schemas.codec import CodecError
from missedcall_schemas.records import CaptureBatch, SipMessage

NEXT = "__next__"
"""Row of `call-state`: the offset of the first record that is not in the state."""
FORMAT = "__format__"
"""Row of `call-state`: what the state was made for and by."""
POISON = "__poison__"
"""Row of `call-state`: the offset of a record on which a worker has failed."""
HASH = "crc32-of-caller"
"""How the collector chooses the partition of a key."""


class PassedOverError(Exception):
    """Records were not delivered that come before the one that was; a restart reads them."""


class Format(Struct, frozen=True):
    """What a state depends on besides the log."""

    partitions: int
    hash: str
    policy: str
    """Hash of the policy that decided last."""


class DeadLetter(Struct, frozen=True):
    """What could not be decided."""

    topic: str
    """Where it was read."""
    error: str
    """Class of what it raised."""
    record: str
    """The bytes as they were, base64; of one message: SipMessage as msgpack."""


class Publication(Struct, frozen=True):
    """A record for a topic of ours."""

    topic: str
    """Without prefix and generation."""
    key: str
    value: bytes
    headers: list[tuple[str, bytes]] = []


class Traced(Struct, frozen=True):
    """A decision about a call that is traced. Times are POSIX seconds by the collectors' clocks."""

    call: CallTrace
    rang_at: float
    """When the first phone rang; 0: none did."""
    decided_at: float
    missed: bool
    """Whether a fact was published."""
    attributes: dict[str, str | int | float]


class Turn(Struct, frozen=True):
    """What one transaction writes, and what can be told of it once it is written."""

    next: int
    rows: list[tuple[str, bytes | None]]
    publications: list[Publication]
    due_at: list[float] = []
    """When each fact was to be told, POSIX seconds by the collectors' clocks."""
    traced: list[Traced] = []


class Unit:
    """One partition."""

    def __init__(
        self,
        policy: Policy,
        partitions: int,
        rows: Iterable[tuple[str, bytes]] = (),
        source: str = cloudevents.DEFAULT_SOURCE,
        sampler: Sampler = NO_CALL,
    ) -> None:
        """Take up the state.

        Args:
            policy: how to decide.
            partitions: how many there are.
            rows: the state, one row per key.
            source: CloudEvents source of the facts.
            sampler: which calls are traced.

        Raises:
            StateError: the state cannot be read, or is of another format.
        """
        self.next = self.committed = 0
        self.counts: Counter[str] = Counter()
        """`batches`, `accepted` messages, `verdicts`, `undecidable` records and messages."""
        self._begun = False  # whether a record was decided since the state was taken up
        self.poisoned: int | None = None
        """Offset of the record on which we failed; from there on the unit is not to be used."""
        self.heard = 0
        """Batches of collectors."""
        self._policy = policy
        self._careful_at: int | None = None
        self._rows: dict[str, bytes] = {}  # the state as of `next`, kept only until `_careful_at`
        self._changed: dict[str, bytes | None] = {}  # rows of this turn that are not the engine's to tell
        self._source = source
        self._sampler = sampler
        self._publications: list[Publication] = []
        self._due_at: list[float] = []
        self._traced: list[Traced] = []
        self._format = Format(partitions, HASH, policy.digest())
        self._format_written = False
        self.engine = Engine(policy)
        self.engine.load(self._own_rows(rows))

    @property
    def pending(self) -> bool:
        """Whether there is something to commit."""
        return self.next != self.committed

    def feed(self, offset: int, value: bytes) -> bool:
        """Decide a record of the source; return False if it was decided before, or cannot be by this unit.

        Whatever else our own code raises leaves the unit `poisoned`.

        Raises:
            PassedOverError: a record before it was not delivered.
        """
        if offset < self.next or self.poisoned is not None:
            return False
        if offset > self.next and self._begun:  # the first may be: Kafka deletes what is old
            raise PassedOverError(f"offset {offset} was delivered, expected {self.next}")
        self._begun = True
        try:
            batch = codec.decode_batch(value)
        except CodecError as error:
            self._set_aside("", value, error)
        else:
            self.poisoned = offset  # until we know better
            if offset == self._careful_at:
                self._decide_with_care(batch)
            else:
                self._publications += self._decide(self.engine, batch)
                if self._careful_at is not None:
                    self._keep_rows()
            self.poisoned = None
            self.counts["batches"] += 1
            self.heard += bool(batch.collector)
            self.counts["accepted"] += len(batch.messages)
        self.next = offset + 1
        return True

    def _decide(self, engine: Engine, batch: CaptureBatch) -> list[Publication]:
        decisions = engine.feed(batch)
        for decision in decisions:
            self._note(decision)
        return [one for decision in decisions for one in self._published(decision)]

    def _published(self, decision: Decision) -> Iterator[Publication]:
        for verdict in decision.verdicts:
            yield Publication("call-verdicts", verdict.callee, codec.encode_verdict(verdict))
        for fact in decision.facts:
            headers = cloudevents.kafka_headers(fact, self._source)
            call = self._sampler.trace(fact.call_id)
            if call is not None:
                headers.append((TRACEPARENT, call.traceparent.encode()))
            yield Publication("missed-calls", fact.callee, codec.encode_missed_call(fact), headers)

    def _note(self, decision: Decision) -> None:
        """Keep what is told of a decision when it is committed."""
        self._due_at += [fact.decided_at for fact in decision.facts]
        if self._sampler.ratio:
            for verdict in decision.verdicts:
                call = self._sampler.trace(verdict.call_id)
                if call is not None:
                    said: dict[str, str | int | float] = {
                        "missedcall.outcome": verdict.outcome,
                        "missedcall.cause": verdict.cause,
                        "missedcall.rule": verdict.rule,
                        "missedcall.ring_s": verdict.ring_s,
                        "missedcall.confidence": verdict.confidence,
                    }
                    self._traced.append(
                        Traced(call, verdict.rang_at, verdict.decided_at, bool(verdict.fact_id), said)
                    )

    def _decide_with_care(self, batch: CaptureBatch) -> None:
        """Decide a record without the messages that make us fail."""

        def trial(messages: tuple[SipMessage, ...]) -> Exception | None:
            try:
                self._reloaded().feed(replace(batch, messages=messages))
            except Exception as raised:  # noqa: BLE001 - whatever a mistake of ours raises
                return raised
            return None

        found = list(blame(batch.messages, trial))
        for message, error in found:
            if error is not None:
                self._set_aside(message.key, codec.encode_message(message), error)
        self.counts += self.engine.counts
        self.engine = self._reloaded()
        kept = tuple(message for message, error in found if error is None)
        self._publications += self._decide(self.engine, replace(batch, messages=kept))
        self._careful_at = None
        self._changed[POISON] = None
        self._rows = {}

    def _reloaded(self) -> Engine:
        engine = Engine(self._policy)
        engine.load(self._rows.items())
        return engine

    def _keep_rows(self) -> None:
        for key, row in self.engine.changes():
            self._changed[key] = row
            if row is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = row

    def _set_aside(self, key: str, record: bytes, error: Exception) -> None:
        letter = DeadLetter("sip-transactions", type(error).__name__, base64.b64encode(record).decode())
        self._publications.append(Publication("dead-letters", key, msgspec.json.encode(letter)))
        self.counts["undecidable"] += 1

    def turn(self) -> Turn:
        """Return what is to be committed, and begin the next turn."""
        changed, self._changed = self._changed, {}
        rows: list[tuple[str, bytes | None]] = [*changed.items(), *self.engine.changes()]
        if not self._format_written:
            rows.append((FORMAT, msgspec.msgpack.encode(self._format)))
            self._format_written = True
        rows.append((NEXT, b"%d" % self.next))
        publications, self._publications = self._publications, []
        due_at, self._due_at = self._due_at, []
        traced, self._traced = self._traced, []
        return Turn(self.next, rows, publications, due_at, traced)

    def _own_rows(self, rows: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Take what is ours out of the state; return the engine's."""
        others = []
        for key, row in rows:
            if key == NEXT:
                self.next = self.committed = int(row)
            elif key == FORMAT:
                self._check(row)
            elif key == POISON:
                self._careful_at = int(row)
            else:
                others.append((key, row))
        if self._careful_at is not None:
            self._rows = dict(others)
        return others

    def _check(self, row: bytes) -> None:
        try:
            theirs = msgspec.msgpack.decode(row, type=Format)
        except msgspec.DecodeError as error:
            raise StateError(f"row {FORMAT} of call-state is no format: {error}") from error
        for name in ("partitions", "hash"):
            found, expected = getattr(theirs, name), getattr(self._format, name)
            if found != expected:
                raise StateError(
                    f"the state is of {name} {found}, expected {expected}: begin anew with the next "
                    "MISSEDCALL_KAFKA_GENERATION"
                )
        self._format_written = theirs == self._format
