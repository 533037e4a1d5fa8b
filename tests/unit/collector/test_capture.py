"""Files of every kind, found by content, to messages."""

import struct

import pytest
from support import captures, traces
from support.captures import CAPTURED_MS, LINKS, TUNNELS, invite, ringing, tcp4, udp4, zipped
from support.hep_senders import SENDERS, heplify_zipped, kamailio_v1, kamailio_v3

from missedcall_collector.capture import CaptureError, open_capture
from missedcall_collector.intake import CAUSES
from missedcall_collector.pcap_writer import ethernet


@pytest.fixture
def capture(tmp_path):
    def open_bytes(data, **options):
        path = tmp_path / "capture"
        path.write_bytes(data)
        return open_capture(path, **options)

    return open_bytes


def both():
    return ethernet(udp4(invite())), ethernet(udp4(ringing()))


def heads(messages):
    return [m.head for m in messages]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("pcap", captures.pcap(*both())),
        ("pcap", captures.pcap(*both(), order=">", nanos=True)),
        ("pcapng", captures.pcapng(*both())),
        ("hep", kamailio_v3(invite()) + kamailio_v3(ringing())),
        ("pcap", zipped(captures.pcap(*both()))),
        ("pcapng", zipped(captures.pcapng(*both()))),
        ("hep", heplify_zipped(invite()) + heplify_zipped(ringing())),
    ],
)
def test_the_kind_is_found_by_content(capture, kind, data):
    opened = capture(data)

    assert heads(opened) == [invite(), ringing()]
    assert opened.kind == kind
    assert opened.bytes_read == opened.size == len(data)


@pytest.mark.parametrize("name", traces.DIALECTS)
@pytest.mark.parametrize(
    "encode", [traces.as_file, lambda t: t.encode("utf-16"), lambda t: t.encode("utf-8-sig")]
)
def test_traces_are_read_in_every_encoding(capture, name, encode):
    opened = capture(encode(traces.DIALECTS[name]))

    assert [m.call_id for m in opened] == ["call-1", "call-1"]
    assert opened.kind == "lync"


def test_the_zone_of_a_trace_may_be_named(capture):
    (first, _) = capture(traces.as_file(traces.CLS), zone="Europe/Berlin")

    assert first.captured_ms == 1_488_438_646_230 - 3_600_000


def test_an_unknown_zone_is_named(capture):
    with pytest.raises(ValueError, match="time zone 'Mars/Olympus': use one of the IANA database"):
        capture(b"", zone="Mars/Olympus")


@pytest.mark.parametrize("name", LINKS)
def test_every_link_type_is_read(capture, name):
    link, wrap = LINKS[name]

    (message,) = capture(captures.pcap(wrap(udp4(invite())), link=link))

    assert (message.src, message.dst, message.transport) == ("192.0.2.1:5060", "198.51.100.2:5080", "udp")


@pytest.mark.parametrize("name", TUNNELS)
def test_every_tunnel_is_opened(capture, name):
    assert heads(capture(captures.pcap(ethernet(TUNNELS[name](udp4(invite())))))) == [invite()]


@pytest.mark.parametrize("name", SENDERS)
def test_hep_in_a_capture_is_opened(capture, name):
    (message,) = capture(
        captures.pcap(ethernet(udp4(SENDERS[name](invite()), destination_port=9060)), ms=CAPTURED_MS + 9)
    )

    assert message.head.rstrip(b"\0") == invite()
    assert message.captured_ms in (CAPTURED_MS, CAPTURED_MS + 9)


def test_hep_over_tcp_in_a_capture_is_opened(capture):
    data = kamailio_v3(invite()) + kamailio_v3(ringing())
    frames = [ethernet(tcp4(data[at : at + 100], 1 + at)) for at in range(0, len(data), 100)]

    messages = list(capture(captures.pcap(*frames)))

    assert heads(messages) == [invite(), ringing()]
    assert messages[0].agent == "2001"


def test_sip_over_tcp_is_read(capture):
    data = invite("a") + ringing("a") + invite("b")
    frames = [ethernet(tcp4(b"", 0, captures.SYN))]
    frames += [ethernet(tcp4(data[at : at + 33], 1 + at)) for at in range(0, len(data), 33)]

    messages = list(capture(captures.pcap(*frames)))

    assert heads(messages) == [invite("a"), ringing("a"), invite("b")]
    assert {m.transport for m in messages} == {"tcp"}


def test_the_files_clock_never_goes_back(capture):
    early, late = (
        captures.pcap(ethernet(udp4(invite("a"))), ms=5000),
        captures.pcap(ethernet(udp4(invite("b"))), ms=3000),
    )

    messages = list(capture(early + late[24:]))

    assert [(m.captured_ms, m.received_ms) for m in messages] == [(5000, 5000), (3000, 5000)]


def test_a_dump_without_times_takes_those_around_it(capture):
    messages = list(
        capture(
            kamailio_v3(invite("a"))
            + kamailio_v3(invite("b")).replace(struct.pack("!I", 1_700_000_000), bytes(4))
        )
    )

    assert [m.captured_ms for m in messages] == [CAPTURED_MS, CAPTURED_MS]


def test_version_1_in_a_capture_has_the_captures_time(capture):
    (message,) = capture(captures.pcap(ethernet(udp4(kamailio_v1(invite()))), ms=77_000))

    assert message.captured_ms == 77_000


def test_what_was_readable_before_an_error_comes_first(capture):
    opened = iter(capture(captures.pcap(*both())[:-1]))

    assert next(opened).head == invite()
    with pytest.raises(CaptureError, match=r"capture: offset \d+: found the last \d+ bytes of the file"):
        next(opened)


def test_a_tcp_message_that_waits_at_the_error_comes_before_it(capture):
    data = captures.pcap(ethernet(tcp4(invite(body=b"x" * 100)[:-10], 1)), *both())[:-1]
    found = []
    with pytest.raises(CaptureError):
        found.extend(capture(data))
    opened = iter(capture(data))

    assert [next(opened).head[:6] for _ in range(2)] == [b"INVITE", b"INVITE"]


def test_a_trace_that_waits_at_the_error_comes_before_it(capture):
    packed = zipped(traces.as_file(traces.CLS))
    opened = iter(capture(packed[:-9]))

    assert [next(opened).call_id for _ in range(2)] == ["call-1", "call-1"]
    with pytest.raises(CaptureError, match="damaged gzip data"):
        next(opened)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"hello world", "b'hello wo'"),
        (b"\x28\xb5\x2f\xfd1234", "zstd (decompress it first)"),
        (b"PK\x03\x04....", "a zip archive (extract it first)"),
        (zipped(b"hello world"), "b'hello wo'"),
        (captures.pcap(b"x", link=105), "link type 105"),
    ],
)
def test_what_is_no_capture_is_named(capture, data, found):
    with pytest.raises(CaptureError) as raised:
        list(capture(data))

    assert raised.value.found == found


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        CaptureError, match=r"gone\.pcap: offset 0: found No such file or directory, expected a readable file"
    ):
        list(open_capture(tmp_path / "gone.pcap"))


def test_everything_that_is_dropped_is_counted(capture):
    fragment = captures.ipv4_fragments(udp4(invite(body=bytes(3000))), 1480)[0]
    frames = [
        udp4(invite(method="OPTIONS")),
        udp4(b"\x80\0" + bytes(160)),
        udp4(invite().replace(b"Call-ID", b"X")),
        udp4(b"HEP3\0\x07\0"),
        fragment,
        tcp4(b"\x16\x03\x01\0\x05hello", 1),
        *(tcp4(b"GET / HTTP/1.1\r\n\r\n" * 2500, 1 + n * 45_000, ports=(40_000, 80)) for n in range(2)),
    ]
    opened = capture(captures.pcap(*map(ethernet, frames), bytes(60)))

    assert list(opened) == []
    assert opened.counts == {
        "noise-method": 1,
        "not-sip": 2,
        "malformed-sip": 1,
        "malformed-hep": 1,
        "fragments-incomplete": 1,
        "tls": 1,
        "not-ip": 2,
    }
    assert opened.counts.keys() <= CAUSES.keys()
