"""Whether what was published is what follows from the log: every fact once, no other, each with its content.

    auditor = Auditor(policy, cut_at=...)
    for value in facts: auditor.published(value)              # all of them, as a read_committed reader sees them
    for value in batches: auditor.logged(partition, value)    # one partition after another, each in order
    report = auditor.report()

Rule 1: the cores decide the log again; nothing else is believed.
Rule 2: what cannot be compared is counted as that, never as right or wrong: facts of calls that began before the
        log does, facts decided under another policy, facts that the classifier need not have published yet.
Rule 3: a fact is compared by its content as this release reads it, so that a field it does not know makes no
        difference.
Rule 4: a log that went on in more partitions is followed into them, with the state moved as the classifiers had it.
Rule 5: memory holds 300 bytes per published fact that the log reaches, and the open calls of one partition.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct

from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_common.placing import heirs
from missedcall_schemas import codec
from missedcall_schemas.codec import CodecError
from missedcall_schemas.records import CaptureBatch, MissedCall

from .moving import Rows, moved

MAX_FINDINGS = 100
"""Facts that a report names. Less: hardly a pattern to see. More: a flood; the counts say how many there are."""


class UndecidableError(Exception):
    """Our own code failed on a record of the log; what follows it on this partition cannot be said."""


class Finding(NamedTuple):
    """A fact that is not as it has to be."""

    kind: str
    """`duplicate`, `missing`, `different`, `unexpected`."""
    fact_id: str
    revision: int


class Report(Struct, frozen=True, kw_only=True):
    """What the comparison found."""

    calls: int
    """Calls decided in that part of the log which the classifier has committed."""
    facts: int
    """Records of facts that were published, repeats included, without `older`."""
    compared: int
    """Of the facts that follow from the log: those that could be compared."""
    duplicate: int
    """Records beyond the first of the same fact and revision."""
    missing: int
    different: int
    """Published with another content than follows from the log."""
    unexpected: int
    """Published, and do not follow from the log."""

    older: int
    """Published facts from before the log, or so soon after its beginning that their call may be cut."""
    other_policy: int
    """Published facts decided under another policy. What was decided before the last of them is not compared."""
    pending: int
    """Facts that follow from what the classifier has not committed yet."""
    unreadable: int
    """Records of facts that are no fact; no reader can use them."""
    undecidable: int
    """Records of the log that are no batch; the classifier sets them aside too."""

    gaps: int
    """Batches that never came: holes in the sequences of collectors."""
    repeats: int
    """Batches that came again: a collector sent its spool a second time. They decide nothing twice."""
    restarts: int
    """Collectors that began anew."""
    findings: tuple[Finding, ...] = ()
    """The first `MAX_FINDINGS`."""

    @property
    def exact(self) -> bool:
        """Whether every fact is there once, with its content, and no other is."""
        return not (self.duplicate or self.missing or self.different or self.unexpected or self.unreadable)


def reach_s(policy: Policy) -> float:
    """Return the seconds after which a call that was silent since is forgotten, whatever it waited for."""
    longest = max(policy.queue_s, policy.give_up_s, policy.open_branch_s, policy.settle_s + policy.greeting_s)
    return longest + policy.closed_keep_s


_Place = tuple[int, int]
"""A generation of the log and a partition of it."""


class _Published(NamedTuple):
    digest: bytes
    decided_at: float


class Auditor:
    """One comparison."""

    def __init__(self, policy: Policy, *, cut_at: float | None = None) -> None:
        """Begin.

        Args:
            policy: that of the classifiers.
            cut_at: clock of the first batch that is there, POSIX seconds, if the log does not begin with its first
                record (the latest over partitions); None if it does.
        """
        self._policy = policy
        self._digest = policy.digest()
        self._cut = cut_at is not None
        self._since = float("-inf") if cut_at is None else cut_at + reach_s(policy)
        self._from = self._since
        self._facts: dict[tuple[str, int], _Published] = {}
        self._confirmed: set[tuple[str, int]] = set()
        self._engines: dict[_Place, Engine | None] = {}
        """Of the partition at which we are; None for those that are done."""
        self._moved: dict[_Place, Rows] = {}
        """State of partitions that are not begun."""
        self._next: dict[_Place, dict[tuple[str, int], int]] = {}
        """By collector and incarnation: the number that is expected next."""
        self._tally: Counter[str] = Counter()
        self._findings: list[Finding] = []

    def published(self, value: bytes) -> None:
        """Take a record of `missed-calls`. All of them come before the first of the log."""
        try:
            fact = codec.decode_missed_call(value)
        except CodecError:
            self._tally["unreadable"] += 1
            return
        if fact.decided_at < self._since:
            self._tally["older"] += 1
            return
        self._tally["facts"] += 1
        key = (fact.fact_id, fact.revision)
        if key in self._facts:
            self._find("duplicate", key)
            return
        self._facts[key] = _Published(_digest(fact), fact.decided_at)
        if fact.policy != self._digest:
            self._tally["other_policy"] += 1
            self._confirmed.add(key)
            self._from = max(self._from, fact.decided_at + reach_s(self._policy))

    def logged(self, partition: int, value: bytes, *, committed: bool = True, generation: int = 1) -> None:
        """Decide a record of `sip-transactions`; one partition after another, each in order.

        Args:
            partition: where it was read.
            value: the record's value.
            committed: whether the classifier has committed it; facts that follow from others may be there or not.
            generation: of the log.

        Raises:
            UndecidableError: our own code fails on it.
            ValueError: the partition goes on after another.
        """
        try:
            batch = codec.decode_batch(value)
        except CodecError:
            self._tally["undecidable"] += 1
            return
        place = (generation, partition)
        self._follow(place, batch)
        engine = self._engine(place)
        try:
            decisions = engine.feed(batch)
        except Exception as error:
            raise UndecidableError(
                f"partition {partition}: {type(error).__name__} in our own code"
            ) from error
        next(engine.changes(), None)  # nobody keeps the state: what changed is forgotten
        for decision in decisions:
            if committed and decision.verdicts[0].revision == 1:
                self._tally["calls"] += 1
            for fact in decision.facts:
                self._expect(fact, committed=committed)

    def goes_on(self, partition: int, generation: int, before: int, after: int, into: int) -> None:
        """Hear that a partition has come to its end, and that its heirs in another generation come next.

        Args:
            partition: whose log was read to its end.
            generation: its own.
            before: how many partitions that has.
            after: how many the other has.
            into: the other generation.

        Raises:
            UndecidableError: the state cannot be moved.
        """
        place = (generation, partition)
        try:
            state = moved(partition, dict(self._engine(place).rows()), before, after)
        except ValueError as error:
            raise UndecidableError(f"partition {partition}: {error}") from error
        for heir in heirs(partition, before, after):
            self._moved[into, heir] = state[heir]
            self._next[into, heir] = dict(self._next.get(place, {}))

    def report(self) -> Report:
        """Return what was found. Ends the comparison."""
        for key, there in self._facts.items():
            if key not in self._confirmed and there.decided_at >= self._from:
                self._find("unexpected", key)
        counts = {name: self._tally[name] for name in Report.__struct_fields__ if name != "findings"}
        return Report(**counts, findings=tuple(self._findings))

    def _engine(self, place: "_Place") -> Engine:
        if place not in self._engines:
            self._engines = dict.fromkeys(self._engines)
            engine = self._engines[place] = Engine(self._policy)
            engine.load(self._moved.pop(place, {}).items())
            return engine
        found = self._engines[place]
        if found is None:
            raise ValueError(f"partition {place[1]} goes on after another: one comes after another")
        return found

    def _expect(self, fact: MissedCall, *, committed: bool) -> None:
        if fact.decided_at < self._from:
            return
        key = (fact.fact_id, fact.revision)
        there = self._facts.get(key)
        if there is None and not committed:
            self._tally["pending"] += 1
            return
        self._tally["compared"] += 1
        if there is None:
            self._find("missing", key)
        elif key not in self._confirmed and there.digest != _digest(fact):
            self._find("different", key)
        self._confirmed.add(key)

    def _follow(self, place: "_Place", batch: CaptureBatch) -> None:
        """Follow a collector's numbers; the first that is seen of a life says nothing if the log is cut."""
        if not batch.collector:  # time going on without any
            return
        lives = self._next.setdefault(place, {})
        life = (batch.collector, batch.incarnation)
        expected = lives.get(life)
        if expected is None:
            known = any(collector == batch.collector for collector, _ in lives)
            self._tally["restarts"] += known
            expected = batch.sequence if self._cut and not known else 0
        if batch.sequence < expected:
            self._tally["repeats"] += 1
            return
        self._tally["gaps"] += batch.sequence - expected
        lives[life] = batch.sequence + 1

    def _find(self, kind: str, key: tuple[str, int]) -> None:
        self._tally[kind] += 1
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(Finding(kind, *key))


def audit(policy: Policy, facts: Iterable[bytes], log: Mapping[int, Iterable[bytes]]) -> Report:
    """Compare everything that was published with a whole log that is decided to its end.

    Args:
        policy: that of the classifiers.
        facts: values of `missed-calls`, as a read_committed reader sees them.
        log: values of `sip-transactions` by partition, each in order, from the first record on.

    Raises:
        UndecidableError: our own code fails on a record.
    """
    auditor = Auditor(policy)
    for value in facts:
        auditor.published(value)
    for partition, values in log.items():
        for value in values:
            auditor.logged(partition, value)
    return auditor.report()


def _digest(fact: MissedCall) -> bytes:
    return hashlib.blake2b(codec.encode_missed_call(fact), digest_size=16).digest()
