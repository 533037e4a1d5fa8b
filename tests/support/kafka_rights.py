"""Users of a Kafka that allows only what an ACL says, and what each program does there, in its own code.

A `use` is everything that a program asks of the brokers, once: it returns, or raises, or says by an event that it
cannot. The programs' own look at their rights, `lacking`, is another thing: it only says sooner what is missing.
"""

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialUpsertion,
)
from support import kafka_log
from support.notify import make_delivery

from missedcall_classifier.stream import audit_topics, scale
from missedcall_classifier.stream.partitions import KafkaPartitions
from missedcall_classifier.stream.settings import group_of
from missedcall_classifier.stream.settings import load as load_classifier
from missedcall_classifier.stream.unit import NEXT, Publication, Turn
from missedcall_collector import publisher, trial
from missedcall_common.kafka import __main__ as topics_job
from missedcall_common.kafka.client import connection, reach
from missedcall_common.kafka.cut import Cut
from missedcall_common.kafka.partitioning import look
from missedcall_common.kafka.plan import name_of, plan
from missedcall_common.kafka.rights import ALL, RIGHTS, Lack, Right, lacking, resource_name
from missedcall_common.kafka.settings import PREFIX, KafkaSettings
from missedcall_common.kafka.topics import connected
from missedcall_common.runtime.settings import from_environment
from missedcall_notifier.delivery import State
from missedcall_notifier.redrive import Selection
from missedcall_notifier.settings import PeopleSettings
from missedcall_notifier.stream import (
    following,
    letters,
    membership,
    people,
    publish,
    redrive_topics,
    requests,
    writer,
)
from missedcall_schemas.codec import encode_batch
from missedcall_schemas.records import CaptureBatch, Person

CHANNEL = "webhook"
KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS = {
    "Read": ACLOperation.READ,
    "Write": ACLOperation.WRITE,
    "Create": ACLOperation.CREATE,
    "Delete": ACLOperation.DELETE,
    "Describe": ACLOperation.DESCRIBE,
    "DescribeConfigs": ACLOperation.DESCRIBE_CONFIGS,
    "AlterConfigs": ACLOperation.ALTER_CONFIGS,
}
IMPLYING = {"Read", "Write", "Delete", "AlterConfigs"}
"""Each of these lets its user see the resource, too."""
PATIENCE_S = 15.0


class CannotError(Exception):
    """What a program says when it cannot do its work."""


class Case(NamedTuple):
    """A program without one of its rights."""

    program: str
    right: Right
    operation: str

    def __str__(self) -> str:
        return f"{self.program}-{self.right.name}-{self.operation}"


def cases() -> list[Case]:
    """Return every right of every program."""
    return [
        Case(program, right, operation)
        for program, rights in RIGHTS.items()
        for right in rights
        for operation in right.operations
    ]


class Place:
    """Topics of their own on a cluster, with a user for each program, who has its rights and no others."""

    def __init__(self, kafka, partitions: int = 2) -> None:
        self.kafka = kafka
        self.environment = kafka_log.environment(kafka, partitions, MISSEDCALL_KAFKA_CHANNELS=CHANNEL)
        assert topics_job.main([], self._variables) == 0  # the journal of the channel
        self.admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        password = kafka.secure.password_file.read_text()
        self.admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(self.user(one), "SCRAM-SHA-256", password) for one in RIGHTS]
        )
        self._give(
            [acl for program in RIGHTS for right in RIGHTS[program] for acl in self._acls(program, right)]
        )

    def close(self) -> None:
        self.admin.close()

    @property
    def prefix(self) -> str:
        return self.environment["MISSEDCALL_KAFKA_PREFIX"]

    def write(self, topic: str, *partitions: int) -> None:
        """Write a record that says nothing."""
        root = KafkaProducer(bootstrap_servers=self.kafka.bootstrap)
        for number in partitions:
            root.send(topic, encode_batch(CaptureBatch("", 0, 0, 0)), partition=number)
        root.close()

    def user(self, program: str) -> str:
        """Return who a program is."""
        return f"{self.prefix}{program}"

    def of(self, program: str) -> dict[str, str]:
        """Return the environment of a program."""
        bound = self.environment | kafka_log.secured(self.kafka, "SCRAM-SHA-256", self.user(program))
        if program == "notifier":
            return bound | {"MISSEDCALL_APPLICATION": f"{self.prefix}notifier"}
        if program in ("classifier", "scale", "audit"):
            return bound
        return {name: value for name, value in bound.items() if name.startswith(PREFIX)}

    def kafka_of(self, program: str) -> KafkaSettings:
        """Return the settings of a program that are about Kafka."""
        kafka = {name: value for name, value in self.of(program).items() if name.startswith(PREFIX)}
        return from_environment(KafkaSettings, kafka, PREFIX)

    def named_as_lacking(self, case: Case) -> bool:
        """Whether a program that looks at its rights when it starts sees that it has not this one."""
        kafka = self.kafka_of(case.program)
        others = {right.name for right in RIGHTS[case.program] if right != case.right}
        names = {
            topic.name
            for topic in plan(kafka)
            if case.right.name == topic.topic or (case.right.name == ALL and topic.topic not in others)
        }
        with connected(kafka, "rights") as topics:
            found = set(lacking(case.program, kafka, topics.find(names)))
        return found >= {Lack(name, case.operation) for name in names}

    @contextmanager
    def without(self, case: Case, *, wholly: bool = False) -> Iterator[None]:
        """Take one right away for the time of a `with`; what it implies stays, unless `wholly`.

        So it is this right that is missed, and not that the resource cannot be seen.
        """
        taken = [self._acl(case.program, case.right, case.operation)]
        left = (
            [self._acl(case.program, case.right, "Describe")]
            if case.operation in IMPLYING and not wholly
            else []
        )
        self._give(left)
        self._take(taken)
        try:
            yield
        finally:
            self._give(taken)
            self._take(left)

    def _acls(self, program: str, right: Right) -> list[ACL]:
        return [self._acl(program, right, operation) for operation in right.operations]

    def _acl(self, program: str, right: Right, operation: str) -> ACL:
        prefix = self.environment["MISSEDCALL_KAFKA_PREFIX"]
        application = (
            f"{prefix}notifier-{CHANNEL}"
            if program == "notifier"
            else self.environment["MISSEDCALL_APPLICATION"]
        )
        everything = right.name == ALL
        name = prefix if everything else resource_name(right, self._settings, application, CHANNEL)
        pattern = (
            ACLResourcePatternType.PREFIXED
            if right.prefixed or everything
            else ACLResourcePatternType.LITERAL
        )
        return ACL(
            principal=f"User:{self.user(program)}",
            host="*",
            operation=OPERATIONS[operation],
            permission_type=ACLPermissionType.ALLOW,
            resource_pattern=ResourcePattern(KINDS[right.kind], name, pattern),
        )

    @property
    def _settings(self) -> KafkaSettings:
        return from_environment(KafkaSettings, self._variables, PREFIX)

    @property
    def _variables(self) -> dict[str, str]:
        return {name: value for name, value in self.environment.items() if name.startswith(PREFIX)}

    def _give(self, acls: list[ACL]) -> None:
        if acls:
            self.admin.create_acls(acls)
            self._until(lambda: self._there(acls) == set(acls))

    def _take(self, acls: list[ACL]) -> None:
        if acls:
            self.admin.delete_acls([_filter(acl) for acl in acls])
            self._until(lambda: not self._there(acls))

    def _there(self, acls: list[ACL]) -> set[ACL]:
        """Return those that are in force."""
        users = {acl.principal for acl in acls}
        found, _ = self.admin.describe_acls(_all_of(users.pop() if len(users) == 1 else None))
        return set(found) & set(acls)

    def _until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _all_of(principal: str | None) -> ACLFilter:
    """Return what finds all of a user, or of everybody."""
    return ACLFilter(
        principal=principal,
        host=None,
        operation=ACLOperation.ANY,
        permission_type=ACLPermissionType.ANY,
        resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
    )


def _filter(acl: ACL) -> ACLFilter:
    pattern = acl.resource_pattern
    return ACLFilter(
        principal=acl.principal,
        host="*",
        operation=acl.operation,
        permission_type=acl.permission_type,
        resource_pattern=ResourcePatternFilter(
            pattern.resource_type, pattern.resource_name, pattern.pattern_type
        ),
    )


# -- what each program asks of the brokers ------------------------------------------------------------------


class Said:
    """Listens to the events of modules in the place of the log."""

    def __init__(self, patch: pytest.MonkeyPatch, *modules) -> None:
        self.lines: list[str] = []
        for module in modules:
            patch.setattr(module, "emit", self._emit)

    def _emit(self, event, error=None, **fields) -> None:
        if event in ("kafka.lost", "kafka.failed", "service.failed"):
            self.lines.append(f"{event}: {type(error).__name__}: {error}: {fields.get('detail', '')}")

    def wait(self, true: Callable[[], bool]) -> None:
        """Wait until something is so; raise what is said if that is sooner."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            if self.lines:
                raise CannotError(self.lines[0])
            assert time.monotonic() < deadline, "nothing was done, and nothing said"
            time.sleep(0.01)


def use_collector(place: Place, patch: pytest.MonkeyPatch) -> None:
    said = Said(patch, publisher)
    publishing = publisher.Publisher(place.kafka_of("collector"), "c", 1_000_000, None)
    publishing.start()
    try:
        publishing.offer(0, encode_batch(CaptureBatch("c9", 1, 0, 1)), 1)
        said.wait(lambda: publishing.counts["published-batches"] > 0)
    finally:
        publishing.stop(0.0)


def use_classifier(place: Place, patch: pytest.MonkeyPatch) -> None:
    settings, policy = load_classifier(place.of("classifier"))
    cut = look(settings.kafka, "rights").partitioning.cut
    if cut.generation == 1:
        raise CannotError("it does not know how the log is cut")
    source = name_of("sip-transactions", settings.kafka, cut)
    place.write(source, *range(cut.partitions))

    async def work() -> None:
        parts = KafkaPartitions(settings, policy, reach(settings.kafka), cut)
        consumer = AIOKafkaConsumer(  # as Faust has it
            source,
            **reach(settings.kafka),
            group_id=group_of(settings, cut),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            async with asyncio.timeout(PATIENCE_S):
                await consumer.getone()
            await parts.take_over({0})
            said = [
                Publication(topic, "k", b"v") for topic in ("dead-letters", "missed-calls", "call-verdicts")
            ]
            at = parts.units[0].next
            await parts._transaction(0, Turn(publications=said, rows=[(NEXT, b"%d" % at)], next=at))
            _, telling = await parts._clock_clients()
            await telling.send_and_wait(source, encode_batch(CaptureBatch("", 0, 0, 0)), partition=0)
        finally:
            await consumer.stop()
            for client in (*parts._producers.values(), *(parts._clock or ())):
                await client.stop()

    asyncio.run(work())


class _Owner:
    def __init__(self) -> None:
        self.parts: set[int] = set()
        self.facts = 0

    def came(self, parts) -> None:
        self.parts |= parts

    def left(self, _parts, *, lost):
        done = threading.Event()
        done.set()
        return done

    def heard(self, _part, _run, facts) -> None:
        self.facts += len(facts)

    def positions_durable(self):
        return {}


def use_notifier(place: Place, patch: pytest.MonkeyPatch) -> None:
    kafka = place.kafka_of("notifier")
    group = f"{place.of('notifier')['MISSEDCALL_APPLICATION']}-{CHANNEL}"
    journal = resource_name(RIGHTS["notifier"][1], kafka, "", CHANNEL)
    arguments = connection(kafka, "rights")
    patch.setattr(writer, "PATIENCE_MS", 10_000)
    patch.setattr(writer, "REQUEST_MS", 5_000)
    mine = writer.Writer(arguments, f"{group}-0")
    try:
        mine.write([writer.Record(journal, b"k", b"v", 0)])
        mine.write([writer.Record(name_of("dead-letters", kafka), b"k", b"v", 0)])
        mine.write([writer.Record(journal, b"k", None, 0)])
    finally:
        mine.close()
    writer.read(arguments, journal, 0)

    said = Said(patch, membership, following)
    owner, heard = _Owner(), []
    taking = membership.Membership(
        arguments, membership.Place(name_of("missed-calls", kafka), group, "", 6.0, 1.0), owner
    )
    asked = requests.Requests(arguments, name_of("notify-redrive", kafka), CHANNEL, heard.append)
    names = {name_of(topic, kafka): topic for topic in ("directory", "preferences")}
    reading = people.TopicPeople(PeopleSettings(topics=True), arguments, names)
    taking.start()
    asked.start()
    reading._follower.start()
    try:
        said.wait(lambda: bool(owner.parts))
        for part in owner.parts:
            taking.read_from(part, 0, 1)
        said.wait(lambda: owner.facts > 0 and bool(heard) and reading._loaded.is_set())
    finally:
        reading._follower.end()
        asked.end()
        taking.stop()
        asked.stop()
        reading._follower.stop()


def use_topics(place: Place, patch: pytest.MonkeyPatch) -> None:
    channel = f"new-{time.time_ns()}"
    name = f"{place.environment['MISSEDCALL_KAFKA_PREFIX']}notify-journal-"
    created, said = _topics_job(place, f"{CHANNEL},{channel}")
    if created or f"{name}{channel}" not in place.admin.list_topics():
        raise CannotError(said or "may not see what it has created")
    place.admin.create_topics({f"{name}odd-{channel}": {"num_partitions": 1, "replication_factor": 1}})
    _, said = _topics_job(place, f"odd-{channel}")
    if "has 1 partitions, expected 2" not in said:
        raise CannotError("may not see that a topic has another partition count")


def _topics_job(place: Place, channels: str) -> tuple[int, str]:
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        status = topics_job.main([], place.of("topics") | {"MISSEDCALL_KAFKA_CHANNELS": channels})
    return status, said.getvalue()


def use_test(place: Place, patch: pytest.MonkeyPatch) -> None:
    kafka = place.kafka_of("test")
    consumer = trial._at_the_end(kafka)
    try:
        left = {name_of(topic, kafka) for topic in trial.TOPICS}
        consumer.seek_to_beginning()
        while left:
            left -= {where.topic for where in consumer.poll(timeout_ms=500)}
    finally:
        consumer.close()


def use_scale(place: Place, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scale, "SAMPLE_S", 0.1)
    patch.setattr(scale, "BEHIND_S", 1e9)
    settings, _ = load_classifier(place.of("scale"))
    left: list[str] = []

    class StoppedError(Exception):
        pass

    def progress(step: str, text: str) -> None:
        if step == "created":
            raise StoppedError
        if step == "left":
            left.append(text)

    there = look(place._settings, "rights").partitioning
    if there.next is not None:  # an earlier use could not end it
        root, _ = load_classifier(place.environment)
        with scale.Scaling(root, lambda *_: None) as scaling:
            scaling.abort()
    with scale.Scaling(settings, progress) as scaling:
        try:
            scaling.execute(there.cut.partitions * 2)
        except StoppedError:
            there = scaling._partitioning.look().partitioning
            log, state = scaling._names(there.next or Cut(0, 0))
            scaling._until_tried(log, 1, open_=True)
            scaling._write(state, {0: {"k": b"v"}})
            scaling.abort()
    if left:
        raise CannotError(left[0])


def use_audit(place: Place, patch: pytest.MonkeyPatch) -> None:
    settings, policy = load_classifier(place.of("audit"))
    found = audit_topics.audit_topics(settings, policy, lambda *_: None)
    if found.generations[-1].generation == 1:
        raise CannotError("it does not know how the log is cut")


def use_redrive(place: Place, patch: pytest.MonkeyPatch) -> None:
    found = redrive_topics.DeadLetters(place.kafka_of("redrive"), Selection())
    assert found.ask(time.time()) == 1


def use_directory(place: Place, patch: pytest.MonkeyPatch) -> None:
    name = f"sip:a{time.time_ns()}@example.com"
    publish.publish(place.kafka_of("directory"), [Person(addresses=(name,))], keeps=0.0)


USES: dict[str, Callable[[Place, pytest.MonkeyPatch], None]] = {
    program: globals()[f"use_{program}"] for program in RIGHTS
}


def prepare(place: Place) -> None:
    """Write what there has to be for everybody to read, and cut the log once."""
    kafka = place._settings
    settings, _ = load_classifier(place.environment)
    arguments = connection(kafka, "rights")
    dead = make_delivery("f", CHANNEL)
    dead = dead.__class__(
        **{name: getattr(dead, name) for name in dead.__struct_fields__} | {"state": State.DEAD}
    )
    letter = letters.letter(dead, 0)
    root = writer.Writer(arguments, "rights-prepare")
    root.write(
        [
            writer.Record(name_of("dead-letters", kafka), b"k", letter, 0),
            writer.Record(
                name_of("notify-redrive", kafka), b"k", letters.request(letters.read_letter(letter), 0.0), 0
            ),
        ]
    )
    for topic in ("missed-calls", "call-verdicts"):
        place.write(name_of(topic, kafka), 0, 1)
    journal = resource_name(RIGHTS["notifier"][1], kafka, "", CHANNEL)
    root.write([writer.Record(journal, b"k", None, 0)])
    publish.publish(kafka, [Person(addresses=("sip:a@example.com",))], keeps=0.0)
    there = look(kafka, "rights").partitioning
    log, state = name_of("sip-transactions", kafka), name_of("call-state", kafka)
    with scale.Scaling(
        settings, lambda step, _: _decide(place, log, state) if step == "marked" else None
    ) as job:
        patch = pytest.MonkeyPatch()
        patch.setattr(scale, "SAMPLE_S", 0.1)
        patch.setattr(scale, "BEGIN_S", 0.0)
        job.execute(there.cut.partitions * 2)
        patch.undo()
    cut = look(kafka, "rights").partitioning.cut
    root.write([writer.Record(name_of("call-state", kafka, cut), NEXT.encode(), b"0", 0)])
    root.close()


def _decide(place: Place, log: str, state: str) -> None:
    """Be the classifier: commit everything that is in the log."""
    consumer = KafkaConsumer(
        bootstrap_servers=place.kafka.bootstrap, group_id=place.environment["MISSEDCALL_APPLICATION"]
    )
    where = [TopicPartition(log, number) for number in range(2)]
    consumer.assign(where)
    ends = consumer.end_offsets(where)
    mine = writer.Writer(connection(place._settings, "rights"), "rights-decide")
    mine.write(
        [writer.Record(state, NEXT.encode(), str(end).encode(), one.partition) for one, end in ends.items()]
    )
    consumer.commit({one: OffsetAndMetadata(end, "", -1) for one, end in ends.items()})
    mine.close()
    consumer.close()
