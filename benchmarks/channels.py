"""How many notices a second the SMTP and webhook channels deliver on loopback, and what the bare libraries reach.

    .venv/bin/python benchmarks/channels.py [NOTICES] [ROUNDS]

The relay is aiosmtpd, the receiver aiohttp's server, both in a process of their own. `bare` makes the same calls
with the library and nothing else: a connection per mail or call, as ours, with as many at once. `channel` renders,
signs and sends. `notifier` is all of it: facts, SQLite journal with its syncs, retries, log. Best of ROUNDS, one
after the other in each round. Beside the rate stands the processor time of this side, which other work on the
machine changes less.
"""

import asyncio
import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp
import aiosmtplib
import traffic  # noqa: F401 first: it puts tests/ on the path
from support.notify import NOW, Log, ManualClock, make_fact, make_notices
from support.smtp_sink import SmtpSink
from support.webhook_sink import SECRET_LINE, WebhookSink

from missedcall_notifier.app import Notifier
from missedcall_notifier.channels.port import Channel
from missedcall_notifier.channels.smtp import SmtpChannel
from missedcall_notifier.channels.webhook import WebhookChannel
from missedcall_notifier.delivery import State, begin, intent
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.settings import NotifierSettings, SmtpSettings, WebhookSettings
from missedcall_notifier.source import MemoryFacts

BOB = "bob@example.com"
AT_ONCE = {"smtp": 4, "webhook": 8}
"""The defaults of `connections` and `concurrency`."""


class Cost(NamedTuple):
    """Of one notice."""

    per_s: float
    cpu_ms: float


async def rate(one: Callable[[int], Awaitable[object]], notices: int, at_once: int) -> Cost:
    """Call `one` for each notice, `at_once` of them on their way."""
    numbers = iter(range(notices))

    async def work() -> None:
        for number in numbers:
            await one(number)

    return await cost(asyncio.gather(*(work() for _ in range(at_once))), notices)


async def cost(work: Awaitable[object], notices: int) -> Cost:
    """Return what `work` costs."""
    began, used = time.perf_counter(), time.process_time()
    await work
    return Cost(notices / (time.perf_counter() - began), (time.process_time() - used) * 1000 / notices)


def settings(kind: str, port: int, secret: Path) -> NotifierSettings:
    """Return the settings of one channel."""
    if kind == "smtp":
        mail = SmtpSettings(
            host="127.0.0.1",
            port=port,
            security="none",
            helo_name="localhost",
            sender="missed-calls@example.com",
            always=(BOB,),
        )
        return NotifierSettings(smtp=mail)
    hook = WebhookSettings(
        url=f"http://127.0.0.1:{port}/hook", insecure_http=True, allow=("127.0.0.1",), secret_file=str(secret)
    )
    return NotifierSettings(webhook=hook)


async def bare(kind: str, port: int, notices: int, contents: list[bytes]) -> Cost:
    """Return the rate of the library alone."""
    if kind == "smtp":

        async def mail(number: int) -> None:
            await aiosmtplib.send(
                contents[number],
                sender="missed-calls@example.com",
                recipients=[BOB],
                hostname="127.0.0.1",
                port=port,
                start_tls=False,
                local_hostname="localhost",
            )

        return await rate(mail, notices, AT_ONCE[kind])
    headers = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def call(number: int) -> None:
            async with session.post(f"http://127.0.0.1:{port}/hook", data=contents[number]) as answer:
                await answer.read()

        return await rate(call, notices, AT_ONCE[kind])


async def measure(kind: str, port: int, notices: int, folder: Path) -> dict[str, Cost]:
    """Return the three rates."""
    secret = folder / "secret"
    secret.write_text(SECRET_LINE)
    given, clock = settings(kind, port, secret), ManualClock(NOW + 20)
    channel: Channel = (
        SmtpChannel(given.smtp, make_notices())
        if kind == "smtp"
        else WebhookChannel(given.webhook, clock, make_notices())
    )
    recipient = BOB if kind == "smtp" else "default"
    facts = [make_fact(f"fact-{number}") for number in range(notices)]
    deliveries = [begin(intent(fact, kind, recipient, NOW), NOW) for fact in facts]
    contents = [channel.render(delivery) for delivery in deliveries]
    found = {"bare": await bare(kind, port, notices, contents)}

    async def ours(number: int) -> None:
        await channel.send(deliveries[number], channel.render(deliveries[number]))

    found["channel"] = await rate(ours, notices, AT_ONCE[kind])
    await channel.close()
    log = Log()
    async with SqliteJournal(folder / f"{kind}-{time.monotonic_ns()}.db") as journal:
        notifier = Notifier(given, MemoryFacts(facts), journal, clock, observe=log)
        running = asyncio.ensure_future(notifier.run())
        found["notifier"] = await cost(log.until(State.SENT, count=notices, within_s=600), notices)
        notifier.stop()
        await running
    return found


async def serve(kind: str) -> None:
    """Be the relay or the receiver until the process is ended; say the port first."""
    async with SmtpSink() if kind == "smtp" else WebhookSink() as sink:
        print(sink.port, flush=True)
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def sink(kind: str) -> AsyncIterator[int]:
    """Run the relay or the receiver in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, f"--{kind}", stdout=asyncio.subprocess.PIPE
    )
    if process.stdout is None:
        raise AssertionError("a pipe was asked for")
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def main(notices: int, rounds: int) -> None:
    """Print a line per channel."""
    logging.getLogger("missedcall").setLevel(logging.CRITICAL)
    for kind in AT_ONCE:
        best: dict[str, Cost] = {}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(rounds):
                async with sink(kind) as port:
                    for name, found in (await measure(kind, port, notices, Path(folder))).items():
                        before = best.get(name, found)
                        best[name] = Cost(max(before.per_s, found.per_s), min(before.cpu_ms, found.cpu_ms))
        shown = "  ".join(f"{name} {per_s:5.0f}/s {cpu_ms:5.2f} ms" for name, (per_s, cpu_ms) in best.items())
        ratio = best["channel"].per_s / best["bare"].per_s
        print(f"{kind:8} {shown}  channel/bare {ratio:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] in (["--smtp"], ["--webhook"]):
        asyncio.run(serve(sys.argv[1][2:]))
    else:
        given_notices, given_rounds = [
            int(value) for value in (*sys.argv[1:], *("1000", "3")[len(sys.argv) - 1 :])
        ]
        asyncio.run(main(given_notices, given_rounds))
