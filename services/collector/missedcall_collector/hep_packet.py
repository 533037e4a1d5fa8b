"""What a HEP frame says, whatever its version.

Rule 1: any byte string decodes to a `HepPacket` or to a `HepError`, at a bounded cost.
Rule 2: a time is believed only if a clock could have shown it; otherwise it is None: receive time counts.
"""

from typing import Final, TypeAlias, final

from msgspec import Struct

from .address import endpoint

MAX_FRAME: Final = 65_535
"""Bytes of a version 3 frame: its length field has 16 bits."""

MAX_PAYLOAD: Final = 262_144
"""Bytes of a decompressed payload or frame. Below 64 kB a legal message over TCP could be refused; above it
one datagram costs that much memory."""

SIP: Final = 1
"""Protocol type of SIP (chunk 0x0b)."""

TRANSPORTS: Final = {6: "tcp", 17: "udp", 22: "tls", 132: "sctp"}
"""By IP protocol number (chunk 0x02). 22 is XNS IDP: Kamailio and sofia-sip mean TLS by it."""

PROTOCOLS: Final = {"udp": 17, "tcp": 6, "tls": 22, "sctp": 132, "ws": 6, "wss": 22}
"""What `encode` writes for a record's transport."""

_OLDEST_S: Final = 946_684_800  # 2000-01-01: a clock that was never set
_NEWEST_S: Final = 4_102_444_800  # 2100-01-01


class HepError(ValueError):
    """The bytes are not a HEP packet; the text says what was found, where, and what was expected."""


class HepLimitError(HepError):
    """The packet is larger than any that a SIP message needs."""


@final
class Flow:
    """What the frames of one agent about the packets of one sender to one receiver have in common.

    It is made once and kept, so that of a frame only what is its own has to be read. Fields are as in `HepPacket`.
    """

    __slots__ = ("agent", "agent_id", "dst", "ip_protocol", "protocol_type", "src", "transport", "version")

    def __init__(
        self,
        version: int,
        ip_protocol: int,
        protocol_type: int,
        source: tuple[bytes, int],
        destination: tuple[bytes, int],
        agent_id: int,
    ) -> None:
        """Take what the chunks say; `source` and `destination` are packed address and port."""
        self.version = version
        self.ip_protocol = ip_protocol
        self.transport = TRANSPORTS.get(ip_protocol, "")
        self.protocol_type = protocol_type
        self.src = endpoint(*source)
        self.dst = endpoint(*destination)
        self.agent_id = agent_id
        self.agent = str(agent_id) if agent_id else ""


Fields: TypeAlias = tuple[Flow, bytes, int, str, bytes, str, dict[int, bytes] | None]
"""Flow, payload, `captured_ms` (0: unknown), correlation id, authenticate key, agent's name, other chunks.
A tuple, not a class: one per message."""

FLOWS: Final = 32_768
"""Flows that are kept. Fewer: on a large network each frame is read the long way (4 us). More: memory (500 bytes
each) that spoofed addresses can fill."""


class HepPacket(Struct, frozen=True, kw_only=True, gc=False):
    """One captured packet and what the capture agent says about it."""

    payload: bytes = b""
    """Chunk 0x0f, or chunk 0x10 decompressed."""
    protocol_type: int = SIP
    """Chunk 0x0b."""
    ip_protocol: int = 17
    """Chunk 0x02; 0 if the sender does not say. See `TRANSPORTS`."""
    src: str = ""
    """`host:port`, IPv6 in brackets; "" if the sender does not say."""
    dst: str = ""
    """As `src`."""
    captured_ms: int | None = None
    """Milliseconds since the epoch by the agent's clock; None if missing or implausible."""
    agent_id: int = 0
    """Chunk 0x0c."""
    agent_name: str = ""
    """Chunk 0x13."""
    correlation_id: str = ""
    """Chunk 0x11."""
    auth_key: bytes = b""
    """Chunk 0x0e."""
    version: int = 3
    others: dict[int, bytes] | None = None
    """All other chunks, raw, by `vendor << 16 | type`; None if there are none."""

    @property
    def transport(self) -> str:
        """The record's word for `ip_protocol`; "" if there is none."""
        return TRANSPORTS.get(self.ip_protocol, "")

    @property
    def agent(self) -> str:
        """The agent's name, else its number in decimal, else ""."""
        return self.agent_name or (str(self.agent_id) if self.agent_id else "")


def packet_of(fields: Fields) -> HepPacket:
    """Return the packet by the names of its fields."""
    flow, payload, captured_ms, correlation_id, auth_key, agent_name, others = fields
    return HepPacket(
        payload=payload,
        protocol_type=flow.protocol_type,
        ip_protocol=flow.ip_protocol,
        src=flow.src,
        dst=flow.dst,
        captured_ms=captured_ms or None,
        agent_id=flow.agent_id,
        agent_name=agent_name,
        correlation_id=correlation_id,
        auth_key=auth_key,
        version=flow.version,
        others=others,
    )


def clock_ms(seconds: int, micros: int) -> int:
    """Return the time in milliseconds since the epoch, 0 if no clock would have shown it."""
    if _OLDEST_S <= seconds < _NEWEST_S and micros < 1_000_000:
        return seconds * 1000 + micros // 1000
    return 0
