"""Whatever a sender writes is read or refused, in bounded time."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.sip_text import SAMPLES, message, read_everything, read_text

from missedcall_common.sip.message import MAX_HEAD_BYTES, SipError, parse
from missedcall_common.sip.peek import cut, looks_like_sip, peek

TELLING = b'\0\t\n\r "%&,/:;<=>?@[\\]m\x80\xff'
"""Bytes that mean something to some parser."""

LIMIT_S = 1.0
"""CPU time per hostile input of MAX_HEAD_BYTES. What is linear takes some 0.2 s on a slow machine, a quadratic scan
minutes."""

PIECES = st.sampled_from(
    [piece for sample in SAMPLES.values() for piece in sample.splitlines(keepends=True)]
    + [bytes([byte]) for byte in TELLING]
)


@given(st.binary())
@example(b"")
@example(b"\r")
@example(b"\n\r\n")
@example(b"SIP/2.0 200")
@example(b"A b SIP/2.0")
@example(b"A b SIP/2.0\n ")
@example(b"A b SIP/2.0\n\r")
@example(b"A b SIP/2.0\n:\n\t\n:\xff")
def test_arbitrary_bytes_are_survived(data):
    assert read_everything(data)


@given(st.binary(), st.sampled_from([b"INVITE sip:a@b SIP/2.0\r\n", b"SIP/2.0 200 OK\r\nContent-Type: "]))
def test_arbitrary_bytes_behind_a_good_start_are_survived(data, start):
    assert read_everything(start + data)


@given(st.text())
def test_arbitrary_text_is_survived_as_any_value(text):
    assert read_text(text)


@given(st.text(alphabet='"\\<>;,=?&%:@[] \tsip:tel+1a2C*#.-()3b\x00é\ud800'))
def test_text_of_what_means_something_is_survived_as_any_value(text):
    assert read_text(text)


@given(st.lists(PIECES, max_size=30))
def test_samples_put_together_anew_are_survived(pieces):
    assert read_everything(b"".join(pieces))


@pytest.mark.parametrize("name", SAMPLES)
def test_every_truncation_of_a_sample_is_survived(name):
    sample = SAMPLES[name]

    for length in range(len(sample)):
        assert read_everything(sample[:length])


@pytest.mark.parametrize("name", SAMPLES)
def test_every_telling_change_of_one_byte_is_survived(name):
    sample = SAMPLES[name]

    for at in range(len(sample)):
        for byte in TELLING:
            changed = b"%b%c%b" % (sample[:at], byte, sample[at + 1 :])
            survives(changed)
        if at % 5 == 0:  # all the values' parsers, with each telling byte in turn
            assert read_everything(sample[:at] + TELLING[at % len(TELLING) :][:1] + sample[at + 1 :])


def survives(data: bytes) -> None:
    """Read what is read of every message."""
    peek(data)
    looks_like_sip(data)
    short = cut(data)
    try:
        head = parse(data)
    except SipError:
        return
    assert parse(short).headers == head.headers


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_any_change_of_one_byte_is_survived(name, data):
    sample = SAMPLES[name]
    at = data.draw(st.integers(0, len(sample) - 1))
    byte = data.draw(st.binary(min_size=1, max_size=1))

    assert read_everything(sample[:at] + byte + sample[at + 1 :])


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_bytes_removed_or_put_in_are_survived(name, data):
    sample = SAMPLES[name]
    start = data.draw(st.integers(0, len(sample)))
    end = data.draw(st.integers(start, len(sample)))
    put = data.draw(st.binary(max_size=8))

    assert read_everything(sample[:start] + put + sample[end:])


ATOMS = [
    *'"\\<>;,=@?&%/:[] \t\r\n09a(-.*#',
    *('"\\', "<>", '\\"', ';"', ',"', '"a', ";a=", "a ", " a", "%4", "%40", "::", "\r\n", "\n ", "\n\t"),
    *(
        "sip:",
        "sip:a@",
        "SIP/2.0/",
        "SIP/2.0/UDP a,",
        "SIP;cause=1,",
        "&cause=1",
        "Reason=a&",
        "1;a,",
        "a:\n",
    ),
    *("m=", "\nm=", "\n\nv=0\n", "\r\n\r\nv=0\r\n", "é", "\x80"),
]
OPENINGS = ["", '"', "<", "sip:", "tel:+", "<sip:a?Reason=", "SIP/2.0/UDP ", "SIP;", "1;", '"a" <sip:', "\n"]


@pytest.mark.parametrize("atom", ATOMS)
def test_repetition_is_read_in_linear_time(atom):
    for opening in OPENINGS:
        text = (opening + atom * MAX_HEAD_BYTES)[:MAX_HEAD_BYTES]
        began = time.process_time()

        read_text(text)

        assert time.process_time() - began < LIMIT_S, opening


STARTS = [
    "",
    "INVITE ",
    "INVITE sip:a@b SIP/2.0\r\n",
    "INVITE sip:a@b SIP/2.0\r\nv: ",
    "INVITE sip:a@b SIP/2.0\r\nf: ",
    "SIP/2.0 200 OK\r\nc: multipart/mixed\r\n\r\n",
    "SIP/2.0 200 OK\r\n\r\nv=0\r\n",
]


@pytest.mark.parametrize("atom", ATOMS)
def test_repetition_inside_a_message_is_read_in_linear_time(atom):
    for start in STARTS:
        data = (start + atom * MAX_HEAD_BYTES).encode()[:MAX_HEAD_BYTES]
        began = time.process_time()

        read_everything(data)

        assert time.process_time() - began < LIMIT_S, start


def test_as_many_headers_as_fit_are_read_in_bounded_time():
    data = message("INVITE sip:a@b SIP/2.0", *["P-Asserted-Identity: <sip:a@b>,<sip:a@b>"] * 1500)
    began = time.process_time()

    read_everything(data)

    assert time.process_time() - began < LIMIT_S
