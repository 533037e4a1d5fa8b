"""Lync and Skype for Business traces in every dialect."""

from collections import Counter
from datetime import UTC, timedelta, timezone

import pytest
from support import traces
from support.traces import DIALECTS

from missedcall_collector import lync
from missedcall_common.sip.message import parse


def read(text, zone=UTC):
    counts = Counter()
    lines = (line.encode() for line in text.replace("\r\n", "\n").split("\n"))
    return list(lync.messages(lines, zone, counts)), counts


@pytest.mark.parametrize("name", DIALECTS)
def test_both_messages_are_read(name):
    (first, second), _ = read(DIALECTS[name])

    assert [parse(m[1]).method for m in (first, second)] == ["INVITE", "INVITE"]
    assert [parse(m[1]).status for m in (first, second)] == [0, 180]
    assert [parse(m[1]).headers["call-id"] for m in (first, second)] == [["call-1"], ["call-1"]]
    assert second[0] - first[0] == 200


@pytest.mark.parametrize("name", DIALECTS)
def test_headers_keep_their_form(name):
    (first, _), _ = read(DIALECTS[name])

    assert b"\r\nHISTORY-INFO: <sip:bob@example.com>;index=1;ms-retarget-reason=forwarding\r\n" in first[1]


@pytest.mark.parametrize("name", ["ocs-2007", "ocs-2010", "uccapi"])
def test_the_body_is_read(name):
    (first, second), _ = read(DIALECTS[name])

    assert b"\r\n\r\nv=0\r\n" in first[1]
    assert b"\r\nm=audio 5004 RTP/AVP 0\r\n" in first[1]
    assert parse(second[1]).body.strip() == b""


def test_a_body_may_have_empty_lines_and_look_like_an_end():
    (first, _), _ = read(traces.OCS_2010)

    assert b"s=session\r\n\r\nt=0 0\r\na=x:$$ not the end $$end_record\r\nm=audio" in first[1]


def test_the_direction_says_who_sent_it():
    (first, second), _ = read(traces.OCS_2010)

    assert first[2:4] == ("lync1.example.com:61182", "")
    assert second[2:4] == ("", "lync1.example.com:61182")


def test_the_machine_in_the_brackets_is_our_end():
    (first, second), _ = read(traces.CLS)

    assert first[2:4] == ("192.0.2.2:49312", "fe01")
    assert second[2:4] == ("fe01", "192.0.2.2:49312")


def test_a_client_names_both_ends():
    (first, second), _ = read(traces.UCCAPI)

    assert first[2:4] == ("192.0.2.2:49312", "192.0.2.1:5061")
    assert second[2:4] == ("192.0.2.1:5061", "192.0.2.2:49312")


def test_the_transport_is_that_of_the_topmost_via():
    assert {message[4] for name in DIALECTS for message in read(DIALECTS[name])[0]} == {"tls"}


def test_diagnostic_records_are_skipped_and_counted():
    assert read(traces.OCS_2010)[1] == {"diagnostic": 1}
    assert read(traces.CLS)[1] == {"diagnostic": 1}


def test_times_are_utc_unless_the_operator_says_otherwise():
    at_utc = read(traces.CLS)[0][0][0]
    at_berlin = read(traces.CLS, timezone(timedelta(hours=1)))[0][0][0]

    assert at_utc == 1_488_438_646_230
    assert at_utc - at_berlin == 3_600_000


def test_a_date_with_the_day_first_is_read_where_it_shows():
    assert read(traces.CLS.replace("03/02/2017", "22/02/2017"))[0][0][0] == 1_487_747_446_230


@pytest.mark.parametrize("date", ["31/31/2017", "03/02/0013"])
def test_an_impossible_date_costs_its_record(date):
    messages, counts = read(traces.CLS.replace("03/02/2017-07:10:46.230", f"{date}-07:10:46.230"))

    assert len(messages) == 1
    assert counts["malformed-sip"] == 1


@pytest.mark.parametrize("name", ["ocs-2010", "cls"])
def test_end_markers_may_be_missing(name):
    without = DIALECTS[name].replace("\n$$end_record", "")

    assert len(read(without)[0]) == 2


def test_the_marker_may_stand_on_a_line_of_its_own():
    assert len(read(traces.CLS.replace(" $$begin_record", "\n$$begin_record"))[0]) == 2


def test_every_line_of_a_client_may_have_its_prefix():
    prefix = "04/16/2013|03:17:30.168 1F68:C14 INFO  :: "
    text = "\n".join(
        line if "|" in line[:12] or not line else prefix + line for line in traces.UCCAPI.split("\n")
    )

    (first, _), _ = read(text)

    assert parse(first[1]).headers["call-id"] == ["call-1"]


def test_an_endless_record_is_cut_and_counted():
    text = traces.OCS_2010.split("$$end_record")[0] + ("x" * 100 + "\n") * 20_000

    messages, counts = read(text)

    assert sum(len(m[1]) for m in messages) < 2 * lync.MAX_RECORD
    assert counts["limit"] == 1


@pytest.mark.parametrize(
    "text", ["", "\n", "$$begin_record\n$$end_record\n", "TL_INFO(TF_PROTOCOL)\n", "01/02/2013|\n"]
)
def test_what_is_no_record_gives_nothing(text):
    assert read(text) == ([], {})
