"""Lines of logs in every encoding."""

import io

import pytest

from missedcall_collector.source import Source
from missedcall_collector.text_lines import MAX_LINE, lines

TEXT = "first\r\nzweite Zeile: Grüße\nthird"
EXPECTED = [b"first", "zweite Zeile: Grüße".encode(), b"third"]


class Drip(io.BytesIO):
    """A pipe that gives one byte at a time."""

    def read(self, size=-1):
        del size
        return super().read(1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("file", [io.BytesIO, Drip])
def test_lines_come_as_utf_8(encoding, file):
    assert list(lines(Source(file(TEXT.encode(encoding))))) == EXPECTED


def test_big_endian_utf_16_is_read():
    assert list(lines(Source(io.BytesIO(b"\xfe\xff" + TEXT.encode("utf-16-be"))))) == EXPECTED


def test_bytes_that_are_no_text_are_no_error():
    assert list(lines(Source(io.BytesIO(b"a\xff\xfe\0\nb")))) == [b"a\xff\xfe\0", b"b"]
    assert list(lines(Source(io.BytesIO(b"\xff\xfea\0\0\xd8b\0\n\0c")))) == [
        "a\N{REPLACEMENT CHARACTER}b".encode()
    ]


def test_an_endless_line_is_cut_into_pieces():
    found = list(lines(Source(io.BytesIO(b"x" * (5 * MAX_LINE)))))

    assert b"".join(found) == b"x" * (5 * MAX_LINE)
    assert max(map(len, found)) <= 2 * MAX_LINE
