"""More partitions for a log that goes on: what `missedcall scale-partitions` does.

    creating: topics of the next generation are made
    moving:   the log is sealed; what is in it is decided; its state is moved and compared
    running:  the next generation is in use

Rule 1: each phase is a record on `partitioning`, and each step of a phase may be done again: who dies is resumed.
Rule 2: the records are written in transactions of one id: a job that begins takes it, and so ends any other.
Rule 3: a sealed log takes no record of a collector, whatever that knows: the broker refuses all that are longer
        than `SEALED`, and each partition is tried. What Kafka acknowledged before is before the mark, which fits.
Rule 4: state is moved once everything before the mark is in it, and the next generation is in use once what was
        moved is read back and is the same. The generation before is not changed, so that up to there it can go on.
Rule 5: a generation's number is given once: nothing that an aborted job has left is ever read.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType
from kafka.errors import (
    GroupAuthorizationFailedError,
    InvalidProducerEpochError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFencedError,
    TransactionalIdAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from msgspec import Struct

from missedcall_classifier.rows import StateError
from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.kafka.cut import KEY, Cut, Partitioning, encode
from missedcall_common.kafka.partitioning import PartitioningTopic
from missedcall_common.kafka.plan import OF_CUT, Wanted, name_of, plan
from missedcall_common.kafka.rights import lacking, may_not
from missedcall_common.kafka.topics import CONNECT_MS, Topics
from missedcall_schemas.codec import CodecError, decode_batch, encode_batch
from missedcall_schemas.records import CaptureBatch

from .moving import Rows, moved, sum_of, unplaced
from .settings import ClassifierSettings, group_of
from .unit import NEXT

LIMIT = "max.message.bytes"
SEALED = 80
"""Bytes of a record batch with its header, of 61 (Kafka's record format 2): the mark takes 74, the least that a
collector writes 91, time going on without collectors 82."""
MARK = encode_batch(CaptureBatch("", 0, 0, 0))
"""Says nothing and moves no clock."""
LONGER = [("scale", b" " * SEALED)]
"""Headers that make of the mark what a sealed log refuses."""

MOST = 10_000
"""Partitions, as in the settings."""
SAMPLE_S = 3.0
"""For which a plan listens to what comes."""
BEHIND_S = 30.0
"""Lag of the classifiers above which nobody should begin: the pause lasts for it, too."""
KNOWN_S = 30.0
"""For the brokers to end a transaction that is committed."""
SEAL_S = 30.0
"""For the brokers to hear of a topic's setting."""
DECIDE_S = 600.0
"""For what is in the log to be decided."""
BEGIN_S = 120.0
"""For the classifiers to begin with the next generation, before it is said that they have not."""
LOOK_S = 0.2
POLL_MS = 500
SILENCE_S = 60.0
REQUEST_MS = 10_000
TRANSACTION_MS = 300_000
"""More: so long readers wait after a crash. Less: the state of one partition may not fit."""
PAUSE_S = 9.0
"""What a pause takes without any state, as measured; most of it is new processes of the classifier."""
ROWS_PER_S = 10_000
"""State rows that are read, written and read back in a second."""

Progress = Callable[[str, str], None]
"""Called with the name of a step that is done, and what there is to say."""


class RefusedError(Exception):
    """It is not done, and nothing was changed; the text says why."""


class Plan(Struct, frozen=True, kw_only=True):
    """What there is, and what would be."""

    partitioning: Partitioning
    to: int
    refusals: tuple[str, ...]
    """Why it must not be done now."""
    lag: int
    """Records that the classifiers have not committed."""
    rows: int
    """Of the state."""
    state_bytes: int
    messages_s: float
    bytes_s: float
    """Of what collectors publish, before compression."""

    @property
    def pause_s(self) -> float:
        """Seconds for which facts wait, about."""
        return PAUSE_S + self.rows / ROWS_PER_S

    @property
    def buffer_bytes(self) -> int:
        """What all collectors together have to hold meanwhile, about."""
        return int(self.bytes_s * self.pause_s)


class Scaling:
    """The job. Use it in a `with`."""

    def __init__(self, settings: ClassifierSettings, progress: Progress) -> None:
        """Connect.

        Raises:
            KafkaUnusableError: the cluster cannot be reached.
            SettingsError: the file of a secret cannot be read.
        """
        self._settings = settings
        self._kafka = settings.kafka
        self._progress = progress
        self._arguments = {**connection(self._kafka, "missedcall-scale"), "bootstrap_timeout_ms": CONNECT_MS}
        self._records: Any = None
        self._writer: Any = None
        self._partitioning = PartitioningTopic(self._kafka, "missedcall-scale")
        self._admin: Any = KafkaAdminClient(**self._arguments)
        self._consumer: Any = KafkaConsumer(
            **self._arguments,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for producer in (self._records, self._writer):
            if producer is not None:
                producer.close(timeout=1)
        self._partitioning.close()
        self._consumer.close()
        self._admin.close()

    # -- the verbs -----------------------------------------------------------------------------------

    def plan(self, to: int) -> Plan:
        """Look what there is; nothing is changed.

        Raises:
            RefusedError: a right is missing to look.
            KafkaUnusableError: the cluster does not answer, or refuses.
        """
        there = self._partitioning.look().partitioning
        cut = there.cut
        source, state = self._names(cut)
        self._must_be_allowed(cut)
        refusals = [*self._wrong_count(cut.partitions, to), *self._unfinished(there)]
        refusals += self._unhealthy([source, state])
        log = [TopicPartition(source, number) for number in range(cut.partitions)]
        records, messages, size = self._sample(log)
        try:
            lag = self._lag(cut, log)
        except KafkaUnusableError as error:
            raise RefusedError(str(error)) from error
        if lag > BEHIND_S * max(records, 1.0):
            refusals.append(f"the classifiers are {lag / max(records, 1.0):.0f} s behind what comes")
        rows = state_bytes = old = 0
        for number in range(cut.partitions):
            here = self._rows(state, number)
            rows += len(here)
            state_bytes += sum(len(key) + len(row) for key, row in here.items())
            old += unplaced(here)
        if old:
            refusals.append(
                f"{old} calls were begun by a release that did not note their key: wait until they are over"
            )
        if not refusals:
            refusals += self._forbidden(there, to)
        return Plan(
            partitioning=there,
            to=to,
            refusals=tuple(refusals),
            lag=lag,
            rows=rows,
            state_bytes=state_bytes,
            messages_s=messages,
            bytes_s=size,
        )

    def execute(self, to: int) -> Partitioning:
        """Do it.

        Raises:
            RefusedError: it must not be done now.
            KafkaUnusableError: something did not go as it should; resume or abort.
        """
        found = self.plan(to)
        if found.refusals:
            raise RefusedError("; ".join(found.refusals))
        there = self._take_over()
        if there != found.partitioning:
            raise RefusedError("another scale-partitions was quicker")
        given = there.given + 1
        return self._go_on(
            self._record(
                there,
                phase="creating",
                next=Cut(given, to),
                given=given,
                limit=self._limit(self._names(there.cut)[0]),
            )
        )

    def resume(self) -> Partitioning:
        """Bring to its end what another has begun.

        Raises:
            RefusedError: nothing was begun, or it is being aborted.
            KafkaUnusableError: as of `execute`.
        """
        self._must_be_unfinished()
        there = self._take_over()
        if there.phase == "aborting":
            raise RefusedError("it is being aborted: --abort brings that to its end")
        return self._go_on(there)

    def ensure(self, to: int) -> Partitioning:
        """Have so many: begin, or go on with what was begun, or do nothing. For whoever is started again.

        Raises:
            RefusedError: another count was begun; or as of `execute`, of `resume`.
            KafkaUnusableError: as of `execute`.
        """
        there = self._partitioning.look().partitioning
        if there.next is not None and there.next.partitions == to:
            return self.resume()
        if there.next is None and there.cut.partitions == to:
            self._done(
                "running", f"{to} partitions, generation {there.cut.generation}: nothing is to be done"
            )
            return there
        return self.execute(to)

    def abort(self) -> Partitioning:
        """Go on with the partitions that there were.

        Raises:
            RefusedError: nothing was begun, or it is done.
            KafkaUnusableError: as of `execute`.
        """
        self._must_be_unfinished()
        there = self._take_over()
        if there.next is None:
            raise RefusedError("nothing is under way")
        left = self._names(there.next)
        if there.held:
            there = self._record(there, phase="aborting")
            self._unseal(there)
        there = self._record(there, phase="running", next=None, limit="")
        self._delete(left)
        self._done("aborted", f"the log goes on in {there.cut.partitions} partitions")
        return there

    # -- the steps -----------------------------------------------------------------------------------

    def _go_on(self, there: Partitioning) -> Partitioning:
        to = there.next
        if to is None:
            raise RefusedError("nothing is under way")
        if there.phase == "creating":
            self._create(to)
            there = self._record(there, phase="moving")
        began = time.monotonic()
        ends = self._seal(there)
        self._decided(there, ends)
        self._move(there, to, ends)
        self._still_sealed(there, ends)
        there = self._record(there, phase="running", cuts=(*there.cuts, to), next=None, limit="")
        self._done("moved", f"the log was held for {time.monotonic() - began:.1f} s")
        self._begun(there, began)
        return there

    def _delete(self, names: Iterable[str]) -> None:
        answer = self._admin.delete_topics(list(names), raise_errors=False)
        for topic in answer["topics"]:
            if topic["error_code"] not in (0, UnknownTopicOrPartitionError.errno):
                why = for_code(topic["error_code"]).__name__
                self._done("left", f"topic {topic['name']} is not deleted, and never read: {why}")

    def _create(self, cut: Cut) -> None:
        wanted = self._wanted(cut)
        topics = Topics(self._admin)
        topics.create(wanted)
        found = topics.find(topic.name for topic in wanted)
        if problems := list(map(str, lacking("scale", self._kafka, found, cut))):
            raise KafkaUnusableError(f"{'; '.join(problems)}; then --resume or --abort")
        for topic in wanted:
            if topic.name not in found or found[topic.name].partitions != topic.partitions:
                raise KafkaUnusableError(
                    f"topic {topic.name} is not what was created: --abort and begin again"
                )
        self._done("created", ", ".join(topic.name for topic in wanted))

    def _seal(self, there: Partitioning) -> dict[int, int]:
        """Let the log take nothing more; return where each partition ends."""
        source, _ = self._names(there.cut)
        self._set_limit(source, str(SEALED))
        self._until_tried(source, there.cut.partitions, open_=False)
        self._done("sealed", source)
        marks = [self._writer.send(source, value=MARK, partition=p) for p in range(there.cut.partitions)]
        ends = {number: mark.get(REQUEST_MS / 1000).offset + 1 for number, mark in enumerate(marks)}
        self._done("marked", f"{sum(ends.values()):,} records")
        return ends

    def _unseal(self, there: Partitioning) -> None:
        source, _ = self._names(there.cut)
        self._set_limit(source, there.limit)
        self._until_tried(source, there.cut.partitions, open_=True)
        self._done("unsealed", source)

    def _until_tried(self, topic: str, partitions: int, *, open_: bool) -> None:
        """Try each partition until it takes a record, or takes none. One that it takes says nothing."""
        left = set(range(partitions))
        deadline = time.monotonic() + SEAL_S
        while left:
            taking = self._taking(topic, left)
            left -= taking if open_ else left - taking
            if left and time.monotonic() > deadline:
                raise KafkaUnusableError(f"topic {topic}: {LIMIT} has no effect after {SEAL_S:.0f} s")

    def _taking(self, topic: str, partitions: Iterable[int]) -> set[int]:
        """Return those that take a record."""
        sent = {
            number: self._writer.send(topic, value=MARK, headers=LONGER, partition=number)
            for number in partitions
        }
        found = set()
        for number, future in sent.items():
            with suppress(MessageSizeTooLargeError):
                future.get(REQUEST_MS / 1000)
                found.add(number)
        return found

    def _decided(self, there: Partitioning, ends: dict[int, int]) -> None:
        """Wait until the classifiers have committed everything."""
        source, _ = self._names(there.cut)
        log = [TopicPartition(source, number) for number in ends]
        deadline = time.monotonic() + DECIDE_S
        while True:
            at = self._committed(there.cut, log)
            left = sum(ends[one.partition] - at.get(one, 0) for one in log)
            if left <= 0:
                break
            if time.monotonic() > deadline:
                raise KafkaUnusableError(
                    f"{left} records are not decided after {DECIDE_S:.0f} s: look at the classifiers, then "
                    "--resume or --abort"
                )
            time.sleep(LOOK_S)
        self._done("decided", f"up to the last of {sum(ends.values()):,} records")

    def _move(self, there: Partitioning, to: Cut, ends: dict[int, int]) -> None:
        _, before = self._names(there.cut)
        _, after = self._names(to)
        expected = {}
        calls = 0
        for number, end in ends.items():
            rows = self._rows(before, number)
            if int(rows.get(NEXT, b"0")) != end:
                raise KafkaUnusableError(f"the state of partition {number} is not that of its log: --resume")
            try:
                heirs = moved(number, rows, there.cut.partitions, to.partitions)
            except (StateError, ValueError) as error:
                raise KafkaUnusableError(f"partition {number}: {error}") from error
            self._write(after, heirs)
            for heir, own in heirs.items():
                expected[heir] = sum_of(own.items())
                calls += len(own)
            self._done("copied-one", f"partition {number}")
        self._done("copied", f"{calls:,} rows")
        for heir, wanted in expected.items():
            if sum_of(self._rows(after, heir).items()) != wanted:
                raise KafkaUnusableError(
                    f"what is on partition {heir} of {after} is not what was copied: --abort"
                )
        self._done("verified", f"{len(expected)} partitions")

    def _write(self, topic: str, heirs: dict[int, Rows]) -> None:
        producer = self._records
        with _fenced():
            producer.begin_transaction()
            sent = [
                producer.send(topic, value=row, key=key.encode("utf-8", "surrogatepass"), partition=heir)
                for heir, rows in heirs.items()
                for key, row in rows.items()
            ]
            for future in sent:
                future.get(SILENCE_S)
            producer.commit_transaction()

    def _still_sealed(self, there: Partitioning, ends: dict[int, int]) -> None:
        source, _ = self._names(there.cut)
        found = self._consumer.end_offsets([TopicPartition(source, number) for number in ends])
        taking = self._taking(source, ends)
        for one, end in found.items():
            if end != ends[one.partition] or one.partition in taking:
                raise KafkaUnusableError(f"partition {one.partition} of {source} was written to: --resume")

    def _begun(self, there: Partitioning, began: float) -> None:
        """Wait until the classifiers have committed something of each partition."""
        source, _ = self._names(there.cut)
        log = [TopicPartition(source, number) for number in range(there.cut.partitions)]
        deadline = time.monotonic() + BEGIN_S
        try:
            while len(self._committed(there.cut, log)) < len(log):
                if time.monotonic() > deadline:
                    self._done("running", "the classifiers have not begun with it yet: look at them")
                    return
                time.sleep(LOOK_S)
        except KafkaUnusableError as error:
            self._done("running", f"whether the classifiers have begun is not to be seen: {error}")
            return
        self._done(
            "running", f"the classifiers decide again, {time.monotonic() - began:.1f} s after the hold began"
        )

    # -- what is asked -------------------------------------------------------------------------------

    def _wrong_count(self, now: int, to: int) -> list[str]:
        if to <= now:
            return [f"there are {now} partitions, and they are never made fewer"]
        if to % now or to > MOST:
            return [f"expected a multiple of {now}, at most {MOST}: {now * 2}, {now * 3}, {now * 4}, ..."]
        return []

    def _unfinished(self, there: Partitioning) -> list[str]:
        if there.next is None:
            return []
        since_s = time.time() - there.since_ms / 1000
        held = ", and collectors hold back what they receive" if there.held else ""
        phase = f"scale-partitions to {there.next.partitions} is at `{there.phase}` for {since_s:.0f} s{held}"
        return [f"{phase}: --resume or --abort"]

    def _must_be_unfinished(self) -> None:
        there = self._partitioning.look().partitioning
        if there.next is None:
            raise RefusedError("nothing is under way")
        self._must_be_allowed(there.cut)

    def _must_be_allowed(self, cut: Cut) -> None:
        """Raise RefusedError unless each right on topics is there; others are seen when they are needed."""
        found = Topics(self._admin).find([*self._names(cut), name_of("partitioning", self._kafka)])
        if problems := list(map(str, lacking("scale", self._kafka, found, cut))):
            raise RefusedError("; ".join(problems))

    def _unhealthy(self, topics: list[str]) -> list[str]:
        found = []
        control = name_of("partitioning", self._kafka)
        described = {topic["name"]: topic for topic in self._admin.describe_topics([*topics, control])}
        for name in (*topics, control):
            if described[name]["error_code"]:
                found.append(f"topic {name} is missing: create it with `python -m missedcall_common.kafka`")
                continue
            parts = described[name]["partitions"]
            behind = sum(len(part["isr_nodes"]) < len(part["replica_nodes"]) for part in parts)
            if behind:
                found.append(f"topic {name}: {behind} partitions have replicas that are not in sync")
        return found

    def _forbidden(self, there: Partitioning, to: int) -> list[str]:
        """Try what needs a right, without doing it."""
        found = []
        wanted = self._wanted(Cut(there.given + 1, to))
        request = {
            topic.name: {
                "num_partitions": topic.partitions,
                "replication_factor": topic.replicas,
                "configs": topic.config,
            }
            for topic in wanted
        }
        answer = self._admin.create_topics(request, validate_only=True, raise_errors=False)
        found += [
            f"topic {topic['name']} cannot be created: {for_code(topic['error_code']).__name__}"
            for topic in answer["topics"]
            if topic["error_code"]
        ]
        source, _ = self._names(there.cut)
        try:
            self._alter(source, str(SEALED), trying=True)
        except (KafkaError, ValueError) as error:  # the client cannot see what there is to be set
            found.append(f"{LIMIT} of topic {source} may not be set: {type(error).__name__}")
        try:
            self._take_over()  # nothing is under way that this would end
        except RefusedError as error:
            found.append(str(error))
        return found

    def _sample(self, log: list[TopicPartition]) -> tuple[float, float, float]:
        """Return records, messages and bytes per second of what comes."""
        consumer = self._consumer
        consumer.assign(log)
        consumer.seek_to_end(*log)
        for one in log:
            consumer.position(one)
        records = messages = size = 0
        began = time.monotonic()
        while (took := time.monotonic() - began) < SAMPLE_S:
            for found in consumer.poll(timeout_ms=200).values():
                for record in found:
                    records += 1
                    size += len(record.value)
                    try:
                        messages += len(decode_batch(record.value).messages)
                    except CodecError:
                        continue
        return records / took, messages / took, size / took

    def _committed(self, cut: Cut, log: list[TopicPartition]) -> dict[TopicPartition, int]:
        group = group_of(self._settings, cut)
        try:
            found = self._admin.list_group_offsets({group: log})[group]
        except GroupAuthorizationFailedError as error:
            raise KafkaUnusableError(may_not(f"group {group}", "Describe")) from error
        except KafkaError as error:
            if error.retriable:  # its coordinator moves, or is new
                return {}
            raise
        return {one: entry.offset for one, entry in found.items() if entry.offset >= 0}

    def _lag(self, cut: Cut, log: list[TopicPartition]) -> int:
        at = self._committed(cut, log)
        begins, ends = self._consumer.beginning_offsets(log), self._consumer.end_offsets(log)
        return sum(max(0, ends[one] - max(at.get(one, 0), begins[one])) for one in log)

    def _rows(self, topic: str, partition: int) -> Rows:
        """Read a partition of the state to its end: the last value of each key."""
        where = TopicPartition(topic, partition)
        consumer = self._consumer
        consumer.assign([where])
        consumer.seek_to_beginning(where)
        end = consumer.end_offsets([where])[where]
        rows: Rows = {}
        heard_at = time.monotonic()
        while consumer.position(where) < end:
            for record in consumer.poll(timeout_ms=POLL_MS).get(where, ()):
                heard_at = time.monotonic()
                key = record.key.decode("utf-8", "surrogatepass")
                if record.value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = record.value
            if time.monotonic() > heard_at + SILENCE_S:
                raise KafkaUnusableError(f"nothing came from the brokers for {SILENCE_S:.0f} s")
        return rows

    # -- what is written -----------------------------------------------------------------------------

    def _names(self, cut: Cut) -> tuple[str, str]:
        """Return the names of log and state."""
        source, state = (name_of(topic, self._kafka, cut) for topic in OF_CUT)
        return source, state

    def _wanted(self, cut: Cut) -> list[Wanted]:
        names = self._names(cut)
        return [topic for topic in plan(self._kafka, cut) if topic.name in names]

    def _take_over(self) -> Partitioning:
        """Take the id by which records are written; return what holds then.

        Raises:
            RefusedError: the right to it is missing.
        """
        if self._records is None:
            self._take_id()
        return self._partitioning.look().partitioning

    def _take_id(self) -> None:
        name = f"{self._settings.application}-scale"
        self._records = KafkaProducer(
            **self._arguments,
            transactional_id=name,
            transaction_timeout_ms=TRANSACTION_MS,
            request_timeout_ms=REQUEST_MS,
            allow_auto_create_topics=False,
        )
        # Not idempotent: that one takes nothing more once it was refused something. A mark may be there twice.
        self._writer = KafkaProducer(
            **self._arguments,
            acks="all",
            enable_idempotence=False,
            request_timeout_ms=REQUEST_MS,
            allow_auto_create_topics=False,
        )
        try:
            self._records.init_transactions()
        except TransactionalIdAuthorizationFailedError as error:
            raise RefusedError(may_not(f"transactional id {name}", "Write")) from error

    def _record(self, there: Partitioning, **changes: Any) -> Partitioning:
        """Write what holds from now on, unless another job has taken over."""
        now = msgspec.structs.replace(there, **changes, since_ms=time.time_ns() // 1_000_000)
        producer = self._records
        with _fenced():
            producer.begin_transaction()
            sent = producer.send(
                name_of("partitioning", self._kafka), value=encode(now), key=KEY, partition=0
            )
            sent.get(SILENCE_S)  # the client waits for ever with the end of one that was refused a right
            producer.commit_transaction()
        self._until_known(now)
        self._done(f"is-{now.phase}", f"{now.cut.partitions} partitions, generation {now.cut.generation}")
        return now

    def _until_known(self, now: Partitioning) -> None:
        """Wait until readers see it: a commit is answered before its marker is in the log.

        A collector that is refused by the seal and does not see yet why would blame its record.
        """
        deadline = time.monotonic() + KNOWN_S
        while self._partitioning.look().partitioning != now:
            if time.monotonic() > deadline:
                raise KafkaUnusableError(
                    f"what was committed cannot be read after {KNOWN_S:.0f} s, or another scale-partitions "
                    "has taken over: --resume or --abort"
                )
            time.sleep(LOOK_S)

    def _limit(self, topic: str) -> str:
        """Return the operator's own limit of a topic, empty if there is none."""
        found = Topics(self._admin).find_with_settings([topic])
        return found[topic].config.get(LIMIT, "")

    def _set_limit(self, topic: str, value: str) -> None:
        self._alter(topic, value, trying=False)

    def _alter(self, topic: str, value: str, *, trying: bool) -> None:
        change = (AlterConfigOp.SET, value) if value else (AlterConfigOp.DELETE, None)
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {LIMIT: change})
        self._admin.alter_configs([resource], validate_only=trying)

    def _done(self, step: str, text: str) -> None:
        self._progress(step, text)


@contextmanager
def _fenced() -> Iterator[None]:
    """Say simply that another job has taken over."""
    try:
        yield
    except (ProducerFencedError, InvalidProducerEpochError) as error:
        raise KafkaUnusableError("another scale-partitions has taken over") from error
