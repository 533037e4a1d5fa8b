import pytest
from support.sip_text import head, message

from missedcall_common.sip.field import ERRORS, KEPT_BYTES, KEPT_LINES, MAX_VALUE_CHARS, Lines
from missedcall_common.sip.message import (
    MAX_HEAD_BYTES,
    MAX_HEADER_LINES,
    MAX_METHOD_CHARS,
    SipError,
    parse,
)
from missedcall_common.sip.names import MAX_NAME_CHARS, UNREAD

INVITE = "INVITE sip:bob@example.com SIP/2.0"
COMPACT_FORMS = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}


def test_a_request_has_method_and_uri():
    read = parse(message(INVITE))

    assert (read.method, read.request_uri, read.status) == ("INVITE", "sip:bob@example.com", 0)


def test_a_response_has_status_phrase_and_the_method_of_its_cseq():
    read = parse(message("SIP/2.0 486 Busy Here", "CSeq: 1 INVITE"))

    assert (read.status, read.reason_phrase, read.method, read.request_uri) == (
        486,
        "Busy Here",
        "INVITE",
        "",
    )


def test_a_response_without_a_cseq_has_no_method():
    assert parse(message("SIP/2.0 200 OK")).method == ""


@pytest.mark.parametrize(
    "line", ["invite sip:b@c sip/2.0", "INVITE  sip:b@c  SIP/2.0", "INVITE\tsip:b@c SIP/2.0 "]
)
def test_an_odd_request_line_is_read(line):
    read = parse(message(line))

    assert (read.method, read.request_uri) == ("INVITE", "sip:b@c")


@pytest.mark.parametrize(
    "line", ["sip/2.0 180 Ringing", "SIP/2.0  180 Ringing", "SIP/2.0 180", "SIP/2.0\t180 "]
)
def test_an_odd_status_line_is_read(line):
    assert parse(message(line)).status == 180


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "nothing at offset 0, expected a start line"),
        (b"\r\n\r\n", "nothing at offset 4, expected a start line"),
        (b"SIP/2.0\r\n\r\n", "status nothing at offset 8, expected 100 to 699"),
        (b"SIP/2.0 99 X\r\n\r\n", "status '99' at offset 8, expected 100 to 699"),
        (b"SIP/2.0 700 X\r\n\r\n", "status '700' at offset 8, expected 100 to 699"),
        (b"\r\nSIP/3.0 200 OK\r\n\r\n", "version 'SIP/3.0' at offset 2, expected SIP/2.0"),
        (b"INVITE SIP/2.0\r\n\r\n", "a start line of 14 characters at offset 0, expected SIP/2.0 at its end"),
        (b"INVITE <> SIP/2.0\r\n\r\n", "an empty Request-URI at offset 7, expected a URI"),
        (
            b"{} sip:a@b SIP/2.0\r\n\r\n",
            f"no method of at most {MAX_METHOD_CHARS} token characters at offset 0, expected one",
        ),
    ],
)
def test_an_unreadable_start_line_is_refused(data, error):
    with pytest.raises(SipError) as caught:
        parse(data)

    assert str(caught.value) == error


@pytest.mark.parametrize("line", ["INVITE sip:alice@example.com", "HELLO alice SIP/3.0", "alice@example.com"])
def test_an_error_names_nobody(line):
    with pytest.raises(SipError) as caught:
        parse(line.encode())

    assert "alice" not in str(caught.value)


@pytest.mark.parametrize(("short", "long"), COMPACT_FORMS.items())
def test_a_compact_form_is_its_long_name(short, long):
    kept = {} if long in UNREAD else {long: ["x", "y"]}

    assert head(f"{short}: x", f"{short.upper()}: y").headers == kept
    assert head(f"{long}: x", f"{long.upper()}: y").headers == kept


@pytest.mark.parametrize("name", ["User-Agent", "USER-AGENT", "user-agent", "uSeR-aGeNt", "User-Agent \t"])
def test_what_nobody_reads_is_not_kept_and_no_loss(name):
    read = head("To: x", f"{name}: y", " and more of it", "From: z")

    assert (read.headers, read.skipped) == ({"to": ["x"], "from": ["z"]}, 0)


def test_a_line_that_is_too_long_is_a_loss_even_if_nobody_reads_it():
    read = head("User-Agent: " + "x" * MAX_VALUE_CHARS, " more", "To: x")

    assert (read.headers, read.skipped) == ({"to": ["x"]}, 2)


def test_equal_lines_are_as_many_headers():
    assert head("Via: a", "Via: a", "To: x", "Via: a").headers == {"via": ["a", "a", "a"], "to": ["x"]}


def test_a_fold_changes_no_equal_line():
    assert head("Via: a", "Via: a", " b", "Via: a").headers == {"via": ["a", "a b", "a"]}
    assert head("Via: a", " b", "Via: a").headers == {"via": ["a b", "a"]}


def field(lines, line):
    return lines.late.get(line) or lines.read(line)


def test_a_line_of_late_is_the_same_object():
    lines = Lines()

    assert field(lines, b"To: x\r") is field(lines, b"To: x\r")


def test_only_the_lines_of_late_are_remembered():
    lines = Lines()
    first = field(lines, b"To: first\r")
    often = field(lines, b"To: often\r")
    for number in range(KEPT_LINES * 2):
        field(lines, b"To: %d\r" % number)
        assert field(lines, b"To: often\r") is often
        assert len(lines.late) <= KEPT_LINES

    assert field(lines, b"To: first\r") is not first


def test_a_long_line_is_not_remembered():
    lines = Lines()
    line = b"To: " + b"x" * KEPT_BYTES

    assert field(lines, line) is not field(lines, line)


def test_names_are_read_in_any_case_and_with_blanks_before_the_colon():
    assert head("CALL-ID: a", "call-id : b", "cAlL-Id\t: c").headers == {"call-id": ["a", "b", "c"]}


def test_an_unknown_header_is_kept_under_its_own_name():
    assert head("X-Own-Thing: 1").first("x-own-thing") == "1"


def test_blanks_around_a_value_mean_nothing():
    assert head("Subject: \t a  b \t").first("subject") == "a  b"


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_folded_header_is_one_header(end):
    data = message(INVITE, "Subject: a", " b", "\t c", "To: x", end=end)

    assert parse(data).headers == {"subject": ["a b c"], "to": ["x"]}


def test_a_fold_may_come_before_the_value():
    assert head("Subject:", " a").first("subject") == "a"


def test_a_fold_of_a_line_that_was_left_out_is_left_out_too():
    read = head("no colon here", " more: of it", "To: x")

    assert (read.headers, read.skipped) == ({"to": ["x"]}, 2)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_lines_end_with_crlf_or_lf(end):
    read = parse(message(INVITE, "To: x", body=b"body", end=end))

    assert (read.first("to"), read.body, read.complete) == ("x", b"body", True)


def test_empty_lines_before_the_start_line_are_ignored():
    read = parse(b"\r\n\r\n\n" + message(INVITE, "To: x", body=b"body"))

    assert (read.method, read.body) == ("INVITE", b"body")


@pytest.mark.parametrize(
    "line", ["no colon", "via", "c", ": no name", "two words: x", "na(me: x", "ümlaut: x"]
)
def test_a_line_that_is_no_header_is_counted_and_left_out(line):
    read = head(line, "To: x")

    assert (read.headers, read.skipped) == ({"to": ["x"]}, 1)


def test_a_head_without_an_empty_line_is_read_as_far_as_it_goes():
    read = parse(b"INVITE sip:b@c SIP/2.0\r\nTo: x\r\nFrom: y")

    assert (read.first("from"), read.complete, read.body) == ("y", False, b"")


def test_a_body_without_a_content_length_reaches_to_the_end():
    assert parse(message(INVITE, body=b"a\r\n\r\nb")).body == b"a\r\n\r\nb"


def test_a_content_length_ends_the_body():
    assert parse(message(INVITE, "Content-Length: 2", body=b"abc")).body == b"ab"


@pytest.mark.parametrize("length", ["9999", "-1", "2 bytes", "", "99999999999999999999"])
def test_an_unbelievable_content_length_is_ignored(length):
    assert parse(message(INVITE, f"Content-Length: {length}", body=b"abc")).body == b"abc"


def test_utf8_is_decoded():
    assert head("Subject: Grüße").first("subject") == "Grüße"


def test_iso_8859_1_is_decoded_beside_utf8():
    data = message(INVITE, "To: é").replace(b"\r\n\r\n", b"\r\nFrom: Gr\xfc\xdfe\r\n\r\n")

    assert (parse(data).first("to"), parse(data).first("from")) == ("é", "Grüße")


def test_a_binary_body_does_not_spoil_the_head():
    assert parse(message(INVITE, "Subject: Grüße", body=b"\xff\xfe")).first("subject") == "Grüße"


def test_what_is_decoded_can_always_be_encoded():
    data = message(INVITE, "To: x").replace(b"x", bytes(range(0x80, 0x100)))

    assert parse(data).first("to").encode()


def test_only_so_many_header_lines_are_read():
    read = head(*["A: b"] * (MAX_HEADER_LINES + 3))

    assert (len(read.all("accept-contact")), read.skipped, read.complete) == (MAX_HEADER_LINES, 3, True)


def test_the_limit_of_lines_is_not_reached_by_the_body():
    read = parse(message(INVITE, *["A: b"] * MAX_HEADER_LINES, body=b"x: y\r\n" * MAX_HEADER_LINES))

    assert (len(read.all("accept-contact")), read.skipped, read.complete) == (MAX_HEADER_LINES, 0, True)


def test_a_long_line_is_left_out_and_the_others_kept():
    read = head("Subject: " + "x" * MAX_VALUE_CHARS, "To: x")

    assert (read.headers, read.skipped) == ({"to": ["x"]}, 1)


def test_folds_cannot_make_a_value_longer_than_one_line_may_be():
    read = head("Subject: x", *[" " + "y" * 5000] * 3)

    assert (len(read.first("subject")), read.skipped) == (5002, 2)


def test_a_long_name_is_left_out():
    assert head("x" * (MAX_NAME_CHARS + 1) + ": y").skipped == 1


def test_a_head_beyond_the_limit_is_refused():
    with pytest.raises(SipError, match=f"expected at most {MAX_HEAD_BYTES}"):
        head(*["Subject: " + "x" * 5000] * 14)


def test_a_long_body_is_no_long_head():
    read = parse(message(INVITE, "To: x", body=b"y" * MAX_HEAD_BYTES))

    assert (read.first("to"), len(read.body)) == ("x", MAX_HEAD_BYTES)


def test_a_long_start_line_is_refused():
    with pytest.raises(SipError, match="a start line of"):
        parse(message(f"INVITE sip:{'x' * MAX_VALUE_CHARS}@example.com SIP/2.0"))


def test_a_missing_header_reads_as_nothing():
    assert (head().first("to"), head().all("via")) == ("", [])


def test_the_decoder_does_not_encode():
    with pytest.raises(UnicodeEncodeError):
        "ü".encode("ascii", ERRORS)


@pytest.mark.parametrize("line", [INVITE, "SIP/2.0 200 OK"])
def test_a_head_shown_in_a_log_names_nobody(line):
    assert "bob" not in repr(parse(message(line, "To: bob", "CSeq: 1 INVITE")))
