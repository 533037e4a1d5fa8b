"""Files of HEP frames."""

import io
from collections import Counter

import pytest
from support.captures import invite
from support.hep_senders import kamailio_v3

from missedcall_collector import hep_dump
from missedcall_collector.capture_error import CaptureError
from missedcall_collector.source import Source

FRAMES = [kamailio_v3(invite(f"call-{n}")) for n in range(3)]


def read(data):
    counts = Counter()
    return hep_dump.frames(Source(io.BytesIO(data)), counts), counts


def test_frames_are_read_in_order():
    frames, counts = read(b"".join(FRAMES))

    assert list(frames) == FRAMES
    assert not +counts


def test_bytes_between_frames_are_skipped_and_counted():
    frames, counts = read(FRAMES[0] + b"garbage" + FRAMES[1] + b"more" + FRAMES[2])

    assert list(frames) == FRAMES
    assert counts["malformed-hep"] == 2


def test_a_frame_cut_short_is_an_error_at_its_beginning():
    frames, _ = read(b"".join(FRAMES)[:-10])

    assert [next(frames), next(frames)] == FRAMES[:2]
    with pytest.raises(CaptureError) as raised:
        next(frames)
    assert raised.value.offset == len(FRAMES[0] + FRAMES[1])
