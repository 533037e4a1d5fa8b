"""Packets per second from a pcap file to UDP payloads: ours, and dpkt if it is installed beside us.

    .venv/bin/python benchmarks/link_layer.py [PACKETS]

The figures in docs/adr/0002-own-capture-reader.md come from here.
"""

import io
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable

from missedcall_collector import pcap
from missedcall_collector.ip import UDP, Reassembler
from missedcall_collector.link import LINKS
from missedcall_collector.pcap_writer import ethernet, ip_packet
from missedcall_collector.source import Source

ROUNDS = 5


def sample(count: int) -> bytes:
    """Write `count` datagrams of 568 bytes of SIP, Ethernet and IPv4."""
    sip = b"INVITE sip:bob@example.com SIP/2.0\r\n" + b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n" * 12
    udp = struct.pack("!HHHH", 5060, 5060, 8 + len(sip), 0) + sip
    frame = ethernet(ip_packet(UDP, bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)), udp))
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
    return header + b"".join(
        struct.pack("<IIII", 1_700_000_000 + n // 1000, n % 1000 * 1000, len(frame), len(frame)) + frame
        for n in range(count)
    )


def ours(data: bytes) -> int:
    """Return the bytes of UDP payload that our reader finds."""
    reassembler = Reassembler(Counter())
    total = 0
    packets = (packet for some in pcap.packets(Source(io.BytesIO(data))) for packet in some)
    for captured_ms, link, frame in packets:
        segment = reassembler.segment(frame, LINKS[link](frame), captured_ms)
        if segment is not None and segment[0] == UDP:
            total += len(segment[3]) - 8
    return total


def with_dpkt(data: bytes) -> int:
    """Return the bytes of UDP payload that dpkt finds; without fragments and tunnels, which it leaves to us."""
    import dpkt  # type: ignore[import-not-found]  # noqa: PLC0415 - not a dependency

    total = 0
    for _, frame in dpkt.pcap.Reader(io.BytesIO(data)):
        packet = dpkt.ethernet.Ethernet(frame).data
        if isinstance(packet, dpkt.ip.IP) and isinstance(packet.data, dpkt.udp.UDP):
            total += len(bytes(packet.data.data))
    return total


def main(count: int) -> None:
    """Print both, best of `ROUNDS`, in packets per second of processor time."""
    data = sample(count)
    readers: dict[str, Callable[[bytes], int]] = {"ours": ours}
    try:
        import dpkt  # noqa: F401, PLC0415 - not a dependency
    except ImportError:
        print("dpkt is not installed: pip install dpkt, in another environment")
    else:
        readers["dpkt"] = with_dpkt
    results = {}
    for name, read in readers.items():
        times = []
        for _ in range(ROUNDS):
            begin = time.process_time()
            results[name] = read(data)
            times.append(time.process_time() - begin)
        print(f"{name:5} {count / min(times):10,.0f} packets/s  {min(times) / count * 1e6:6.2f} us each")
    if len(set(results.values())) != 1:
        sys.exit(f"the readers do not agree: {results}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
