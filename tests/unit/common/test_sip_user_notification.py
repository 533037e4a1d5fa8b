"""The one body that is kept whole: what Lync tells Exchange UM (MS-OCEXUM)."""

from missedcall_common.sip.peek import cut
from missedcall_common.sip.sdp import MAX_NOTIFICATION_BYTES

HEAD = (
    b"INFO sip:um01.contoso.com:5061;transport=tls SIP/2.0\r\n"
    b"Call-ID: events\r\nCSeq: 2 INFO\r\n"
    b"Content-Type: application/ms-rtc-usernotification+xml\r\nContent-Length: %d\r\n\r\n"
)


def test_a_user_notification_keeps_its_body():
    body = b'<UserNotification><Event type="missed"><CallId>abc</CallId></Event></UserNotification>'
    message = HEAD % len(body) + body

    assert cut(message) == message


def test_a_long_user_notification_is_cut():
    body = b"<" * (2 * MAX_NOTIFICATION_BYTES)

    assert cut(HEAD % len(body) + body).endswith(b"\r\n\r\n" + body[:MAX_NOTIFICATION_BYTES])
