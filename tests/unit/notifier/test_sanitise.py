import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missedcall_notifier.sanitise import ADDRESS_LIMIT, NAME_LIMIT, clean, clean_address, clean_name

ALL = ("L", "M", "N", "P", "S", "Z", "C")
HOSTILE = st.text(alphabet=st.characters(categories=ALL), max_size=300)
"""All code points, lone surrogates too."""


@pytest.mark.parametrize(
    ("wire", "shown"),
    [
        ("Alice", "Alice"),
        ("  Alice \t Smith ", "Alice Smith"),
        ("Müller, Jörg", "Müller, Jörg"),
        ("Dr.Müller", "Dr. Müller"),
        ("李小龍", "李小龍"),
        ("Nguyễn Thị Ánh", "Nguyễn Thị Ánh"),
        ("a\r\nBcc: x@y.com", "a Bcc: x (at) y. com"),
        ("a\u2028b\u2029c\x85d\x0be", "a b c d e"),
        ("=?utf-8?q?a=0D=0ABcc:_x?=", "= ?utf-8?q?a=0D=0ABcc:_x?="),
        ("\u202eecilA", "ecilA"),
        ("Al\u200bice", "Alice"),
        ("=\u200b?utf-8?q?x?=", "= ?utf-8?q?x?="),
        ("http://evil.example/login", "http:/ /evil. example/login"),
        ("www.evil.example", "www. evil. example"),
        ("<b>Alice</b>", "bAlice/b"),
        ('Alice", who', "Alice, who"),
        ("Ａｌｉｃｅ", "Alice"),
        ("\ud800", ""),
        ("\x00", ""),
        ("", ""),
    ],
)
def test_a_name_is_shown_like_this(wire, shown):
    assert clean_name(wire) == shown


def test_a_long_name_is_cut_and_says_so():
    assert clean_name("x" * 500) == "x" * (NAME_LIMIT - 1) + "…"


def test_a_character_that_grows_eighteenfold_stays_within_the_limit():
    assert len(clean_name("\ufdfa" * 500)) <= NAME_LIMIT


def test_marks_that_overprint_the_lines_above_are_dropped():
    assert clean("a" + "\u0316" * 50) == "a" + "\u0316" * 2


@pytest.mark.parametrize(
    ("wire", "shown"),
    [
        ("+49 30 123", "+4930123"),
        ("sip:alice@example.net", "sip:alice@example.net"),
        ("sip:http://evil.example@x", "sip:http:/evil.example@x"),
        ("sip:a\r\nb@x", "sip:ab@x"),
    ],
)
def test_an_address_is_one_word(wire, shown):
    assert clean_address(wire) == shown


@given(HOSTILE, st.integers(2, 200))
def test_any_text_becomes_one_plain_line(text, limit):
    line = clean(text, limit)

    assert len(line) <= limit
    assert not {unicodedata.category(c) for c in line} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert "=?" not in line
    assert line == line.encode().decode()


@given(HOSTILE)
def test_no_name_is_a_link_or_ends_its_quotes(text):
    name = clean_name(text)

    assert len(name) <= NAME_LIMIT
    assert not any(sign in name for sign in ("://", "//", "@", "“", "”", '"', "<", ">"))


@given(HOSTILE)
def test_no_address_has_a_blank_or_a_second_scheme(text):
    address = clean_address(text)

    assert len(address) <= ADDRESS_LIMIT
    assert not any(sign in address for sign in (" ", "//", '"', "<", ">"))
