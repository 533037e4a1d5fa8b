"""What a HEP frame says, whatever its version.

Rule 1: any byte string decodes to a `HepPacket` or to a `HepError`, at a bounded cost.
Rule 2: a time is believed only if a clock could have shown it; otherwise it is None: receive time counts.
"""

from msgspec import Struct

MAX_FRAME = 65_535
"""Bytes of a version 3 frame: its length field has 16 bits."""

MAX_PAYLOAD = 262_144
"""Bytes of a decompressed payload or frame. Below 64 kB a legal message over TCP could be refused; above it
one datagram costs that much memory."""

SIP = 1
"""Protocol type of SIP (chunk 0x0b)."""

TRANSPORTS = {6: "tcp", 17: "udp", 22: "tls", 132: "sctp"}
"""By IP protocol number (chunk 0x02). 22 is XNS IDP: Kamailio and sofia-sip mean TLS by it."""

PROTOCOLS = {"udp": 17, "tcp": 6, "tls": 22, "sctp": 132, "ws": 6, "wss": 22}
"""What `encode` writes for a record's transport."""

_OLDEST_S = 946_684_800  # 2000-01-01: a clock that was never set
_NEWEST_S = 4_102_444_800  # 2100-01-01


class HepError(ValueError):
    """The bytes are not a HEP packet; the text says what was found, where, and what was expected."""


class HepLimitError(HepError):
    """The packet is larger than any that a SIP message needs."""


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


def clock_ms(seconds: int, micros: int) -> int | None:
    """Return the time in milliseconds since the epoch, None if no clock would have shown it."""
    if _OLDEST_S <= seconds < _NEWEST_S and micros < 1_000_000:
        return seconds * 1000 + micros // 1000
    return None
