"""All that one source partition has in memory: the engine, its position, and what is to be committed next.

Rule 1: what is published, the state rows, and the position are taken together (`turn`): at any moment they say the
        same.
Rule 2: the position in the state is the truth. A record before it was decided already, whoever delivers it again.
Rule 3: state of another partition count or another hash of the key is refused: its calls belong elsewhere.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from missedcall_classifier.call import StateError
from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_schemas import cloudevents, codec
from missedcall_schemas.codec import CodecError

NEXT = "__next__"
"""Row of `call-state`: the offset of the first record that is not in the state."""
FORMAT = "__format__"
"""Row of `call-state`: what the state was made for and by."""
HASH = "crc32"
"""How the collector chooses the partition of a key."""


class Format(Struct, frozen=True):
    """What a state depends on besides the log."""

    partitions: int
    hash: str
    policy: str
    """Hash of the policy that decided last."""


class Publication(Struct, frozen=True):
    """A record for a topic of ours."""

    topic: str
    """Without prefix and generation."""
    key: str
    value: bytes
    headers: list[tuple[str, bytes]] = []


class Turn(Struct, frozen=True):
    """What one transaction writes."""

    next: int
    rows: list[tuple[str, bytes | None]]
    publications: list[Publication]


class Unit:
    """One partition."""

    def __init__(
        self,
        policy: Policy,
        partitions: int,
        rows: Iterable[tuple[str, bytes]] = (),
        source: str = cloudevents.DEFAULT_SOURCE,
    ) -> None:
        """Take up the state.

        Args:
            policy: how to decide.
            partitions: how many there are.
            rows: the state, one row per key.
            source: CloudEvents source of the facts.

        Raises:
            StateError: the state cannot be read, or is of another format.
        """
        self.next = self.committed = 0
        self.counts: Counter[str] = Counter()
        """`batches`, `accepted` messages, `verdicts`, `undecidable` records."""
        self._source = source
        self._publications: list[Publication] = []
        self._format = Format(partitions, HASH, policy.digest())
        self._format_written = False
        self.engine = Engine(policy)
        self.engine.load(self._own_rows(rows))

    @property
    def pending(self) -> bool:
        """Whether there is something to commit."""
        return self.next != self.committed

    def feed(self, offset: int, value: bytes) -> bool:
        """Decide a record of the source; return False if it was decided before."""
        if offset < self.next:
            return False
        try:
            batch = codec.decode_batch(value)
        except CodecError as error:
            letter = msgspec.json.encode({"topic": "sip-transactions", "offset": offset, "error": str(error)})
            self._publications.append(Publication("dead-letters", "", letter))
            self.counts["undecidable"] += 1
        else:
            for decision in self.engine.feed(batch):
                self._publications += [
                    Publication("call-verdicts", verdict.callee, codec.encode_verdict(verdict))
                    for verdict in decision.verdicts
                ]
                self._publications += [
                    Publication(
                        "missed-calls",
                        fact.callee,
                        codec.encode_missed_call(fact),
                        cloudevents.kafka_headers(fact, self._source),
                    )
                    for fact in decision.facts
                ]
                self.counts["verdicts"] += len(decision.verdicts)
            self.counts["batches"] += 1
            self.counts["accepted"] += len(batch.messages)
        self.next = offset + 1
        return True

    def turn(self) -> Turn:
        """Return what is to be committed, and begin the next turn."""
        rows = list(self.engine.changes())
        if not self._format_written:
            rows.append((FORMAT, msgspec.msgpack.encode(self._format)))
            self._format_written = True
        rows.append((NEXT, b"%d" % self.next))
        publications, self._publications = self._publications, []
        return Turn(self.next, rows, publications)

    def _own_rows(self, rows: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Take what is ours out of the state; return the engine's."""
        others = []
        for key, row in rows:
            if key == NEXT:
                self.next = self.committed = int(row)
            elif key == FORMAT:
                self._check(row)
            else:
                others.append((key, row))
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
