"""Records what real programs send as HEP, for tests/data/hep: frames, and the SIP messages that they carry.

    PYTHONPATH=tests python -m support.hep_recording NAME VERSION FOLDER [KEY=VALUE ...]

Rule 1: every frame is kept as received, one datagram a file; beside it the message as it was on the wire.
Rule 2: nothing is sent outside loopback; every program is ended here.

Programs that read captures are given one that is made here; Kamailio is called over UDP, TCP, IPv6 and TLS.
"""

import json
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support import captures
from support.captures import invite, ringing, tcp4, udp4, udp6
from support.sip_lab import FILES

from missedcall_collector.pcap_writer import ethernet

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n"
_SRC, _DST = "192.0.2.1:5060", "198.51.100.2:5080"
_SRC6, _DST6 = "[2001:db8::1]:5060", "[2001:db8::2]:5080"
_SILENCE_S = 1.0
_START_S = 15.0
_LIFE = ("timeout", "--kill-after=5", "60")

Carried = tuple[str, str, str, int, bytes]
"""Source, destination, transport, capture time in milliseconds, message: what a frame ought to say."""
Program = Callable[[int, str, Path, dict[str, str]], list[Carried]]
"""Sends HEP of a version to a port of 127.0.0.1; returns the messages on the wire."""


def sample() -> tuple[bytes, list[Carried]]:
    """Return a capture, and its messages in order: UDP, IPv6, and TCP with one message in two segments."""
    at = captures.CAPTURED_MS
    whole = invite("tcp", "Content-Type: application/sdp", "X-Pad: " + "x" * 1200, body=SDP)
    frames = [
        udp4(invite("udp", "Content-Type: application/sdp", body=SDP)),
        udp4(ringing("udp")),
        udp4(invite("udp", method="CANCEL")),
        udp6(invite("six")),
        tcp4(b"", 0, captures.SYN),
        tcp4(whole[:1400], 1),
        tcp4(whole[1400:], 1401),
    ]
    messages = [
        (_SRC, _DST, "udp", at, invite("udp", "Content-Type: application/sdp", body=SDP)),
        (_SRC, _DST, "udp", at + 1, ringing("udp")),
        (_SRC, _DST, "udp", at + 2, invite("udp", method="CANCEL")),
        (_SRC6, _DST6, "udp", at + 3, invite("six")),
        (_SRC, _DST, "tcp", at + 6, whole),
    ]
    return captures.pcap(*map(ethernet, frames)), messages


def _reads(command: Callable[[int, str, Path], list[str]]) -> Program:
    """Return a program that reads the sample."""

    def send(port: int, version: str, folder: Path, _: dict[str, str]) -> list[Carried]:
        data, messages = sample()
        (folder / "sample.pcap").write_bytes(data)
        argv = [*_LIFE, *command(port, version, folder)]
        subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        return messages

    return send


def _sngrep(port: int, version: str, folder: Path) -> list[str]:
    settings = {"version": version, "address": "127.0.0.1", "port": port, "id": 2001, "pass": "myhep"}
    lines = [f"set eep.send.{name} {value}" for name, value in settings.items()]
    (folder / "rc").write_text("\n".join(["set eep.send on", *lines, ""]))
    return ["sngrep", "-f", "rc", "-H", f"udp:127.0.0.1:{port}", "-I", "sample.pcap", "-N", "-q"]


def _sipgrep(port: int, _: str, __: Path) -> list[str]:
    return ["sipgrep", "-R", "-C", "-H", f"udp:127.0.0.1:{port}", "-I", "sample.pcap"]


_NODE = """
const hep = require("hep-js"), socket = require("dgram").createSocket("udp4");
const frames = JSON.parse(require("fs").readFileSync(0));
function send(n) {
  if (n == frames.length) return socket.close();
  const frame = hep.encapsulate(frames[n].message, frames[n].about);
  socket.send(frame, +process.argv[1], "127.0.0.1", () => send(n + 1));
}
send(0);
"""


def hep_js(port: int, _: str, folder: Path, options: dict[str, str]) -> list[Carried]:
    """Encapsulate the IPv4 messages of the sample, with a correlation id and without one."""
    messages = [carried for carried in sample()[1] if carried[0] == _SRC]
    frames = []
    for n, (_, _, transport, at, message) in enumerate(messages):
        about = {
            "protocolFamily": 2, "protocol": 6 if transport == "tcp" else 17, "payloadType": 1, "captureId": 2001,
            "srcIp": "192.0.2.1", "dstIp": "198.51.100.2", "srcPort": 5060, "dstPort": 5080, "capturePass": "myhep",
            "timeSeconds": at // 1000, "timeUseconds": at % 1000 * 1000,
        }  # fmt: skip
        if n == 0:
            about |= {"correlation_id": "corr@1", "hepNodeName": "edge-1"}
        frames.append({"message": message.decode(), "about": about})
    environment = {**_ENVIRONMENT, "NODE_PATH": options["modules"]}
    argv = [*_LIFE, "node", "-e", _NODE, str(port)]
    subprocess.run(argv, input=json.dumps(frames).encode(), check=True, cwd=folder, env=environment)
    return messages


_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}


def kamailio(port: int, version: str, folder: Path, options: dict[str, str]) -> list[Carried]:
    """Call a Kamailio that refuses; TLS too if `modules` names the folders with tls.so."""
    tls = "modules" in options
    ports = {name: _free(host) for name, host in _ENDS.items() if tls or name != "tls"}
    given = {"HEP_HOST": "127.0.0.1", "HEP_PORT": str(port), "HEP_VERSION": version, "CERT_DIR": str(folder)}
    more = ["-L", options["modules"], "-A", "WITH_TLS"] if tls else []
    if tls:
        subprocess.run(_CERTIFICATE, cwd=folder, check=True, capture_output=True)
    argv = [
        *_LIFE, "kamailio", "-DD", "-E", "-f", str(FILES / "hep_mirror.cfg"), "-m", "64", "-M", "8",
        "-w", str(folder), "-Y", str(folder), *more,
        *(f"--substdef=!{name}!{value}!g" for name, value in given.items()),
    ]  # fmt: skip
    for name, where in ports.items():
        argv += ["-l", f"{name.removesuffix('6')}:{_bracketed(_ENDS[name])}:{where}"]
    messages: list[Carried] = []
    with (folder / "kamailio.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log, env=_ENVIRONMENT)
        try:
            _wait_for(process, ports["tcp"], folder / "kamailio.log")
            for name, where in ports.items():
                messages += _call(name, _ENDS[name], where)
        finally:
            process.terminate()
            process.wait(10)
    return messages


_ENDS = {"udp": "127.0.0.1", "tcp": "127.0.0.1", "udp6": "::1", "tls": "127.0.0.1"}
_CERTIFICATE = [
    *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=lab.example"),
    *("-keyout", "key.pem", "-out", "cert.pem"),
]  # fmt: skip


def _call(name: str, host: str, port: int) -> Iterator[Carried]:
    """Send an INVITE, take the refusal, send the ACK; yield all three."""
    transport = name.removesuffix("6")
    with _connected(name, host, port) as sock:
        own_host, own_port = sock.getsockname()[:2]
        own, theirs = f"{_bracketed(own_host)}:{own_port}", f"{_bracketed(host)}:{port}"
        for method in ("INVITE", "ACK"):
            sent = invite(f"{name}@lab", method=method, body=SDP if method == "INVITE" else b"")
            sent = re.sub(rb"SIP/2\.0/UDP [^;]+", f"SIP/2.0/{transport.upper()} {own}".encode(), sent)
            at = _now_ms()
            sock.sendall(sent)
            yield own, theirs, transport, at, sent
            if method == "INVITE":
                yield theirs, own, transport, _now_ms(), sock.recv(65_535)
        time.sleep(0.3)  # the last frame: a stream that closes at once would race with its own mirror


@contextmanager
def _connected(name: str, host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = socket.SOCK_DGRAM if name.startswith("udp") else socket.SOCK_STREAM
    with socket.socket(family, kind) as sock:
        sock.settimeout(10)
        sock.connect((host, port))
        if name == "tls":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(sock) as wrapped:
                yield wrapped
        else:
            yield sock


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _free(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def _wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError as error:
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError(log.read_text(errors="replace")[-2000:]) from error
            time.sleep(0.1)
        else:
            return


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


PROGRAMS: dict[str, Program] = {
    "kamailio": kamailio,
    "sngrep": _reads(_sngrep),
    "sipgrep": _reads(_sipgrep),
    "hep-js": hep_js,
}


def record(name: str, version: str, out: Path, options: dict[str, str]) -> None:
    """Run a program and write what it sent to `out`."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        tempfile.TemporaryDirectory() as folder,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind(("127.0.0.1", 0))
        messages = PROGRAMS[name](sock.getsockname()[1], version, Path(folder), options)
        frames = _received(sock)
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for n, frame in enumerate(frames, 1):
        carried = _carried(frame, messages)
        (out / f"{n:02}.hep").write_bytes(frame)
        line = {"frame": f"{n:02}.hep"}
        if carried is not None:
            src, dst, transport, at, message = carried
            (out / f"{n:02}.sip").write_bytes(message)
            line |= {"src": src, "dst": dst, "transport": transport, "captured_ms": at}
        lines.append(json.dumps(line) + "\n")
    (out / "expected.jsonl").write_text("".join(lines))


def _received(sock: socket.socket) -> list[bytes]:
    sock.settimeout(_SILENCE_S)
    frames = []
    try:
        while True:
            frames.append(sock.recv(65_535))
    except TimeoutError:
        return frames


def _carried(frame: bytes, messages: list[Carried]) -> Carried | None:
    """Return the message that stands in the frame; None if none does, whole."""
    return next((carried for carried in messages if carried[-1] in frame), None)


if __name__ == "__main__":
    record(*sys.argv[1:3], Path(sys.argv[3]), dict(option.split("=", 1) for option in sys.argv[4:]))
