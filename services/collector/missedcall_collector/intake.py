"""From captured bytes to SipMessages: what is no use to a decision is dropped here, and counted by cause.

Rule 1: every payload ends as messages or as a count; the names of the counts are `CAUSES`.
Rule 2: only what routing and the noise filter need is read; parsing is the classifier's, which has a queue.
Rule 3: when something was captured is what the agent says, unless it cannot be; then it is when we got it.
"""

from collections import Counter
from collections.abc import Callable, Collection
from hmac import compare_digest
from typing import Final

from missedcall_common.runtime.sampling import NO_CALL, CallTrace, Sampler
from missedcall_common.sip.peek import cut, cut_at, look
from missedcall_schemas.records import SipMessage

from .correlation import CorrelationRules, LegKeys, leg_joiner
from .hep import SIP, Fields, HepError, HepLimitError, read
from .sip_stream import split

NEEDED: Final = frozenset({"INVITE", "ACK", "CANCEL", "BYE", "REFER", "INFO"})
"""Methods, of a request or in a response's CSeq, that say something about a call. INFO: Lync's front end asks
Exchange UM by it to write a missed call item."""

MAX_CALL_ID: Final = 512
"""Characters. Below: a long one (an SBC appends to what it got) is not a call. Above: state per open call."""

AHEAD_MS: Final = 600_000
"""How far an agent's clock may be ahead of ours. Below: one call's times come from two clocks, because an
honest clock without NTP passes the bound in the middle. Above: a notice names a time that is yet to come."""

CAUSES: Final = {
    "noise-method": "a method that says nothing about a call (OPTIONS, REGISTER, ...)",
    "not-sip": "a payload, or a TCP stream, that is not SIP",
    "tls": "a TCP stream that is encrypted",
    "compressed": "a WebSocket message that is compressed",
    "malformed-sip": "SIP without a readable Call-ID or CSeq; bytes between two messages of a stream",
    "malformed-hep": "not a HEP packet; bytes between two frames of a stream",
    "auth": "HEP with a wrong key, or without one",
    "limit": "larger, or more of it, than any honest sender writes",
    "time-replaced": "HEP with a time that cannot be: taken as captured when received (not dropped)",
    "fragments-incomplete": "an IP datagram whose other fragments never came",
    "tcp-gap": "a hole in a TCP stream (the messages around it may be lost)",
    "not-ip": "a packet that carries neither UDP nor TCP over IP",
    "diagnostic": "a trace record that is not a message (TF_DIAG, TF_COMPONENT)",
}
"""What `Intake.counts` counts."""


class Intake:
    """Stateless but for its counts and the keys of legs.

    Args:
        rules: what the network's identifiers look like.
        auth_keys: the keys of which a HEP packet must carry one (chunk 0x0e); empty: none is asked for.
            Several, so that a new one can be rolled out before the old one is withdrawn.
        sampler: which calls are traced.
    """

    def __init__(
        self,
        rules: CorrelationRules | None = None,
        auth_keys: Collection[bytes] = (),
        sampler: Sampler = NO_CALL,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.traced: list[tuple[SipMessage, CallTrace]] = []
        """Each INVITE of a call that is traced, for whoever gave a sampler to take away."""
        self._sampler = sampler if sampler.ratio else None
        self._keys = LegKeys(rules or CorrelationRules())
        self._auth_keys = tuple(auth_keys)

    def accept(self, auth_keys: Collection[bytes]) -> None:
        """Ask for other keys from now on; empty: for none."""
        self._auth_keys = tuple(auth_keys)

    def from_frame(self, frame: bytes, received_ms: int) -> list[SipMessage]:
        """Return the messages in one HEP datagram or stream frame."""
        try:
            fields = read(frame)
        except HepError as error:
            self._refuse(error)
            return []
        return self._from_hep(fields, received_ms)

    def from_frames(
        self, frames: list[bytes], received_ms: int, refuse: Callable[[Exception], None]
    ) -> list[SipMessage]:
        """Return the messages in frames; one that trips a mistake of ours costs itself, and `refuse` hears it."""
        messages: list[SipMessage] = []
        for frame in frames:
            try:
                messages += self.from_frame(frame, received_ms)
            except Exception as error:  # noqa: BLE001 - as said
                refuse(error)
        return messages

    def from_dumped(self, frame: bytes, clock_ms: int) -> tuple[list[SipMessage], int]:
        """Return the messages in one frame of a file, and the file's clock after it; `clock_ms` is that before."""
        try:
            fields = read(frame)
        except HepError as error:
            self._refuse(error)
            return [], clock_ms
        clock_ms = max(clock_ms, fields[2])
        return self._from_hep(fields, clock_ms), clock_ms

    def _refuse(self, error: HepError) -> None:
        self.counts["limit" if isinstance(error, HepLimitError) else "malformed-hep"] += 1

    def _from_hep(self, fields: Fields, received_ms: int) -> list[SipMessage]:
        flow, payload, captured_ms, correlation_id, auth_key, agent_name, _ = fields
        if self._auth_keys and not self._knows(auth_key):
            self.counts["auth"] += 1
            return []
        if flow.protocol_type != SIP:
            self.counts["not-sip"] += 1
            return []
        if not captured_ms or captured_ms > received_ms + AHEAD_MS:
            self.counts["time-replaced"] += 1
            captured_ms = received_ms
        src, dst, transport, agent = flow.src, flow.dst, flow.transport, agent_name or flow.agent
        # Over UDP one datagram is one message (RFC 3261 s.18.3); what came in one TCP segment agents may join.
        payloads = [payload] if transport == "udp" else split(payload)
        messages: list[SipMessage] = []
        for one in payloads:
            message = self.from_sip(one, src, dst, transport, captured_ms, received_ms, agent, correlation_id)
            if message is not None:
                messages.append(message)
        return messages

    def from_sip(
        self,
        payload: bytes,
        src: str,
        dst: str,
        transport: str,
        captured_ms: int,
        received_ms: int,
        agent: str = "",
        correlation_id: str = "",
    ) -> SipMessage | None:
        """Return the record of one SIP message; None if it is of no use, and why is counted."""
        method, status, _, call_id, end, body_at = look(payload)
        if method not in NEEDED:
            self.counts["noise-method" if method else "malformed-sip" if status else "not-sip"] += 1
            return None
        if not call_id:
            self.counts["malformed-sip"] += 1
            return None
        if len(call_id) > MAX_CALL_ID:
            self.counts["limit"] += 1
            return None
        head = cut_at(payload, end, body_at) if end >= 0 else cut(payload)
        joiner = leg_joiner(correlation_id, call_id) if correlation_id else ""
        key = self._keys.key(head, call_id, method, status, joiner)
        message = SipMessage(key, call_id, captured_ms, received_ms, src, dst, transport, head, agent, joiner)
        if self._sampler is not None and method == "INVITE" and not status:
            call = self._sampler.trace(call_id)
            if call is not None:
                self.traced.append((message, call))
        return message

    def _knows(self, key: bytes) -> bool:
        for known in self._auth_keys:
            if compare_digest(key, known):  # how long it takes must not tell how much of a key was right
                return True
        return False
