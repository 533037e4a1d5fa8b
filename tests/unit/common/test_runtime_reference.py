"""docs/log.md is what the catalogues say."""

from pathlib import Path

from missedcall_common.runtime.reference import log_markdown

PAGE = Path(__file__).resolve().parents[3] / "docs/log.md"


def test_the_committed_page_is_fresh():
    assert PAGE.read_text(encoding="utf-8") == log_markdown(), (
        "run `python -m missedcall_common.runtime.reference > docs/log.md`"
    )


def test_a_family_of_counters_shows_that_more_follows():
    assert (
        "| `outcome-<cause>` | `missedcall_outcome_total{cause}` | Decided calls and users, by outcome |"
        in log_markdown()
    )
