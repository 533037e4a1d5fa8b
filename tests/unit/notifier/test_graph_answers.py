import pytest

from missedcall_notifier.channels.exchange_answers import SETTLE_S
from missedcall_notifier.channels.graph_answers import (
    DENIED,
    ROWS,
    STATUSES,
    Answer,
    classify,
    failed,
    read_codes,
    retry_after_s,
)
from missedcall_notifier.channels.holds import EVERYBODY, LONGEST_S, Holds
from missedcall_notifier.failure import Failed, Failure

F = Failure

# fmt: off
DOCUMENTED_STATUSES = (400, 401, 402, 403, 404, 405, 406, 409, 410, 411, 412, 413, 415, 416, 422, 423, 429, 500,
                       501, 503, 504, 507, 509)
DOCUMENTED_CODES = (
    "accessDenied", "activityLimitReached", "extensionError", "generalException", "invalidRange", "invalidRequest",
    "itemNotFound", "malwareDetected", "nameAlreadyExists", "notAllowed", "notSupported", "resourceModified",
    "resyncRequired", "serviceNotAvailable", "syncStateNotFound", "quotaLimitReached", "unauthenticated",
)
# fmt: on
"""Of "Microsoft Graph error responses and resource types"."""

ROW_OF = {code: failure for codes, failure in ROWS for code in codes}


def error(*codes: str) -> bytes:
    inside = "{}"
    for code in reversed(codes):
        inside = f'{{"code": "{code}", "message": "m", "innerError": {inside}}}'
    return f'{{"error": {inside}}}'.encode()


@pytest.mark.parametrize("code", DOCUMENTED_CODES)
def test_every_documented_code_has_a_row(code):
    assert classify(Answer(True, 400, (code,)), welcome=False) is ROW_OF[code]


@pytest.mark.parametrize("status", DOCUMENTED_STATUSES)
def test_every_documented_status_has_a_row_or_may_have_stored(status):
    [row] = [row for row in STATUSES if status in row[0]][:1]

    assert classify(Answer(True, status, ("somethingNew",)), welcome=False) is row[1]
    assert (len(row[0]) > 100) == (status in {500, 503, 504})


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_a_meaning_with_and_without_an_error_of_graph(status):
    for codes in ((), ("somethingNew",)):
        assert classify(Answer(True, status, codes), welcome=False) in Failure


def test_the_innermost_code_that_is_known_decides():
    assert read_codes(error("BadRequest", "quotaLimitReached", "unheardOf")) == (
        "BadRequest",
        "quotaLimitReached",
        "unheardOf",
    )
    assert (
        classify(Answer(True, 400, ("BadRequest", "quotaLimitReached", "unheardOf")), welcome=True) is F.SLOW
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"error": "no"}',
        b'{"error": {"code": 5}}',
        b'{"error": {"code": "a b"}}',
        b'{"error": {"code": "' + b"x" * 99 + b'"}}',
        b'{"error": {"code": "\xc3\xa4"}}',
        b'{"error": ' * 50_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_error_of_graph_has_no_code(body):
    assert read_codes(body) == ()


def test_errors_in_errors_are_followed_so_far_and_no_further():
    assert len(read_codes(error(*["a"] * 40))) == 5


def test_codes_of_exchange_mean_what_they_mean_over_ews():
    assert classify(Answer(True, 404, ("ErrorNonExistentMailbox",)), welcome=True) is F.PERMANENT_RECIPIENT
    assert classify(Answer(True, 400, ("ErrorQuotaExceeded",)), welcome=True) is F.SLOW


@pytest.mark.parametrize("code", sorted(DENIED))
def test_a_refusal_is_about_the_application_until_it_was_let_in_somewhere(code):
    answer = Answer(True, 403, (code,))

    assert classify(answer, welcome=False) is F.CHANNEL_DOWN
    assert classify(answer, welcome=True) is F.SLOW


def test_a_search_is_never_uncertain():
    assert failed("find", Answer(sent=True), "TimeoutError", welcome=True) == Failed(
        F.TRANSIENT, "find TimeoutError"
    )
    assert failed("create", Answer(sent=True), "TimeoutError", welcome=True) == Failed(
        F.UNCERTAIN, "create TimeoutError", SETTLE_S
    )


def test_what_had_not_left_was_not_stored():
    assert classify(Answer(), welcome=True) is F.CHANNEL_DOWN


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0", 0.0), ("", None), ("soon", None), ("-1", None), ("9" * 10, None)]
)
def test_a_pause_is_a_number_of_seconds(value, seconds):
    assert retry_after_s(value) == seconds


def test_a_pause_is_kept_to_by_whom_it_was_said_of_and_ends():
    holds = Holds()
    holds.ask("bob", 10, now=100)
    holds.ask("bob", 5, now=100)
    holds.ask(EVERYBODY, 2, now=100)

    assert [holds.left_s("bob", 100), holds.left_s("carol", 100), holds.left_s(EVERYBODY, 101)] == [10, 0, 1]
    assert [holds.left_s("bob", 110), holds.left_s(EVERYBODY, 102)] == [0, 0]


def test_a_pause_is_forgotten_when_it_is_over():
    holds = Holds()
    for n in range(100):
        holds.ask(f"user-{n}", 10, now=100 + n)

    assert len(holds._until) <= 11


def test_a_pause_ends_when_the_clock_was_set_back():
    holds = Holds()
    holds.ask("bob", 1e9, now=1000)

    assert holds.left_s("bob", 1000) == LONGEST_S
    assert holds.left_s("bob", 10) == 0
