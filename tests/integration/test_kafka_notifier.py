"""`python -m missedcall_notifier` on a real Kafka, with a receiver on loopback."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from support.kafka_log import environment
from support.notifier_process import Facts, NotifierProcess, fresh_fact, webhook
from support.notify import turns_until
from support.webhook_sink import WebhookSink

pytestmark = pytest.mark.kafka

PARTITIONS = 4


class World:
    """A receiver, topics, and facts for them. Use as an async context manager."""

    def __init__(self, kafka, tmp_path, *answers, **more):
        self.sink = WebhookSink(*answers)
        self._kafka, self._tmp_path, self._more = kafka, tmp_path, more

    async def __aenter__(self):
        await self.sink.__aenter__()
        self.env = environment(
            self._kafka, PARTITIONS, **webhook(self.sink.port, self._tmp_path), **self._more
        )
        self.env["MISSEDCALL_KAFKA_CHANNELS"] = "webhook"
        self.facts = await asyncio.to_thread(Facts, self.env)
        return self

    async def __aexit__(self, *exc):
        await asyncio.to_thread(self.facts.close)
        await self.sink.__aexit__(*exc)

    def worker(self, **more):
        return NotifierProcess({**self.env, **more})

    async def write(self, *numbers, **changes):
        await asyncio.to_thread(self.facts.write, [fresh_fact(number, **changes) for number in numbers])

    async def until(self, count, within_s=40):
        """Wait until so many deliveries have come."""
        await turns_until(lambda: len(self.names) >= count, within_s=within_s, every_s=0.01)

    @property
    def names(self):
        return Counter(call.id for call in self.sink.calls)


async def counted(process, name, count):
    await process.until(
        lambda: any(line["counts"].get(name, 0) >= count for line in process.named("counters.reported")[-1:])
    )


def test_a_fact_is_told_once_across_restarts(kafka, tmp_path):
    async def main():
        async with World(kafka, tmp_path) as world:
            async with world.worker() as process:
                await world.write(*range(20))
                await world.until(20)
                await counted(process, "notices.sent", 20)
                statuses = [await process.terminate()]
            await world.write(0, *range(20, 30))  # one is told again
            async with world.worker() as process:
                await world.until(30)
                await counted(process, "notices.sent", 10)
                statuses.append(await process.terminate())
            return world.names, statuses

    names, statuses = asyncio.run(main())
    assert len(names) == names.total() == 30
    assert statuses == [0, 0]


def test_a_stop_lets_what_is_on_its_way_end(kafka, tmp_path):
    held = asyncio.Event()

    async def hold(sink, _request):
        from aiohttp import web

        await held.wait()
        return web.Response(status=204)

    async def main():
        async with World(kafka, tmp_path, hold, MISSEDCALL_NOTIFY_STOP_S="20") as world:
            async with world.worker() as process:
                await world.write(1)
                await world.until(1)
                ending = asyncio.ensure_future(process.terminate())
                await asyncio.sleep(0.3)
                early = ending.done()
                held.set()
                status = await ending
            async with world.worker() as process:
                await process.event("state.loaded", PARTITIONS)
                await world.write(2)
                await world.until(2)
                await process.terminate()
            return early, status, world.names

    early, status, names = asyncio.run(main())
    assert (early, status) == (False, 0)
    assert names.total() == 2


def test_partitions_are_shared_and_whoever_freezes_is_replaced_and_sends_no_more(kafka, tmp_path):
    """A worker stands still for longer than its session, another has its partitions, then it goes on."""

    async def main():
        async with World(kafka, tmp_path) as world:
            async with world.worker() as first:
                await first.event("state.loaded", PARTITIONS)
                async with world.worker(MISSEDCALL_SESSION_S="6") as second:
                    await second.event("state.loaded", PARTITIONS // 2)  # shared
                    await world.write(*range(40))
                    await world.until(40)
                    first.process.send_signal(signal.SIGSTOP)
                    await world.write(*range(40, 80))
                    await second.event("state.loaded", PARTITIONS)
                    await world.until(80)
                    first.process.send_signal(signal.SIGCONT)
                    await first.event("partition.left", PARTITIONS)
                    await world.write(*range(80, 120))
                    await world.until(120)
                    statuses = [await first.terminate(), await second.terminate()]
            return world.names, statuses

    names, statuses = asyncio.run(main())
    assert len(names) == 120
    assert names.total() <= 120 + 16  # no more than were under way in the frozen one
    assert statuses == [0, 0]


@pytest.mark.timeout(180)
def test_kafka_goes_away_and_comes_back_and_the_process_is_the_same(kafka, tmp_path):
    async def main():
        async with World(kafka, tmp_path) as world, world.worker() as process:
            await process.event("state.loaded", PARTITIONS)
            await world.write(*range(20))
            await world.until(10)
            await asyncio.to_thread(world.facts.close)  # the client would leave sockets behind
            await asyncio.to_thread(kafka.kill, 1)
            await asyncio.sleep(1.0)
            running = process.process.returncode is None
            await asyncio.to_thread(kafka.start, 1)
            world.facts = await asyncio.to_thread(Facts, world.env)
            await world.write(*range(20, 40))
            await world.until(40, within_s=90)
            return running, await process.terminate(), world.names

    running, status, names = asyncio.run(main())
    assert (running, status) == (True, 0)
    assert len(names) == 40
    assert names.total() <= 40 + 8


def test_without_topics_it_waits_and_of_another_partition_count_it_ends(kafka, tmp_path):
    async def main():
        async with World(kafka, tmp_path) as world:
            async with world.worker(MISSEDCALL_KAFKA_PREFIX="none.") as process:
                [lost] = await process.event("kafka.lost")
                waiting = await process.terminate()
            async with world.worker(MISSEDCALL_KAFKA_PARTITIONS="7") as process:
                return lost["detail"], waiting, await process.ended()

    detail, waiting, ended = asyncio.run(main())
    assert "is missing" in detail
    assert (waiting, ended) == (0, 1)


def test_probes_say_when_it_is_ready(kafka, tmp_path):
    async def ask(port, path):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return int(answer.split()[1])

    async def main():
        async with (
            World(kafka, tmp_path, MISSEDCALL_HEALTH="127.0.0.1:0") as world,
            world.worker() as process,
        ):
            [opened] = await process.event("health.opened")
            await process.event("state.loaded", PARTITIONS)
            port = opened["port"]
            async with asyncio.timeout(10):
                while await ask(port, "/readyz") != 200:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)
            live = await ask(port, "/livez")
            await process.terminate()
            return live

    assert asyncio.run(main()) == 200


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "no channel is on"),
        (
            {"MISSEDCALL_NOTIFY_WEBHOOK_URL": "https://x.example/", "MISSEDCALL_CHANNEL": "smtp"},
            "expected one of webhook",
        ),
    ],
)
def test_one_channel_is_needed(settings, said):
    from missedcall_common.runtime.settings import SettingsError
    from missedcall_notifier.stream.settings import load

    with pytest.raises(SettingsError, match=said):
        load({"MISSEDCALL_KAFKA_BOOTSTRAP": "h:1", **settings})


def test_what_was_given_up_is_redriven_under_its_id_and_once(kafka, tmp_path):
    def redrive(world, *more):
        return subprocess.run(
            [
                *(sys.executable, "-m", "missedcall_embedded", "redrive"),
                *("--bootstrap", world.env["MISSEDCALL_KAFKA_BOOTSTRAP"], *more),
            ],
            env={"PATH": os.environ["PATH"]}
            | {name: value for name, value in world.env.items() if name.startswith("MISSEDCALL_KAFKA_")},
            capture_output=True,
            text=True,
            check=False,
        )

    async def main():
        patience = {"MISSEDCALL_NOTIFY_WEBHOOK_RETRY_MAX_AGE_S": "0.5"}
        async with World(kafka, tmp_path, **patience) as world, world.worker() as process:
            world.sink.answers.extend([503] * 50)
            await world.write(1, decided_at=time.time() + 600)  # not too old, however slow this machine is
            await counted(process, "notices.dead", 1)
            world.sink.answers.clear()
            said = [
                await asyncio.to_thread(redrive, world, *more)
                for more in ([], ["--channel", "smtp"], ["--execute"])
            ]
            await counted(process, "notices.sent", 1)
            said.append(await asyncio.to_thread(redrive, world, "--execute"))
            await process.terminate()
            return world.names, said

    names, said = asyncio.run(main())
    assert [one.stdout.splitlines()[-1] for one in said] == [
        "dead=1 redriven=0",
        "dead=0 redriven=0",
        "dead=1 redriven=1",
        "dead=0 redriven=0",
    ], said
    assert len(names) == 1
