"""Batches in, decisions into the store: one turn is one transaction.

Rule 1: a batch, the verdicts and facts that follow from it, the changed state and the position are committed
        together or not at all. So the file always says what an undisturbed run over its own log would say.
Rule 2: what trips a mistake in a rule is set aside as a dead letter and the rest is decided: no sender can
        stop the pipeline. What fails without any message stops it: a restart would not help, a person must.
Rule 3: nobody is told of a fact before it is committed.
"""

import base64
from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from missedcall_classifier.decision import Decision
from missedcall_classifier.engine import Engine
from missedcall_classifier.poison import blame
from missedcall_classifier.policy import Policy
from missedcall_common.runtime.events import Event, emit
from missedcall_schemas import codec
from missedcall_schemas.records import CaptureBatch, SipMessage

from .store import Store
from .store_file import BATCHES, DEAD_LETTERS, FACTS, STATE, VERDICTS, StoreError, Topic

NEXT = "__next__"
"""Row of `call-state`: the number of the first batch that is not in the state."""
FORMAT = "__format__"
"""Row of `call-state`: what the state was made for and by."""
PARTITIONS = 1


class Format(msgspec.Struct, frozen=True):
    """What a state depends on besides the log."""

    partitions: int
    policy: str
    """Hash of the policy that decided last."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that could not be decided."""

    topic: str
    """Where it was to go."""
    error: str
    """Class of what it raised."""
    record: str
    """SipMessage as msgpack, base64."""


class Pipeline:
    """The classifier of the one partition, with its state in the store."""

    def __init__(self, store: Store, policy: Policy) -> None:
        """Take up the state where the last commit left it.

        Raises:
            StoreError: the state does not go with the log, or is of another partition count.
            StateError: a state row cannot be read.
        """
        self.counts: Counter[str] = Counter()
        """`accepted` messages, `batches`, `turns`, `verdicts`, `facts`: committed; `undecidable` messages."""
        self.messages = 0
        """Messages in the turn."""
        self._store = store
        self._policy = policy
        self._turn: list[CaptureBatch] = []
        self._decisions: list[Decision] = []
        self.policy_before = self._check_format()
        """Hash of the policy that decided until now, if it was another; else ""."""
        self._engine = self._resumed()

    @property
    def open_calls(self) -> int:
        """Calls not yet decided."""
        return self._engine.open_calls

    @property
    def clock_ms(self) -> int:
        """The latest clock of the log: no later batch may be before it."""
        return max(self._engine.clock_ms, self._store.clock_ms)

    @property
    def engine_counts(self) -> Counter[str]:
        """What the engine has seen, by cause."""
        return self._engine.counts

    @property
    def pending(self) -> bool:
        """Whether a commit would write anything."""
        return bool(self._turn)

    def take(self, encoded: bytes) -> None:
        """Decide a batch as part of the turn.

        Raises:
            CodecError: it is no batch.
        """
        batch = codec.decode_batch(encoded)
        try:
            self._decide(batch, encoded)
        except Exception as error:  # noqa: BLE001 - whatever a mistake in a rule raises
            self._decide_without_poison(batch, error)

    def commit(self) -> list[Decision]:
        """Write the turn; return what it decided, now that it may be told.

        Raises:
            StoreError: nothing of it was written, and the process has to end.
        """
        self._store.put(STATE, NEXT, b"%d" % self._store.next_seq(BATCHES))
        for key, row in self._engine.changes():
            self._store.put(STATE, key, row)
        self._store.commit()
        decisions = self._decisions
        self.counts["turns"] += 1
        self.counts["batches"] += len(self._turn)
        self.counts["accepted"] += self.messages
        self.counts["verdicts"] += sum(len(decision.verdicts) for decision in decisions)
        self.counts["facts"] += sum(len(decision.facts) for decision in decisions)
        self._begin_turn()
        return decisions

    def _check_format(self) -> str:
        """Compare the file's format with ours and put ours into the first turn; return another policy's hash."""
        found = self._store.get(STATE, FORMAT)
        ours = Format(PARTITIONS, self._policy.digest())
        theirs = ours if found is None else msgspec.msgpack.decode(found, type=Format)
        if theirs.partitions != ours.partitions:
            raise StoreError(
                f"{self._store.path}: state of {theirs.partitions} partitions, expected {ours.partitions}"
            )
        position = int(self._store.get(STATE, NEXT) or b"1")
        if position != self._store.next_seq(BATCHES):
            raise StoreError(
                f"{self._store.path}: state up to batch {position}, log up to {self._store.next_seq(BATCHES)}: "
                "the file was changed from outside; `missedcall replay` can decide its log again"
            )
        self._store.put(STATE, FORMAT, msgspec.msgpack.encode(ours))
        self._store.put(STATE, NEXT, b"%d" % position)
        self._store.commit()
        return "" if theirs == ours else theirs.policy

    def _resumed(self) -> Engine:
        """Return an engine with the committed state."""
        engine = Engine(self._policy)
        ours = {NEXT, FORMAT}
        engine.load((key, row) for key, row in self._store.values(STATE) if key not in ours)
        return engine

    def _begin_turn(self) -> None:
        self._turn = []
        self._decisions = []
        self.messages = 0

    def _decide(self, batch: CaptureBatch, encoded: bytes) -> None:
        decisions = self._engine.feed(batch)
        records = list(_records(decisions))
        self._store.append(BATCHES, "", batch.clock_ms, encoded)
        for topic, key, value in records:
            self._store.append(topic, key, batch.clock_ms, value)
        self._turn.append(batch)
        self._decisions += decisions
        self.messages += len(batch.messages)

    def _decide_without_poison(self, batch: CaptureBatch, error: Exception) -> None:
        """Decide a batch that raised ``error`` without the messages that make it do so."""
        earlier = self._turn
        self._store.discard()
        self._begin_turn()

        def trial(messages: tuple[SipMessage, ...]) -> Exception | None:
            engine = self._resumed()
            for before in earlier:
                engine.feed(before)
            try:
                list(_records(engine.feed(replace(batch, messages=messages))))
            except Exception as raised:  # noqa: BLE001 - whatever a mistake in a rule raises
                return raised
            return None

        if trial(()) is not None:
            raise error
        found = list(blame(batch.messages, trial))
        kept = tuple(message for message, raised in found if raised is None)
        self._engine = self._resumed()
        for before in (*earlier, replace(batch, messages=kept)):
            self._decide(before, codec.encode_batch(before))
        for message, raised in found:
            if raised is not None:
                letter = DeadLetter(
                    BATCHES.name,
                    type(raised).__name__,
                    base64.b64encode(codec.encode_message(message)).decode(),
                )
                self._store.append(DEAD_LETTERS, message.key, batch.clock_ms, msgspec.json.encode(letter))
                self.counts["undecidable"] += 1
                emit(Event.RECORD_REFUSED, raised, topic=BATCHES.name, record="SipMessage")


def _records(decisions: list[Decision]) -> Iterator[tuple[Topic, str, bytes]]:
    """Yield what is to be published."""
    for decision in decisions:
        for verdict in decision.verdicts:
            yield VERDICTS, verdict.callee, codec.encode_verdict(verdict)
        for fact in decision.facts:
            yield FACTS, fact.callee, codec.encode_missed_call(fact)
