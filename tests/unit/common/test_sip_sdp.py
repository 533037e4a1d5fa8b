import pytest

from missedcall_common.sip.sdp import MAX_MEDIA_LINES, media_lines, media_types


@pytest.mark.parametrize(
    ("body", "types"),
    [
        (b"", ()),
        (b"v=0\r\n", ()),
        (b"m=audio 5004 RTP/AVP 0\r\n", ("audio",)),
        (b"m=AUDIO 5004 RTP/AVP 0", ("audio",)),
        (b"v=0\nm=audio 1 a\nm=message 2 b\nm=x-ms-message 3 c\n", ("audio", "message", "x-ms-message")),
        (b"v=0\r\nm=image 0 udptl t38\r\na=m=audio\r\n", ("image",)),
        (b"v=0\r\nm = video 1 a\r\n m=audio\r\nm=\r\nm=\xff\r\n", ()),
    ],
)
def test_media_types_are_those_of_the_media_lines(body, types):
    assert media_types(body) == types


def test_only_so_many_media_types_are_read():
    assert len(media_types(b"m=audio\n" * 1000)) == MAX_MEDIA_LINES


@pytest.mark.parametrize("content_type", ["application/sdp", "application/sdp; charset=utf-8", ""])
def test_a_session_description_is_known_by_its_type_or_its_first_line(content_type):
    assert media_lines(b"v=0\r\nm=audio 1 a\r\n", content_type) == b"m=audio 1 a\r\n"


def test_a_session_description_without_its_first_line_is_known_by_its_type():
    assert media_lines(b"m=audio 1 a", "application/sdp") == b"m=audio 1 a\r\n"


@pytest.mark.parametrize("content_type", ["", "text/plain", "message/sipfrag", "application/pidf+xml"])
def test_other_bodies_are_not_looked_into(content_type):
    assert media_lines(b"m=audio 1 a\r\n", content_type) == b""


def test_every_session_description_of_a_multipart_body_counts():
    part = b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nm=%b 1 a\r\n"

    assert media_lines(part % b"audio" + part % b"video" + b"--b--", "multipart/alternative") == (
        b"m=audio 1 a\r\nm=video 1 a\r\n"
    )


def test_a_multipart_body_of_isup_and_sdp_has_one_session_description():
    body = (
        b"--b\r\nContent-Type: application/ISUP\r\n\r\n\x01\x00\nm=x\r\n--b\r\n\r\nv=0\nm=audio 1 a\n--b--\n"
    )

    assert media_lines(body, "multipart/mixed;boundary=b") == b"m=audio 1 a\n"
