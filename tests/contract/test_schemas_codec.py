"""What every release must be able to read and what it writes: `missedcall_schemas.codec`."""

import math
import typing
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from missedcall_schemas import codec, records
from missedcall_schemas.codec import CODECS, CodecError
from missedcall_schemas.records import CaptureBatch, MissedCall, Party, SipMessage, Verdict
from missedcall_schemas.vocabularies import READ_UNKNOWN_AS, values_of, vocabularies

MESSAGE = SipMessage("k", "c@h", 1, 2, "192.0.2.1:5060", "[2001:db8::1]:5060", "udp", b"\x00\xff\r\n")
BATCH = CaptureBatch("hep-1", 10, 0, 2, (MESSAGE, MESSAGE))
FACT = MissedCall(
    fact_id="f",
    call_id="c@h",
    callee="sip:a@example.org",
    caller=Party(uri="sip:b@example.org", display_name="Bö ☎", source="from"),
    cause="busy",
    rang_at=1.5,
    ended_at=2.25,
    rule="busy",
    decided_at=5.0,
)
VERDICT = Verdict(call_id="c@h", callee="sip:a@example.org", outcome="answered", rule="answered-here")
EVERY = [("SipMessage", MESSAGE), ("CaptureBatch", BATCH), ("MissedCall", FACT), ("Verdict", VERDICT)]
JSON_RECORDS = [("MissedCall", FACT), ("Verdict", VERDICT)]


@pytest.mark.parametrize(("name", "record"), EVERY)
def test_a_record_comes_back_as_it_was(name, record):
    assert CODECS[name].decode(CODECS[name].encode(record)) == record


@pytest.mark.parametrize(("name", "record"), EVERY)
def test_equal_records_give_equal_bytes(name, record):
    again = CODECS[name].decode(CODECS[name].encode(record))

    assert CODECS[name].encode(again) == CODECS[name].encode(record)


def test_json_fields_stand_in_the_order_of_the_record():
    fields = list(msgspec.json.decode(codec.encode_missed_call(FACT)))

    assert fields == list(MissedCall.__struct_fields__)


def test_json_is_one_line():
    assert b"\n" not in codec.encode_missed_call(FACT)


def test_an_added_array_field_is_skipped():
    newer = msgspec.msgpack.encode((*msgspec.structs.astuple(BATCH), "zone-b", {"x": [1, None]}))

    assert codec.decode_batch(newer) == BATCH


def test_a_missing_array_field_takes_its_default():
    older = msgspec.msgpack.encode(msgspec.structs.astuple(MESSAGE)[:8])

    assert codec.decode_message(older) == MESSAGE


def _walk(record, path=()):
    """Yield the path and values of every vocabulary in a record, nested ones too."""
    for field in msgspec.structs.fields(record):
        if values := values_of(field.type):
            yield (*path, field.name), values
        elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _walk(field.type, (*path, field.name))


VOCABULARIES = [(name, record, path) for name, record in JSON_RECORDS for path, _ in _walk(type(record))]


def test_every_vocabulary_says_how_an_unknown_value_is_read():
    assert {path[-1] for _, _, path in VOCABULARIES} == set(READ_UNKNOWN_AS)
    assert set(vocabularies(MissedCall, Verdict)) == set(READ_UNKNOWN_AS)


@pytest.mark.parametrize("name", ["MissedCall", "Verdict"])
def test_what_an_unknown_value_is_read_as_is_itself_known(name):
    for path, values in _walk(CODECS[name].record):
        stand_in = READ_UNKNOWN_AS[path[-1]]

        assert stand_in is None or stand_in in values


def _with_newer_value(record, path):
    raw = msgspec.to_builtins(record)
    inner = raw
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = "of-a-newer-release"
    return msgspec.json.encode(raw)


@pytest.mark.parametrize(
    ("name", "record", "path"), [row for row in VOCABULARIES if READ_UNKNOWN_AS[row[2][-1]] is not None]
)
def test_a_newer_value_is_read_as_the_harmless_one_and_counted(name, record, path):
    unknown = Counter()
    decode = codec.decode_missed_call if name == "MissedCall" else codec.decode_verdict

    read = decode(_with_newer_value(record, path), unknown)

    for step in path:
        read = getattr(read, step)
    assert read == READ_UNKNOWN_AS[path[-1]]
    assert unknown == {path[-1]: 1}


def test_a_newer_value_inside_a_list_of_structs_is_replaced():
    class Leg(msgspec.Struct):
        cause: records.Cause

    class Legs(msgspec.Struct):
        legs: tuple[Leg, ...]

    raw = {"legs": [{"cause": "busy"}, {"cause": "of-a-newer-release"}]}
    replaced = Counter()

    codec._replace_newer_values(raw, Legs, replaced)

    assert raw == {"legs": [{"cause": "busy"}, {"cause": "no-answer"}]}
    assert replaced == {"cause": 1}


def test_an_unknown_state_is_refused_since_no_reading_of_it_is_harmless():
    with pytest.raises(CodecError, match=r"at \$\.state"):
        codec.decode_missed_call(_with_newer_value(FACT, ("state",)))


def test_a_newer_value_does_not_hide_a_real_fault():
    raw = msgspec.to_builtins(FACT) | {"cause": "of-a-newer-release", "rang_at": "soon"}
    unknown = Counter()

    with pytest.raises(CodecError, match=r"Expected `float`, got `str`, at \$\.rang_at"):
        codec.decode_missed_call(msgspec.json.encode(raw), unknown)

    assert not unknown


@pytest.mark.parametrize(
    ("decode", "data", "where"),
    [
        (codec.decode_missed_call, b"", ""),
        (codec.decode_missed_call, b"null", ""),
        (codec.decode_missed_call, b"[]", ""),
        (codec.decode_missed_call, b"{}", ""),
        (codec.decode_missed_call, b'{"fact_id":1}', "$.fact_id"),
        (codec.decode_missed_call, b'{"fact_id":"\xff"}', ""),
        (codec.decode_missed_call, b'{"fact_id" 1}', "byte 11"),
        (codec.decode_missed_call, b'{"x":' + b"[" * 100_000, ""),
        (codec.decode_missed_call, b'{"rang_at":1e999}', "$.rang_at"),
        (codec.decode_verdict, b'{"caller":[]}', "$.caller"),
        (codec.decode_verdict, b'{"cause":"x","caller":' + b"[" * 100_000, "$.cause"),
        (codec.decode_batch, b"", ""),
        (codec.decode_batch, b"\xc1", "byte 0"),
        (codec.decode_batch, b"\x91\xa1a", ""),
        (codec.decode_batch, b"\x95\xa1\xff\x01\x02\x03\x90", ""),
        (codec.decode_batch, b"\x95\xa1a\x01\x02\x03\xdd\xff\xff\xff\xff", ""),
        (codec.decode_batch, b"\x95" + b"\x91" * 100_000, "$[0]"),
        (codec.decode_message, b"\x93\xa1a\xa1b", ""),
    ],
)
def test_bytes_that_are_no_record_give_one_error_that_says_where(decode, data, where):
    with pytest.raises(CodecError) as caught:
        decode(data)

    assert caught.value.where == where
    assert caught.value.record in str(caught.value)


def test_an_error_keeps_little_of_what_it_refused():
    raw = msgspec.to_builtins(FACT) | {"state": "x" * 10_000}

    with pytest.raises(CodecError) as caught:
        codec.decode_missed_call(msgspec.json.encode(raw))

    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_no_number_is_never_written(value):
    with pytest.raises(CodecError, match=r"finite number, at \$\.rang_at"):
        codec.encode_missed_call(msgspec.structs.replace(FACT, rang_at=value))


def test_a_nested_time_that_is_no_number_is_never_written():
    evidence = (records.Evidence(at=1.0), records.Evidence(at=math.nan))

    with pytest.raises(CodecError, match=r"at \$\.evidence\[1\]\.at"):
        codec.encode_verdict(msgspec.structs.replace(VERDICT, evidence=evidence))


def test_a_name_may_say_null():
    named = msgspec.structs.replace(FACT, caller=Party(display_name='",":null'))

    assert codec.decode_missed_call(codec.encode_missed_call(named)) == named


@pytest.mark.parametrize(
    "batch",
    [CaptureBatch("\ud800", 0, 0, 0), CaptureBatch("c", 2**70, 0, 0), CaptureBatch(object(), 0, 0, 0)],
)
def test_a_value_without_an_encoding_gives_the_same_error(batch):
    with pytest.raises(CodecError, match="CaptureBatch: "):
        codec.encode_batch(batch)


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=200))
def test_no_bytes_give_any_other_error(name, data):
    try:
        CODECS[name].decode(data)
    except CodecError:
        return


@given(st.sampled_from(EVERY), st.data())
def test_no_damage_to_a_record_gives_any_other_error(named, data):
    name, record = named
    encoded = bytearray(CODECS[name].encode(record))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    del encoded[data.draw(st.integers(at, len(encoded))) :]

    try:
        CODECS[name].decode(bytes(encoded))
    except CodecError:
        return


def test_the_codecs_are_named_after_their_records():
    assert {name: entry.record.__name__ for name, entry in CODECS.items()} == {name: name for name in CODECS}


def test_a_union_is_a_vocabulary_only_if_all_of_it_is():
    assert values_of(records.Cause | typing.Literal[""]) == (*values_of(records.Cause), "")
    assert values_of(typing.Literal["a"] | None) == ()
