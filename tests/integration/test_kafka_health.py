"""The probes of the services, as an orchestrator asks them."""

import asyncio
import socket
import urllib.error
import urllib.request

import pytest
from support import hep_calls, kafka_log
from support.classifier_process import ClassifierProcess
from support.collector_process import CollectorProcess, send_tcp

pytestmark = [pytest.mark.kafka]

PARTITIONS = 2
HEALTH = {"MISSEDCALL_HEALTH": "127.0.0.1:0"}


@pytest.fixture
def environment(kafka):
    return {**kafka_log.environment(kafka, PARTITIONS), **HEALTH}


def of_collector(environment):
    return {
        name: value
        for name, value in environment.items()
        if name not in ("MISSEDCALL_APPLICATION", "MISSEDCALL_SESSION_S")
    }


def probe(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()


async def ask(process, path):
    (event,) = await process.event("health.opened")
    return await asyncio.to_thread(probe, event["port"], path)


async def until(process, path, status):
    async with asyncio.timeout(30):
        while (answer := await ask(process, path))[0] != status:  # noqa: ASYNC110 - it is asked, it tells nobody
            await asyncio.sleep(0.1)
    return answer


def test_a_classifier_is_ready_once_its_partitions_are_loaded(environment):
    async def scenario():
        async with ClassifierProcess(environment) as worker:
            early = await ask(worker, "/readyz")
            before = bool(worker.named("state.loaded"))
            await until(worker, "/readyz", 200)
            loaded = len(worker.named("state.loaded"))
            alive = await ask(worker, "/livez")
            assert await worker.terminate() == 0
        return early, before, loaded, alive

    early, before, loaded, alive = asyncio.run(scenario())

    assert early == (503, "partitions are not loaded") or before
    assert loaded == PARTITIONS
    assert alive == (200, "ok")


def test_a_collector_without_kafka_lives_and_is_ready_until_its_memory_fills(kafka, environment):
    small = {**of_collector(environment), "MISSEDCALL_LISTEN_QUEUE_MB": "1"}
    many = [frame for _, frame in hep_calls.frames(1_000, 1000.0)]

    async def scenario():
        async with CollectorProcess(small) as collector:
            port = (await collector.ports())["tcp"]
            at_first = await until(collector, "/readyz", 200)
            kafka.kill(1)
            sending = asyncio.create_task(send_tcp(port, many))
            full = await until(collector, "/readyz", 503)
            alive = await ask(collector, "/livez")
            await asyncio.to_thread(kafka.start, 1)
            await sending
            again = await until(collector, "/readyz", 200)
            assert await collector.terminate() == 0
        return at_first, full, alive, again

    try:
        at_first, full, alive, again = asyncio.run(scenario())
    finally:
        kafka.start(1)

    assert at_first == alive == again == (200, "ok")
    assert full == (503, "memory is half full: Kafka does not take what comes")


def test_a_collector_that_is_to_end_is_not_ready_and_takes_what_comes_meanwhile(environment):
    """Kubernetes sends a UDP flow to another pod only once the one that it goes to is not ready."""
    draining = {**of_collector(environment), "MISSEDCALL_DRAIN_S": "600"}
    late = [frame for _, frame in hep_calls.frames(20, 1000.0)]

    async def scenario():
        async with CollectorProcess(draining) as collector:
            port = (await collector.ports())["tcp"]
            await until(collector, "/readyz", 200)
            collector.process.terminate()
            leaving = await until(collector, "/readyz", 503)
            alive = await ask(collector, "/livez")
            await send_tcp(port, late)
            await collector.counted(published=len(late))
            assert await collector.terminate() == 0  # a second signal does not wait
        return leaving, alive

    leaving, alive = asyncio.run(scenario())

    assert leaving == (503, "about to end: others take what comes")
    assert alive == (200, "ok")


@pytest.mark.parametrize("service", [ClassifierProcess, CollectorProcess])
def test_a_port_that_is_taken_ends_the_service_and_says_which(environment, service):
    mine = environment if service is ClassifierProcess else of_collector(environment)

    async def scenario(address):
        async with service({**mine, "MISSEDCALL_HEALTH": address}) as process:
            return await process.ended(), process.events

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, events = asyncio.run(scenario(f"127.0.0.1:{port}"))

    assert status == 1
    assert [line for event in events if f"health 127.0.0.1:{port}: " in (line := event.get("text", ""))]
