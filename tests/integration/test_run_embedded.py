"""`missedcall run` as an operator starts and stops it."""

import asyncio
import os
import resource
import signal
import socket
import ssl
from pathlib import Path

import msgspec
import pytest
import trustme
from aiohttp import web
from ews_server.faults import BAD_GATEWAY_AFTER_COMMIT, SILENT_AFTER_COMMIT, says
from support import ews, hep_calls
from support.pipeline_process import PipelineProcess

from missedcall_collector import hep
from missedcall_embedded import run
from missedcall_embedded.store import Store, read_batches
from missedcall_embedded.store_file import FACTS, read

CALLS = 8
FACTS_DUE = CALLS * hep_calls.MISSED_OF_FOUR // 4

QUICK = """
[decide]
settle_s = 0.3
open_branch_s = 1.0
give_up_s = 2.0
closed_keep_s = 1.0
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration with free ports, and short timers so that calls end soon."""
    return written(tmp_path, "")


def written(folder: Path, listen: str, further: str = "") -> Path:
    path = folder / "my.toml"
    path.write_text(f'[listen]\nudp = ["127.0.0.1:0"]\ntcp = ["127.0.0.1:0"]\n{listen}\n{further}\n{QUICK}')
    return path


def ports_of(pipeline: PipelineProcess) -> dict[str, int]:
    return {event["transport"]: event["port"] for event in pipeline.named("listener.opened")}


def frames() -> list[bytes]:
    return [frame for _, frame in hep_calls.frames(CALLS, 100.0)]


def send_udp(port: int, sent: list[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for frame in sent:
            sender.sendto(frame, ("127.0.0.1", port))


async def send_tcp(port: int, sent: list[bytes]) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(sent))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def messages_in(store: Path) -> int:
    return sum(len(batch.messages) for batch in read_batches(store))


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.05)


def test_a_disk_that_is_full_ends_the_run_and_a_restart_goes_on(config, tmp_path):
    store = tmp_path / "missedcall.db"

    async def scenario():
        async with PipelineProcess(config) as pipeline:
            send_udp((await pipeline.ports())["udp"], frames())
            await pipeline.event("call.judged", CALLS)
            limit = (store.stat().st_size, resource.RLIM_INFINITY)
            resource.prlimit(pipeline.process.pid, resource.RLIMIT_FSIZE, limit)
            await until(lambda: send_udp(ports_of(pipeline)["udp"], frames()) or pipeline.process.returncode)
            status, events = await pipeline.ended(), pipeline.events
        async with PipelineProcess(config) as pipeline:
            await pipeline.ports()
            return status, events, await pipeline.terminate()

    status, events, later = asyncio.run(scenario())

    assert (status, later) == (1, 0)
    assert [event for event in events if event.get("text", "").startswith(f"missedcall run: {store}: d")], (
        events
    )
    assert [event["error"] for event in events if event.get("event") == "service.failed"] == ["StoreError"]
    assert not [event for event in events if event.get("event") == "library.logged"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_calls_that_come_in_become_facts_in_the_file(config, tmp_path, transport):
    async def scenario():
        async with PipelineProcess(config) as pipeline:
            ports = await pipeline.ports()
            if transport == "udp":
                send_udp(ports["udp"], frames())
            else:
                await send_tcp(ports["tcp"], frames())
            await pipeline.event("call.judged", CALLS)
            return await pipeline.terminate(), pipeline

    status, pipeline = asyncio.run(scenario())

    assert status == 0
    assert len(list(read(tmp_path / "missedcall.db", FACTS))) == FACTS_DUE
    (line,) = pipeline.named("counters.reported")
    assert line["counts"]["received"] == line["counts"]["accepted"] == len(frames())
    assert line["counts"]["facts"] == FACTS_DUE
    assert pipeline.named("service.stopped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_received_before_the_signal_is_committed(config, tmp_path, number):
    async def scenario():
        async with PipelineProcess(config) as pipeline:
            ports = await pipeline.ports()
            send_udp(ports["udp"], frames())
            await send_tcp(ports["tcp"], frames())
            return await pipeline.terminate(number)

    assert asyncio.run(scenario()) == 0
    assert messages_in(tmp_path / "missedcall.db") == 2 * len(frames())


def test_a_second_run_on_the_same_file_is_refused(config, tmp_path):
    async def scenario():
        async with PipelineProcess(config) as first:
            await first.ports()
            async with PipelineProcess(config) as second:
                return first.process.pid, await second.ended(), second.events

    pid, status, events = asyncio.run(scenario())

    assert status == 1
    said = f"missedcall run: {tmp_path}/missedcall.db is in use by process {pid}: one pipeline per file"
    assert {"text": said} in events


def test_a_run_without_a_channel_says_that_nothing_is_delivered(config):
    async def scenario():
        async with PipelineProcess(config) as pipeline:
            return await pipeline.event("service.started")

    (started,) = asyncio.run(scenario())

    assert started["detail"] == "delivers nothing: no channel is on"


def test_a_wrong_configuration_is_named_and_nothing_is_started(tmp_path):
    path = written(tmp_path, "queue_gb = 3")

    async def scenario():
        async with PipelineProcess(path) as pipeline:
            return await pipeline.ended(), pipeline.events

    status, events = asyncio.run(scenario())

    assert status == 2
    assert events == [{"text": f"{path}: listen.queue_gb: no such setting; did you mean listen.queue_mb?"}]


def test_a_listener_that_cannot_start_ends_the_run(tmp_path, monkeypatch):
    path = written(tmp_path, 'tls = ["127.0.0.1:0"]\ntls_cert_file = "none.pem"\ntls_key_file = "none.pem"')

    async def scenario():
        async with PipelineProcess(path) as pipeline:
            return await pipeline.ended(), pipeline.events

    status, events = asyncio.run(scenario())

    assert status == 1
    file = tmp_path / "none.pem"
    said = f"missedcall run: listen.tls_cert_file = '{file}': No such file or directory"
    assert {"text": said} in events


def has_receiver(pid: int) -> bool:
    return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def receiver_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def test_the_receiver_does_not_outlive_a_killed_pipeline(config):
    async def scenario():
        async with PipelineProcess(config) as pipeline:
            await pipeline.ports()
            receiver = receiver_of(pipeline.process.pid)
            await pipeline.kill()
            await until(lambda: not Path(f"/proc/{receiver}/exe").exists())

    asyncio.run(scenario())


def test_a_pipeline_without_its_receiver_ends_so_that_it_is_restarted(config):
    async def scenario():
        async with PipelineProcess(config) as pipeline:
            await pipeline.ports()
            os.kill(receiver_of(pipeline.process.pid), signal.SIGKILL)
            return await pipeline.ended(), pipeline.events

    status, events = asyncio.run(scenario())

    assert status == 1
    assert {"text": "missedcall run: the receiver process ended by itself"} in events


def test_frames_without_a_known_key_are_counted_and_not_decided(tmp_path):
    (tmp_path / "keys").write_text("new\nold\n")
    path = written(tmp_path, 'auth_key_file = "keys"')
    packet = hep.decode(frames()[0])
    keys = (b"old", b"new", b"wrong", b"")

    async def scenario():
        async with PipelineProcess(path) as pipeline:
            sent = [hep.encode(msgspec.structs.replace(packet, auth_key=key)) for key in keys]
            send_udp((await pipeline.ports())["udp"], sent)
            await pipeline.terminate()
            return pipeline.named("counters.reported")[-1]["counts"]

    counts = asyncio.run(scenario())

    assert (counts["received"], counts["auth"], counts["accepted"]) == (4, 2, 2)


def test_frames_over_tls_become_facts(tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    path = written(tmp_path, 'tls = ["127.0.0.1:0"]\ntls_cert_file = "cert.pem"\ntls_key_file = "key.pem"')
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def scenario():
        async with PipelineProcess(path) as pipeline:
            port = (await pipeline.ports(3))["tls"]
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(b"".join(frames()))
            await pipeline.event("call.judged", CALLS)
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario())

    assert len(list(read(tmp_path / "missedcall.db", FACTS))) == FACTS_DUE


class Sink:
    """A webhook endpoint that remembers what it was told."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.refuse = False
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def handle(self, request: web.Request) -> web.Response:
        await request.read()
        self.asked.set()
        await self.answers.wait()
        if self.refuse:
            return web.Response(status=503)
        self.ids.append(request.headers["webhook-id"])
        return web.Response(status=204)

    async def start(self) -> tuple[web.AppRunner, int]:
        app = web.Application()
        app.router.add_post("/hook", self.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, runner.addresses[0][1]


def test_each_fact_is_delivered_once_across_a_kill(tmp_path):
    (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")

    async def scenario():
        sink = Sink()
        runner, port = await sink.start()
        notify = (
            f'[notify.webhook]\nurl = "http://127.0.0.1:{port}/hook"\ninsecure_http = true\n'
            'secret_file = "secret"\nallow = ["127.0.0.1"]\nretry = { first_s = 0.2 }'
        )
        path = written(tmp_path, "", notify)
        try:
            sink.refuse = True
            async with PipelineProcess(path) as first:
                send_udp((await first.ports())["udp"], frames())
                await first.event("notice.retry_scheduled", FACTS_DUE)
                await first.kill()
            sink.refuse = False
            async with PipelineProcess(path) as second:
                await second.event("notice.sent", FACTS_DUE)
                assert await second.terminate() == 0
            async with PipelineProcess(path) as third:
                await third.ports()
                assert await third.terminate() == 0
        finally:
            await runner.cleanup()
        return sink.ids

    delivered = asyncio.run(scenario())

    assert len(delivered) == len(set(delivered)) == FACTS_DUE


def test_each_fact_becomes_one_item_in_exchange_across_a_kill(tmp_path):
    """Exchange stores every item of the first life, and a proxy loses every answer."""
    server = ews.make_server(schemes=("ntlm",))
    (tmp_path / "password").write_text(ews.PASSWORD)

    async def scenario():
        async with server:
            notify = (
                f"[notify.ews]\nurl = \"{server.url}\"\ninsecure_http = true\nusername = '{ews.ACCOUNT}'\n"
                f'password_file = "password"\nsender = "missed-calls@example.com"\nalways = ["{ews.BOB}"]\n'
                "retry = { first_s = 0.2, asked_longest_s = 0.2, longest_s = 0.2 }"
            )
            path = written(tmp_path, "", notify)
            server.always("CreateItem", BAD_GATEWAY_AFTER_COMMIT)
            server.always("FindItem", says("ErrorInternalServerError"))
            async with PipelineProcess(path) as first:
                send_udp((await first.ports())["udp"], frames())
                await first.event("notice.retry_scheduled", FACTS_DUE)
                await first.until(lambda: server.commits == FACTS_DUE)
                await first.kill()
            server.always("CreateItem", None)
            server.always("FindItem", None)
            async with PipelineProcess(path) as second:
                await second.event("notice.sent", FACTS_DUE)
                assert await second.terminate() == 0
            return first.events + second.events

    log = str(asyncio.run(scenario()))

    assert len(set(ews.facts_in(server))) == server.commits == server.count("CreateItem") == FACTS_DUE
    assert not any(
        personal in log for personal in ("caller0", "callee0", "@", ews.PASSWORD, "MissedCallFactId")
    )
    ews.assert_valid(server)


def test_a_second_signal_does_not_wait_for_deliveries(tmp_path):
    (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")

    async def scenario():
        sink = Sink()
        sink.answers.clear()
        runner, port = await sink.start()
        notify = (
            f'[notify]\nstop_s = 60.0\n[notify.webhook]\nurl = "http://127.0.0.1:{port}/hook"\n'
            'insecure_http = true\nsecret_file = "secret"\nallow = ["127.0.0.1"]\ntimeout_s = 60.0'
        )
        try:
            async with PipelineProcess(written(tmp_path, "", notify)) as pipeline:
                send_udp((await pipeline.ports())["udp"], frames())
                await sink.asked.wait()
                pipeline.process.terminate()
                await until(lambda: not has_receiver(pipeline.process.pid))
                assert pipeline.process.returncode is None
                return await pipeline.terminate()
        finally:
            sink.answers.set()
            await runner.cleanup()

    assert asyncio.run(scenario()) == 0


def test_a_second_signal_does_not_wait_for_exchange(tmp_path):
    """Its library blocks in threads, which Python would wait for."""
    server = ews.make_server()
    server.always("CreateItem", SILENT_AFTER_COMMIT)
    (tmp_path / "password").write_text(ews.PASSWORD)

    async def scenario():
        async with server:
            notify = (
                f'[notify]\nstop_s = 600.0\n[notify.ews]\nurl = "{server.url}"\ninsecure_http = true\n'
                f'username = \'{ews.ACCOUNT}\'\nauth = "basic"\npassword_file = "password"\n'
                f'sender = "missed-calls@example.com"\nalways = ["{ews.BOB}"]\ntimeout_s = 600.0'
            )
            async with PipelineProcess(written(tmp_path, "", notify)) as pipeline:
                send_udp((await pipeline.ports())["udp"], frames())
                await until(lambda: server.commits)
                pipeline.process.terminate()
                await until(lambda: not has_receiver(pipeline.process.pid))
                assert pipeline.process.returncode is None
                return await pipeline.terminate()

    assert asyncio.run(scenario()) == 0


def test_an_interrupted_start_leaves_the_file_free(config, tmp_path):
    async def scenario():
        async with PipelineProcess(config) as pipeline:
            await pipeline.event("state.loaded")
            await pipeline.terminate()

    asyncio.run(scenario())

    Store(tmp_path / "missedcall.db").close()


def test_without_a_configuration_the_defaults_hold():
    assert run.Config().listen.udp == ("127.0.0.1:9060",)
    assert run.Config().store.file == "missedcall.db"
