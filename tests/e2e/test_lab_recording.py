"""The recorded run of the lab, for machines without its programs: what Kamailio, SIPp and baresip signal."""

from pathlib import Path

import pytest
from support import sip_lab_compare
from support.sip_lab_calls import CALLS, DOMAIN
from support.sip_lab_recording import DATA, decided, golden

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def verdicts():
    return decided("--verdicts", str(DATA / "run.pcap"))


@pytest.mark.parametrize("name", ["run.pcap", "run.hep"])
def test_the_recorded_run_gives_the_golden_facts(name):
    facts = golden(decided(str(DATA / name)))

    assert facts == (DATA / "facts.jsonl").read_text().splitlines()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.callee)
def test_a_recorded_call_has_its_verdict(verdicts, call):
    found = [v for v in verdicts if v["callee"] == f"sip:{call.callee}@{DOMAIN}"]

    assert [(v["outcome"], v.get("cause", "")) for v in found] == [call.decided]


def test_nobody_but_the_called_users_missed_a_call(verdicts):
    called = {f"sip:{call.callee}@{DOMAIN}" for call in CALLS}

    assert [v["callee"] for v in verdicts if v["outcome"] == "missed" and v["callee"] not in called] == []


def test_the_comparison_with_acc_says_what_the_recording_says(verdicts):
    written = (DOCS / "compare-acc.md").read_text()

    assert written == sip_lab_compare.page(verdicts), "PYTHONPATH=tests python -m support.sip_lab_compare"
