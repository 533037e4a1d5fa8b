import re

import pytest

from missedcall_notifier.channels.exchange_answers import ROWS as EWS_CODES
from missedcall_notifier.channels.graph_answers import ROWS as GRAPH_CODES
from missedcall_notifier.checks.findings import ROWS, STEPS, Finding, State, explain, line, tell
from missedcall_notifier.settings import NotifierSettings

LAST = {channel: [row for row in ROWS if row.channel == channel][-1] for channel in STEPS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.channel} {row.cause}")
def test_a_row_says_what_it_is_and_what_to_do(row):
    re.compile(row.cause)

    assert row.step in STEPS[row.channel]
    assert row.words
    assert row.todo
    assert not row.words.endswith(".")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.channel} {row.cause}")
def test_settings_that_a_row_names_are_settings(row):
    for channel, key in re.findall(r"(?<!docs/)\b(smtp|ews|graph|webhook)\.(\w+)", f"{row.words} {row.todo}"):
        assert key in {*getattr(NotifierSettings(), channel).__struct_fields__}, f"{channel}.{key}"


def test_every_channel_has_words_for_what_nobody_foresaw():
    assert {row.cause for row in LAST.values()} == {".*"}
    assert explain("ews", "find something new") is LAST["ews"]


@pytest.mark.parametrize("code", sorted({c for codes, _ in EWS_CODES for c in codes}))
def test_whatever_exchange_says_there_are_words(code):
    assert explain("ews", f"find {code}").step in {"login", "mailbox", "reach"}


@pytest.mark.parametrize("code", sorted({c for codes, _ in GRAPH_CODES for c in codes}))
def test_whatever_graph_says_there_are_words(code):
    assert explain("graph", f"find 403 {code}").step == "mailbox"


@pytest.mark.parametrize(
    ("channel", "cause", "step"),
    [
        ("smtp", "connect SMTPConnectTimeoutError", "connect"),
        ("smtp", "starttls SMTPResponseException", "tls"),
        ("smtp", "auth SMTPServerDisconnected", "login"),
        ("smtp", "data 530 5.7.0", "login"),
        ("ews", "settings OSError", "reach"),
        ("ews", "find ReadTimeout", "reach"),
        ("ews", "find no result", "mailbox"),
        ("graph", "token invalid_client 7000222", "token"),
        ("graph", "token HTTPException", "token"),
        ("graph", "find ClientConnectorError", "reach"),
        ("graph", "find ClientConnectorCertificateError", "reach"),
        ("graph", "find 503 serviceNotAvailable", "mailbox"),
        ("graph", "pause", "mailbox"),
        ("webhook", "connect TimeoutError", "connect"),
        ("webhook", "ping 401", "ping"),
        ("webhook", "ping 302", "ping"),
        ("webhook", "ping TimeoutError", "connect"),
        ("webhook", "ping 500", "ping"),
    ],
)
def test_what_no_test_server_says_has_words_too(channel, cause, step):
    assert explain(channel, cause).step == step


def test_the_step_that_fails_stands_between_those_that_went_well_and_those_that_were_not_taken():
    found = list(tell("smtp", STEPS["smtp"], "auth 535 5.7.8"))

    assert [(f.step, f.state) for f in found] == [
        ("connect", State.OK),
        ("tls", State.OK),
        ("login", State.FAILS),
        ("sender", State.UNTESTED),
        ("recipient", State.UNTESTED),
    ]
    assert found[2].words == "the relay refuses user name or password (auth 535 5.7.8)"
    assert found[3].words == "login comes first"


def test_a_finding_is_one_line():
    assert line(Finding("smtp", "login", State.OK)) == "smtp login           ok"
    assert line(Finding("smtp", "login", State.FAILS, "refused", "mend it")) == (
        "smtp login           fails: refused; mend it"
    )
