import pytest
from support.sip_text import message

from missedcall_common.sip.message import MAX_HEAD_BYTES, parse
from missedcall_common.sip.peek import NOT_SIP, cut, looks_like_sip, peek

INVITE = "INVITE sip:bob@example.com SIP/2.0"
SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"
    b"m=audio 5004 RTP/AVP 0\r\na=sendrecv\r\nm=video 0 RTP/AVP 31\r\n"
)
MEDIA = b"m=audio 5004 RTP/AVP 0\r\nm=video 0 RTP/AVP 31\r\n"


def test_a_request_shows_method_and_call_id():
    assert peek(message(INVITE, "Call-ID: a@b", "CSeq: 1 INVITE")) == ("INVITE", 0, "INVITE", "a@b")


def test_a_response_shows_status_and_the_method_of_its_cseq():
    assert peek(message("SIP/2.0 180 Ringing", "CSeq: 1 INVITE", "Call-ID: a@b")) == (
        "INVITE",
        180,
        "INVITE",
        "a@b",
    )


@pytest.mark.parametrize(
    "lines",
    [
        ("i: a@b", "cseq: 7 INVITE"),
        ("I:a@b", "CSEQ:7 INVITE"),
        ("CALL-ID : a@b", "CSeq  :  7   INVITE"),
        ("Call-ID:", "  a@b", "CSeq: 7", " INVITE"),
        ("Call-ID: ", "\ta@b", "CSeq: 7 invite"),
    ],
)
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_unusual_spellings_are_read_too(lines, end):
    assert peek(message(INVITE, *lines, end=end)) == ("INVITE", 0, "INVITE", "a@b")


def test_a_call_id_in_the_body_is_not_the_messages():
    body = b"SIP/2.0 200 OK\r\nCall-ID: other\r\nCSeq: 9 OPTIONS\r\n"

    assert peek(message("NOTIFY sip:a@b SIP/2.0", "i: a@b", "CSeq: 1 NOTIFY", body=body)).call_id == "a@b"


def test_a_message_without_call_id_and_cseq_is_still_sip():
    read = peek(message(INVITE))

    assert (read, read.is_sip) == (("INVITE", 0, "", ""), True)


def test_a_cut_capture_shows_what_it_has():
    assert peek(b"INVITE sip:b@c SIP/2.0\r\nCSeq: 1 INVITE\r\nCall-ID: a@b").call_id == "a@b"


def test_an_unknown_method_is_shown_in_upper_case():
    assert peek(message("Frobnicate sip:a@b SIP/2.0", "CSeq: 1 Frobnicate")).method == "FROBNICATE"


def test_keep_alives_before_the_message_are_ignored():
    assert peek(b"\r\n\r\n" + message(INVITE, "Call-ID: a@b", "CSeq: 1 INVITE")).call_id == "a@b"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"INVITE sip:bob@example.com\r\n\r\n",
        b"\x80\x08INVITE sip:bob@example.com SIP/2.0\r\n",
        b"hello SIP/2.0\r\n",
        b"SIP/2.0\r\n",
        b"HEP3\x01\x02",
    ],
)
def test_other_things_are_not_sip(data):
    assert (peek(data), looks_like_sip(data)) == (NOT_SIP, False)


@pytest.mark.parametrize(
    "data",
    [
        message(INVITE),
        message("SIP/2.0 200 OK"),
        b"\r\n\r\n" + message(INVITE),
        message("invite sip:a@b sip/2.0"),
        message("sip/2.0 180"),
        message("OPTIONS sip:a@b SIP/7.0"),
        b"INVITE sip:cut@example.com SIP/2.0",
    ],
)
def test_sip_of_any_version_looks_like_sip(data):
    assert looks_like_sip(data)


def test_the_cut_keeps_the_head_as_received_and_only_the_media_lines():
    data = message(INVITE, "v: odd  Spelling ", " folded", "Content-Type: application/sdp")

    assert cut(data + SDP) == data + MEDIA


def test_the_cut_drops_what_people_wrote():
    data = message("MESSAGE sip:a@b SIP/2.0", "Content-Type: text/plain")

    assert cut(data + b"m=eet me at 8\r\n") == data


def test_the_cut_finds_the_session_description_in_a_multipart_body():
    data = message(INVITE, 'c: multipart/mixed;boundary="b"')
    body = (
        b"--b\r\nContent-Type: text/plain\r\n\r\nm=e\r\n--b\r\nContent-Type: application/sdp\r\n\r\n"
        + SDP
        + b"--b--\r\n"
    )

    assert cut(data + body) == data + MEDIA


def test_the_cut_believes_the_content_length():
    data = message(INVITE, "Content-Type: application/sdp", f"Content-Length: {len(SDP)}")

    assert cut(data + SDP + message(INVITE) + SDP) == data + MEDIA


def test_the_cut_of_a_message_without_a_body_is_the_message():
    data = message(INVITE, "To: x")

    assert cut(data) == data


def test_the_cut_removes_keep_alives():
    assert cut(b"\r\n\r\n" + message(INVITE)) == message(INVITE)


def test_the_cut_of_a_cut_changes_nothing():
    once = cut(message(INVITE, "Content-Type: application/sdp", f"Content-Length: {len(SDP)}") + SDP)

    assert cut(once) == once


def test_a_head_beyond_the_limit_is_cut_at_a_line():
    short = cut(message(INVITE, "Call-ID: a@b", *["Subject: " + "x" * 5000] * 14))

    assert len(short) <= MAX_HEAD_BYTES
    assert short.endswith(b"x\r\n")
    assert parse(short).first("call-id") == "a@b"


def test_no_more_than_so_many_media_lines_are_kept():
    data = message(INVITE, "Content-Type: application/sdp")

    assert len(cut(data + b"m=audio 1 RTP/AVP 0\r\n" * 1000)) == len(data) + 32 * 21


def test_a_long_media_line_is_cut():
    data = message(INVITE, "Content-Type: application/sdp")

    assert len(cut(data + b"m=audio 1 RTP/AVP" + b" 0" * 1000)) == len(data) + 512
