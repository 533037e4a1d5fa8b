import base64
import email
import email.policy
import os
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.notify import NOW, make_fact, make_notices, make_retraction

from missedcall_notifier.channels.mail import LINE_LIMIT, message_id, unstructured, write
from missedcall_notifier.channels.port import UnrenderableError
from missedcall_notifier.delivery import intent
from missedcall_notifier.reader import Reader
from missedcall_notifier.series import Series, Shown
from missedcall_notifier.settings import SmtpSettings
from missedcall_schemas.records import Party

SETTINGS = SmtpSettings(host="mail.example.com", sender="missed-calls@example.com")
HEADERS = [
    "Date",
    "From",
    "To",
    "Message-ID",
    "Subject",
    "MIME-Version",
    "Content-Type",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "X-Missed-Call-Fact",
    "X-Missed-Call-Reason",
]
THREAD = ["References", "Thread-Topic", "Thread-Index"]
ALL = ("L", "M", "N", "P", "S", "Z", "C")
EXAMPLES = int(os.environ.get("MISSEDCALL_HOSTILE", "400"))
HOSTILE = st.text(alphabet=st.characters(categories=ALL), max_size=200)


def written(fact, recipient="bob@example.com", zone=UTC, smtp=SETTINGS, **reader):
    delivery = intent(fact, "smtp", recipient, NOW, reader=Reader(**reader))
    return write(delivery, smtp, make_notices(zone=zone))


def parsed(raw):
    return email.message_from_bytes(raw, policy=email.policy.default)


def test_the_headers_are_these_and_no_others():
    assert parsed(written(make_fact())).keys() == HEADERS + THREAD


def test_a_mail_program_reads_what_we_wrote():
    message = parsed(written(make_fact()))

    assert message["Subject"] == "Missed call from +49 30 123 (“Alice”)"
    assert message["From"] == "Missed calls <missed-calls@example.com>"
    text = message.get_body(("plain",)).get_content()
    assert text.startswith("Missed call from +49 30 123 (“Alice”, as the caller's system")


def test_message_id_and_date_are_functions_of_the_fact():
    assert written(make_fact()) == written(make_fact())
    assert parsed(written(make_fact()))["Message-ID"] == message_id(make_fact(), "example.com")


def test_the_date_is_the_calls_end_in_the_readers_zone():
    raw = written(make_fact(), zone=ZoneInfo("Europe/Berlin"))

    assert parsed(raw)["Date"] == "Mon, 23 Nov 2026 11:42:16 +0100"
    assert parsedate_to_datetime(parsed(raw)["Date"]).timestamp() == int(NOW + 9.4)


def test_all_recipients_get_the_same_message_id():
    ids = {parsed(written(make_fact(), to))["Message-ID"] for to in ("a@example.com", "b@example.com")}

    assert len(ids) == 1


def test_another_fact_has_another_message_id():
    assert message_id(make_fact("fact-1"), "x.example") != message_id(make_fact("fact-2"), "x.example")


def test_a_correction_stands_below_the_notice_it_corrects():
    notice, correction = make_fact(), make_retraction(make_fact())

    message = parsed(written(correction))

    assert message["In-Reply-To"] == message_id(notice, "example.com")
    assert message["References"].split() == [
        parsed(written(notice))["References"],
        message_id(notice, "example.com"),
    ]
    assert message["Message-ID"] != message_id(notice, "example.com")


def test_a_repeat_stands_below_the_notice_that_it_goes_on_from():
    earlier = make_fact("fact-0", rang_at=NOW - 60)
    series = Series(key="", within_s=600.0, others=(earlier,), replaces=(Shown("fact-0", 1, sure=True),))
    delivery = intent(make_fact(), "smtp", "bob@example.com", NOW, series=series)

    message = parsed(write(delivery, SETTINGS, make_notices()))

    assert message["Subject"] == "2 missed calls from +49 30 123 (“Alice”)"
    assert message["In-Reply-To"] == message_id(earlier, "example.com")
    assert message["References"].split() == [
        parsed(written(earlier))["References"],
        message_id(earlier, "example.com"),
    ]
    assert (message["Message-ID"], message["Date"]) == (
        message_id(make_fact(), "example.com"),
        parsed(written(make_fact()))["Date"],
    )


def test_a_mail_has_the_text_in_both_forms():
    plain, html = parsed(written(make_fact())).iter_parts()

    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert '<a href="tel:+49-30-123">+49 30 123 (“Alice”)</a>' in html.get_content()


def test_an_answer_goes_to_a_caller_whom_the_directory_knows_and_to_no_other():
    known = parsed(written(make_fact(), caller_name="Alice Miller", caller_mailbox="alice@example.net"))

    assert known["Reply-To"] == "alice@example.net"
    assert parsed(written(make_fact()))["Reply-To"] is None


def test_a_mailbox_that_is_none_is_no_header():
    raw = written(make_fact(), caller_name="Alice", caller_mailbox="a@b.example>, <eve@evil.example")

    assert parsed(raw)["Reply-To"] is None


def test_an_emergency_callback_is_important():
    assert parsed(written(make_fact(urgent=True)))["Importance"] == "high"


def test_a_message_id_longer_than_a_line_is_not_folded():
    domain = f"{'a' * 60}.{'b' * 60}.example"
    raw = written(
        make_retraction(make_fact()), smtp=SmtpSettings(sender="x@example.com", message_domain=domain)
    )

    lines = [line for line in raw.split(b"\r\n") if line.startswith((b"Message-ID", b"References"))]
    assert all(line.endswith(f"@{domain}>".encode()) for line in lines)
    assert len(lines) == 2


def test_a_long_name_in_many_scripts_comes_back_whole():
    text = "Missed call from" + " Müller 李小龍 🦊" * 12

    raw = f"Subject: {unstructured(text)}\r\n\r\n".encode()

    assert parsed(raw)["Subject"] == text
    assert max(map(len, raw.split(b"\r\n"))) <= 76 + len("Subject: ")


def test_our_own_name_may_have_quotes_and_umlauts():
    for name in ('The "Calls" \\ desk', "Verpasste Anrufe für Köln"):
        smtp = SmtpSettings(sender="x@example.com", sender_name=name)
        sender = parsed(written(make_fact(), smtp=smtp))["From"]

        assert sender.addresses[0].display_name == name


def test_a_recipient_with_a_line_end_is_refused_and_never_written():
    with pytest.raises(UnrenderableError, match="header To"):
        written(make_fact(), "bob@example.com\r\nBcc: eve@example.com")


def test_a_fact_without_a_time_is_refused():
    with pytest.raises(UnrenderableError, match="1970"):
        written(make_fact(rang_at=0.0, ended_at=0.0, decided_at=0.0))


@settings(max_examples=EXAMPLES, deadline=None)  # the first one reads a locale
@given(name=HOSTILE, number=HOSTILE, uri=HOSTILE, callee=HOSTILE, fact_id=HOSTILE)
@example("=?utf-8?q?a=0D=0ABcc:_x@y.com?=", "", "", "", "")
@example("a\r\nBcc: x@y.com\r\n\r\nbody", "", "", "", "")
@example("a\u2028Bcc: x\x85Cc: y", "\r\nX: 1", "\nX: 1", "\rX: 1", "\r\nX: 1")
@example("\ud800\udfff", "", "", "", "")
def test_nothing_from_the_wire_adds_or_breaks_a_header(name, number, uri, callee, fact_id):
    fact_id = fact_id.encode("utf-8", "replace").decode()
    caller = Party(uri=uri, number=number, display_name=name)

    raw = written(make_fact(fact_id, caller=caller, callee=callee))
    head, _, body = raw.partition(b"\r\n\r\n")

    names = [line.split(b":")[0].decode() for line in re.split(rb"\r\n(?! )", head)]
    assert names in (HEADERS, HEADERS + THREAD)
    assert parsed(raw).keys() == names
    assert "\n" not in parsed(raw)["Subject"]
    for part in (head, body):
        assert b"\r" not in part.replace(b"\r\n", b"")
        assert b"\n" not in part.replace(b"\r\n", b"")
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= LINE_LIMIT


def conversation(fact):
    message = parsed(written(fact))
    return tuple(message[name] for name in THREAD)


def test_calls_of_one_caller_to_one_callee_are_one_conversation():
    assert conversation(make_fact("fact-1")) == conversation(make_fact("fact-2"))
    assert conversation(make_fact())[1:] == conversation(make_retraction(make_fact()))[1:]


def test_another_caller_or_callee_is_another_conversation():
    others = [make_fact(callee="sip:eve@example.com"), make_fact(caller=Party(uri="sip:eve@example.net"))]

    found = {conversation(fact) for fact in (make_fact(), *others)}

    assert len(found) == 3


def test_an_anonymous_caller_joins_no_conversation():
    assert conversation(make_fact(caller=Party(anonymous=True, number="+4930123"))) == (None, None, None)


def test_the_index_is_as_outlook_reads_it():
    # MS-OXOMSG 2.2.1.3: one reserved byte, five of a time, sixteen of an id
    raw = base64.b64decode(conversation(make_fact())[2])

    assert len(raw) == 22
    assert raw[0] == 1
    assert 2019 <= 1601 + int.from_bytes(raw[1:6] + b"\0\0\0") / 1e7 / 86400 / 365.25 <= 2021
