"""Which changes of a schema break its readers, and in which words they are told."""

import copy

import pytest

from missedcall_schemas import json_schema
from missedcall_schemas.compatibility import breaking_changes
from missedcall_schemas.records import MissedCall, Verdict

FACT = json_schema.document(MissedCall, "missed-call.v1")
VERDICT = json_schema.document(Verdict, "verdict.v1")


def _after(change, before=FACT):
    after = copy.deepcopy(before)
    change(after)
    return breaking_changes(before, after)


@pytest.mark.parametrize("schema", [FACT, VERDICT])
def test_no_change_breaks_nothing(schema):
    assert breaking_changes(schema, copy.deepcopy(schema)) == []


def test_a_new_optional_field_breaks_nothing():
    assert _after(lambda s: s["properties"].update(queue={"type": "string", "default": ""})) == []


def test_other_words_break_nothing():
    assert _after(lambda s: s["properties"]["rang_at"].update(description="Start.")) == []


def test_a_new_value_of_an_open_vocabulary_breaks_nothing():
    assert _after(lambda s: s["properties"]["cause"]["x-extensible-enum"].append("abandoned")) == []


def test_a_removed_field_breaks_those_who_read_it():
    def change(schema):
        del schema["properties"]["ring_s"]

    assert _after(change) == ["MissedCall.ring_s is gone: whoever reads it finds nothing there any more"]


def test_a_new_required_field_breaks_the_records_already_written():
    def change(schema):
        schema["properties"]["queue"] = {"type": "string"}
        schema["required"].append("queue")

    assert _after(change) == [
        "MissedCall.queue is new and required: the records already on the topic do not have it"
    ]


def test_a_field_that_becomes_required_breaks_the_records_already_written():
    assert _after(lambda s: s["required"].append("ring_s")) == [
        "MissedCall.ring_s has become required: the records already on the topic do not have it"
    ]


def test_a_field_that_becomes_optional_breaks_those_who_count_on_it():
    assert _after(lambda s: s["required"].remove("rang_at")) == [
        "MissedCall.rang_at has become optional: whoever counts on it meets records without it"
    ]


def test_another_type_breaks_those_who_read_it():
    assert _after(lambda s: s["properties"]["rang_at"].update(type="string")) == [
        "MissedCall.rang_at was number and is string: whoever reads it cannot any more"
    ]


def test_another_struct_is_another_type():
    assert _after(lambda s: s["properties"]["caller"].update(allOf=[{"$ref": "#/$defs/Caller"}])) == [
        "MissedCall.caller was Party and is Caller: whoever reads it cannot any more"
    ]


def test_another_type_of_the_items_is_another_type():
    assert _after(lambda s: s["properties"]["also_rang"].update(items={"type": "integer"})) == [
        "MissedCall.also_rang[] was string and is integer: whoever reads it cannot any more"
    ]


def test_a_narrowed_vocabulary_breaks_the_records_already_written():
    assert _after(lambda s: s["properties"]["cause"]["x-extensible-enum"].remove("busy")) == [
        "MissedCall.cause no longer knows `busy`: records already on the topic say so"
    ]


def test_a_closed_vocabulary_may_not_grow():
    assert _after(lambda s: s["properties"]["state"]["enum"].append("handled")) == [
        "MissedCall.state is a closed vocabulary and now also says `handled`: readers refuse such records"
    ]


def test_opening_and_closing_a_vocabulary_both_break():
    def close(schema):
        cause = schema["properties"]["cause"]
        cause["enum"] = cause.pop("x-extensible-enum")
        del cause["x-read-unknown-as"]

    closed = copy.deepcopy(FACT)
    close(closed)

    assert "was an open vocabulary and is closed" in breaking_changes(FACT, closed)[0]
    assert "was a closed vocabulary and is open" in breaking_changes(closed, FACT)[0]


def test_another_default_changes_records_already_written():
    assert _after(lambda s: s["properties"]["revision"].update(default=0)) == [
        "MissedCall.revision left out meant 1 and means 0: records already written change their meaning"
    ]


def test_another_reading_of_unknown_values_splits_the_releases():
    (sentence,) = _after(lambda s: s["properties"]["cause"].update({"x-read-unknown-as": "busy"}))

    assert sentence.startswith(
        "MissedCall.cause: an unknown value was read as 'no-answer' and is read as 'busy'"
    )


def test_a_closed_object_refuses_the_next_release():
    assert _after(lambda s: s.update(additionalProperties=False)) == [
        "MissedCall has become closed: records with a field of a newer release would be refused"
    ]


def test_a_change_inside_a_nested_struct_is_seen():
    def change(schema):
        del schema["$defs"]["Party"]["properties"]["number"]

    assert _after(change, VERDICT) == ["Party.number is gone: whoever reads it finds nothing there any more"]


def test_another_version_name_is_another_contract():
    assert "the name is the version" in _after(lambda s: s.update({"$id": "urn:missedcall:schema:x.v2"}))[0]
