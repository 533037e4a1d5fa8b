"""Generates a capture of many calls with mixed outcomes: the input of the benchmarks.

    .venv/bin/python benchmarks/traffic.py FILE.pcap [MESSAGES [AUDIO]]

The calls are the ladders below, each with a Call-ID, branches, tags and numbers of its own, `CALLS_PER_S` of them
beginning per second of capture time, so that hundreds ring at once as on a busy proxy. The same number of
messages gives the same file. AUDIO is how many packets of RTP come to a message, as where media is captured too.
"""

import heapq
import re
import struct
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from msgspec.structs import replace  # noqa: E402 - after the line above, which `support` needs
from support import ladder  # noqa: E402
from support.ladder_capture import EPOCH_MS, record  # noqa: E402

from missedcall_collector.pcap_writer import ethernet, ip_packet, write_pcap  # noqa: E402
from missedcall_schemas.records import SipMessage  # noqa: E402

CALLS_PER_S = 50.0
"""Busy hour of some 100,000 users at two calls an hour."""

LADDERS = {
    "two phones ring, the caller gives up": """
0.000   alice>proxy        INVITE bob
0.010   proxy>bob.1        INVITE
0.012   proxy>bob.2        INVITE
0.180   bob.1>proxy>alice  180
0.240   bob.2>proxy        180
9.400   alice>proxy        CANCEL
9.412   proxy>bob.1        CANCEL
9.413   proxy>bob.2        CANCEL
9.450   bob.1>proxy>alice  487
9.470   bob.2>proxy        487
""",
    "two phones ring, the second answers": """
0.000   alice>proxy        INVITE bob
0.010   proxy>bob.1        INVITE
0.012   proxy>bob.2        INVITE
0.200   bob.1>proxy>alice  180
0.230   bob.2>proxy        180
5.100   bob.2>proxy>alice  200
5.120   proxy>bob.1        CANCEL
5.150   bob.1>proxy        487
5.160   alice>proxy>bob.2  ACK
65.000  alice>proxy>bob.2  BYE
65.030  bob.2>proxy>alice  200 BYE
""",
    "answered": """
0.000   alice>proxy>bob.1  INVITE bob
0.200   bob.1>proxy>alice  180
4.100   bob.1>proxy>alice  200
4.160   alice>proxy>bob.1  ACK
94.000  bob.1>proxy>alice  BYE
94.030  alice>proxy>bob.1  200 BYE
""",
    "busy": """
0.000   alice>proxy>bob.1  INVITE bob
0.100   bob.1>proxy>alice  486
""",
    "offline": """
0.000   alice>proxy        INVITE bob
0.020   proxy>alice        480
""",
    "rings out": """
0.000   alice>proxy>bob.1  INVITE bob
0.200   bob.1>proxy>alice  180
20.000  proxy>bob.1        CANCEL
20.040  bob.1>proxy        487
20.060  proxy>alice        480
""",
    "forwarded, nobody answers": """
0.000   alice>proxy        INVITE bob
0.010   proxy>bob.1        INVITE
0.060   bob.1>proxy        302 | Contact: <sip:carol@example.com>
0.100   proxy>carol.1      INVITE carol
  History-Info: <sip:bob@example.com?Reason=SIP%3Bcause%3D302>;index=1, <sip:carol@example.com>;index=1.1;mp=1
0.280   carol.1>proxy>alice 180
18.500  alice>proxy>carol.1 CANCEL
18.540  carol.1>proxy>alice 487
""",
}

AUDIO = b"\x80\0" + bytes(170)
"""20 ms of G.711 in RTP."""
PIECE = 5_000
"""Messages written before their audio."""
PCAP_HEADER = 24

Templates = tuple[tuple[tuple[int, SipMessage], ...], ...]

_OWN = re.compile(rb"z9hG4bK|;tag=|sip:(?=bob@|carol@|alice@)")


def messages(total: int) -> Iterator[SipMessage]:
    """Yield ``total`` messages in order of capture."""
    return islice(_interleaved(_templates()), total)


def write(path: Path, total: int, audio: int = 0) -> None:
    """Write ``total`` messages as a pcap file, with ``audio`` packets of RTP to each."""
    if not audio:
        write_pcap(path, messages(total))
        return
    frame = ethernet(
        ip_packet(
            17, b"\x0a\1\1\1", b"\x0a\1\1\2", struct.pack("!HHHH", 4000, 4002, 8 + len(AUDIO), 0) + AUDIO
        )
    )
    following = messages(total)
    piece = path.with_suffix(".piece")
    with path.open("wb") as file:
        while some := list(islice(following, PIECE)):
            write_pcap(piece, some)
            data = piece.read_bytes()
            file.write(data if file.tell() == 0 else data[PCAP_HEADER:])
            seconds, millis = divmod(some[-1].captured_ms, 1000)
            record = struct.pack("<IIII", seconds, millis * 1_000_000, len(frame), len(frame)) + frame
            for _ in range(audio):
                file.write(record * len(some))
    piece.unlink(missing_ok=True)


def _templates() -> Templates:
    found = []
    for name, text in LADDERS.items():
        trace = ladder.parse(text, name)
        found.append(
            tuple(
                (round(sent.at * 1000), replace(record(trace.network, sent, 0, 0), head=sent.wire))
                for sent, _ in trace.sent
            )
        )
    return tuple(found)


def _interleaved(templates: Templates) -> Iterator[SipMessage]:
    """Yield the messages of endless calls, merged by time."""
    waiting: list[tuple[int, int, SipMessage]] = []
    serial = count()
    for number in count():
        begin_ms = EPOCH_MS + int(number * 1000 / CALLS_PER_S)
        while waiting and waiting[0][0] <= begin_ms:
            yield heapq.heappop(waiting)[2]
        for message in _call(templates[number % len(templates)], number, begin_ms):
            heapq.heappush(waiting, (message.captured_ms, next(serial), message))


def _call(template: tuple[tuple[int, SipMessage], ...], number: int, begin_ms: int) -> Iterator[SipMessage]:
    own = b"%06x" % number
    for offset_ms, message in template:
        call_id = f"{number:06x}{message.call_id}"
        head = message.head.replace(message.call_id.encode(), call_id.encode())
        head = _OWN.sub(lambda match: match[0] + own, head)
        at_ms = begin_ms + offset_ms
        yield replace(message, key=call_id, call_id=call_id, head=head, captured_ms=at_ms, received_ms=at_ms)


def main() -> int:
    """Write the file; return the exit status."""
    if not 2 <= len(sys.argv) <= 4:
        sys.stderr.write(__doc__ or "")
        return 2
    total = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    audio = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    write(Path(sys.argv[1]), total, audio)
    return 0


if __name__ == "__main__":
    sys.exit(main())
