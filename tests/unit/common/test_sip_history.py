import pytest

from missedcall_common.sip.history import MAX_ENTRIES, escaped_headers, parse_diversions, parse_history_info
from missedcall_common.sip.reason import Reason


def test_an_rfc_7044_chain_is_read():
    first, second, third = parse_history_info(
        [
            "<sip:bob@example.com>;index=1,<sip:bob@192.0.2.4?Reason=SIP%3Bcause%3D302>;index=1.1;rc=1",
            "<sip:carol@example.com;cause=302>;index=1.2;mp=1",
        ]
    )

    assert (first.aor, first.index, first.rc, first.mp, first.np) == ("sip:bob@example.com", "1", "", "", "")
    assert (second.aor, second.index, second.rc, second.cause) == ("sip:bob@192.0.2.4", "1.1", "1", 302)
    assert (third.aor, third.mp, third.cause, third.reasons) == ("sip:carol@example.com", "1", 302, [])


def test_an_rfc_4244_chain_has_neither_rc_nor_mp():
    (entry,) = parse_history_info(['"Bob" <sip:bob@example.com?Reason=Q.850%3Bcause%3D19>; index=1; foo=bar'])

    assert (entry.index, entry.reasons, entry.cause, entry.params["foo"]) == (
        "1",
        [Reason("Q.850", 19, "")],
        0,
        "bar",
    )


@pytest.mark.parametrize(
    "escaped",
    [
        "Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%20Temporarily%22",
        "reason=sip%3bcause=302%3btext=%22Moved%20Temporarily%22",
        'Reason=SIP;cause=302;text="Moved Temporarily"',
        'Reason=SIP&cause=302&text="Moved Temporarily"',
        "Reason=SIP&cause=302&text=Moved%20Temporarily",
        "Privacy=none&Reason=SIP&text=Moved%20Temporarily&cause=302&Other=x",
    ],
)
def test_a_reason_inside_a_uri_is_read_in_every_spelling(escaped):
    (entry,) = parse_history_info([f"<sip:bob@example.com?{escaped}>;index=1"])

    assert (entry.reasons, entry.cause) == ([Reason("SIP", 302, "Moved Temporarily")], 302)


def test_lyncs_form_is_read():
    value = (
        '<sip:anna@contoso.com;opaque=user:epid:Zx;gruu?Reason=SIP&cause=302&text="Moved, temporarily">'
        ";ms-retarget-reason=Forwarding;index=1,  <sip:ben@contoso.com>;index=1.1"
    )
    forwarded, target = parse_history_info([value])

    assert (forwarded.aor, forwarded.index, forwarded.retarget_reason, forwarded.cause) == (
        "sip:anna@contoso.com",
        "1",
        "forwarding",
        302,
    )
    assert forwarded.uri == "sip:anna@contoso.com;opaque=user:epid:Zx;gruu"
    assert (target.aor, target.index, target.retarget_reason, target.reasons) == (
        "sip:ben@contoso.com",
        "1.1",
        "",
        [],
    )


@pytest.mark.parametrize("reason", ["acd", "team-call", "delegation", "forwarding", "something-new"])
def test_a_retarget_reason_may_come_before_the_index(reason):
    (entry,) = parse_history_info([f"<sip:a@b>;ms-retarget-reason={reason};index=1"])

    assert (entry.retarget_reason, entry.index) == (reason, "1")


def test_a_reason_without_a_cause_says_nothing():
    timed_out, unknown = parse_history_info(
        [
            "<sip:1@a;user=phone?Reason=SIP%3Bcause%3D487%3Btext%3DTimeout>;index=1,<sip:2@a?Reason=SIP>;index=1.1"
        ]
    )

    assert timed_out.reasons == [Reason("SIP", 487, "Timeout")]
    assert (unknown.uri, unknown.reasons, unknown.cause) == ("sip:2@a", [], 0)


def test_two_reasons_of_one_entry_are_kept():
    (entry,) = parse_history_info(["<sip:a@b?Reason=Q.850%3Bcause%3D17&Reason=SIP%3Bcause%3D486>;index=1"])

    assert (entry.reasons, entry.cause) == ([Reason("Q.850", 17, ""), Reason("SIP", 486, "")], 486)


def test_the_cause_of_the_uri_counts_before_the_reason():
    (entry,) = parse_history_info(["<sip:vm@b;target=sip:a%40b;cause=408?Reason=SIP%3Bcause%3D302>;index=1"])

    assert entry.cause == 408


@pytest.mark.parametrize(
    "escaped", ["Privacy=history", "privacy=History%3Bid", "Reason=SIP%3Bcause%3D302&Privacy=history"]
)
def test_an_escaped_privacy_is_read(escaped):
    (entry,) = parse_history_info([f"<sip:a@b?{escaped}>;index=1"])

    assert "history" in entry.privacy


def test_an_anonymised_entry_stays_in_the_chain():
    entries = parse_history_info(
        ["<sip:anonymous@anonymous.invalid>;index=1, <nonsense>;index=1.1, <sip:a@b>;index=1.2"]
    )

    assert [entry.aor for entry in entries] == ["sip:anonymous@anonymous.invalid", "", "sip:a@b"]


def test_an_entry_without_brackets_is_read():
    (entry,) = parse_history_info(["sip:a@b;index=1;np=1"])

    assert (entry.aor, entry.index, entry.np) == ("sip:a@b", "1", "1")


def test_a_tel_entry_with_a_reason_is_read():
    (entry,) = parse_history_info(["<tel:+4930123?Reason=SIP%3Bcause%3D486>;index=1"])

    assert (entry.uri, entry.aor, entry.cause) == ("tel:+4930123", "tel:+4930123", 486)


def test_a_question_mark_in_a_user_part_begins_no_headers():
    (entry,) = parse_history_info(["<sip:who?@b>;index=1"])

    assert (entry.uri, entry.aor) == ("sip:who?@b", "sip:who?@b")


def test_only_so_many_entries_are_read():
    assert len(parse_history_info(["<sip:a@b>;index=1," * 1000])) == MAX_ENTRIES


def test_escaped_headers_are_unescaped_in_order():
    assert escaped_headers("Subject=a%20b&To=sip:x%40y&&=z&flag") == [
        ("subject", "a b"),
        ("to", "sip:x@y"),
        ("flag", ""),
    ]


def test_diversions_come_latest_first():
    latest, first = parse_diversions(
        [
            '"Bob" <sip:bob@example.com>;reason=No-Answer;counter=2;privacy=full;screen=yes',
            "<tel:+4930123>;reason=unconditional",
        ]
    )

    assert (latest.aor, latest.reason, latest.counter, latest.privacy) == (
        "sip:bob@example.com",
        "no-answer",
        2,
        "full",
    )
    assert (latest.display_name, latest.params["screen"]) == ("Bob", "yes")
    assert (first.aor, first.reason, first.counter) == ("tel:+4930123", "unconditional", 1)


def test_diversions_are_joined_by_commas():
    found = parse_diversions(['<sip:b@x>;reason="user-busy", <sip:a@x>;reason=send_to_vm, <sip:c@x>'])

    assert [(entry.aor, entry.reason) for entry in found] == [
        ("sip:b@x", "user-busy"),
        ("sip:a@x", "send_to_vm"),
        ("sip:c@x", ""),
    ]


@pytest.mark.parametrize("counter", ["0", "-1", "x", "", "99999999999"])
def test_an_impossible_counter_is_one(counter):
    assert parse_diversions([f"<sip:a@b>;counter={counter}"])[0].counter == 1
