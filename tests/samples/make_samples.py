"""Writes the sample captures of `missedcall demo` from the ladders beside this file.

    .venv/bin/python tests/samples/make_samples.py            write them
    .venv/bin/python tests/samples/make_samples.py --check    exit 1 if they are not what the ladders say

One capture per ladder: pcap, or a Lync trace where the ladder's style is Lync. `samples.json` says what each
call promises; the demo holds the pipeline to it.
"""

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = "(SIPStack,SIPAdminLog::ProtocolRecord::Flush:ProtocolRecord.cpp(265))"
SAMPLES = ROOT / "services" / "embedded" / "missedcall_embedded" / "samples"
sys.path.insert(0, str(HERE.parent))

from support import ladder  # noqa: E402 - found through the line above


def main() -> int:
    """Write or check; return the exit status."""
    made = make()
    if "--check" not in sys.argv[1:]:
        SAMPLES.mkdir(exist_ok=True)
        for old in SAMPLES.iterdir():
            if old.is_file() and old.name not in made:
                old.unlink()
        for name, content in made.items():
            (SAMPLES / name).write_bytes(content)
        return 0
    stale = differing(made)
    for name in stale:
        sys.stderr.write(f"{name} is not what its ladder says: run {Path(__file__).name}\n")
    return int(bool(stale))


def differing(made: dict[str, bytes]) -> list[str]:
    """Return the names of files that are missing, different or left over."""
    found = {path.name: path.read_bytes() for path in SAMPLES.iterdir() if path.is_file()}
    return sorted(name for name in made.keys() | found.keys() if made.get(name) != found.get(name))


def make() -> dict[str, bytes]:
    """Return the samples by file name."""
    made = {}
    promises = []
    for path in sorted(HERE.glob("*.trace")):
        trace = ladder.load(path)
        if trace.network.style == "lync":
            name = f"{path.stem}.log"
            made[name] = lync_trace(trace)
        else:
            name = f"{path.stem}.pcap"
            made[name] = pcap(trace)
        promises.append(promise(trace, name))
    made["samples.json"] = (json.dumps(promises, indent=2, ensure_ascii=False) + "\n").encode()
    return made


def promise(trace: ladder.Trace, name: str) -> dict[str, object]:
    """Return what a sample promises: its verdicts, and with them who is told."""
    return {
        "file": name,
        "claim": trace.claim,
        "call_id": trace.network.call_id("a"),
        "verdicts": [
            {
                "callee": trace.aor(line.callee),
                "outcome": line.outcome,
                "cause": line.cause,
                "mailbox": f"{line.callee}@example.com",
            }
            for line in trace.expected
        ],
    }


def pcap(trace: ladder.Trace) -> bytes:
    """Return the ladder as a pcap file, bodies whole."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.pcap"
        ladder.to_pcap(trace, path)
        return path.read_bytes()


def lync_trace(trace: ladder.Trace) -> bytes:
    """Return the ladder as a front end's trace in the CLS dialect of 2015, which writes UTC."""
    records = []
    messages = list(trace.capture.whole(trace.network, trace.sent))
    # The box that writes the trace is the one that all messages pass.
    (server,) = set.intersection(*({message.src, message.dst} for message in messages))
    for number, message in enumerate(messages, start=0x5386):
        outgoing = message.src == server
        head, _, body = message.head.decode().partition("\r\n\r\n")
        trace_id = 2_156_659_184 + number
        start_line, *headers = head.split("\r\n")
        when = datetime.fromtimestamp(message.captured_ms / 1000, UTC)
        stamp = f"{when:%m/%d/%Y-%H:%M:%S}.{when.microsecond // 1000:03}.{number:08X}"
        records += [
            rf"TL_INFO(TF_PROTOCOL) [pool01\fe01]06E4.0EB4::{stamp} {SOURCE} [{trace_id}] $$begin_record",
            f"Trace-Correlation-Id: {trace_id}",
            f"Instance-Id: {number:X}",
            f"Direction: {'outgoing' if outgoing else 'incoming'}",
            f"Peer: {message.dst if outgoing else message.src}",
            f"Message-Type: {'response' if start_line.startswith('SIP/') else 'request'}",
            f"Start-Line: {start_line}",
            *headers,
            *(
                ["Message-Body: " + body.rstrip("\r\n").replace("\r\n", "\n")]
                if body
                else ["Message-Body: -"]
            ),
            "$$end_record",
            "",
        ]
    return "\r\n".join(line.replace("\n", "\r\n") for line in records).encode()


if __name__ == "__main__":
    sys.exit(main())
