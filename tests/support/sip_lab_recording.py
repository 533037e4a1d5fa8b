"""The recorded run of the lab in tests/data/lab: what was on the wire, what was mirrored, what acc wrote.

`python -m support.sip_lab_recording` plays the lab and records it anew (`facts`: decides the old record anew):

* `run.pcap`: every SIP packet, as tcpdump saw it;
* `run.hep`: every HEP v3 frame that Kamailio sent, one after the other;
* `acc.jsonl`: the rows of Kamailio's acc module, oldest first;
* `facts.jsonl`: what we decided about the calls missed, times left out; to be read before it is committed.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from support.sip_lab import AccRow, HepRecorder, Lab
from support.sip_lab_programs import cannot_capture, missing

DATA = Path(__file__).resolve().parents[1] / "data" / "lab"
COMMAND = Path(sys.executable).parent / "missedcall"
DRAIN_S = 1.0
"""From the last answer to the last mirrored frame. Less: frames are lost. More: recording takes longer."""

GOLDEN = ("call_id", "callee", "cause", "detail", "role", "diverted_via", "devices_rung", "also_rang", "rule")
"""The fields of a fact that are the same in every run; Call-IDs that baresip makes up are left out."""


def decided(*arguments: str) -> list[dict[str, Any]]:
    """Return what `missedcall replay` prints.

    Raises:
        subprocess.CalledProcessError: it ended with another code than 0.
    """
    argv = [str(COMMAND), "replay", "--format", "jsonl", *arguments]
    printed = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
    return [json.loads(line) for line in printed.splitlines()]


def golden(facts: Iterable[dict[str, Any]]) -> list[str]:
    """Return one line per fact with what is the same in every run, sorted."""
    lines = []
    for fact in facts:
        kept = {name: fact.get(name) for name in GOLDEN}
        if "@" not in fact["call_id"]:
            kept["call_id"] = ""
        kept["caller"] = fact["caller"].get("uri", "")
        kept["ring_s"] = round(fact["ring_s"] * 2) / 2  # scripts wait whole and half seconds
        lines.append(json.dumps(kept, sort_keys=True))
    return sorted(lines)


def acc_rows() -> list[AccRow]:
    """Return what acc wrote in the recorded run."""
    return [AccRow(**json.loads(line)) for line in (DATA / "acc.jsonl").read_text().splitlines()]


def record(folder: Path) -> None:
    """Play the lab and keep what it produced."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as run:
        frames, rows = asyncio.run(_play(Path(run), folder / "run.pcap"))
    (folder / "run.hep").write_bytes(b"".join(frames))
    (folder / "acc.jsonl").write_text("".join(f"{json.dumps(asdict(row))}\n" for row in rows))


def decide(folder: Path) -> None:
    """Write down the facts of a recorded run."""
    lines = golden(decided(str(folder / "run.pcap")))
    (folder / "facts.jsonl").write_text("".join(f"{line}\n" for line in lines))


async def _play(run: Path, capture: Path) -> tuple[list[bytes], list[AccRow]]:
    async with HepRecorder.listening() as hep:
        lab = Lab(run, ("127.0.0.1", hep.port), capture=capture)
        async with lab:
            await lab.play()
            await asyncio.sleep(DRAIN_S)
    return hep.frames, lab.acc_rows()


if __name__ == "__main__":
    if sys.argv[1:] != ["facts"]:
        if reason := missing() or cannot_capture():
            sys.exit(reason)
        record(DATA)
    decide(DATA)
