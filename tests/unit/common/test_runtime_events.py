"""Log lines: a closed catalogue, one JSON object each, and nobody's personal data."""

import io
import json
import logging
import re
import subprocess
import sys
import warnings
from datetime import datetime

import pytest

from missedcall_common.runtime import events
from missedcall_common.runtime.events import Event, emit


@pytest.fixture
def lines():
    """What was logged so far, parsed; the process's own handlers are put back at the end."""
    root, ours = logging.getLogger(), logging.getLogger("missedcall")
    before = root.handlers, root.level, ours.level
    root.handlers = []
    stream = io.StringIO()
    events.configure("debug", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(capture=False)
    root.handlers, root.level, ours.level = before


@pytest.mark.parametrize("event", Event)
def test_an_event_is_a_noun_and_what_befell_it(event):
    assert re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", event.value)
    assert event.level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
    assert event.meaning


def test_no_two_events_share_a_name():
    assert len(Event.__members__) == len(list(Event))


def test_a_line_has_time_level_event_and_its_fields(lines):
    emit(Event.CALL_JUDGED, outcome="missed", rule="caller-cancelled", ring_s=9.4, users=2)

    (line,) = lines()
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {
        "level": "info",
        "event": "call.judged",
        "outcome": "missed",
        "rule": "caller-cancelled",
        "ring_s": 9.4,
        "users": 2,
    }


def test_a_field_that_is_not_in_the_catalogue_is_named_and_not_written(lines):
    emit(Event.CALL_JUDGED, call_id="c@example.org", rule="busy")

    (line,) = lines()
    assert line["refused"] == ["call_id"]
    assert "example.org" not in json.dumps(line)


@pytest.mark.parametrize(
    "value",
    [
        "anna@example.org",
        "sip:anna",
        "TEL:1",
        "to +493023125001",
        "03023125001",
        "192.0.2.7",
        "192.0.2.7:5060",
        "[2001:db8::21]:5062",
        "fe80::1",
    ],
)
def test_what_looks_like_an_address_or_a_number_is_withheld(lines, value):
    emit(Event.NOTICE_RETRY_SCHEDULED, detail=f"rcpt {value}")

    assert lines()[0]["detail"] == "(withheld)"


@pytest.mark.parametrize(
    "value", ["rcpt 550 5.1.1", "voicemail-hangup", "error-503", "$.caller.uri", "byte 12"]
)
def test_our_own_words_are_written(lines, value):
    emit(Event.NOTICE_RETRY_SCHEDULED, detail=value)

    assert lines()[0]["detail"] == value


def test_an_id_of_digits_only_is_still_an_id(lines):
    emit(Event.NOTICE_SENT, fact_id="123456789012", delivery_id="sip:anna@example.org")

    (line,) = lines()
    assert (line["fact_id"], line["delivery_id"]) == ("123456789012", "(withheld)")


@pytest.mark.parametrize("value", [None, ["a"], {"a": 1}, b"a", float("nan"), float("inf")])
def test_only_texts_and_finite_numbers_are_written(lines, value):
    emit(Event.INPUT_DROPPED, cause=value)

    assert lines()[0]["refused"] == ["cause"]


def test_a_long_text_is_cut(lines):
    emit(Event.INPUT_DROPPED, cause="x" * 10_000)

    assert len(lines()[0]["cause"]) == 200


def test_an_exception_is_its_class_and_its_places_and_not_its_text(lines):
    with pytest.raises(ValueError, match="anna") as caught:
        int("sip:anna@example.org")
    emit(Event.SERVICE_FAILED, caught.value)

    (line,) = lines()
    assert line["error"] == "ValueError"
    assert re.fullmatch(r".*test_runtime_events:\d+", line["trace"][-1])
    assert "anna" not in json.dumps(line)


def test_a_deep_trace_keeps_the_innermost_places(lines):
    def dive(depth):
        if not depth:
            raise RuntimeError
        dive(depth - 1)

    with pytest.raises(RuntimeError) as caught:
        dive(50)
    emit(Event.SERVICE_FAILED, caught.value)

    assert len(lines()[0]["trace"]) == 8


def test_a_library_is_heard_from_warning_on_and_without_its_arguments(lines):
    library = logging.getLogger("somebody.else")

    library.info("accepted %s", "anna@example.org")
    library.warning("refused %s", "anna@example.org")
    library.error("mailbox anna@example.org")

    assert [(line["event"], line["logger"], line["template"]) for line in lines()] == [
        ("library.logged", "somebody.else", "refused %s"),
        ("library.logged", "somebody.else", "(withheld)"),
    ]


def test_a_library_cannot_pass_for_one_of_us(lines):
    logging.getLogger("somebody.else").warning(
        "x", extra={"event": "call.judged", "fields": {"rule": "busy"}}
    )

    assert lines()[0]["event"] == "library.logged"


def test_a_librarys_exception_is_written_like_ours(lines):
    try:
        {}["anna@example.org"]
    except KeyError:
        logging.getLogger("somebody.else").exception("failed")

    (line,) = lines()
    assert line["error"] == "KeyError"
    assert "anna" not in json.dumps(line)


def test_a_warning_of_python_is_a_line_too(lines):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    assert lines()[0]["logger"] == "py.warnings"


def test_a_line_end_in_a_text_does_not_end_the_line(lines):
    emit(Event.INPUT_DROPPED, cause="a\nb\u2028c")

    assert lines()[0]["cause"] == "a\nb\u2028c"


def test_the_level_decides_what_is_written(lines):
    logging.getLogger("missedcall").setLevel("WARNING")

    emit(Event.CALL_JUDGED, rule="busy")
    emit(Event.BATCH_MISSED, missing=3)

    assert [line["event"] for line in lines()] == ["batch.missed"]


def test_an_unknown_level_says_which_there_are():
    with pytest.raises(ValueError, match=r"level 'loud': expected one of debug, info, warning, error"):
        events.configure("loud")


def test_mypy_refuses_a_field_that_is_not_in_the_catalogue(tmp_path):
    program = tmp_path / "leaky.py"
    program.write_text(
        "from missedcall_common.runtime.events import Event, emit\n"
        'emit(Event.CALL_JUDGED, rule="busy")\n'
        'emit(Event.CALL_JUDGED, call_id="c@example.org")\n'
        "emit(Event.CALL_JUDGED, rule=1)\n"
    )
    mypy = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--cache-dir",
        str(tmp_path / "cache"),
    ]

    done = subprocess.run([*mypy, str(program)], capture_output=True, text=True, check=False)

    assert [line.split(":")[1] for line in done.stdout.splitlines() if ": error:" in line] == ["3", "4"]


def test_a_program_writes_its_lines_to_standard_error():
    program = (
        "from missedcall_common.runtime.events import Event, configure, emit\n"
        "configure(); emit(Event.SERVICE_STARTED, version='1')"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == ""
    assert json.loads(done.stderr)["event"] == "service.started"


def test_a_line_of_counters_holds_what_the_catalogue_names(lines):
    emit(Event.COUNTERS_REPORTED, counts={"received": 3, "sip:bob@example.com": 1})

    assert [line["counts"] for line in lines()] == [{"received": 3}]
