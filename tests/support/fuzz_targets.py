"""What is fuzzed: for each kind of input its samples, the mutators that fit it, and what reads it.

Rule 1: a reader raises if anything that must hold does not; the typed errors of the code under test it catches.
Rule 2: a reader returns what became of the input in a few words: by them an input that does something new is known.
Rule 3: what reads is what runs: `Intake`, `Capture`, the streams, the parsers, and the engine behind a codec.
"""

import io
import re
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from support import captures, fuzz_files, ladder, traces
from support.captures import LINKS, TUNNELS, tcp4, udp4, udp6
from support.fuzz_bytes import Mutator, raw
from support.fuzz_hep import frames_of, hep, stream
from support.fuzz_sip import sip
from support.hep_senders import CAPTURED_MS, SENDERS
from support.sip_text import SAMPLES, read_everything

from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_collector.batching import Batcher
from missedcall_collector.capture import Capture, CaptureError
from missedcall_collector.correlation import BETWEEN, MAX_KEY, CorrelationRules
from missedcall_collector.hep import HepPacket, decode, encode
from missedcall_collector.hep_packet import MAX_FRAME, MAX_PAYLOAD, HepError
from missedcall_collector.hep_stream import HepStream
from missedcall_collector.intake import CAUSES, MAX_CALL_ID, Intake
from missedcall_collector.pcap_writer import ethernet
from missedcall_collector.sip_stream import SipStream
from missedcall_collector.source import Source
from missedcall_common.sip.message import MAX_HEAD_BYTES, SipError, parse
from missedcall_common.sip.peek import cut
from missedcall_schemas import codec
from missedcall_schemas.records import CaptureBatch, SipMessage

TESTS = Path(__file__).resolve().parents[1]
NOW_MS = CAPTURED_MS + 1000
_ACK = b"ACK sip:b@x SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 ACK\r\nl: 0\r\n\r\n"


class Target(NamedTuple):
    """One kind of input."""

    name: str
    seeds: list[bytes]
    mutators: tuple[Mutator, ...]
    read: Callable[[bytes], Hashable]
    whole: Sequence[bytes] = ()
    """Samples of which each byte is worth changing."""


def targets() -> list[Target]:
    """Return all of them, samples included."""
    return [
        Target("hep", hep_frames(), (hep, hep, raw), read_hep, hep_frames()),
        Target("hep-stream", hep_streams(), (stream, stream, raw), read_hep_stream, hep_streams()),
        Target("sip", messages(), (sip, sip, raw), read_sip, list(SAMPLES.values())),
        Target("sip-stream", messages(), (sip, _joined, raw), read_sip_stream),
        Target(
            "packets", messages(), (fuzz_files.packets, fuzz_files.packets, fuzz_files.exported), read_file
        ),
        Target("hep-packets", hep_frames(), (fuzz_files.hep_packets,), read_file),
        Target("file", files(), (fuzz_files.file, fuzz_files.file, raw), read_file, files()),
        Target("calls", calls(), (stream, stream, raw), read_calls),
    ]


def target_of(path: Path) -> Target:
    """Return the target of a kept input, which its name begins with.

    Raises:
        ValueError: there is none.
    """
    fitting = [target for target in targets() if path.name.startswith(f"{target.name}-")]
    if not fitting:
        raise ValueError(f"{path.name}: expected a name that begins with that of a target")
    return max(fitting, key=lambda target: len(target.name))


@cache
def messages() -> list[bytes]:
    """Return SIP: RFC 4475, everything that the golden traces send, and a short one."""
    golden = {
        sent.wire for path in sorted((TESTS / "golden").glob("*.trace")) for sent, _ in ladder.load(path).sent
    }
    return [_ACK, captures.invite(), captures.ringing(), *SAMPLES.values(), *sorted(golden)]


@cache
def hep_frames() -> list[bytes]:
    """Return what each sender writes about some messages, and what real programs sent."""
    some = (_ACK, captures.invite(body=b"v=0\r\nm=audio 1 RTP/AVP 0\r\n"), captures.ringing())
    recorded = [path.read_bytes() for path in sorted((TESTS / "data" / "hep").glob("*/*.hep"))]
    return [sender(sip) for sender in SENDERS.values() for sip in some] + recorded


@cache
def hep_streams() -> list[bytes]:
    """Return streams of frames of all versions that have one."""
    three = [
        SENDERS[name](captures.invite(name)) for name in SENDERS if "_v1" not in name and "_v2" not in name
    ]
    return [b"".join(three), *(one + two for one, two in pairwise(three)), _lab_hep(6000)]


@cache
def files() -> list[bytes]:
    """Return a file of every kind, link type, tunnel and dialect."""
    fragments = [
        *map(ethernet, captures.ipv4_fragments(udp4(_ACK), 32)),
        *map(ethernet, captures.ipv6_fragments(udp6(_ACK), 32)),
    ]
    segments = [ethernet(tcp4(_ACK[at : at + 40], 1 + at)) for at in (0, 40, 40)]
    found = [
        captures.pcap(ethernet(udp4(_ACK)), ethernet(udp6(_ACK))),
        captures.pcap(ethernet(udp4(_ACK)), order=">", nanos=True),
        captures.pcap(*fragments),
        captures.pcap(*segments),
        captures.pcapng(ethernet(udp4(_ACK)), captures.vlan(udp6(_ACK))),
        captures.pcapng(ethernet(udp4(_ACK)), order=">"),
        captures.zipped(captures.pcap(ethernet(udp4(_ACK)))),
        captures.zipped(traces.as_file(traces.CLS)),
        *(captures.pcap(wrap(udp4(_ACK)), link=link) for link, wrap in LINKS.values()),
        *(captures.pcap(ethernet(wrap(udp4(_ACK)))) for wrap in TUNNELS.values()),
        *(traces.as_file(text) for text in traces.DIALECTS.values()),
        traces.as_file(traces.OCS_2010).decode().encode("utf-16"),
        traces.as_sipp_log(captures.invite(), captures.ringing()).encode(),
        _lab_hep(20_000),
        (TESTS / "data" / "lab" / "run.pcap").read_bytes()[:20_000],
        *(
            path.read_bytes()
            for path in sorted((TESTS / "data" / "captures").iterdir())
            if path.suffix != ".md"
        ),
    ]
    samples = TESTS.parent / "services" / "embedded" / "missedcall_embedded" / "samples"
    return found + [
        path.read_bytes() for path in sorted(samples.iterdir()) if path.suffix in (".pcap", ".log")
    ]


@cache
def calls() -> list[bytes]:
    """Return the golden traces as streams of HEP: whole calls, for the engine."""
    found = []
    for path in sorted((TESTS / "golden").glob("*.trace")):
        trace = ladder.load(path)
        frames = [
            encode(
                HepPacket(
                    payload=sent.wire,
                    src=f"192.0.2.{n % 5}:5060",
                    dst=f"192.0.2.{(n + 1) % 5}:5060",
                    captured_ms=CAPTURED_MS + round(sent.at * 1000),
                )
            )
            for n, (sent, _) in enumerate(trace.sent)
        ]
        found.append(b"".join(frames))
    return found


def _lab_hep(size: int) -> bytes:
    """Return the first whole frames of what Kamailio mirrored in the lab."""
    data = (TESTS / "data" / "lab" / "run.hep").read_bytes()[: size + 65_535]
    frames = frames_of(data)
    kept, total = [], 0
    for frame in frames:
        total += len(frame)
        if total > size:
            break
        kept.append(frame)
    return b"".join(kept)


def _joined(rng, data: bytes, others) -> bytes:
    """Return several messages of a stream, one of them changed."""
    return (
        rng.choice(others)
        + sip(rng, data, others)
        + rng.choice((b"", b"\r\n\r\n", b"\0"))
        + rng.choice(others)
    )


def _intake() -> Intake:
    policy = Policy()
    return Intake(CorrelationRules(policy.correlation_headers, policy.call_id_suffixes))


def _check(records: list[SipMessage], intake: Intake) -> Hashable:
    """Hold records and counts to what the classifier relies on."""
    for record in records:
        assert len(record.key) <= 2 * MAX_KEY + len(BETWEEN), record
        assert 0 < len(record.call_id) <= MAX_CALL_ID, record
        assert record.head, record
        assert len(record.head) <= MAX_HEAD_BYTES + 100_000, len(record.head)
        assert 0 <= record.captured_ms < 1 << 63, record.captured_ms
    batch = CaptureBatch("fuzz", 1, 0, max((r.received_ms for r in records), default=0), tuple(records))
    assert codec.decode_batch(codec.encode_batch(batch)) == batch
    assert intake.counts.keys() <= CAUSES.keys(), intake.counts
    return (min(len(records), 6), *sorted(intake.counts))


def _kind(error: Exception) -> str:
    return re.sub(r"\d+|b'.*|b\".*", "#", str(error))[:80]


def read_hep(data: bytes) -> Hashable:
    """Read a datagram; what can be encoded again must say the same."""
    data = data[:MAX_FRAME]  # as a socket gives it
    intake = _intake()
    found = _check(intake.from_frame(data, NOW_MS), intake)
    try:
        packet = decode(data)
    except HepError as error:
        return found, _kind(error)
    assert len(packet.payload) <= MAX_PAYLOAD
    try:
        again = decode(encode(packet))
    except HepError:
        return found, "too large to encode"
    assert again.payload == packet.payload
    assert (again.captured_ms, again.protocol_type & 0xFF) == (
        packet.captured_ms,
        packet.protocol_type & 0xFF,
    )
    return (
        found,
        packet.version,
        packet.ip_protocol,
        bool(packet.correlation_id),
        tuple(packet.others or ())[:4],
    )


def read_hep_stream(data: bytes) -> Hashable:
    """Read a stream at once and in pieces: the frames must be the same."""
    whole, parts = HepStream(), HepStream()
    frames = whole.feed(data)
    size = 1 + len(data) % 97
    pieces = [f for at in range(0, len(data), size) for f in parts.feed(data[at : at + size])]
    intake = _intake()
    assert whole.pending <= len(data)
    assert whole.skipped + sum(map(len, frames)) >= 0
    if b"\x1f\x8b\x08" not in data:  # how much a damaged gzip member costs depends on the pieces
        assert pieces == frames
    return _check([m for f in frames for m in intake.from_frame(f, NOW_MS)], intake), whole.resyncs > 0


def read_sip(data: bytes) -> Hashable:
    """Read a message by every parser there is; its record must say what it says."""
    read_everything(data)
    intake = _intake()
    record = intake.from_sip(data, "192.0.2.1:5060", "192.0.2.2:5060", "udp", CAPTURED_MS, NOW_MS)
    found = _check([record] if record else [], intake)
    try:
        head = parse(data)
    except SipError as error:
        return found, _kind(error)
    short = cut(data)
    assert parse(short).headers == head.headers
    shorter = cut(short)  # the same, unless the Content-Type does not say that this is a session description
    assert parse(shorter).headers == head.headers
    assert cut(shorter) == shorter
    return found, head.method, head.status, min(head.skipped, 2), head.complete


def read_sip_stream(data: bytes) -> Hashable:
    """Read one direction of a connection in pieces, to its end."""
    reader = SipStream()
    size = 1 + len(data) % 1361
    found = [m for at in range(0, len(data), size) for m in reader.feed(data[at : at + size])] + reader.gap()
    assert sum(map(len, found)) <= len(data)
    assert reader.pending == 0
    intake = _intake()
    records = [intake.from_sip(message, "a:1", "b:2", "tcp", CAPTURED_MS, NOW_MS) for message in found]
    return _check([record for record in records if record], intake), reader.resyncs > 0


def read_file(data: bytes) -> Hashable:
    """Read a capture file as `Capture` does, without the file."""
    intake = _intake()
    reader = Capture("sample", intake, UTC)
    records: list[SipMessage] = []
    error = None
    try:
        for record in reader._messages(Source(io.BytesIO(data))):
            records.append(record)  # noqa: PERF402 - what came before the error counts
    except CaptureError as raised:
        error = raised
    assert error is None or (error.offset >= 0 and error.found and error.expected), error
    assert all(a.received_ms <= b.received_ms for a, b in pairwise(records))
    return reader.kind, _kind(error) if error else "", _check(records, intake)


def read_calls(data: bytes) -> Hashable:
    """Receive, batch and decide a stream; every decision must be one that can be published and resumed."""
    intake, batcher, engine = _intake(), Batcher("fuzz", 1), Engine(Policy())
    decisions = []
    now_ms = NOW_MS
    for frame in HepStream().feed(data):
        now_ms += 40
        for message in intake.from_frame(frame, now_ms):
            for _, batch in batcher.add(message, now_ms):
                decisions += engine.feed(batch)
    for _, batch in batcher.flush(now_ms):
        decisions += engine.feed(batch)
    for _ in engine.changes():
        pass
    decisions += engine.feed(CaptureBatch("fuzz", 1, 1 << 40, now_ms + 366 * 86_400_000)) + engine.finish()
    outcomes = set()
    for decision in decisions:
        for verdict in decision.verdicts:
            codec.encode_verdict(verdict)
            outcomes.add((verdict.outcome, verdict.rule))
        for fact in decision.facts:
            codec.encode_missed_call(fact)
    assert engine.open_calls == 0
    return tuple(sorted(outcomes))[:4]
