"""HEP frames byte for byte as each sender writes them, struct by struct from its source.

Rule 1: a sender's mistakes are part of its sample; each stands in a comment.
Every frame says: 2023-11-14 22:13:20.123456 UTC, 192.0.2.1:5060 to 198.51.100.2:5080 (or 2001:db8::1 to ::2).
"""

import gzip
import struct
import zlib

SECONDS, MICROS = 1_700_000_000, 123_456
CAPTURED_MS = 1_700_000_000_123
SRC, DST = bytes((192, 0, 2, 1)), bytes((198, 51, 100, 2))
SRC6 = bytes.fromhex("20010db8000000000000000000000001")
DST6 = bytes.fromhex("20010db8000000000000000000000002")
AGENT_ID = 2001
KEY = b"myhep"


def chunk(kind: int, body: bytes, vendor: int = 0) -> bytes:
    return struct.pack("!HHH", vendor, kind, 6 + len(body)) + body


def frame(*chunks: bytes, magic: bytes = b"HEP3") -> bytes:
    body = b"".join(chunks)
    return magic + struct.pack("!H", 6 + len(body)) + body


def _u8(kind, value):
    return chunk(kind, struct.pack("!B", value))


def _u16(kind, value):
    return chunk(kind, struct.pack("!H", value))


def _u32(kind, value):
    return chunk(kind, struct.pack("!I", value))


def _start(family, protocol):
    return _u8(1, family) + _u8(2, protocol)


def _addresses(family):
    return chunk(5, SRC6) + chunk(6, DST6) if family == 10 else chunk(3, SRC) + chunk(4, DST)


def _rest(agent: bytes):
    """Ports to agent id, as the struct hep_generic of Homer's C programs has them."""
    return _u16(7, 5060) + _u16(8, 5080) + _u32(9, SECONDS) + _u32(10, MICROS) + _u8(11, 1) + chunk(12, agent)


def kamailio_v3(sip: bytes, *, family: int = 2, protocol: int = 17, correlation: bytes = b"corr@1") -> bytes:
    """siptrace: addresses before ports; 0x11, then 0x0e, then 0x0f."""
    return frame(
        _start(family, protocol), _addresses(family), _rest(struct.pack("!I", AGENT_ID)),
        chunk(0x11, correlation), chunk(0x0E, KEY), chunk(0x0F, sip),
    )  # fmt: skip


def kamailio_tls(sip: bytes) -> bytes:
    """TLS has no IP protocol number, so siptrace writes 22 (IPPROTO_IDP)."""
    return kamailio_v3(sip, protocol=22)


def _old(version: int, sip: bytes, *, header_length: int, time: bytes, family: int = 2) -> bytes:
    addresses = SRC6 + DST6 if family == 10 else SRC + DST
    return struct.pack("!BBBBHH", version, header_length, family, 17, 5060, 5080) + addresses + time + sip


def kamailio_v1(sip: bytes) -> bytes:
    """siptrace's default: no time at all."""
    return _old(1, sip, header_length=16, time=b"")


def kamailio_v1_ipv6(sip: bytes) -> bytes:
    return _old(1, sip, header_length=40, time=b"", family=10)


def kamailio_v2(sip: bytes) -> bytes:
    """The time is little-endian, and the struct ends with two bytes of padding: here what the stack had."""
    return _old(2, sip, header_length=16, time=struct.pack("<IIH", SECONDS, MICROS, AGENT_ID) + b"V\x7f")


def by_the_book_v2(sip: bytes) -> bytes:
    """Network order and no padding: what the HEP drafts show and nobody writes but on big-endian machines."""
    return _old(2, sip, header_length=26, time=struct.pack(">IIH", SECONDS, MICROS, AGENT_ID))


def sofia_v2(sip: bytes) -> bytes:
    """FreeSWITCH: the header length counts the time in."""
    time = struct.pack("<IIH2x", SECONDS, MICROS, AGENT_ID)
    return _old(2, sip, header_length=28, time=time)


def sngrep_v2(sip: bytes) -> bytes:
    """htons(total length) stored into one byte: its high byte, whatever that is."""
    time = struct.pack("<IIH2x", SECONDS, MICROS, AGENT_ID)
    return _old(2, sip, header_length=(28 + len(sip)) >> 8 & 0xFF, time=time)


def opensips_v2(sip: bytes) -> bytes:
    """The buffer is the address length longer than what is in it: NUL bytes behind the message."""
    time = struct.pack("<IIH2x", SECONDS, MICROS, AGENT_ID)
    return _old(2, sip, header_length=16, time=time) + b"\0" * 8


def opensips_v1(sip: bytes) -> bytes:
    return _old(1, sip, header_length=16, time=b"") + b"\0" * 8


def opensips_v1_ipv6(sip: bytes) -> bytes:
    return _old(1, sip, header_length=40, time=b"", family=10) + b"\0" * 32


def captagent_v1(sip: bytes) -> bytes:
    """As Kamailio, byte for byte."""
    return _old(1, sip, header_length=16, time=b"")


def captagent_v2(sip: bytes) -> bytes:
    """In the machine's order, and with what the stack had as padding."""
    return _old(2, sip, header_length=16, time=struct.pack("<IIH", SECONDS, MICROS, AGENT_ID) + b"\x01\x00")


def captagent_v2_ipv6(sip: bytes) -> bytes:
    time = struct.pack("<IIH", SECONDS, MICROS, AGENT_ID) + b"\0\0"
    return _old(2, sip, header_length=40, time=time, family=10)


def _generic(family, protocol, agent):
    return _start(family, protocol) + _rest(agent) + _addresses(family)


def opensips_v3(sip: bytes) -> bytes:
    """tracer: the payload, then 0x65 with the correlation as JSON, vendor 0 although no specification has it."""
    correlation = b'{\n\t"sip":\t"corr@1"\n}'
    return frame(_generic(2, 17, struct.pack("!I", AGENT_ID)), chunk(0x0F, sip), chunk(0x65, correlation))


def opensips_v3_ipv6(sip: bytes) -> bytes:
    """The destination's address is the source's: modules/proto_hep/hep.c fills both from the same variable."""
    return frame(
        _start(10, 17), _rest(struct.pack("!I", AGENT_ID)), chunk(5, SRC6), chunk(6, SRC6), chunk(0x0F, sip)
    )  # fmt: skip


def opensips_v3_compressed(sip: bytes) -> bytes:
    return frame(_generic(2, 6, struct.pack("!I", AGENT_ID)), chunk(0x10, zlib.compress(sip)))


def opensips_homer5(sip: bytes) -> bytes:
    """With homer5_on the Call-ID goes into 0x11, behind the payload."""
    agent = struct.pack("!I", AGENT_ID)
    return frame(_generic(2, 17, agent), chunk(0x0F, sip), chunk(0x11, b"corr@1"))


def asterisk(sip: bytes, uuid: bytes = b"corr@1") -> bytes:
    """res_hep: 0x11 is always there, the Call-ID or a channel name."""
    return frame(
        _generic(2, 17, struct.pack("!I", AGENT_ID)), chunk(0x0E, KEY), chunk(0x11, uuid), chunk(0x0F, sip)
    )


def asterisk_ipv6(sip: bytes) -> bytes:
    return frame(_generic(10, 17, struct.pack("!I", AGENT_ID)), chunk(0x11, b"corr@1"), chunk(0x0F, sip))


def sofia_v3(sip: bytes) -> bytes:
    """FreeSWITCH: no key, no correlation id."""
    return frame(_generic(2, 6, struct.pack("!I", AGENT_ID)), chunk(0x0F, sip))


def captagent(sip: bytes) -> bytes:
    """The agent id is htons(2001) stored into 32 bits: on the wire in the upper half."""
    agent = struct.pack("!HH", AGENT_ID, 0)
    return frame(_generic(2, 17, agent), chunk(0x0E, KEY), chunk(0x11, b"corr@1"), chunk(0x0F, sip))


def captagent_compressed(sip: bytes) -> bytes:
    agent = struct.pack("!HH", AGENT_ID, 0)
    return frame(_generic(2, 17, agent), chunk(0x0E, KEY), chunk(0x10, zlib.compress(sip)))


def sngrep_v3(sip: bytes) -> bytes:
    agent = struct.pack("!HH", AGENT_ID, 0)
    return frame(_generic(2, 17, agent), chunk(0x0E, KEY), chunk(0x0F, sip))


def sngrep_v3_ipv6(sip: bytes) -> bytes:
    """In place of the IPv6 source chunk 22 bytes are copied from the IPv4 one, which nobody has filled."""
    agent = struct.pack("!HH", AGENT_ID, 0)
    stack = bytes.fromhex("7ffd00000000a0010000000000000000f07f0000ab01")
    return frame(_start(10, 17), _rest(agent), stack, chunk(6, DST6), chunk(0x0E, KEY), chunk(0x0F, sip))


def heplify(sip: bytes) -> bytes:
    """A key chunk even without a key; the correlation id behind the payload; the node's name in newer ones."""
    return frame(
        _start(2, 17), _addresses(2), _rest(struct.pack("!I", AGENT_ID)),
        chunk(0x0E, b""), chunk(0x0F, sip), chunk(0x11, b"corr@1"), chunk(0x13, b"edge-1"),
    )  # fmt: skip


def heplify_zipped(sip: bytes) -> bytes:
    """payload_zip: the whole frame."""
    return gzip.compress(heplify(sip), mtime=0)


SENDERS = {
    sender.__name__: sender
    for sender in (
        kamailio_v1, kamailio_v1_ipv6, kamailio_v2, kamailio_v3, kamailio_tls, by_the_book_v2,
        opensips_v1, opensips_v1_ipv6, opensips_v2, opensips_v3, opensips_v3_ipv6, opensips_v3_compressed,
        opensips_homer5, captagent_v1, captagent_v2, captagent_v2_ipv6,
        asterisk, asterisk_ipv6, sofia_v2, sofia_v3, captagent, captagent_compressed,
        sngrep_v2, sngrep_v3, sngrep_v3_ipv6, heplify, heplify_zipped,
    )
}  # fmt: skip
