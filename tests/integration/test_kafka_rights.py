"""The rights in docs/rights.md suffice, each of them is needed, and who lacks one is told which."""

import asyncio
import sys

import pytest
from support import kafka_rights
from support.classifier_process import ClassifierProcess
from support.collector_process import CollectorProcess
from support.command import missedcall
from support.kafka_rights import Place, cases
from support.notifier_process import NotifierProcess, webhook
from support.webhook_sink import WebhookSink

from missedcall_common.kafka.rights import RIGHTS, lacking

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
        assert (case.right.kind != "topic") or place.named_as_lacking(case)


def test_the_services_work_together_each_as_a_user_of_its_own(fresh, tmp_path):
    place = fresh

    async def scenario():
        async with (
            WebhookSink() as sink,
            CollectorProcess(place.of("collector")) as collector,
            ClassifierProcess(place.of("classifier")) as classifier,
            NotifierProcess(place.of("notifier") | webhook(sink.port, tmp_path)) as notifier,
        ):
            port = (await collector.ports())["tcp"]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "ignore", "-m", "missedcall_collector.trial"),
                *("--to", f"tcp://127.0.0.1:{port}", "--callee", CALLEE, "--timeout", "60"),
                env=place.of("test"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            tried = await process.communicate()
            await notifier.until(
                lambda: any(
                    event["counts"].get("notices.sent") for event in notifier.named("counters.reported")
                )
            )
            audited = await asyncio.to_thread(
                missedcall, "audit", env={"PYTHONWARNINGS": "", **place.of("audit")}
            )
            for process in (collector, classifier, notifier):
                assert await process.terminate() == 0
            return tried, audited, len(sink.calls)

    (out, err), audited, told = asyncio.run(scenario())

    assert (b"missed, and its fact is there" in out, err, told) == (True, b"", 1)
    assert (audited.returncode, audited.stderr) == (0, "")


@pytest.mark.parametrize(
    ("program", "kind", "said"),
    [
        ("classifier", "group", "app: this user may not Read: grant it, see docs/rights.md"),
        ("classifier", "transactionalId", "Kafka does not allow it: see docs/rights.md"),
        ("classifier", "topic", "sip-transactions: this user may not Read: grant it, see docs/rights.md"),
        ("notifier", "group", "are read as group"),
        ("notifier", "transactionalId", "cannot be taken over by"),
        ("notifier", "topic", "missed-calls: this user may not Read: grant it, see docs/rights.md"),
    ],
)
def test_a_service_without_a_right_says_which(fresh, tmp_path, program, kind, said):
    case = next(case for case in cases() if (case.program, case.right.kind) == (program, kind))
    process = (
        ClassifierProcess(fresh.of(program))
        if program == "classifier"
        else NotifierProcess(fresh.of(program) | webhook(1, tmp_path))
    )

    async def scenario():
        async with process:
            await process.until(lambda: any(said in str(event) for event in process.events))

    with fresh.without(case, wholly=True):
        asyncio.run(scenario())
