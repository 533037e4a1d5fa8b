"""The records on the topics: what the services agree on, and nothing else.

Rule 1: a field is only ever added, at the end of an array-like struct, with a default. Readers of release
        n accept what n-1 and n+1 wrote: an unknown field is left alone, a missing one takes its default.
Rule 2: times on the way in are integers in milliseconds since the POSIX epoch (`*_ms`); times that
        people read are POSIX seconds (`*_at`); durations are seconds (`*_s`).
Rule 3: addresses of record are `sip:user@host`, host in lower case, no port, no URI parameters
        (RFC 3261 s.10, s.19.1.1); a number without a host is `tel:+49...`.
"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType


class SipMessage(Struct, frozen=True, array_like=True):
    """One captured SIP message, its head as received.

    The head stays raw so that a rule added next year can be replayed over last year's records.
    """

    key: str
    """What the partition of `sip-transactions` is chosen by: the caller's user part, of a number its end; two users
    with a blank between them where the message may be for either's partition."""
    call_id: str
    """RFC 3261 s.20.8."""
    captured_ms: int
    """When the capture agent saw it, by the agent's clock."""
    received_ms: int
    """When the collector received it, by the collector's clock; a replayed file's own running clock."""
    src: str
    """Sender, `host:port`, IPv6 in brackets; "" if the capture does not say."""
    dst: str
    """Receiver, as `src`."""
    transport: str
    """`udp`, `tcp`, `tls`, `sctp`, `ws`, `wss`; "" if unknown."""
    head: bytes
    """Start line and all headers as received, an empty line, then the body's `m=` lines (RFC 8866 s.5.14);
    what Lync tells Exchange UM (`application/ms-rtc-usernotification+xml`, MS-OCEXUM) is kept whole."""
    agent: str = ""
    """Capture agent: HEP chunk 0x13, else 0x0c in decimal."""
    correlation_id: str = ""
    """HEP chunk 0x11 where it differs from the Call-ID."""


class CaptureBatch(Struct, frozen=True, array_like=True):
    """SipMessages of one partition in the order received; without messages it is the clock's tick."""

    collector: str
    """Name of the collector: one clock, one sequence. "": no collector has been heard for long, and whoever decides
    this partition says that time goes on; without messages, incarnation and sequence 0."""
    incarnation: int
    """Start of this collector's life, milliseconds since the epoch; a restart gives a larger one."""
    sequence: int
    """0, 1, 2 ... within an incarnation and partition: a hole is a lost batch."""
    clock_ms: int
    """The collector's clock when the batch was closed; never before any `received_ms` in it."""
    messages: tuple[SipMessage, ...] = ()


Cause = Literal["caller-cancelled", "no-answer", "unreachable", "busy", "declined", "blocked"]
"""Why the callee did not get the call. `declined` and `blocked` are facts only where the policy asks for them."""

Outcome = Literal[
    "missed",
    "answered",
    "answered-elsewhere",
    "declined",
    "blocked",
    "diverted-to-voicemail",
    "secondary-suppressed",
    "suppressed",
    "not-a-user",
    "not-a-call",
    "incomplete",
]
"""What the call was for this user. Every decided (call, user) has one; only `missed` becomes a MissedCall."""

Role = Literal["primary", "secondary", "member", "transfer-target"]
"""primary: the user whom the caller called. secondary: reached by forwarding, delegation, team call or a
response group. member: a phone's owner in a ring group. transfer-target: called by way of a REFER."""

Confidence = Literal["single-leg", "high", "low"]
"""How surely the legs belong together: one Call-ID only; joined by an identifier; joined by resemblance."""


class Party(Struct, frozen=True):
    """The caller as the signalling shows him; nothing that Privacy hides (RFC 3323, RFC 3325)."""

    uri: str = ""
    """Address of record; "" if anonymous."""
    number: str = ""
    """Telephone number as signalled, visual separators removed; "" if none."""
    display_name: str = ""
    """As signalled: never to be trusted, to be cleaned before it is shown."""
    anonymous: bool = False
    source: Literal["p-asserted-identity", "remote-party-id", "from", ""] = ""
    """Which header named him; the order in which they are trusted is RFC 3325's."""


class Evidence(Struct, frozen=True, omit_defaults=True):
    """One message that made a rule fire."""

    at: float
    """POSIX seconds, capture clock."""
    src: str = ""
    dst: str = ""
    first_line: str = ""
    """Start line; a response's reads `487 INVITE`, since the phrase says nothing."""
    reason: str = ""
    """Reason (RFC 3326) and ms-diagnostics values as received, if any."""
    call_id: str = ""


class MissedCall(Struct, frozen=True, kw_only=True):
    """A call that `callee` missed: the public contract of the topic `missed-calls`.

    Readers key on (`fact_id`, `revision`). Revision 1 says `missed`; should the call turn out to have been
    taken after all, revision 2 says `retracted`.
    """

    fact_id: str
    """A function of Call-ID, callee and From-tag of the upstream-most leg: the same whatever crashed."""
    revision: int = 1
    state: Literal["missed", "retracted"] = "missed"
    call_id: str
    """Call-ID of the upstream-most leg captured (RFC 3261 s.20.8)."""
    callee: str
    """Address of record of the user who missed the call."""
    caller: Party
    cause: Cause
    detail: str = ""
    """Finer than the cause where the signalling says so: `dnd`, `unrung`, `error-503`, `voicemail-hangup`."""
    rang_at: float
    """When the call began: the first INVITE, POSIX seconds, capture clock."""
    ring_s: float = 0.0
    """Seconds from the first ringing response to the end of ringing; 0 if no phone rang."""
    ended_at: float
    """When the attempt ended, POSIX seconds, capture clock."""
    role: Role = "primary"
    diverted_via: tuple[str, ...] = ()
    """Further targets the call went to, in order, as addresses of record."""
    devices_rung: int = 0
    also_rang: tuple[str, ...] = ()
    """Other users whose phones rang for this call."""
    rule: str
    """The row of the rule table that decided."""
    confidence: Confidence = "single-leg"
    blind_window: bool = False
    """Captured messages are known to be lost around this call."""
    suppressed: str = ""
    """Why no notice is due although the call was missed (`notified-by-exchange`, `unrung`, ...); "" if one is."""
    urgent: bool = False
    """A callback after an emergency call (RFC 7090): never filtered."""
    decided_at: float
    """The collector's clock at the decision, POSIX seconds: a function of the log, not of our clock."""
    policy: str = ""
    """Hash of the configuration that decided."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What one call was for one user, missed or not, and why."""

    call_id: str
    callee: str
    outcome: Outcome
    cause: Cause | Literal[""] = ""
    """Only with `missed`."""
    rule: str
    detail: str = ""
    role: Role = "primary"
    fact_id: str = ""
    """Of the MissedCall that goes with it; "" if there is none."""
    revision: int = 1
    caller: Party = Party()
    rang_at: float = 0.0
    ring_s: float = 0.0
    ended_at: float = 0.0
    confidence: Confidence = "single-leg"
    suppressed: str = ""
    evidence: tuple[Evidence, ...] = ()
    near: tuple[str, ...] = ()
    """Rules below the one that fired whose condition held as well."""
    decided_at: float = 0.0
    policy: str = ""


class Person(Struct, frozen=True, kw_only=True):
    """What the directory knows of one user: the topic `directory`. An empty value deletes the record."""

    addresses: tuple[str, ...]
    """Addresses of record, at least one, all of this person; the first is the record's key."""
    name: str = ""
    """As colleagues know the person. Shown as trustworthy: not to be copied from the signalling."""
    mailbox: str = ""
    """Mail address that notices go to; Exchange wants the primary one. "": as if the directory did not say."""
    numbers: tuple[str, ...] = ()
    """Telephone numbers, best in international form: `+49 30 2312 5001`."""
    extension: str = ""
    """Internal short number: `613`."""
    locale: str = ""
    """Language of notices, BCP 47: `de`, `de-AT`; "": the installation's."""
    time_zone: str = ""
    """Of the times in notices, an IANA name: `Europe/Berlin`; "": the installation's."""
    channels: tuple[str, ...] = ()
    """Channels that reach this mailbox (`smtp`, `ews`, `graph`); empty: all that are on."""
    groups: tuple[str, ...] = ()
    """Groups whose preferences hold for the person; the first one counts most."""


class Preferences(Struct, frozen=True, kw_only=True):
    """What one user has chosen: the topic `preferences`, whose key is one of the user's addresses of record.

    A field left out is not chosen: the group's choice holds, then the installation's.
    """

    notices: bool | UnsetType = UNSET
    """Whether the user wants notices at all."""
    channels: tuple[str, ...] | UnsetType = UNSET
    """Channels that the user wants; empty: all."""
    quiet_hours: str | UnsetType = UNSET
    """When notices wait, in the user's time zone: `22:00-07:00`; "": never."""
    quiet_days: tuple[str, ...] | UnsetType = UNSET
    """Days on which they wait from midnight to midnight: `sat`, `sun`."""
    min_ring_s: float | UnsetType = UNSET
    """Calls whose caller gave up before the phones had rung for so many seconds bring no notice; 0: all do."""
    anonymous: bool | UnsetType = UNSET
    """Whether calls of anonymous callers bring a notice."""
    internal: bool | UnsetType = UNSET
    """Whether calls of people in the directory bring a notice."""
    repeats_s: float | UnsetType = UNSET
    """Calls of one caller within so many seconds are one notice, which each further call brings up to date; 0: each
    is one of its own."""
