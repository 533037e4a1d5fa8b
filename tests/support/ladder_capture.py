"""What a capture shows of a ladder: which boxes look, whose clock is wrong, what comes late."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
from support.ladder_sip import Network
from support.ladder_state import Sent

from missedcall_schemas.records import CaptureBatch, SipMessage

EPOCH_MS = 1_700_000_000_000
"""Second 0 of every ladder: 2023-11-14 22:13:20 UTC."""

TRANSIT_MS = 5
"""From the capture agent to the collector."""

USER_NOTIFICATION = b"application/ms-rtc-usernotification+xml"

TICK_MS = 1000
"""An idle collector says what time it is this often."""


@dataclass(slots=True)
class Capture:
    """A capture view.

    Without boxes each message is seen once, by one tap that sees every hop.
    """

    boxes: tuple[str, ...] = ()
    twice: bool = False
    skew: dict[str, float] = field(default_factory=dict)

    def view(self, words: list[str]) -> None:
        """Take the words of a `capture` setting."""
        self.twice = words == ["twice"]
        self.boxes = () if words in (["twice"], ["all"]) else tuple(words)

    def _copies(self, sent: Sent) -> Iterator[tuple[str, float]]:
        """Yield each agent that sees the message, and when by its own clock."""
        if not self.twice and not self.boxes:
            yield "", sent.at
            return
        for box, transit in ((sent.src, 0.0), (sent.dst, 0.001)):
            if self.twice or box in self.boxes:
                # two agents are never quite of one mind: up to 15 ms apart, but each with itself
                drift = self.skew.get(box, (sum(box.encode()) % 4) * 0.005 if self.twice else 0.0)
                yield box, sent.at + transit + drift

    def messages(self, network: Network, sent: Iterable[tuple[Sent, float]]) -> list[SipMessage]:
        """Return the records in order of receipt."""
        found = []
        for message, late in sent:
            for agent, at in self._copies(message):
                captured_ms = EPOCH_MS + round(at * 1000)
                transit_ms = TRANSIT_MS + round((message.at - at + late) * 1000)
                found.append(record(network, message, captured_ms, captured_ms + transit_ms, agent))
        found.sort(key=lambda each: each.received_ms)
        return found

    def whole(self, network: Network, sent: Iterable[tuple[Sent, float]]) -> Iterator[SipMessage]:
        """Yield every copy of every message with its whole body, in order of capture."""
        for message, _ in sent:
            for agent, at in self._copies(message):
                captured_ms = EPOCH_MS + round(at * 1000)
                made = record(network, message, captured_ms, captured_ms, agent)
                yield msgspec.structs.replace(made, head=message.wire)


def ends(network: Network, sent: Sent) -> tuple[str, str, str]:
    """Return source, destination and transport of a message."""
    src, dst = sent.src, sent.dst
    return network.address(src, dst), network.address(dst, src), network.transport_of(src, dst)


def record(network: Network, sent: Sent, captured_ms: int, received_ms: int, agent: str = "") -> SipMessage:
    """Return the record that a collector makes of a captured message."""
    src, dst, transport = ends(network, sent)
    correlation_id = sent.leg.correlation_id
    return SipMessage(
        key=correlation_id or sent.leg.call_id,
        call_id=sent.leg.call_id,
        captured_ms=captured_ms,
        received_ms=received_ms,
        src=src,
        dst=dst,
        transport=transport,
        head=head_of(sent.wire),
        agent=agent,
        correlation_id=correlation_id,
    )


def head_of(wire: bytes) -> bytes:
    """Return the message as records carry it: the head, an empty line, the m= lines of the body.

    What Lync tells Exchange UM about a call stands in the body alone (MS-OCEXUM): that one is kept whole.
    """
    head, _, body = wire.partition(b"\r\n\r\n")
    if USER_NOTIFICATION not in head:
        body = b"".join(line + b"\r\n" for line in body.split(b"\r\n") if line.startswith(b"m="))
    return head + b"\r\n\r\n" + body


def batches(
    messages: Iterable[SipMessage], *, size_ms: int = 50, tail_s: float = 0.0
) -> Iterator[CaptureBatch]:
    """Yield what a collector publishes: batches of `size_ms`, and ticks while nothing comes.

    `tail_s`: how long it goes on ticking after the last message.
    """
    sequence = 0
    clock_ms = None
    group: list[SipMessage] = []

    def batch(at_ms: int, content: list[SipMessage]) -> CaptureBatch:
        nonlocal sequence
        sequence += 1
        return CaptureBatch("collector-1", EPOCH_MS - 60_000, sequence - 1, at_ms, tuple(content))

    for message in messages:
        if clock_ms is None:
            clock_ms = message.received_ms
        if group and message.received_ms - group[0].received_ms >= size_ms:
            clock_ms = group[-1].received_ms
            yield batch(clock_ms, group)
            group = []
        while not group and message.received_ms - clock_ms > TICK_MS:
            clock_ms += TICK_MS
            yield batch(clock_ms, [])
        group.append(message)
    if group:
        clock_ms = group[-1].received_ms
        yield batch(clock_ms, group)
    for _ in range(round(tail_s * 1000 / TICK_MS)):
        clock_ms = (clock_ms or EPOCH_MS) + TICK_MS
        yield batch(clock_ms, [])
