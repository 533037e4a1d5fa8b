"""A real SIP system on loopback: Kamailio, SIPp and baresip, all started here and ended here.

Rule 1: everything lives in 127.60.N.0/24, every SIP endpoint on port 5060 of an address of its own, so that
        one capture filter holds it all and a ladder can be read.
Rule 2: nothing is sent outside loopback, and no name server is asked.
"""

import asyncio
import contextlib
import itertools
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from support.sip_lab_calls import (
    CALLS,
    DOMAIN,
    PHONES,
    READS,
    SOFTPHONES,
    TCP_RINGS,
    Call,
    Phone,
)
from support.sip_lab_programs import LabError, Program, missing
from support.sip_lab_softphone import SoftphoneControl

FILES = Path(__file__).resolve().parents[1] / "e2e" / "lab"
PROXY, REGISTRAR_CLIENT, FIRST_CALLER = 1, 9, 101
"""Last octets of addresses."""
READY_S = 15.0
"""How long a program may take until it listens. Less: a loaded machine fails. More: a failure is seen later."""


@dataclass(frozen=True, slots=True)
class AccRow:
    """A row that Kamailio's acc module wrote."""

    table: str
    method: str
    call_id: str
    code: str
    phrase: str
    caller: str
    to_user: str
    target: str
    """User and host of the last Request-URI, as acc saw it."""


class HepRecorder(asyncio.DatagramProtocol):
    """Keeps every HEP frame as received."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.frames.append(data)

    @classmethod
    @contextlib.asynccontextmanager
    async def listening(cls) -> AsyncIterator["HepRecorder"]:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("127.0.0.1", 0))
        transport, recorder = await asyncio.get_running_loop().create_datagram_endpoint(cls, sock=sock)
        try:
            yield recorder
        finally:
            transport.close()


class Lab:
    """One run of the lab. Use as `async with`, then `play` once."""

    def __init__(self, directory: Path, hep: tuple[str, int], *, capture: Path | None = None) -> None:
        self.directory = directory
        self._hep = hep
        self._capture = capture
        self._stack = contextlib.AsyncExitStack()
        self._lock: socket.socket
        self.net = ""
        self._softphones: dict[str, SoftphoneControl] = {}

    async def __aenter__(self) -> Self:
        if reason := missing():
            raise LabError(reason)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._claim_net()
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self._lock.close()

    def address(self, host: int) -> str:
        return f"{self.net}.{host}"

    def _claim_net(self) -> None:
        """Take the first network that no other lab holds: its lock is a listening socket."""
        for n in range(60, 250):
            lock = socket.socket()
            try:
                lock.bind((f"127.60.{n}.254", 5059))
            except OSError:
                lock.close()
                continue
            lock.listen(1)
            self._lock, self.net = lock, f"127.60.{n}"
            return
        raise LabError("no free network 127.60.60.0/24 to 127.60.249.0/24")

    async def _start(self) -> None:
        (self.directory / "acc").mkdir(exist_ok=True)
        if self._capture is not None:
            await self._start_capture(self._capture)
        await self._start_proxy()
        phones = [(phone, await self._start_phone(phone)) for phone in PHONES]
        for phone, program in phones:
            await self._wait_bound(program, phone.host, tcp=phone.transport == "t1")
        await self._register()
        for softphone in SOFTPHONES:
            started = SoftphoneControl.started(
                softphone, self.directory, self.address(softphone.host), self.address(PROXY), self.spawn
            )
            self._softphones[softphone.user] = await self._stack.enter_async_context(started)

    async def spawn(self, name: str, *argv: str, stop: signal.Signals = signal.SIGTERM) -> Program:
        """Start a program that lives until the lab ends."""
        program = await Program.started(name, self.directory, argv, stop)
        self._stack.push_async_callback(program.end)
        return program

    async def _start_capture(self, path: Path) -> None:
        # Only SIP: the softphones' audio would be the most of it. The HEP mirror uses another port.
        tcpdump = await self.spawn(
            "tcpdump",
            *("tcpdump", "-i", "lo", "-U", "--immediate-mode", "-B", "65536", "-Z", "root", "-w", str(path)),
            f"net {self.net}.0/24 and port 5060 and not udp port {self._hep[1]}",
            stop=signal.SIGINT,
        )
        await _wait(tcpdump, lambda: "listening on" in tcpdump.tail())

    async def _start_proxy(self) -> None:
        given = {
            "LAB_NET": self.net,
            "HEP_HOST": self._hep[0],
            "HEP_PORT": str(self._hep[1]),
            "ACC_DIR": str(self.directory / "acc"),
        }
        kamailio = await self.spawn(
            "kamailio",
            *("kamailio", "-DD", "-E", "-f", str(FILES / "kamailio.cfg"), "-m", "64", "-M", "8"),
            *("-w", str(self.directory), "-Y", str(self.directory)),
            *(f"--substdef=!{name}!{value}!g" for name, value in given.items()),
        )
        await self._wait_bound(kamailio, PROXY, tcp=True)
        await self._wait_bound(kamailio, PROXY)

    async def _start_phone(self, phone: Phone) -> Program:
        return await self.spawn(
            f"phone-{phone.host}",
            *self._sipp(phone.script, phone.host, phone.transport),
            *("-d", str(phone.ring_ms)),
        )

    def _sipp(self, script: str, host: int, transport: str = "u1", domain: str = DOMAIN) -> list[str]:
        address = self.address(host)
        return [
            *("sipp", f"{self.address(PROXY)}:5060", "-sf", str(FILES / f"{script}.xml"), "-nostdin"),
            *("-i", address, "-p", "5060", "-bind_local", "-ci", address, "-mi", address, "-t", transport),
            *("-key", "domain", domain, "-default_behaviors", "all,-bye", "-timer_resol", "10"),
        ]

    async def _register(self) -> None:
        """Register every SIPp phone that a call's user has."""
        contacts = [*_contacts(), ("reads", str(READS))]
        rows = ["SEQUENTIAL"]
        for user, contact in contacts:
            host, _, q = contact.partition(";q=")
            transport = "tcp" if int(host) == TCP_RINGS else "udp"
            credentials = f"[authentication username={user} password=secret]"
            rows.append(";".join((user, self.address(int(host)), transport, q or "1.0", credentials)))
        injected = self.directory / "contacts.csv"
        injected.write_text("\n".join(rows) + "\n")
        await self.run(
            "register",
            *self._sipp("register", REGISTRAR_CLIENT),
            *("-inf", str(injected), "-m", str(len(contacts)), "-r", "200", "-cid_str", "register-%u@%s"),
        )

    async def run(self, name: str, *argv: str) -> None:
        """Run a program to its end.

        Raises:
            LabError: it ended with another code than 0.
        """
        program = await Program.started(name, self.directory, argv)
        try:
            code = await program.process.wait()
        finally:
            await program.end()
        if code:
            raise LabError(f"{name} ended with {code}: {program.tail()}")

    async def play(self, calls: Iterable[Call] = CALLS) -> None:
        """Play all calls and the noise at once; returns when the last has ended.

        Raises:
            LabError: the signalling of a call was not what its script says.
        """
        hosts = itertools.count(FIRST_CALLER)
        played = [asyncio.create_task(self._call(call, next(hosts))) for call in calls]
        played.append(asyncio.create_task(self._noise(next(hosts))))
        played.append(asyncio.create_task(self._scan(next(hosts))))
        results = await asyncio.gather(*played, return_exceptions=True)
        failed = [str(result) for result in results if isinstance(result, BaseException)]
        if failed:
            raise LabError("\n".join(failed))

    async def _call(self, call: Call, host: int) -> None:
        caller = call.caller or f"caller-{call.callee}"
        if call.script == "softphone":
            await self._softphones[caller].dials_and_gives_up(f"sip:{call.callee}@{DOMAIN}")
            return
        await self.run(
            call.callee,
            *self._sipp(call.script, host, call.transport),
            *(
                "-m",
                "1",
                "-s",
                call.callee,
                "-d",
                str(call.talk_ms),
                "-cid_str",
                f"{call.callee}-%u@{DOMAIN}",
            ),
            *_keys((("caller", caller), ("display", caller.replace("-", " ").title()))),
        )

    async def _noise(self, host: int) -> None:
        await self.run("noise", *self._sipp("noise", host), *("-m", "1", "-cid_str", f"noise-%u@{DOMAIN}"))

    async def _scan(self, host: int) -> None:
        """A scanner tries to call abroad through us; refused with 403 by the proxy itself."""
        await self.run(
            "scanner",
            *self._sipp("caller_waits", host, domain="203.0.113.9"),
            *("-m", "1", "-s", "00441234567890", "-cid_str", f"scanner-%u@{DOMAIN}"),
            *_keys((("caller", "100"), ("display", "100"))),
        )

    def acc_rows(self) -> list[AccRow]:
        """What Kamailio's acc module has written, oldest first. Complete after the lab has ended."""
        rows = []
        for path in (self.directory / "acc").glob("*.log"):
            table = path.name.rpartition("_")[0]
            for line in path.read_text().splitlines():
                method, _, _, call_id, code, phrase, _, at, caller, to_user, *target = line.split("|")
                row = AccRow(table, method, call_id, code, phrase, caller, to_user, "@".join(target))
                rows.append((float(at), row))
        return [row for _, row in sorted(rows, key=lambda pair: pair[0])]

    async def _wait_bound(self, program: Program, host: int, *, tcp: bool = False) -> None:
        table = Path("/proc/net/tcp" if tcp else "/proc/net/udp")
        packed = socket.inet_aton(self.address(host))
        entry = f" {int.from_bytes(packed, sys.byteorder):08X}:{5060:04X} "
        await _wait(program, lambda: entry in table.read_text())


def _keys(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [argument for name, value in pairs for argument in ("-key", name, value)]


def _contacts() -> list[tuple[str, str]]:
    """Pair every user with each phone he has among the SIPp phones."""
    pairs = []
    for call in CALLS:
        pairs += [(call.callee, phone) for phone in call.phones]
        pairs += call.deputies
    return pairs


async def _wait(program: Program, ready: Callable[[], bool]) -> None:
    end = time.monotonic() + READY_S
    while not ready():
        if time.monotonic() > end or program.process.returncode is not None:
            raise LabError(f"{program.name} is not ready: {program.tail()}")
        await asyncio.sleep(0.02)
