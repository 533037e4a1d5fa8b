"""A MissedCall as a CloudEvents 1.0 event in binary mode."""

import json
from datetime import datetime
from urllib.parse import unquote

import msgspec
import pytest

from missedcall_schemas import asyncapi, cloudevents, generate
from missedcall_schemas.codec import decode_missed_call

FACT = decode_missed_call((generate.ROOT / "examples" / "missed-calls" / "missed.json").read_bytes())
REQUIRED = {"specversion", "id", "source", "type"}


def test_the_attributes_say_what_the_fact_says():
    assert cloudevents.attributes(FACT, "/berlin") == {
        "specversion": "1.0",
        "id": f"{FACT.fact_id}:1",
        "source": "/berlin",
        "type": "missedcall.missed-call.v1",
        "subject": "sip:anna.berg@example.org",
        "dataschema": "urn:missedcall:schema:missed-call.v1",
        "datacontenttype": "application/json",
        "time": "2026-01-05T09:00:14.000Z",
    }


def test_a_repeat_has_the_same_id_and_a_revision_another():
    retraction = msgspec.structs.replace(FACT, revision=2, state="retracted")

    assert cloudevents.attributes(FACT) == cloudevents.attributes(FACT)
    assert cloudevents.attributes(retraction)["id"] != cloudevents.attributes(FACT)["id"]


def test_attribute_names_are_lower_case_letters_and_digits():
    assert all(name.isalnum() and name.islower() for name in cloudevents.attributes(FACT))


def test_kafka_headers_are_prefixed_except_the_content_type():
    headers = dict(cloudevents.kafka_headers(FACT))

    assert headers["content-type"] == b"application/json"
    assert headers["ce_subject"] == b"sip:anna.berg@example.org"
    assert {f"ce_{name}" for name in REQUIRED} <= set(headers)
    assert "ce_datacontenttype" not in headers


def test_kafka_headers_are_utf8_and_not_percent_encoded():
    fact = msgspec.structs.replace(FACT, callee="sip:jürgen 100%@example.org")

    assert dict(cloudevents.kafka_headers(fact))["ce_subject"] == "sip:jürgen 100%@example.org".encode()


def test_http_headers_are_prefixed_except_the_content_type():
    headers = cloudevents.http_headers(FACT)

    assert headers["Content-Type"] == "application/json"
    assert headers["ce-id"] == f"{FACT.fact_id}:1"
    assert {f"ce-{name}" for name in REQUIRED} <= set(headers)


def test_an_http_header_carries_any_callee_as_printable_ascii():
    callee = 'sip:jürgen "x" 100%\r\nX: y@example.org'
    value = cloudevents.http_headers(msgspec.structs.replace(FACT, callee=callee))["ce-subject"]

    assert value == "sip:j%C3%BCrgen%20%22x%22%20100%25%0D%0AX:%20y@example.org"
    assert unquote(value) == callee


def test_the_time_is_the_decisions_in_utc_with_milliseconds():
    named = cloudevents.attributes(msgspec.structs.replace(FACT, decided_at=1767603614.1239))

    assert named["time"] == "2026-01-05T09:00:14.123Z"
    assert datetime.fromisoformat(named["time"]).timestamp() == 1767603614.123


@pytest.mark.parametrize("decided_at", [1e18, -1e18, float("inf"), float("nan")])
def test_a_time_that_is_no_date_is_left_out(decided_at):
    assert "time" not in cloudevents.attributes(msgspec.structs.replace(FACT, decided_at=decided_at))


def test_the_documents_name_the_same_headers():
    described = asyncapi.document(generate.ROOT / "examples")["components"]["schemas"]["CloudEvent"]
    headers = dict(cloudevents.kafka_headers(FACT))

    assert set(described["properties"]) == set(headers)
    assert set(described["required"]) <= set(headers)


def test_the_data_schema_is_the_committed_one():
    schema = json.loads((generate.ROOT / "json-schema" / "missed-call.v1.json").read_text())

    assert schema["$id"] == cloudevents.DATASCHEMA
