"""Frames that real programs sent (tests/data/hep) become the records of the messages that were on the wire."""

import json
from pathlib import Path

import pytest

from missedcall_collector import hep
from missedcall_collector.intake import Intake
from missedcall_common.sip.peek import cut

DATA = Path(__file__).resolve().parents[2] / "data" / "hep"
FRAMES = [
    (folder.name, json.loads(line))
    for folder in sorted(DATA.iterdir())
    if folder.is_dir()
    for line in (folder / "expected.jsonl").read_text().splitlines()
]
WHOLE = [(folder, expected) for folder, expected in FRAMES if "src" in expected]
AGENT = {"sipgrep-2.1.0-v3": "101"}
"""By default what the recording configures: 2001."""


def named(frames):
    return pytest.mark.parametrize(
        ("folder", "expected"), frames, ids=[f"{folder}-{e['frame']}" for folder, e in frames]
    )


def read(folder, expected, kind):
    return (DATA / folder / expected["frame"]).with_suffix(kind).read_bytes()


@named(WHOLE)
def test_a_frame_becomes_the_record_of_its_message(folder, expected):
    wire = read(folder, expected, ".sip")
    intake = Intake()

    (message,) = intake.from_frame(read(folder, expected, ".hep"), expected["captured_ms"] + 5)

    assert message.head == cut(wire)
    assert (message.src, message.dst, message.transport) == tuple(
        expected[name] for name in ("src", "dst", "transport")
    )
    # Kamailio's time is that of the duplication, sngrep's that of a message's first segment.
    assert abs(message.captured_ms - expected["captured_ms"]) < 1000
    assert set(intake.counts) <= {"time-replaced"}


@named([f for f in WHOLE if "-v1" not in f[0]])
def test_the_agent_is_named(folder, expected):
    packet = hep.decode(read(folder, expected, ".hep"))

    assert packet.agent in (AGENT.get(folder, "2001"), "edge-1")
    assert packet.captured_ms is not None


def test_of_version_1_the_receive_time_counts():
    intake = Intake()
    frame = read("kamailio-5.6.3-v1", {"frame": "01.hep"}, ".hep")

    (message,) = intake.from_frame(frame, 1_800_000_000_000)

    assert message.captured_ms == 1_800_000_000_000
    assert intake.counts == {"time-replaced": 1}


def test_hep_js_names_the_node_and_the_correlation():
    packet = hep.decode(read("hep-js-1.0.22-v3", {"frame": "01.hep"}, ".hep"))

    assert (packet.agent_name, packet.correlation_id) == ("edge-1", "corr@1")


@pytest.mark.parametrize("folder", ["kamailio-5.6.3-v3", "sngrep-1.6.0-v3", "hep-js-1.0.22-v3"])
def test_the_key_is_read(folder):
    assert hep.decode(read(folder, {"frame": "01.hep"}, ".hep")).auth_key == b"myhep"


def test_of_segments_that_sipgrep_does_not_join_the_first_counts():
    intake = Intake()
    first, second = (
        intake.from_frame(read("sipgrep-2.1.0-v3", expected, ".hep"), 1_700_000_001_000)
        for folder, expected in FRAMES
        if folder == "sipgrep-2.1.0-v3" and "src" not in expected
    )

    assert [message.call_id for message in first] == ["tcp"]
    assert second == []
    assert intake.counts == {"not-sip": 1}
