import pytest

from missedcall_common.sip.grammar import (
    MAX_VALUES,
    number,
    parse_name_addr,
    parse_params,
    split_all,
    split_values,
    tag,
    unquote,
)
from missedcall_common.sip.uri import MAX_PARAMS


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        (" ", []),
        (" a ", ["a"]),
        ("a, b ,c", ["a", "b", "c"]),
        (",a,,b,", ["a", "b"]),
        ('"a, b" <sip:x>, c', ['"a, b" <sip:x>', "c"]),
        ('"a\\", b" <sip:x>, c', ['"a\\", b" <sip:x>', "c"]),
        ("<sip:a,b@c>, d", ["<sip:a,b@c>", "d"]),
        (
            '<sip:a?Reason=SIP;text="x, y">;index=1, <sip:b>',
            ['<sip:a?Reason=SIP;text="x, y">;index=1', "<sip:b>"],
        ),
        ('a, "never closed, b', ["a", '"never closed, b']),
        ("a, <never closed, b", ["a", "<never closed, b"]),
    ],
)
def test_values_are_split_outside_quotes_and_brackets(text, values):
    assert split_values(text) == values


def test_lines_of_one_header_are_one_list():
    assert split_all(["a, b", "c"]) == ["a", "b", "c"]


def test_only_so_many_values_are_read():
    assert len(split_all(["a," * 1000, '"",' * 1000])) == MAX_VALUES


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a", "a"),
        (' "a b" ', "a b"),
        ('"a\\"b\\\\"', 'a"b\\'),
        ('"open', "open"),
        ('"', ""),
        ('""', ""),
        ("", ""),
    ],
)
def test_quotes_are_removed(text, plain):
    assert unquote(text) == plain


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", {}),
        (";;;", {}),
        (";a=b;C;d = e ", {"a": "b", "c": "", "d": "e"}),
        ("a=b", {"a": "b"}),
        (';a="x;y";b', {"a": "x;y", "b": ""}),
        (";a=1;A=2", {"a": "1"}),
        (";a=b=c", {"a": "b=c"}),
        (';x="<urn:uuid:1>";y=<a;b>', {"x": "<urn:uuid:1>", "y": "<a;b>"}),
        (';a="never closed;b', {"a": "never closed;b"}),
    ],
)
def test_parameters_are_read(text, params):
    assert parse_params(text) == params


@pytest.mark.parametrize("value", ["", "=1", '="1"'])
def test_only_so_many_parameters_are_read(value):
    text = "".join(f";p{i}{value}" for i in range(10 * MAX_PARAMS))

    assert len(parse_params(text)) == MAX_PARAMS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", "", {})),
        ("sip:a@b", ("", "sip:a@b", {})),
        ("<sip:a@b>", ("", "sip:a@b", {})),
        ("< sip:a@b >;tag=1", ("", "sip:a@b", {"tag": "1"})),
        ("Alice <sip:a@b>", ("Alice", "sip:a@b", {})),
        ("Alice<sip:a@b>", ("Alice", "sip:a@b", {})),
        ('"Alice" <sip:a@b;x=y>;tag=1', ("Alice", "sip:a@b;x=y", {"tag": "1"})),
        ('"A <b> \\"c\\"; d" <sip:a@b>;tag=1', ('A <b> "c"; d', "sip:a@b", {"tag": "1"})),
        ('"" <sip:a@b>', ("", "sip:a@b", {})),
        ('"open <sip:a@b>;tag=1', ("open", "sip:a@b", {"tag": "1"})),
        ("<sip:a@b", ("", "sip:a@b", {})),
        ("sip:a@b;tag=1", ("", "sip:a@b", {"tag": "1"})),
        ("sip:+49;ext=5@b;tag=1", ("", "sip:+49;ext=5@b", {"tag": "1"})),
        ("sip:+49;ext=5@b", ("", "sip:+49;ext=5@b", {})),
        ("sip:b;tag=a@c", ("", "sip:b", {"tag": "a@c"})),
        ('"Alice"', ("Alice", "", {})),
    ],
)
def test_a_name_addr_is_read(text, expected):
    assert parse_name_addr(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<sip:a@b>;tag=1", "1"),
        ("<sip:a@b>;tag=1;x=y", "1"),
        ("<sip:a@b> ; Tag = 1 ;x=y", "1"),
        ("<sip:a@b>;x=y;tag=1", "1"),
        ("sip:a@b;tag=1", "1"),
        ("<sip:a@b;tag=2>", ""),
        ("<sip:a@b;tag=2>;tag=1", "1"),
        ('"x>;tag=2" <sip:a@b>;tag=1', "1"),
        ('"x>;tag=2" <sip:a@b>', ""),
        ("<sip:a@b>", ""),
        ("", ""),
    ],
)
def test_the_tag_is_the_headers_not_the_uris(value, expected):
    assert tag(value) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        (" 42 ", 42),
        ("0009", 9),
        ("", -1),
        ("-1", -1),
        ("+1", -1),
        ("1.0", -1),
        ("²", -1),
        ("٣", -1),
        ("100", -1),
    ],
)
def test_a_number_is_ascii_digits_below_its_limit(text, value):
    assert number(text, 100) == value


def test_a_number_of_a_million_digits_is_none():
    assert number("9" * 1_000_000) == -1
