"""The ladder: one arrow per message, readable at any width."""

import pytest

from missedcall_embedded.drawing import HEAD_CELLS, draw, label, leg_names, start_of
from missedcall_embedded.table import cells
from missedcall_schemas.records import Evidence

ALICE, PROXY, BOB = "10.0.0.1:5060", "10.0.0.9:5060", "10.0.0.2:5060"
ONE = leg_names(["a@x"])


def ev(at, src, dst, first_line, reason="", call_id="a@x"):
    return Evidence(at=at, src=src, dst=dst, first_line=first_line, reason=reason, call_id=call_id)


CALL = [
    ev(100.0, ALICE, PROXY, "INVITE sip:bob@example.com SIP/2.0"),
    ev(100.1, PROXY, BOB, "INVITE sip:bob@10.0.0.2 SIP/2.0"),
    ev(100.2, BOB, PROXY, "180 INVITE"),
    ev(109.4, ALICE, PROXY, "CANCEL sip:bob@example.com SIP/2.0", "SIP;cause=487"),
    ev(109.5, PROXY, ALICE, "487 INVITE"),
]


def test_time_runs_from_the_first_invite():
    lines = draw([ev(99.0, BOB, PROXY, "REGISTER sip:example.com SIP/2.0"), *CALL], ONE, 120)

    assert [row.split()[0] for row in lines if row.strip()[0] in "+-"][:2] == ["-1.000", "+0.000"]


def test_without_an_invite_time_runs_from_the_first_message():
    assert start_of(CALL[2:]) == 100.2


def test_an_empty_ladder_is_an_empty_picture():
    assert draw([], ONE, 80) == []


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_picture_is_no_wider_than_asked(width):
    lines = draw(CALL, ONE, width)

    assert max(map(cells, lines)) <= width


def test_every_lifeline_stands_under_its_name():
    lines = draw(CALL, ONE, 100)

    at = [index for index, char in enumerate(lines[1]) if char == "|"]
    assert [lines[0][i - 2 : i + 2].strip() != "" for i in at] == [True, True, True]


def test_arrows_point_to_the_receiver():
    lines = draw(CALL, ONE, 100)

    assert ("INVITE bob@example.com" in lines[2], ">|" in lines[2], "|<" in lines[4]) == (
        True,
        True,
        True,
    )


def test_an_arrow_says_what_was_sent():
    lines = "\n".join(draw(CALL, ONE, 100))

    assert all(word in lines for word in (" 180 INVITE ", " CANCEL ", " 487 INVITE ", "SIP;cause=487"))


def test_a_reason_without_room_beside_stands_below():
    lines = draw(CALL, ONE, 80)

    below = lines[next(i for i, row in enumerate(lines) if "CANCEL" in row) + 1]
    assert below.strip() == "SIP;cause=487"


def test_too_many_endpoints_become_a_list():
    many = [ev(100 + n, PROXY, f"10.0.1.{n}:5060", f"INVITE sip:u{n}@example.com SIP/2.0") for n in range(12)]

    lines = draw(many, ONE, 80)

    assert lines[3].split() == ["+3.000", PROXY, "->", "10.0.1.3:5060", "INVITE", "u3@example.com"]


def test_long_names_get_letters_and_a_legend():
    a, b = "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:5060", "[2001:db8:85a3:8d3:1319:8a2e:370:7349]:5060"

    lines = draw([ev(1.0, a, b, "INVITE sip:bob@example.com SIP/2.0")], ONE, 60)

    assert [row.strip() for row in lines[:2]] == [f"A = {a}", f"B = {b}"]


def test_a_single_leg_needs_no_letter():
    assert draw(CALL, ONE, 100)[2][:HEAD_CELLS].split() == ["+0.000"]


def test_joined_legs_are_told_apart_by_letters():
    legs = leg_names(["a@x", "b@x"])

    lines = draw([CALL[0], ev(100.1, PROXY, BOB, "INVITE sip:bob@b SIP/2.0", call_id="b@x")], legs, 100)

    assert [row[:HEAD_CELLS].split()[1] for row in lines[2:]] == ["a", "b"]


def test_a_hundred_legs_have_a_hundred_names():
    assert len(set(leg_names([str(n) for n in range(100)]).values())) == 100


def test_an_endpoint_that_was_not_captured_has_a_column():
    lines = draw([ev(1.0, "", "10.0.0.9:5061", "INVITE sip:bob@example.com SIP/2.0")], ONE, 100)

    assert "(unknown)" in lines[0]


def test_a_message_to_itself_stands_beside_its_lifeline():
    lines = draw([*CALL, ev(110.0, PROXY, PROXY, "200 CANCEL")], ONE, 100)

    assert "| (self) 200 CANCEL" in lines[-1]


def test_a_target_matters_for_an_invite_only():
    assert [label(f"{m} sip:bob@example.com;user=phone") for m in ("INVITE", "BYE")] == [
        "INVITE bob@example.com",
        "BYE",
    ]


def test_marked_messages_have_an_asterisk():
    lines = draw(CALL, ONE, 100, {CALL[3]})

    assert [row[0] for row in lines[2:]] == [" ", " ", " ", "*", " "]


def test_a_start_line_cannot_move_the_cursor():
    lines = draw([ev(1.0, ALICE, BOB, "INVITE sip:\x1b[2J@example.com SIP/2.0", "\x1b[31m")], ONE, 100)

    assert all(row.isprintable() for row in lines)


def test_wide_characters_keep_the_lifelines_straight():
    lines = draw([ev(1.0, ALICE, BOB, "INVITE sip:山田@example.com SIP/2.0")], ONE, 100)

    assert cells(lines[2]) == cells(lines[1])
