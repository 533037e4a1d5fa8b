"""How many items a second the channels to Exchange write, beside the client below them alone.

    .venv/bin/python benchmarks/items.py [--items 1500] [--rounds 3]

Server and client are processes of their own on this machine, over loopback: Exchange Web Services over HTTP with
Basic, without schemas (they cost the server more than the item does us); Graph over TLS. Three ways, in turn, the
best of the rounds of each:

    notifier   facts in, journal on disk, items out, until the last is recorded as sent
    channel    the same deliveries through the channel, without a journal
    bare       exchangelib's own save(), aiohttp's own post() of the same bytes, with as many connections

To 127.0.0.1 only.
"""

import argparse
import asyncio
import json
import queue
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import aiohttp
from ews_server.server import EwsServer
from support import ews, graph
from support.notify import NOW, Log, ManualClock, Running, make_fact

from missedcall_notifier.app import Notifier, ways_of
from missedcall_notifier.channels.port import Channel
from missedcall_notifier.delivery import Delivery, State, begin, intent
from missedcall_notifier.failure import Sent
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.settings import NotifierSettings
from missedcall_notifier.source import MemoryFacts
from missedcall_schemas.records import MissedCall

USERS = 10
"""Mailboxes: Graph lets no more than four requests into one."""
CONNECTIONS = {"ews": 4, "graph": 8}
"""The channels' defaults."""


class Figure(NamedTuple):
    """One way's best round."""

    items_per_s: float
    cpu_ms: float
    """Of this process, per item."""


class Watch:
    """Measures what is inside its `with`."""

    wall = cpu = 0.0

    def __enter__(self) -> None:
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.monotonic() - self.wall, time.process_time() - self.cpu


def mailboxes(kind: str) -> list[str]:
    """Return the users' addresses."""
    host = "example.com" if kind == "ews" else "contoso.example"
    return [f"user{n}@{host}" for n in range(USERS)]


async def serve(kind: str) -> None:
    """Serve until standard input closes; print where, as JSON."""
    if kind == "ews":
        server: Any = EwsServer(*mailboxes(kind), accounts={ews.ACCOUNT: ews.PASSWORD}, schemes=("basic",))
        server.schemas = None
    else:
        server = graph.make_server(*mailboxes(kind))
    async with server:
        told = {"url": server.url}
        if kind == "graph":
            told |= {"tenant": server.entra.tenant, "client_id": server.entra.client_id}
            told["ca"] = graph.authority().cert_pem.bytes().decode()
        print(json.dumps(told), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def settings_of(kind: str, told: dict[str, str], folder: Path) -> NotifierSettings:
    """Return the settings of a notifier with this channel on."""
    secret = folder / "secret"
    secret.write_text(ews.PASSWORD if kind == "ews" else graph.SECRET)
    common = {"sender": "missed-calls@example.com", "connections": CONNECTIONS[kind]}
    common["pattern"] = mailboxes(kind)[0].replace("user0", "{user}")
    if kind == "ews":
        given = common | {"auth": "basic", "username": ews.ACCOUNT, "password_file": str(secret)}
        made = ews.EwsSettings(url=told["url"], insecure_http=True, **given)
        return NotifierSettings(ews=made)
    (folder / "ca.pem").write_text(told["ca"])
    made = graph.GraphSettings(
        tenant=told["tenant"],
        client_id=told["client_id"],
        secret_file=str(secret),
        authority=told["url"],
        endpoint=told["url"],
        ca_file=str(folder / "ca.pem"),
        **common,
    )
    return NotifierSettings(graph=made)


def facts(count: int, round_: str) -> list[MissedCall]:
    """Return calls that were missed by each user in turn."""
    return [make_fact(f"{round_}-{n}", callee=f"sip:user{n % USERS}@example.com") for n in range(count)]


def deliveries(kind: str, count: int, round_: str) -> list[Delivery]:
    """Return attempts that have begun."""
    to = mailboxes(kind)
    return [begin(intent(fact, kind, to[n % USERS], NOW), NOW) for n, fact in enumerate(facts(count, round_))]


async def by_notifier(
    settings: NotifierSettings, kind: str, count: int, round_: str, folder: Path, watch: Watch
) -> None:
    """Deliver with all that belongs to it."""
    del kind
    log, clock = Log(), ManualClock(NOW + 20)
    async with SqliteJournal(folder / f"{round_}.db") as journal:
        notifier = Notifier(settings, MemoryFacts(facts(count, round_)), journal, clock, observe=log)
        with watch:
            async with Running(notifier):
                left = count
                while left:
                    log.seen.clear()
                    await asyncio.sleep(0.005)
                    left -= sum(delivery.state is State.SENT for delivery in log.seen)


async def by_channel(
    settings: NotifierSettings, kind: str, count: int, round_: str, folder: Path, watch: Watch
) -> None:
    """Deliver with the channel alone."""
    del folder
    [way] = ways_of(settings, ManualClock(NOW + 20))
    channel: Channel = way.channel

    async def send(delivery: Delivery) -> None:
        report = await channel.send(delivery, channel.render(delivery))
        if report != Sent("created"):
            raise RuntimeError(report)

    try:
        with watch:
            await _at_once(CONNECTIONS[kind], deliveries(kind, count, round_), send)
    finally:
        await channel.close()


async def by_client(
    settings: NotifierSettings, kind: str, count: int, round_: str, folder: Path, watch: Watch
) -> None:
    """Write the same, put into words before, with the client below the channel."""
    [way] = ways_of(settings, ManualClock(NOW + 20))
    contents = [(d, way.channel.render(d)) for d in deliveries(kind, count, round_)]
    if kind == "ews":
        await asyncio.to_thread(_exchangelib, settings, contents, watch)
    else:
        await _aiohttp(settings, contents, folder, watch)


async def _aiohttp(
    settings: NotifierSettings, contents: list[tuple[Delivery, bytes]], folder: Path, watch: Watch
) -> None:
    from missedcall_notifier.channels import graph_requests  # noqa: PLC0415
    from missedcall_notifier.channels.graph_tokens import Tokens  # noqa: PLC0415
    from missedcall_notifier.channels.item import read  # noqa: PLC0415

    trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    token = await Tokens(settings.graph).get(trust)
    asks = [graph_requests.create(settings.graph, d.recipient, read(c)) for d, c in contents]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(ssl=trust, limit=CONNECTIONS["graph"])
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def post(ask: graph_requests.Ask) -> None:
            async with session.post(ask.url, data=ask.body) as answer:
                await answer.read()
                answer.raise_for_status()

        with watch:
            await _at_once(CONNECTIONS["graph"], asks, post)


def _exchangelib(settings: NotifierSettings, contents: list[tuple[Delivery, bytes]], watch: Watch) -> None:
    from exchangelib import UTC, Account, Build, Configuration, Credentials, FailFast, Version  # noqa: PLC0415
    from exchangelib.folders import Inbox  # noqa: PLC0415

    from missedcall_notifier.channels.exchange import _folder, _item  # noqa: PLC0415
    from missedcall_notifier.channels.item import read  # noqa: PLC0415

    config = Configuration(
        service_endpoint=settings.ews.url,
        credentials=Credentials(ews.ACCOUNT, ews.PASSWORD),
        auth_type="basic",
        version=Version(Build(15, 2, 2562, 17)),
        retry_policy=FailFast(),
        max_connections=CONNECTIONS["ews"],
    )
    accounts = {
        address: Account(address, access_type="impersonation", config=config, default_timezone=UTC)
        for address in mailboxes("ews")
    }
    work: queue.SimpleQueue[tuple[Delivery, bytes]] = queue.SimpleQueue()
    for one in contents:
        work.put(one)

    def save() -> None:
        while True:
            try:
                delivery, content = work.get_nowait()
            except queue.Empty:
                return
            account = accounts[delivery.recipient]
            item = _item(read(content), settings.ews)
            item.account, item.folder = account, _folder(Inbox, "inbox", account)
            item.save()

    threads = [threading.Thread(target=save) for _ in range(CONNECTIONS["ews"])]
    with watch:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


async def _at_once(limit: int, parts: list[Any], work: Callable[[Any], Awaitable[None]]) -> None:
    waiting = iter(parts)

    async def worker() -> None:
        for part in waiting:
            await work(part)

    async with asyncio.TaskGroup() as group:
        for _ in range(limit):
            group.create_task(worker())


WAYS = {"notifier": by_notifier, "channel": by_channel, "bare": by_client}


def measure(kind: str, items: int, rounds: int) -> dict[str, Figure]:
    """Return the best round of each way."""
    best: dict[str, Figure] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, __file__, "--serve", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        folder = Path(name)
        told = json.loads(server.stdout.readline()) if server.stdout else {}
        settings = settings_of(kind, told, folder)
        for number in range(-1, rounds):  # the first one warms up
            count = items if number >= 0 else 50
            for way, run in WAYS.items():
                watch = Watch()
                asyncio.run(run(settings, kind, count, f"{way}{number}", folder, watch))
                figure = Figure(count / watch.wall, watch.cpu / count * 1000)
                if number >= 0 and (way not in best or figure.items_per_s > best[way].items_per_s):
                    best[way] = figure
        if server.stdin:
            server.stdin.close()
    return best


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=CONNECTIONS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve))
        return
    print("| channel | way | items/s | of bare | CPU ms per item |\n|---|---|---|---|---|")
    for kind in CONNECTIONS:
        best = measure(kind, given.items, given.rounds)
        for way, figure in best.items():
            share = figure.items_per_s / best["bare"].items_per_s
            print(f"| {kind} | {way} | {figure.items_per_s:.0f} | {share:.2f} | {figure.cpu_ms:.2f} |")


if __name__ == "__main__":
    main()
