"""What the counted names mean: the words of `replay --stats`, of the running pipeline and of the manual.

Rule 1: a core counts by plain name in a Counter; every name, or the family that it begins with, is a row here.
Rule 2: what is received is either decided on or counted as lost under a cause; nothing disappears.
"""

from collections.abc import Mapping
from types import MappingProxyType

COUNTERS: Mapping[str, str] = MappingProxyType(
    {
        # Taking in
        "received": "Datagrams and frames received, before anything is decided about them",
        "connections.opened": "TCP and TLS connections accepted",
        "connections.skipped-bytes": "Bytes of a stream skipped until the next frame began",
        "connections.timed-out": "Connections closed after a silence longer than idle_s",
        "connections.": "Connections turned away, by cause",
        "dropped.": "Received and dropped before decoding, by cause: kernel, not-allowed, socket-error ...",
        "relayed": "Frames sent on unchanged to another receiver",
        "relay-lost": "Frames that the other receiver did not take; they count here all the same",
        # Understanding
        "auth": "HEP packets without the authenticate key that is configured",
        "malformed-hep": "Frames that are no HEP packet",
        "malformed-sip": "Messages without what every SIP message has: start line, Call-ID, sender, time",
        "not-ip": "Captured frames that carry no IP, or a protocol above it that carries no SIP",
        "not-sip": "HEP packets, datagrams and streams that carry something else",
        "tls": "Encrypted streams in a capture: nothing can be read in them",
        "compressed": "Messages over WebSocket that the peers compress: nothing can be read in them",
        "tcp-gap": "Holes in a captured TCP stream; reading goes on behind them",
        "fragments-incomplete": "IP datagrams of which a fragment is missing",
        "diagnostic": "Trace records that are no messages (TF_DIAG)",
        "time-replaced": "Messages whose capture time cannot be; the receive time stands instead",
        "limit": "A bound held: something larger or longer than we take was left out or decided early",
        "accepted": "Messages taken into the store: from here on none is lost or decided twice",
        "batches": "Batches written, ticks included",
        "doubled": "Messages published to two partitions: of a dialog whose beginning this collector did not see",
        "published": "Messages acknowledged by Kafka: from here on none is lost",
        "published-batches": "Batches acknowledged by Kafka, ticks included",
        "spooled": "Messages that went over the disk, since Kafka did not take them in time",
        "turns": "Transactions: batches, decisions, state and position committed together",
        # Deciding
        "noise-method": "Messages of methods that decide no call: OPTIONS, REGISTER, SUBSCRIBE ...",
        "duplicate": "Repeats: retransmissions, and one message captured at several points",
        "gap": "Batches that never came: holes in a collector's sequence, and its restarts",
        "invite-unseen": "Messages of calls whose INVITE was not captured, or that were decided long ago",
        "verdicts": "Decided calls and users",
        "unrelated": "Legs whose identifier names a call that they share nothing with: it never changes",
        "rule-failed": "Calls on which one of our own rules failed: closed as incomplete, nobody is told",
        "undecidable": "Messages that made a decision fail and were set aside, so that the rest goes on",
        "facts": "Missed calls published, retractions included",
        "outcome-": "Decided calls and users, by outcome",
        # Telling
        "unrouted:": "Missed calls that no recipient is told of, by reason",
        "notices.": "Changes of deliveries, by the state that they came to: each begins an attempt or ends one",
        "template-failed": "Times that a template of the operator's failed on a real call: ours was used",
        "taken-over": "Partitions that were fenced and read: at the start, by rebalances, after failures",
        "given-up": "Partitions that are another worker's now, or that were lost",
        "transactions": "Transactions of the journal, each with the changes of one partition that came together",
        "transactions-failed": "Transactions that failed: the partition was taken over anew, and read again",
        "redriven": "Dead deliveries that a person asked to try again",
    }
)
"""By name; a row that ends in `.`, `-` or `:` is a family, and the rest of the name the cause."""


def meaning(name: str) -> str | None:
    """Return what a name means; None if it is not in the catalogue."""
    if name in COUNTERS:
        return COUNTERS[name]
    families = [row for row in COUNTERS if row.endswith((".", "-", ":")) and name.startswith(row)]
    return COUNTERS[max(families, key=len)] if families else None
