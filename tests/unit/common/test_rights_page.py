"""docs/rights.md is what the rows say."""

import rights


def test_the_page_is_fresh():
    assert rights.PAGE.read_text(encoding="utf-8") == rights.markdown(), "run: make docs"


def test_no_right_is_given_that_another_of_the_row_implies():
    for program, rows in rights.RIGHTS.items():
        for right in rows:
            implied = {"Read", "Write", "Delete", "AlterConfigs"} & set(right.operations)
            assert not (implied and "Describe" in right.operations), program
