"""The rights in docs/rights.md suffice, each of them is needed, and who lacks one is told which."""

import asyncio
import re
import sys
from argparse import Namespace

import pytest
from support import kafka_rights
from support.classifier_process import ClassifierProcess
from support.collector_process import CollectorProcess
from support.command import missedcall
from support.kafka_rights import Place, cases
from support.notifier_process import NotifierProcess, webhook
from support.webhook_sink import WebhookSink

from missedcall_classifier.scale_partitions import main as scale_partitions
from missedcall_classifier.stream import scale
from missedcall_classifier.stream.settings import load
from missedcall_common.kafka.cut import Cut
from missedcall_common.kafka.partitioning import look
from missedcall_common.kafka.rights import APPLICATION, RIGHTS, lacking

pytestmark = [pytest.mark.kafka]

CALLEE = "sip:missedcall-test@missedcall.invalid"
NOT_ALLOWED = "AuthorizationFailed|may not|does not know how|is not deleted|not in transaction"
"""Of the last the client says no more; nobody comes so far who looks at his rights before."""


@pytest.fixture(scope="module")
def place(kafka):
    found = Place(kafka)
    kafka_rights.prepare(found)
    yield found
    found.close()


@pytest.fixture
def fresh(kafka):
    found = Place(kafka)
    yield found
    found.close()


@pytest.fixture
def heedless(monkeypatch):
    """Let programs not look at their rights: what they lack shows when it is needed."""
    for name, module in sys.modules.items():
        if name.startswith("missedcall_") and getattr(module, "lacking", None) is lacking:
            monkeypatch.setattr(module, "lacking", lambda *_: iter(()))


@pytest.mark.parametrize("program", RIGHTS)
def test_a_program_works_with_its_rights_alone(place, program, monkeypatch):
    kafka_rights.USES[program](place, monkeypatch)


@pytest.mark.parametrize("case", cases(), ids=str)
@pytest.mark.usefixtures("heedless")
# Clients that could not start leave their connections to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_without_one_of_its_rights_a_program_does_not_work_and_sees_which_it_is(place, case, monkeypatch):
    with place.without(case):
        with pytest.raises(Exception, match=NOT_ALLOWED):
            kafka_rights.USES[case.program](place, monkeypatch)
        # What the job says is tested below.
        assert case.right.kind != "topic" or case.program == "scale" or place.named_as_lacking(case)


@pytest.mark.parametrize("case", [case for case in cases() if case.program == "scale"], ids=str)
def test_a_job_without_one_of_its_rights_changes_nothing_and_says_which(place, case, monkeypatch, capsys):
    monkeypatch.setattr(scale, "SAMPLE_S", 0.1)
    monkeypatch.setattr(scale, "BEHIND_S", 1e9)
    for name, value in place.of("scale").items():
        monkeypatch.setenv(name, value)
    before = look(place.kafka_of("audit"), "rights")
    kind = "transactional id" if case.right.kind == "transactionalId" else case.right.kind

    with place.without(case):
        to = before.partitioning.cut.partitions * 2
        status = scale_partitions(Namespace(step="execute", to=to, bootstrap=None))

    said = "".join(capsys.readouterr())
    name = re.escape(case.right.name.replace(APPLICATION, place.environment["MISSEDCALL_APPLICATION"]))
    assert re.search(rf"{kind} \S*{name}\S*: this user may not {case.operation}: grant it", said), said
    assert status == (2 if case.right.name == "partitioning" and case.operation == "Read" else 3)
    assert look(place.kafka_of("audit"), "rights") == before


class DiedError(Exception):
    """The job is not there any more."""


def job(place, verb, *arguments, dies_at=""):
    """Be the job, to its end or up to a step."""

    def progress(step, _):
        if step == dies_at:
            raise DiedError

    settings, _ = load(place.of("scale"))
    with scale.Scaling(settings, progress) as scaling:
        return getattr(scaling, verb)(*arguments)


def test_the_services_work_together_each_as_a_user_of_its_own_while_the_log_is_cut_anew(
    fresh, tmp_path, monkeypatch
):
    monkeypatch.setattr(scale, "SAMPLE_S", 0.2)
    place = fresh
    quick = {"MISSEDCALL_DECIDE_SETTLE_S": "1"}

    async def tried(port):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-m", "missedcall_collector.trial"),
            *("--to", f"tcp://127.0.0.1:{port}", "--callee", CALLEE, "--timeout", "60"),
            env=place.of("test"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert (b"missed, and its fact is there" in out, err) == (True, b"")

    def cut_anew():
        assert job(place, "plan", 4).refusals == ()
        with pytest.raises(DiedError):
            job(place, "execute", 4, dies_at="marked")
        job(place, "abort")
        with pytest.raises(DiedError):
            job(place, "execute", 4, dies_at="copied")
        return job(place, "resume").cut

    async def scenario():
        async with (
            WebhookSink() as sink,
            CollectorProcess(place.of("collector")) as collector,
            ClassifierProcess(place.of("classifier") | quick) as classifier,
            NotifierProcess(place.of("notifier") | webhook(sink.port, tmp_path)) as notifier,
        ):
            port = (await collector.ports())["tcp"]
            await tried(port)
            cut = await asyncio.to_thread(cut_anew)
            await tried(port)
            await notifier.until(
                lambda: any(
                    event["counts"].get("notices.sent") == 2 for event in notifier.named("counters.reported")
                )
            )
            audited = await asyncio.to_thread(
                missedcall, "audit", env={"PYTHONWARNINGS": "", **place.of("audit"), **quick}
            )
            for process in (collector, classifier, notifier):
                assert await process.terminate() == 0
            return cut, audited, len(sink.calls), len(collector.named("partitions.resumed"))

    cut, audited, told, resumed = asyncio.run(scenario())

    assert cut == Cut(3, 4)
    assert (audited.returncode, audited.stderr) == (0, "")
    assert told == 2
    assert resumed  # once, or twice where it has noticed that it was let go in between


@pytest.fixture(scope="module")
def young(kafka):
    found = Place(kafka)
    yield found
    found.close()


MAY_NOT = "this user may not {}: grant it, see docs/rights.md"


@pytest.mark.parametrize(
    ("program", "kind", "left", "said"),
    [
        ("classifier", "group", "Describe", f"app: {MAY_NOT.format('Read')}"),
        ("classifier", "transactionalId", "", f"app-*: {MAY_NOT.format('Write')}"),
        ("classifier", "topic", "", f"sip-transactions: {MAY_NOT.format('Read')}"),
        ("notifier", "group", "Describe", f"notifier-webhook: {MAY_NOT.format('Read')}"),
        ("notifier", "transactionalId", "", "cannot be taken over by"),
        ("notifier", "topic", "", f"missed-calls: {MAY_NOT.format('Read')}"),
    ],
)
def test_a_service_without_a_right_says_which(young, tmp_path, program, kind, left, said):
    case = next(case for case in cases() if (case.program, case.right.kind) == (program, kind))
    process = (
        ClassifierProcess(young.of(program))
        if program == "classifier"
        else NotifierProcess(young.of(program) | webhook(1, tmp_path))
    )

    async def scenario():
        async with process:
            await process.until(lambda: any(said in str(event) for event in process.events))

    with young.without(case, wholly=not left):
        asyncio.run(scenario())


def test_a_classifier_whose_group_is_taken_from_it_says_so(young):
    case = next(case for case in cases() if (case.program, case.right.kind) == ("classifier", "group"))

    async def scenario():
        async with ClassifierProcess(young.of("classifier")) as classifier:
            await classifier.event("state.loaded", 2)
            with young.without(case):
                status = await classifier.ended()
            return status, classifier.named("service.failed")

    status, (failed,) = asyncio.run(scenario())

    assert status == 70
    assert f"app: {MAY_NOT.format('Read')}" in failed["detail"]
