"""The generated documents: fresh, complete, and never quietly broken for those who build on them."""

import json
import shutil

import jsonschema
import pytest

from missedcall_schemas import asyncapi, generate, json_schema, records, yaml
from missedcall_schemas.docstrings import field_docs
from missedcall_schemas.topics import TOPICS

DOCUMENT = asyncapi.document(generate.ROOT / "examples")


def test_the_committed_documents_are_fresh():
    assert generate.stale() == [], "run `python -m missedcall_schemas.generate`"


def test_no_committed_schema_is_broken_for_those_who_build_on_it():
    assert generate.breaks() == []


def test_check_changes_nothing_and_says_what_is_stale(tmp_path, capsys):
    shutil.copytree(generate.ROOT / "examples", tmp_path / "examples")

    assert generate.main(["--check"], tmp_path) == 1

    assert [path.name for path in tmp_path.iterdir()] == ["examples"]
    assert "asyncapi.yaml: stale" in capsys.readouterr().err


def test_generating_twice_writes_once(tmp_path, capsys):
    shutil.copytree(generate.ROOT / "examples", tmp_path / "examples")

    assert generate.main([], tmp_path) == 0
    capsys.readouterr()
    assert generate.main([], tmp_path) == 0

    assert capsys.readouterr().err == ""
    assert generate.main(["--check"], tmp_path) == 0


def test_a_breaking_change_is_not_written(tmp_path, capsys):
    shutil.copytree(generate.ROOT / "examples", tmp_path / "examples")
    generate.main([], tmp_path)
    path = tmp_path / "json-schema" / "missed-call.v1.json"
    schema = json.loads(path.read_text())
    schema["properties"]["urgency"] = {"type": "integer"}
    path.write_text(json.dumps(schema))

    assert generate.main([], tmp_path) == 1

    assert "MissedCall.urgency is gone" in capsys.readouterr().err
    assert "urgency" in path.read_text()


def test_outside_a_checkout_it_says_so(tmp_path, capsys):
    assert generate.main([], tmp_path) == 1
    assert "run this in a checkout" in capsys.readouterr().err


@pytest.mark.parametrize("name", generate.PUBLIC)
def test_a_schema_is_itself_valid(name):
    jsonschema.Draft202012Validator.check_schema(json_schema.document(generate.PUBLIC[name], name))


def test_a_closed_state_is_checked_and_an_open_cause_is_not():
    schema = json_schema.document(records.MissedCall, "missed-call.v1")
    fact = json.loads((generate.ROOT / "examples" / "missed-calls" / "missed.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)

    assert validator.is_valid(fact | {"cause": "of-a-newer-release"})
    assert not validator.is_valid(fact | {"state": "of-a-newer-release"})
    assert not validator.is_valid(fact | {"cause": 7})


def test_a_description_is_the_docstring_and_that_of_the_vocabulary():
    properties = json_schema.document(records.MissedCall, "missed-call.v1")["properties"]
    docs = field_docs(records)

    assert properties["rang_at"]["description"] == docs["MissedCall"]["rang_at"]
    assert properties["cause"]["description"].startswith("Why the callee did not get the call.")


def test_docstrings_of_fields_are_found_under_the_field_only():
    docs = field_docs(records)

    assert docs["SipMessage"]["call_id"] == "RFC 3261 s.20.8."
    assert docs["Party"]["anonymous"] == ""
    assert docs["Party"][""].startswith("The caller as the signalling shows him")


def test_every_topic_is_a_channel_with_a_message():
    ids = {topic.name.replace("-{channel}", "") for topic in TOPICS.values()}

    assert set(DOCUMENT["channels"]) == set(DOCUMENT["components"]["messages"]) == ids


def test_every_reference_in_the_document_leads_somewhere():
    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if "$ref" in value else [])
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    for reference in set(references(DOCUMENT)):
        target = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]

        assert target


def test_every_parameter_of_an_address_is_described():
    for channel in DOCUMENT["channels"].values():
        for name in channel["parameters"]:
            assert f"{{{name}}}" in channel["address"]
        assert channel["address"].count("{") == len(channel["parameters"])


def test_operations_exist_only_where_a_release_writes():
    reserved = [topic.name for topic in TOPICS.values() if topic.status == "reserved"]

    assert not [name for name in DOCUMENT["operations"] if name.endswith(tuple(reserved))]
    assert DOCUMENT["operations"]["classifier-sends-missed-calls"]["action"] == "send"
    assert DOCUMENT["operations"]["integrations-receives-missed-calls"]["action"] == "receive"


def test_a_captured_head_is_bytes_and_not_base64():
    head = DOCUMENT["components"]["schemas"]["SipMessage"]["items"][7]

    assert (head["title"], head["format"]) == ("head", "binary")
    assert "contentEncoding" not in head


def test_yaml_nests_lists_and_maps():
    text = yaml.dump({"a": [{"b": 1, "c": [True, None]}, "x: y"], "$ref": "#/q", "no": {}, "d": []})

    assert text == (
        'a:\n  - b: 1\n    c:\n      - true\n      - null\n  - "x: y"\n"$ref": "#/q"\n"no": {}\nd: []\n'
    )


def test_yaml_keeps_a_string_a_string():
    assert yaml.dump({"on": "yes", "a": "1.0", "b": "line\nü"}) == '"on": "yes"\na: "1.0"\nb: "line\\nü"\n'


def test_yaml_refuses_what_it_has_no_word_for():
    with pytest.raises(ValueError, match="Out of range"):
        yaml.dump({"a": float("nan")})
    with pytest.raises(TypeError):
        yaml.dump({"a": b"x"})
