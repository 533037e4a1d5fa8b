import pytest
from support.sip_text import head

from missedcall_common.sip.reason import (
    MAX_REASONS,
    Reason,
    parse_diagnostics,
    parse_reasons,
    parse_warnings,
)

ELSEWHERE = Reason("SIP", 200, "Call completed elsewhere")


@pytest.mark.parametrize(
    "value",
    [
        'SIP;cause=200;text="Call completed elsewhere"',
        'sip ; Cause = 200 ; TEXT = "Call completed elsewhere"',
        'SIP;text="Call completed elsewhere";cause=200',
        "SIP;cause=200;text=Call completed elsewhere",
        'SIP;cause="200";text="Call completed elsewhere"',
        ' SIP;foo;cause=200;text="Call completed elsewhere" ',
    ],
)
def test_a_reason_is_read_however_it_is_written(value):
    assert parse_reasons([value]) == [ELSEWHERE]


def test_reasons_repeat_and_are_joined_by_commas():
    values = ['SIP;cause=200;text="Call completed elsewhere",Q.850;cause=26', 'q.850 ;cause=16;text="a, b"']

    assert parse_reasons(values) == [ELSEWHERE, Reason("Q.850", 26, ""), Reason("Q.850", 16, "a, b")]


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("SIP;cause=0", 0),
        ("SIP;text=x", 0),
        ("SIP;cause=", 0),
        ("SIP;cause=x", 0),
        ("SIP;cause=-1", 0),
        ("SIP;cause=99999", 0),
        ('SIP;cause=487 text="no semicolon"', 487),
        ("Q.850;cause=016", 16),
    ],
)
def test_a_cause_that_is_none_is_zero(value, cause):
    assert parse_reasons([value])[0].cause == cause


@pytest.mark.parametrize("value", ["", ",", "SIP", "two words;cause=1", ";cause=1", "=;cause=1"])
def test_what_is_no_reason_is_left_out(value):
    assert parse_reasons([value]) == []


def test_an_unquoted_text_with_a_comma_does_not_make_a_second_reason():
    assert parse_reasons(["SIP;cause=487;text=Cancelled, by user"]) == [Reason("SIP", 487, "Cancelled")]


def test_only_so_many_reasons_are_read():
    assert len(parse_reasons(["SIP;cause=200," * 1000])) == MAX_REASONS


def test_a_diagnostic_is_read():
    read = head(
        'ms-diagnostics: 5002;reason="Request was cancelled; by app";source="fe.example.com";AppUri="http://x"'
    )

    (found,) = parse_diagnostics(read)

    assert (found.id, found.sub, found.reason, found.source, found.params, found.header) == (
        5002,
        "",
        "Request was cancelled; by app",
        "fe.example.com",
        {"reason": "Request was cancelled; by app", "source": "fe.example.com", "appuri": "http://x"},
        "ms-diagnostics",
    )


def test_diagnostics_come_from_three_headers():
    read = head(
        "MS-Client-Diagnostics: 52051", "ms-diagnostics-public: 5025;x", "Ms-Diagnostics: 13004.1;Source=fe"
    )

    assert [(found.id, found.sub, found.source, found.header) for found in parse_diagnostics(read)] == [
        (13004, "1", "fe", "ms-diagnostics"),
        (5025, "", "", "ms-diagnostics-public"),
        (52051, "", "", "ms-client-diagnostics"),
    ]


@pytest.mark.parametrize("value", ["", "reason=x", "5002 reason", "-1", "99999999999", "x5002"])
def test_a_diagnostic_without_an_id_says_nothing(value):
    assert parse_diagnostics(head(f"ms-diagnostics: {value}")) == []


def test_warnings_have_code_agent_and_text():
    values = ['391 fe.example.com "Does not want, to be \\"disturbed\\"", 399 a:5060 "b"', "301 c d"]

    assert [(found.code, found.text, found.agent) for found in parse_warnings(values)] == [
        (391, 'Does not want, to be "disturbed"', "fe.example.com"),
        (399, "b", "a:5060"),
        (301, "d", "c"),
    ]


@pytest.mark.parametrize("value", ["", "1812 a b", "99 a b", "abc d e", "²²² a b"])
def test_a_warning_without_a_code_says_nothing(value):
    assert parse_warnings([value]) == []
