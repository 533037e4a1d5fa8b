"""Columns line up, fit the terminal, and obey nothing that a sender wrote."""

import pytest

from missedcall_embedded.table import Column, cells, cut, fit, line, printable

COLUMNS = (
    Column("AT", 8),
    Column("CALLEE", 0, flexible=True),
    Column("CALLER", 0, flexible=True),
    Column("RULE", 20, optional=True),
)


@pytest.mark.parametrize(
    "sent",
    ["\x1b[2J", "\x1b]0;owned\x07", "a\rb", "a\nb", "\x9b31m", "\u202eevil", "a\u2028b", "\x00"],
)
def test_nothing_a_terminal_obeys_passes(sent):
    assert printable(sent).isprintable()


def test_ordinary_text_passes_unchanged():
    assert printable("Jörg Müller 山田 <sip:j@example.com>") == "Jörg Müller 山田 <sip:j@example.com>"


def test_wide_characters_take_two_cells_and_combining_marks_none():
    assert (cells("bob"), cells("山田"), cells("e\u0301")) == (3, 4, 1)


def test_a_cut_cell_never_exceeds_its_width():
    assert [cells(cut("山田太郎さん", width)) <= width for width in range(1, 12)] == [True] * 11


def test_what_fits_is_not_cut():
    assert cut("bob@example.com", 15) == "bob@example.com"


def test_what_was_cut_says_so():
    assert cut("bob@example.com", 8) == "bob@exa…"


@pytest.mark.parametrize("total", [60, 80, 100, 132, 200])
def test_a_row_is_no_wider_than_the_terminal(total):
    columns = fit(COLUMNS, total)

    row = line(columns, ["x" * 300] * len(columns), whole=False)

    assert cells(row) <= total


def test_the_optional_column_goes_before_addresses_become_unreadable():
    titles = [column.title for column in fit(COLUMNS, 50)]

    assert titles == ["AT", "CALLEE", "CALLER"]


def test_without_a_terminal_every_cell_is_whole():
    columns = fit(COLUMNS, 80)

    row = line(columns, ["10:00", "b" * 200, "alice", "rule"], whole=True)

    assert "b" * 200 in row


def test_numbers_stand_right():
    assert line((Column("S", 5, right=True),), ["9"], whole=False) == "    9"
