"""The topics of a live system, read for `audit`.

Rule 1: it only reads, and joins no consumer group: nobody notices.
Rule 2: the order of looking makes a comparison with a system that goes on exact: first how far the classifier has
        committed, then the facts, then the log. What it had committed must be among the facts; what is among the
        facts must follow from the log.
Rule 3: a transaction's end reaches topics one after another. So facts are read up to where they ended after the
        classifier's position was looked up, open transactions awaited.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Self

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import TransactionState
from kafka.errors import KafkaError
from msgspec import Struct

from missedcall_classifier.policy import Policy
from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.kafka.cut import Cut
from missedcall_common.kafka.partitioning import look
from missedcall_common.kafka.plan import name_of, plan, refusals
from missedcall_common.kafka.rights import lacking
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.kafka.topics import CONNECT_MS, connected
from missedcall_common.placing import heirs
from missedcall_schemas import codec
from missedcall_schemas.codec import CodecError

from .audit import Auditor, Report, UndecidableError
from .settings import ClassifierSettings, group_of

OPEN_S = 90.0
"""For an open transaction to end. The classifier's are aborted by Kafka after 30 s."""
SILENCE_S = 60.0
"""Without a record although there are some: the brokers do not answer."""
MOVE_S = 30.0
"""For a group's coordinator to come to another broker."""
POLL_MS = 500
READ_COMMITTED, READ_UNCOMMITTED = "read_committed", "read_uncommitted"

Progress = Callable[[str, int, int], None]
"""Called with what is read, how many offsets of it are behind us, and how many there are."""


class Transactions(Struct, frozen=True):
    """What can be known of the classifier's transactions."""

    markers: int
    """Ends of transactions on `missed-calls`: one per transaction and partition, committed or aborted."""
    aborted: int
    """Facts that a transaction which was given up has left; read_committed readers do not see them."""
    last: dict[str, int]
    """How the last transaction of each source partition ended: `committed`, `aborted`, `open`; empty if the cluster
    does not tell."""


class Outcome(Struct, frozen=True):
    """A report, and what was read for it."""

    report: Report
    transactions: Transactions
    partitions: int
    generations: tuple[Cut, ...]
    """Those of the log that were read; the last is in use."""
    deleted: int
    """Generations before them, of which the log is not there any more."""
    cut: int
    """Partitions of the log whose beginning retention has deleted."""
    started: int
    """Partitions of which the classifier has committed something."""
    lag: int
    """Records that the classifier had not committed when we looked."""


def audit_topics(settings: ClassifierSettings, policy: Policy, progress: Progress) -> Outcome:
    """Read the topics and compare.

    Raises:
        KafkaUnusableError: the cluster cannot be reached, refuses, or a topic is not as it should be.
        SettingsError: the file of a secret cannot be read.
    """
    kafka = settings.kafka
    cuts = look(kafka, "missedcall-audit").partitioning.cuts
    there = _there(kafka, cuts)
    try:
        with _Reader(kafka, progress) as reader:
            return _compare(reader, settings, policy, there, len(cuts) - len(there))
    except KafkaError as error:
        raise KafkaUnusableError(f"Kafka: {error}"[:500]) from error
    except UndecidableError as error:
        raise KafkaUnusableError(f"{name_of('sip-transactions', kafka)}, {error}") from error


def _compare(
    reader: "_Reader", settings: ClassifierSettings, policy: Policy, cuts: Sequence[Cut], deleted: int
) -> Outcome:
    logs = [reader.partitions(name_of("sip-transactions", settings.kafka, one)) for one in cuts]
    target = reader.partitions(name_of("missed-calls", settings.kafka))
    committed = reader.committed(group_of(settings, cuts[-1]), logs[-1])
    begin = reader.begin(target)
    end = reader.stable_end(target)

    source = [partition for log in logs for partition in log]
    log_begin = reader.begin(source)
    cut = [partition for partition in source if log_begin[partition] > 0]
    if deleted:  # calls that began in what is deleted go on in all of the first that is there
        cut = list(dict.fromkeys([*logs[0], *cut]))
    auditor = Auditor(policy, cut_at=reader.first_clock(cut, log_begin) if cut else None)
    seen = 0
    for record in reader.read("facts", begin, end, READ_COMMITTED):
        seen += 1
        auditor.published(record.value)
    written = sum(1 for _ in reader.read("transactions", begin, end, READ_UNCOMMITTED))

    log_end = reader.end(source)
    span = sum(log_end.values()) - sum(log_begin.values())
    behind = 0

    def follow(level: int, number: int) -> None:
        nonlocal behind
        own, last = cuts[level], level == len(cuts) - 1
        partition = logs[level][number]
        here = {partition: log_begin[partition]}
        for record in reader.read("log", here, {partition: log_end[partition]}, READ_COMMITTED, behind, span):
            # What goes on elsewhere was committed to its end.
            done = not last or record.offset < committed.get(partition, 0)
            auditor.logged(number, record.value, committed=done, generation=own.generation)
        behind += log_end[partition] - log_begin[partition]
        if not last:
            other = cuts[level + 1]
            auditor.goes_on(number, own.generation, own.partitions, other.partitions, other.generation)
            for heir in heirs(number, own.partitions, other.partitions):
                follow(level + 1, heir)

    for number in range(cuts[0].partitions):
        follow(0, number)
    return Outcome(
        report=auditor.report(),
        transactions=Transactions(
            markers=sum(end.values()) - sum(begin.values()) - written,
            aborted=written - seen,
            last=reader.last_transactions(settings.application),
        ),
        partitions=len(logs[-1]),
        generations=tuple(cuts),
        deleted=deleted,
        cut=len(cut),
        started=len(committed),
        lag=sum(max(0, log_end[one] - max(committed.get(one, 0), log_begin[one])) for one in logs[-1]),
    )


def _there(settings: KafkaSettings, cuts: Sequence[Cut]) -> Sequence[Cut]:
    """Return the generations whose log is there, up to the one in use.

    Raises:
        KafkaUnusableError: that one, or the facts, are not there or not as they should be.
    """
    names = {name_of("sip-transactions", settings, cut) for cut in cuts} | {name_of("missed-calls", settings)}
    with connected(settings, "missedcall-audit") as topics:
        found = topics.find([*names, name_of("partitioning", settings)])
    for cut in cuts:
        if problems := list(map(str, lacking("audit", settings, found, cut))):
            raise KafkaUnusableError("; ".join(problems))
        for sentence in refusals([topic for topic in plan(settings, cut) if topic.name in names], found):
            raise KafkaUnusableError(sentence)
    for name in (name_of("missed-calls", settings), name_of("sip-transactions", settings, cuts[-1])):
        if name not in found:
            raise KafkaUnusableError(
                f"topic {name} is missing: MISSEDCALL_KAFKA_PREFIX and _GENERATION are the classifier's?"
            )
    missing = [at for at, cut in enumerate(cuts) if name_of("sip-transactions", settings, cut) not in found]
    return cuts[missing[-1] + 1 :] if missing else cuts


Offsets = dict[TopicPartition, int]


class _Reader:
    """Clients of the cluster for the time of a `with`."""

    def __init__(self, settings: KafkaSettings, progress: Progress) -> None:
        self._progress = progress
        arguments = connection(settings, "missedcall-audit")
        self._admin: Any = KafkaAdminClient(**arguments, bootstrap_timeout_ms=CONNECT_MS)
        self._consumers: dict[str, Any] = {
            isolation: KafkaConsumer(
                **arguments,
                bootstrap_timeout_ms=CONNECT_MS,
                isolation_level=isolation,
                enable_auto_commit=False,
                auto_offset_reset="none",
            )
            for isolation in (READ_COMMITTED, READ_UNCOMMITTED)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in (*self._consumers.values(), self._admin):
            client.close()

    def partitions(self, topic: str) -> list[TopicPartition]:
        """Return the partitions of a topic, in order."""
        numbers = self._consumers[READ_COMMITTED].partitions_for_topic(topic)
        return [TopicPartition(topic, number) for number in sorted(numbers)]

    def committed(self, group: str, partitions: list[TopicPartition]) -> Offsets:
        """Return the next offset of a group, where it has one."""
        found = _asked_again(lambda: self._admin.list_group_offsets({group: partitions})[group])
        return {partition: entry.offset for partition, entry in found.items() if entry.offset >= 0}

    def begin(self, partitions: list[TopicPartition]) -> Offsets:
        """Return the first offset that is there."""
        found: Offsets = self._consumers[READ_COMMITTED].beginning_offsets(partitions)
        return found

    def end(self, partitions: list[TopicPartition], isolation: str = READ_COMMITTED) -> Offsets:
        """Return the offset behind the last record that a reader of this isolation gets."""
        found: Offsets = self._consumers[isolation].end_offsets(partitions)
        return found

    def stable_end(self, partitions: list[TopicPartition]) -> Offsets:
        """Return the end once every transaction that was open when it was asked for has ended."""
        wanted = self.end(partitions, READ_UNCOMMITTED)
        deadline = time.monotonic() + OPEN_S
        while True:
            stable = self.end(partitions)
            if all(stable[partition] >= offset for partition, offset in wanted.items()):
                return stable
            if time.monotonic() > deadline:
                raise KafkaUnusableError(
                    f"a transaction on {partitions[0].topic} is open for more than {OPEN_S:.0f} s: it hangs, or "
                    "another application writes there"
                )
            time.sleep(0.1)

    def first_clock(self, partitions: list[TopicPartition], begin: Offsets) -> float:
        """Return the latest clock of the partitions' first batches, POSIX seconds; inf if one has none."""
        latest = 0.0
        end = self.end(partitions)
        for partition in partitions:
            batches = self.read(
                "", {partition: begin[partition]}, {partition: end[partition]}, READ_COMMITTED
            )
            for record in batches:
                with suppress(CodecError):
                    latest = max(latest, codec.decode_batch(record.value).clock_ms / 1000)
                    break
            else:
                return float("inf")
        return latest

    def read(
        self, what: str, begin: Offsets, end: Offsets, isolation: str, behind: int = 0, span: int = 0
    ) -> Iterator[Any]:
        """Yield the records from ``begin`` to before ``end``, each partition in order.

        Args:
            what: is read, for the progress.
            begin: first offset by partition.
            end: offset behind the last by partition.
            isolation: of the reader.
            behind: offsets that were read before, for the progress.
            span: offsets that there are to read, for the progress; 0: those from begin to end.
        """
        consumer = self._consumers[isolation]
        left = {partition for partition in begin if begin[partition] < end[partition]}
        consumer.assign(list(left))
        for partition in left:
            consumer.seek(partition, begin[partition])
        heard_at = time.monotonic()
        total = span or sum(end.values()) - sum(begin.values())
        while left:
            for partition, records in consumer.poll(timeout_ms=POLL_MS).items():
                heard_at = time.monotonic()
                for record in records:
                    if record.offset < end[partition]:
                        yield record
            # Markers and what was aborted take offsets too: the position passes them, no record tells.
            at = {partition: consumer.position(partition) for partition in begin if partition in left}
            for partition, offset in at.items():
                if offset >= end[partition]:
                    left.discard(partition)
                    consumer.pause(partition)
            done = sum(at.get(partition, end[partition]) - begin[partition] for partition in begin)
            self._progress(what, behind + done, total)
            if time.monotonic() > heard_at + SILENCE_S:
                raise KafkaUnusableError(f"nothing came from the brokers for {SILENCE_S:.0f} s")

    def last_transactions(self, application: str) -> dict[str, int]:
        """Count how the last transaction of each of the application's ids ended."""
        try:
            listed = self._admin.list_transactions()
        except KafkaError:  # an old cluster, or no right to ask
            return {}
        ends: Counter[str] = Counter()
        for transaction in [one for listings in listed.values() for one in listings]:
            begin, _, number = transaction.transactional_id.rpartition("-")
            if begin == application and number.isdigit():
                ends[_ENDS.get(transaction.state, "open")] += 1
        return dict(sorted(ends.items()))


def _asked_again(ask: Callable[[], Any]) -> Any:
    """Ask until there is an answer; the admin client gives up while a coordinator moves, or is new."""
    deadline = time.monotonic() + MOVE_S
    while True:
        try:
            return ask()
        except KafkaError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


_ENDS = {
    TransactionState.COMPLETE_COMMIT: "committed",
    TransactionState.COMPLETE_ABORT: "aborted",
    TransactionState.EMPTY: "none",
}
