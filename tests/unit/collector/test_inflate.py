"""Decompression never gives more than was allowed."""

import gzip
import tracemalloc
import zlib

import pytest

from missedcall_collector.inflate import BombError, InflateError, gunzip, inflate

TEXT = b"INVITE sip:bob@example.com SIP/2.0\r\n" * 20
FORMS = {
    "zlib": zlib.compress(TEXT),
    "gzip": gzip.compress(TEXT, mtime=0),
    "raw": zlib.compress(TEXT, wbits=-15),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_inflated(form):
    assert inflate(FORMS[form], len(TEXT)) == TEXT


@pytest.mark.parametrize("form", FORMS)
def test_one_byte_over_the_limit_is_refused(form):
    with pytest.raises(BombError, match=f"more than {len(TEXT) - 1} bytes"):
        inflate(FORMS[form], len(TEXT) - 1)


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_cut_short_is_refused(form):
    with pytest.raises(InflateError):
        inflate(FORMS[form][:-6], 10_000)


def test_gunzip_takes_gzip_only():
    assert gunzip(FORMS["gzip"], 10_000) == TEXT
    with pytest.raises(InflateError):
        gunzip(FORMS["zlib"], 10_000)


def test_a_bomb_costs_no_more_than_the_limit():
    bomb = zlib.compress(bytes(100 << 20))
    tracemalloc.start()
    with pytest.raises(BombError):
        inflate(bomb, 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 2_000_000
