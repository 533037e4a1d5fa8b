"""baresip, a real user agent, driven through its control port (module ctrl_tcp).

The control port speaks JSON in netstrings: `17:{"command":"..."},`; events come the same way.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from support.sip_lab_calls import DOMAIN, Softphone
from support.sip_lab_programs import LabError

CONTROL_PORT = 4444
REACTS_AFTER_S = 1.5
"""How long the user lets it ring. Less: the 180 and the reaction are hard to tell apart in a ladder."""
GIVES_UP_AFTER_S = 2.5
ANSWER_S = 10.0
"""How long baresip may take to register or to react."""

CONFIG = """\
poll_method epoll
sip_listen {address}:5060
net_interface {address}
call_local_timeout 120
audio_player aubridge,null
audio_source aubridge,null
audio_alert aubridge,null
rtp_ports 20000-20100
ringback_disabled yes
module_path {modules}
module g711.so
module aubridge.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {address}:4444
"""
REGISTERED = re.compile(r"sip:\S+\s+\x1b\[32mOK")
"""The account's line in what `reginfo` prints: OK in green."""
ACCOUNT = (
    "<sip:{user}@{domain}>;auth_user={user};auth_pass=secret;regint=60;answermode=manual;"
    'audio_codecs=PCMA;outbound="sip:{proxy}:5060;transport=udp"\n'
)
MODULES = "/usr/lib/baresip/modules"

Spawn = Callable[..., Awaitable[object]]


class SoftphoneControl:
    """One baresip and what its user does."""

    def __init__(
        self, softphone: Softphone, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._softphone = softphone
        self._reader = reader
        self._writer = writer
        self._registered = asyncio.Event()
        self._reactions: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def started(
        cls, softphone: Softphone, directory: Path, address: str, proxy: str, spawn: Spawn
    ) -> AsyncIterator["SoftphoneControl"]:
        """Start baresip, connect to its control port and wait until its account is registered."""
        home = directory / softphone.user
        home.mkdir(exist_ok=True)
        (home / "config").write_text(CONFIG.format(address=address, modules=MODULES))
        (home / "accounts").write_text(ACCOUNT.format(user=softphone.user, domain=DOMAIN, proxy=proxy))
        (home / "contacts").touch()
        await spawn(softphone.user, "baresip", "-f", str(home))

        reader, writer = await _connect(address)
        control = cls(softphone, reader, writer)
        listening = asyncio.create_task(control._listen())
        try:
            await control._wait_registered()
            yield control
        finally:
            listening.cancel()
            for reaction in control._reactions:
                reaction.cancel()
            await asyncio.gather(listening, *control._reactions, return_exceptions=True)
            writer.close()

    async def dials_and_gives_up(self, uri: str) -> None:
        """Call `uri`, let it ring and cancel."""
        await self._command("dial", uri)
        await asyncio.sleep(GIVES_UP_AFTER_S)
        await self._command("hangup")

    async def _wait_registered(self) -> None:
        # The REGISTER may have been answered before we were connected: then its event is lost, so we ask.
        for _ in range(100):
            await self._command("reginfo")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._registered.wait(), ANSWER_S / 100)
                return
        raise LabError(f"{self._softphone.user} is not registered after {ANSWER_S} s")

    async def _command(self, command: str, params: str = "") -> None:
        body = json.dumps({"command": command, "params": params}).encode()
        self._writer.write(b"%d:%b," % (len(body), body))
        await self._writer.drain()

    async def _listen(self) -> None:
        while True:
            try:
                size = await self._reader.readuntil(b":")
                body = await self._reader.readexactly(int(size[:-1]) + 1)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            event = json.loads(body[:-1])
            kind = event.get("type")
            if kind == "REGISTER_OK" or REGISTERED.search(event.get("data", "")):
                self._registered.set()
            elif kind == "CALL_INCOMING" and self._softphone.on_call:
                reaction = asyncio.create_task(self._react(self._softphone.on_call))
                self._reactions.add(reaction)
                reaction.add_done_callback(self._reactions.discard)

    async def _react(self, command: str) -> None:
        await asyncio.sleep(REACTS_AFTER_S)
        await self._command(command)


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(100):
        try:
            return await asyncio.open_connection(address, CONTROL_PORT)
        except ConnectionError:
            await asyncio.sleep(ANSWER_S / 100)
    raise LabError(f"baresip's control port {address}:{CONTROL_PORT} does not open")
