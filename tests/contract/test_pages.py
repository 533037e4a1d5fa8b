"""Pages that are generated are fresh."""

from pathlib import Path

from support import rows_page

from missedcall_classifier.reference import rules_markdown

DOCS = Path(__file__).parents[2] / "docs"


def test_the_rules_page_is_fresh():
    assert (DOCS / "rules.md").read_text() == rules_markdown(), "run: make docs"


def test_the_rows_page_is_fresh():
    assert (DOCS / "rows.md").read_text() == rows_page.page(), "run: make docs"


def test_every_row_of_the_decision_table_has_a_trace():
    named = {path.name[:6] for path in rows_page.GOLDEN.glob("row-*.trace")}

    assert named == {f"row-{number:02}" for number in rows_page.ROWS}
