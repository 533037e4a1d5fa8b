"""`missedcall demo`: sample captures through the whole pipeline, to a mail server and a webhook of its own.

Rule 1: nothing is simulated: `missedcall run` in a process of its own, HEP over TCP, SMTP and HTTP; all of it
        on loopback, everything durable in a folder that is removed afterwards.
Rule 2: what the samples promise (`samples/samples.json`) is held against what was decided and what arrived:
        exit 0 only if nothing is missing, different, or too much.
Rule 3: only the captures are played faster than they were recorded. The timers of the decision are the real
        ones: shorter ones could decide differently.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import json
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from missedcall_schemas import codec
from missedcall_schemas.records import Verdict

from . import telling
from .replay import short
from .send import Pace, UnreachableError, play
from .source import Sources
from .store_file import VERDICTS, read
from .table import printable
from .target import Target

if TYPE_CHECKING:
    from .demo_sinks import Sinks

SAMPLES = Path(__file__).parent / "samples"
SPEED = 10.0
"""Times the recorded speed. More: a ring gets as short as the pipeline's own delays."""
START_S = 20.0
"""For the pipeline to listen. Python starts in one second, on a busy machine in five."""
DECIDE_S = 30.0
"""After the last message. The longest timer that a sample waits for is `settle_s`, 3 s."""
DELIVER_S = 20.0
"""After the last decision."""
QUIET_S = 1.5
"""After the last notice that was promised: time for one too many to arrive."""
STOP_S = 15.0
"""For the pipeline to end when asked to."""
POLL_S = 0.1
LOG_LINES = 20
"""Of the pipeline's log, shown if the demo fails."""


class PromisedVerdict(Struct, frozen=True):
    """What a sample promises for one user."""

    callee: str
    outcome: str
    cause: str
    mailbox: str
    """Who reads the mail."""

    @property
    def is_told(self) -> bool:
        """Whether a mail and a webhook call are promised."""
        return self.outcome == "missed"


class Sample(Struct, frozen=True):
    """One capture with one call, and what it promises."""

    file: str
    claim: str
    call_id: str
    verdicts: tuple[PromisedVerdict, ...]


class DemoError(Exception):
    """The pipeline did not do what the samples promise; the text says what."""


def main(_: argparse.Namespace) -> int:
    """Run the demo; return its exit status."""
    if importlib.util.find_spec("aiosmtpd") is None:
        print(
            "missedcall demo needs aiosmtpd for its mail server: pip install 'missedcall[demo]'",
            file=sys.stderr,
        )
        return 1
    with tempfile.TemporaryDirectory(prefix="missedcall-demo-") as folder:
        log = Path(folder) / "run.log"
        try:
            asyncio.run(_demo(Path(folder), log))
        except (DemoError, UnreachableError) as error:
            print(f"\nThe demo failed: {printable(str(error))}", file=sys.stderr)
            if log.exists():
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                sys.stderr.writelines(f"  run: {printable(line)}\n" for line in lines[-LOG_LINES:])
            return 1
    return 0


async def _demo(folder: Path, log: Path) -> None:
    from .demo_sinks import Sinks  # noqa: PLC0415 - needs an extra that main() has looked for

    samples = load_samples()
    port = _free_port()
    async with Sinks(secrets.token_bytes(32)) as sinks:
        config = _write_config(folder, port, sinks, samples)
        async with pipeline(config, log) as process:
            where = Target("tcp", "127.0.0.1", port)
            await until(lambda: _listens(port), START_S, "the pipeline did not begin to listen", process)
            print(f"The pipeline listens on {where}. Its timers are the real ones;")
            print(
                f"only the {len(samples)} sample captures are played, at {SPEED:.0f} times the recorded speed.\n"
            )
            await _play(samples, where)
            await show_decisions(samples, folder / "missedcall.db", process)
            await show_deliveries(samples, sinks, process)
    told = sum(verdict.is_told for sample in samples for verdict in sample.verdicts)
    print(f"\n{len(samples)} calls: decided and delivered as promised; {told} users told once, nobody else.")


def load_samples() -> tuple[Sample, ...]:
    """Return the samples and their promises."""
    return msgspec.json.decode((SAMPLES / "samples.json").read_bytes(), type=tuple[Sample, ...])


# -- the pipeline -----------------------------------------------------------------------------------------


def _write_config(folder: Path, port: int, sinks: "Sinks", samples: tuple[Sample, ...]) -> Path:
    (folder / "webhook.secret").write_text(sinks.secret_line, encoding="ascii")
    mailboxes = {verdict.callee: verdict.mailbox for sample in samples for verdict in sample.verdicts}
    # A JSON string is a TOML string as long as it stays ASCII, and these do.
    recipients = "\n".join(f"{json.dumps(callee)} = {json.dumps(box)}" for callee, box in mailboxes.items())
    path = folder / "demo.toml"
    path.write_text(
        f"""\
[listen]
udp = []
tcp = ["127.0.0.1:{port}"]

[store]
file = "missedcall.db"

[notify.smtp]
host = "127.0.0.1"
port = {sinks.smtp_port}
security = "none"
sender = "missed-calls@example.com"

[notify.smtp.recipients]
{recipients}

[notify.webhook]
url = "http://127.0.0.1:{sinks.webhook_port}/missed-calls"
insecure_http = true
allow = ["127.0.0.1"]
secret_file = "webhook.secret"
""",
        encoding="ascii",
    )
    return path


@contextlib.asynccontextmanager
async def pipeline(config: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `missedcall run` in a process of its own; end it with SIGTERM, as an operator would."""
    command = (sys.executable, "-m", "missedcall_embedded", "run", "--config", str(config))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        yield process
        process.terminate()
        async with asyncio.timeout(STOP_S):
            status = await process.wait()
        if status:
            raise DemoError(f"the pipeline ended with exit status {status}")
    except TimeoutError:
        raise DemoError(f"the pipeline did not end within {STOP_S:.0f} s of SIGTERM") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def until(
    done: Callable[[], bool], seconds: float, otherwise: str, process: asyncio.subprocess.Process
) -> None:
    """Wait until ``done``.

    Raises:
        DemoError: it is not after ``seconds``, or the pipeline ended before.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not done():
        if process.returncode is not None:
            raise DemoError(f"the pipeline ended by itself with exit status {process.returncode}")
        if loop.time() > end:
            raise DemoError(f"{otherwise} within {seconds:.0f} s")
        await asyncio.sleep(POLL_S)


# -- what is shown ----------------------------------------------------------------------------------------


async def _play(samples: tuple[Sample, ...], where: Target) -> None:
    sources = Sources([SAMPLES / sample.file for sample in samples])
    summary = await play(sources.messages(), where, Pace(speed=SPEED))
    if sources.errors:
        raise DemoError("; ".join(sources.errors))
    print(
        f"Sent {summary.sent} SIP messages as HEP v3 in {summary.seconds:.1f} s; the last call settles in 3 s.\n"
    )


async def show_decisions(
    samples: tuple[Sample, ...], file: Path, process: asyncio.subprocess.Process
) -> None:
    """Wait for a verdict on everything promised and print each call.

    Raises:
        DemoError: one is missing, or says something else.
    """
    promised = {(s.call_id, v.callee): v for s in samples for v in s.verdicts}
    decided: dict[tuple[str, str], Verdict] = {}

    def all_decided() -> bool:
        # Retention keeps far more than a demo; reading it all again is simpler than keeping a place.
        for row in read(file, VERDICTS):
            verdict = codec.decode_verdict(row.value)
            decided[verdict.call_id, verdict.callee] = verdict
        return promised.keys() <= decided.keys()

    try:
        await until(all_decided, DECIDE_S, "not every call was decided", process)
    finally:
        for sample in samples:
            print(sample.claim[:1].upper() + sample.claim[1:])
            for verdict in decided.values():
                if verdict.call_id == sample.call_id:
                    print(f"  {short(verdict.callee)}  {telling.headline(verdict)}")
                    print(f"      {telling.why(verdict)} (rule {verdict.rule})")
    for key in decided.keys() - promised.keys():
        raise DemoError(f"nobody promised a verdict on {key[1]} in call {key[0]}")
    for key, promise in promised.items():
        verdict = decided[key]
        if (verdict.outcome, verdict.cause) != (promise.outcome, promise.cause):
            raise DemoError(
                f"{promise.callee} was promised {promise.outcome} {promise.cause}, "
                f"decided was {verdict.outcome} {verdict.cause} by rule {verdict.rule}"
            )


async def show_deliveries(
    samples: tuple[Sample, ...], sinks: "Sinks", process: asyncio.subprocess.Process
) -> None:
    """Wait for every notice promised and print what arrived.

    Raises:
        DemoError: a notice is missing, is one too many, or is signed wrongly.
    """
    told = [verdict for sample in samples for verdict in sample.verdicts if verdict.is_told]

    def all_there() -> bool:
        return len(sinks.mails) >= len(told) and len(sinks.events) >= len(told)

    try:
        await until(all_there, DELIVER_S, "not every notice was delivered", process)
        await asyncio.sleep(QUIET_S)
    finally:
        print("\nDelivered to the mail server:")
        for mail in sinks.mails:
            print(f"  to {printable(mail.recipient)}: {printable(mail.subject)}")
        print("Delivered to the webhook:")
        for event in sinks.events:
            signature = "signature valid" if event.signed else "SIGNATURE WRONG"
            print(f"  {event.type}  {short(event.fact.callee)}  {event.fact.cause}  ({signature})")
    if sorted(mail.recipient for mail in sinks.mails) != sorted(verdict.mailbox for verdict in told):
        raise DemoError("the mails are not those promised")
    expected = sorted((verdict.callee, verdict.cause) for verdict in told)
    if sorted((event.fact.callee, event.fact.cause) for event in sinks.events) != expected:
        raise DemoError("the webhook calls are not those promised")
    if not all(event.signed for event in sinks.events):
        raise DemoError("a webhook call was signed wrongly")
