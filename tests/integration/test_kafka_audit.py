"""`missedcall audit` on a real Kafka: what is right, and what was doubled, removed or changed on purpose."""

import asyncio
from collections import defaultdict
from types import SimpleNamespace

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.errors import CoordinatorNotAvailableError, NotCoordinatorError
from kafka.structs import OffsetAndMetadata
from msgspec.structs import replace
from support import kafka_log
from support.classifier_process import ClassifierProcess, offline, values
from support.command import missedcall as command

from missedcall_classifier.stream import audit_topics
from missedcall_classifier.stream.settings import load
from missedcall_common.kafka.client import KafkaUnusableError
from missedcall_schemas.codec import decode_batch, decode_missed_call, encode_missed_call

pytestmark = [pytest.mark.kafka]

PARTITIONS = 2
LOG = kafka_log.records(40, PARTITIONS)
BY_PARTITION = defaultdict(list)
for _partition, _value in LOG:
    BY_PARTITION[_partition].append(_value)
FACTS = offline(
    SimpleNamespace(batches={n: [decode_batch(value) for value in log] for n, log in BY_PARTITION.items()})
).facts
CALLS = 40


def missedcall(*words, env):
    """Run the command; kafka-python imports its own schemas in a way that Python warns of."""
    return command(*words, env={"PYTHONWARNINGS": "", **env})


class Scene:
    """A cluster on which somebody has decided the log, well or badly."""

    def __init__(self, kafka, *, log=LOG, committed=None):
        self.environment = kafka_log.environment(kafka, PARTITIONS)
        self.source = kafka_log.topic(self.environment, "sip-transactions")
        self.target = kafka_log.topic(self.environment, "missed-calls")
        self.kafka = kafka
        asyncio.run(kafka_log.publish(kafka, self.environment, log))
        self.admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        self.commit({n: len(BY_PARTITION[n]) for n in range(PARTITIONS)} if committed is None else committed)

    def commit(self, offsets):
        if offsets:
            group = self.environment["MISSEDCALL_APPLICATION"]
            positions = {
                TopicPartition(self.source, n): OffsetAndMetadata(offset, "", -1)
                for n, offset in offsets.items()
            }
            # The first group of a cluster waits for its coordinator.
            audit_topics._asked_again(lambda: self.admin.alter_group_offsets(group, positions))

    def transaction(self, facts, *, end="commit_transaction", number=0):
        producer = KafkaProducer(
            bootstrap_servers=self.kafka.bootstrap,
            transactional_id=f"{self.environment['MISSEDCALL_APPLICATION']}-{number}",
        )
        producer.init_transactions()
        producer.begin_transaction()
        for fact in facts:
            producer.send(self.target, fact, key=decode_missed_call(fact).callee.encode())
        producer.flush()
        if end:
            getattr(producer, end)()
            producer.close()
        return producer

    def audit(self, **environment):
        return missedcall(
            "audit",
            "--bootstrap",
            self.kafka.bootstrap,
            env={**self.environment, "MISSEDCALL_KAFKA_BOOTSTRAP": "", **environment},
        )

    def close(self):
        self.admin.close()


@pytest.fixture
def scene(kafka):
    made = []

    def make(**arguments):
        made.append(Scene(kafka, **arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()


ALL = len(FACTS)
RIGHT = "duplicate=0 missing=0 different=0 unexpected=0 gaps=0"


def summary(done):
    return dict(pair.split("=") for pair in done.stdout.splitlines()[-1].split())


def said(done, what):
    """Return the number before a sentence of the report."""
    return int(
        next(line for line in done.stdout.splitlines() if line.endswith(what)).split()[0].replace(",", "")
    )


def ids(fact):
    read = decode_missed_call(fact)
    return f"{read.fact_id} revision {read.revision}"


def test_what_a_classifier_makes_of_a_log_is_exact_while_it_works_and_at_the_end(kafka):
    environment = kafka_log.environment(kafka, PARTITIONS, MISSEDCALL_COMMIT_S="0.05")

    async def scenario():
        early = []
        async with ClassifierProcess(environment) as worker:
            publishing = asyncio.create_task(kafka_log.publish(kafka, environment, LOG, 0.1))
            await worker.event("state.loaded", PARTITIONS)
            while not publishing.done():
                early.append(await asyncio.to_thread(missedcall, "audit", env=environment))
            await publishing
            while True:
                last = await asyncio.to_thread(missedcall, "audit", env=environment)
                if last.returncode or said(last, "records of the log not yet committed") == 0:
                    break
            assert await worker.terminate() == 0
        return early, last

    early, last = asyncio.run(asyncio.wait_for(scenario(), 100))

    assert [(done.returncode, done.stderr) for done in (*early, last)] == [(0, "")] * (len(early) + 1)
    assert early
    assert last.stdout.splitlines()[-1] == (f"calls={CALLS} facts={ALL} compared={ALL} {RIGHT}")
    assert f"last transaction of each partition: {PARTITIONS} committed" in last.stdout
    assert said(last, "ends of transactions among the facts") > 0


def test_what_was_doubled_removed_changed_or_invented_is_found_and_named(scene):
    here = scene()
    other = encode_missed_call(replace(decode_missed_call(FACTS[2]), ring_s=99.0))
    invented = encode_missed_call(replace(decode_missed_call(FACTS[3]), fact_id="invented"))
    here.transaction([FACTS[0], FACTS[0], other, invented, *FACTS[3:]])

    done = here.audit()

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == (
        f"calls={CALLS} facts={ALL + 1} compared={ALL} {RIGHT.replace('0', '1', 4)}"
    )
    assert {line.partition(" ")[0]: line.split(None, 1)[1] for line in done.stdout.splitlines()[:4]} == {
        "duplicate": ids(FACTS[0]),
        "missing": ids(FACTS[1]),
        "different": ids(FACTS[2]),
        "unexpected": "invented revision 1",
    }
    assert "callee" not in done.stdout
    assert "@" not in done.stdout


def test_what_was_given_up_counts_for_nothing_and_is_told(scene):
    here = scene()
    here.transaction(FACTS[:5], end="abort_transaction")
    here.transaction(FACTS)
    here.transaction(FACTS[:3], end="abort_transaction", number=1)

    done = here.audit()

    assert (done.returncode, done.stderr) == (0, "")
    assert said(done, "facts that were given up with a transaction") == 8
    assert "last transaction of each partition: 1 aborted, 1 committed" in done.stdout


def test_facts_that_are_not_due_yet_may_be_missing_and_say_so(scene):
    here = scene(committed={})

    done = here.audit()

    assert done.returncode == 0
    assert said(done, "facts that are not due yet") == len(FACTS)
    assert said(done, "partitions that no classifier has begun") == PARTITIONS
    assert summary(done)["calls"] == "0"


def test_a_log_whose_beginning_is_deleted_is_compared_as_far_as_it_can_be(scene):
    short = {
        "MISSEDCALL_DECIDE_QUEUE_S": "1",
        "MISSEDCALL_DECIDE_GIVE_UP_S": "1",
        "MISSEDCALL_DECIDE_OPEN_BRANCH_S": "1",
        "MISSEDCALL_DECIDE_CLOSED_KEEP_S": "1",
        "MISSEDCALL_DECIDE_GREETING_S": "0",
    }
    log = kafka_log.records(400, PARTITIONS)
    by_partition = defaultdict(list)
    for number, value in log:
        by_partition[number].append(value)
    here = scene(log=log, committed={number: len(found) for number, found in by_partition.items()})
    _, policy = load({**here.environment, **short})
    facts = [
        encode_missed_call(fact)
        for found in by_partition.values()
        for fact in decided(policy, [decode_batch(value) for value in found])
    ]
    here.transaction(facts)
    here.admin.delete_records({TopicPartition(here.source, n): 30 + n for n in range(PARTITIONS)})

    done = here.audit(**short)

    assert (done.returncode, done.stderr) == (0, "")
    assert said(done, "partitions whose beginning is deleted") == PARTITIONS
    old = said(done, "facts from before the log, not compared")
    assert 0 < old < len(facts)
    assert int(summary(done)["compared"]) == int(summary(done)["facts"]) == len(facts) - old
    assert summary(done)["gaps"] == "0"


def decided(policy, batches):
    from missedcall_classifier.engine import Engine

    core = Engine(policy)
    return [fact for batch in batches for decision in core.feed(batch) for fact in decision.facts]


def test_batches_that_never_came_are_gaps_and_no_fault_of_the_classifier(scene):
    log = [record for number, record in enumerate(LOG) if number not in (0, 1, 7, 8)]
    here = scene(log=log, committed={})

    done = here.audit()

    assert (done.returncode, summary(done)["gaps"]) == (0, "4")


def test_an_open_transaction_is_awaited(scene, monkeypatch):
    here = scene()
    producer = here.transaction(FACTS, end="")
    settings, policy = load(here.environment)
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            producer.commit_transaction()

    monkeypatch.setattr(
        audit_topics, "time", SimpleNamespace(monotonic=audit_topics.time.monotonic, sleep=sleep)
    )
    outcome = audit_topics.audit_topics(settings, policy, lambda *_: None)
    producer.close()

    assert outcome.report.exact
    assert outcome.report.compared == len(FACTS)
    assert len(looks) >= 3


def test_a_coordinator_that_moves_is_asked_again(scene, monkeypatch):
    here = scene()
    here.transaction(FACTS)
    answers = [CoordinatorNotAvailableError(), NotCoordinatorError()]
    ask = KafkaAdminClient.list_group_offsets

    def asked(*arguments):
        if answers:
            raise answers.pop()
        return ask(*arguments)

    monkeypatch.setattr(KafkaAdminClient, "list_group_offsets", asked)
    outcome = audit_topics.audit_topics(*load(here.environment), lambda *_: None)

    assert answers == []
    assert outcome.started == PARTITIONS
    assert outcome.report.exact


def test_a_transaction_that_hangs_is_an_error(scene, monkeypatch):
    here = scene()
    producer = here.transaction(FACTS, end="")
    settings, policy = load(here.environment)
    monkeypatch.setattr(audit_topics, "OPEN_S", 0.5)

    with pytest.raises(KafkaUnusableError, match=r"a transaction on .*missed-calls is open"):
        audit_topics.audit_topics(settings, policy, lambda *_: None)
    producer.abort_transaction()
    producer.close()


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"MISSEDCALL_DECIDE_MIN_RING_S": "5"}, "decided under another policy"),
        ({"MISSEDCALL_APPLICATION": "other"}, "the group other has committed nothing"),
        ({"MISSEDCALL_DECIDE_MIN_RNG_S": "5"}, "did you mean MISSEDCALL_DECIDE_MIN_RING_S"),
        ({"MISSEDCALL_DECIDE_USERS_FILE": "/nowhere"}, "MISSEDCALL_DECIDE_USERS_FILE = '/nowhere'"),
        ({"MISSEDCALL_KAFKA_PREFIX": "other."}, "topic other.missed-calls is missing"),
        ({"MISSEDCALL_KAFKA_PARTITIONS": "7"}, "has 2 partitions, expected 7"),
    ],
)
def test_what_cannot_be_compared_is_exit_2_and_said_on_standard_error(scene, environment, says):
    here = scene()
    here.transaction(FACTS)

    done = here.audit(**environment)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cluster_that_is_not_there_is_exit_2_and_one_line(kafka):
    done = missedcall("audit", "--bootstrap", "127.0.0.1:1", env={})

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Kafka: ")
    assert done.stderr.count("\n") == 1


def test_it_writes_nothing(scene):
    here = scene()
    here.transaction(FACTS)
    before = state(here)

    here.audit()

    assert state(here) == before


def state(here):
    topics = [
        name
        for name in here.admin.list_topics()
        if name.startswith(here.environment["MISSEDCALL_KAFKA_PREFIX"])
    ]
    groups = {group["group_id"] for group in here.admin.list_groups()}
    return (
        {name: len(values(here.kafka.bootstrap, name, "read_uncommitted")) for name in topics},
        {group for group in groups if group.startswith(here.environment["MISSEDCALL_KAFKA_PREFIX"])},
        here.admin.list_group_offsets(here.environment["MISSEDCALL_APPLICATION"]),
    )
