"""docs/input.md says what the code does: every sender, link type, dialect, limit and cause."""

import importlib
import re
from pathlib import Path

import pytest
from support.captures import LINKS, TUNNELS
from support.hep_senders import SENDERS
from support.traces import DIALECTS

from missedcall_collector.intake import CAUSES
from missedcall_collector.wire import LINK_TYPES
from missedcall_common.runtime.counters import meaning

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "input.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")}
LIMITS = re.findall(r"^\| `(\w+)\.(\w+)` \| (\d+) \|", SECTIONS["Limits"], re.MULTILINE)
RECORDED = sorted(path.name for path in (ROOT / "tests" / "data" / "hep").iterdir() if path.is_dir())
PARSERS = {"field", "grammar", "history", "message", "names", "reason", "sdp", "uri"}


def coded(section):
    """Return what stands between backticks."""
    return set(re.findall(r"`([^`\n]+)`", SECTIONS[section]))


@pytest.mark.parametrize("name", [*SENDERS, *RECORDED])
def test_every_sender_is_on_the_page(name):
    assert name in coded("HEP senders")


@pytest.mark.parametrize("name", [*LINKS, *TUNNELS])
def test_every_link_type_and_tunnel_is_on_the_page(name):
    assert name in coded("Captures")


@pytest.mark.parametrize("number", sorted(LINK_TYPES))
def test_every_link_number_is_on_the_page(number):
    rows = [line for line in SECTIONS["Captures"].splitlines() if line.startswith("|")]

    assert any(re.search(rf"\b{number}\b", row) for row in rows)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_is_on_the_page(name):
    assert name in coded("Text logs")


@pytest.mark.parametrize(("module", "name", "value"), LIMITS)
def test_a_limit_has_the_value_on_the_page(module, name, value):
    package = "missedcall_common.sip" if module in PARSERS else "missedcall_collector"

    assert getattr(importlib.import_module(f"{package}.{module}"), name) == int(value)


def test_every_limit_is_on_the_page():
    defined = set()
    for folder in ("services/collector/missedcall_collector", "services/common/missedcall_common/sip"):
        for path in (ROOT / folder).glob("*.py"):
            text = path.read_text(encoding="utf-8")
            names = re.findall(r"^(_?MAX_\w+)(?:: Final)? = [^(\n]*$", text, re.MULTILINE)
            defined |= {(path.stem, name) for name in names}
    of_another_limit = {
        ("peek", "MAX_START_LINE_BYTES"),  # field.MAX_VALUE_CHARS
        ("websocket", "_MAX_PARTS"),  # frames of one message, with MAX_MESSAGE
        ("grammar", "MAX_CSEQ"),  # a number, not a size
    }

    assert defined - of_another_limit == {(module, name) for module, name, _ in LIMITS} - {
        ("intake", "AHEAD_MS"),
        ("streams", "_FRUITLESS"),
    }


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_is_on_the_page(cause):
    assert cause in coded("What does not become a decision is counted")


@pytest.mark.parametrize(
    "name",
    sorted(
        re.findall(r"^\| (`.*?) \|", SECTIONS["What does not become a decision is counted"], re.MULTILINE)
    ),
)
def test_what_the_page_says_is_counted_is_in_the_catalogue(name):
    assert all(meaning(each) for each in re.findall(r"`([^`]+)`", name))
