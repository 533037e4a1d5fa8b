"""What the words around the code promise: pages that are there, links and targets that lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")), ROOT / "schemas/README.md"]

ADRS = sorted((ROOT / "docs/adr").glob("*.md"))
ADR_HEADINGS = ["Status", "Context", "Options", "Decision", "Bad consequences", "Revisit when"]


def _headings(path: Path, level: str) -> list[str]:
    return re.findall(rf"^{level} (.+?)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", ADRS, ids=lambda path: path.name)
def test_a_decision_record_has_the_headings_of_the_template(path):
    assert len(_headings(path, "#")) == 1
    assert _headings(path, "##") == ADR_HEADINGS


def test_decision_records_are_numbered_without_a_gap():
    numbers = [path.name[:5] for path in ADRS if path.name != "README.md"]

    assert numbers == [f"{number:04}-" for number in range(1, len(ADRS) + 1)]


TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_plain_make_explains_every_target():
    explained = re.findall(r"^([a-z][a-z-]*):.*?## \S", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert set(explained) == TARGETS


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_the_words_around_the_code_are_there(name):
    assert (ROOT / name).read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize(
    "path",
    PAGES,
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_make_target_that_a_page_names_is_there(path):
    text = path.read_text(encoding="utf-8")
    code = re.findall(r"`make ([^`]*)`", text) + re.findall(r"^(?:\$ )?make (.*)$", text, re.MULTILINE)
    named = {word for line in code for word in line.split("#")[0].split() if re.fullmatch(r"[a-z-]+", word)}

    assert named <= TARGETS


@pytest.mark.parametrize(
    "path",
    PAGES,
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_link_to_a_file_leads_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)

    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_a_changelog_entry_says_its_kind_and_its_area():
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line.startswith("- ")]

    assert [line for line in entries if not re.match(r"- \[[A-Z]+\] [a-z/-]+: ", line)] == []
