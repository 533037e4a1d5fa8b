import pytest
from support.sip_text import head

from missedcall_common.sip.transaction import Via, branches, cseq, parse_vias


def test_a_via_is_read():
    (via,) = parse_vias(
        head("Via: SIP/2.0/udp Host.example.com:5060;received=192.0.2.1;branch=z9hG4bK1;rport")
    )

    assert via == Via(
        "UDP",
        "host.example.com:5060",
        "z9hG4bK1",
        {"received": "192.0.2.1", "branch": "z9hG4bK1", "rport": ""},
    )


def test_blanks_may_stand_everywhere_in_a_via():
    (via,) = parse_vias(head("Via: SIP / 2.0 / TLS   host : 5061 ; branch = z9hG4bK1"))

    assert (via.transport, via.sent_by, via.branch) == ("TLS", "host:5061", "z9hG4bK1")


def test_vias_of_several_lines_and_several_values_are_one_list():
    read = head(
        "v: SIP/2.0/UDP a;branch=z9hG4bKa, SIP/2.0/UDP b;branch=z9hG4bKb",
        "Via: SIP/2.0/UDP c;branch=z9hG4bKc",
    )

    assert [via.sent_by for via in parse_vias(read)] == ["a", "b", "c"]
    assert branches(read) == ("z9hG4bKa", "z9hG4bKb", 3)


def test_what_is_no_via_is_left_out():
    assert parse_vias(head("Via: nonsense, SIP/2.0/UDP a;branch=z9hG4bKa")) == [
        Via("UDP", "a", "z9hG4bKa", {"branch": "z9hG4bKa"})
    ]


@pytest.mark.parametrize(
    ("via", "identity"),
    [
        ("SIP/2.0/UDP a;branch=z9hG4bK77", "z9hG4bK77"),
        ("SIP/2.0/UDP a;branch=z9hG4bK77;rport", "z9hG4bK77"),
        ("SIP/2.0/UDP a;rport; branch = z9hG4bK77 ;x", "z9hG4bK77"),
        ('SIP/2.0/UDP a;branch="z9hG4bK77"', "z9hG4bK77"),
        ("SIP/2.0/UDP A:5060;branch=77", "a:5060/77"),
        ("SIP/2.0/UDP a;branch=z9hG4bK", "a/z9hG4bK"),
        ("SIP/2.0/UDP a", "a/"),
        ("nonsense", ""),
    ],
)
def test_a_branch_without_the_cookie_needs_the_host(via, identity):
    assert branches(head(f"Via: {via}")) == (identity, "", 1)


def test_no_via_is_no_branch():
    assert branches(head()) == ("", "", 0)


def test_an_empty_via_is_no_branch():
    assert branches(head("Via: ,,,")) == ("", "", 0)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["CSeq: 1 INVITE"], (1, "INVITE")),
        (["cseq:  0009\tinvite "], (9, "INVITE")),
        (["CSeq: 4294967295 ACK"], (4294967295, "ACK")),
        (["CSeq: 4294967296 ACK"], (-1, "ACK")),
        (["CSeq: x INVITE"], (-1, "INVITE")),
        (["CSeq: 5"], (5, "")),
        (["CSeq:"], (-1, "")),
        ([], (-1, "")),
    ],
)
def test_a_cseq_is_number_and_method(lines, expected):
    assert cseq(head(*lines)) == expected
