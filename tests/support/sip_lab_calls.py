"""The lab's phones and calls, and what each call has to become.

Rule 1: a call's name is the called user's name, so that one name leads from here to the capture, to
        Kamailio's rows and to the fact.
Rule 2: `fate` is what happened to the called user. Nobody else may miss a call: no deputy, no member of a
        group, no caller, nobody who made noise.
Rule 3: two branches of one call never end at one phone: SIPp knows a call by its Call-ID alone.
"""

from dataclasses import dataclass

DOMAIN = "lab.example"


@dataclass(frozen=True, slots=True)
class Phone:
    """A SIPp process that takes calls at its own address."""

    host: int
    """Last octet of its address in the lab's network."""
    script: str
    ring_ms: int = 0
    transport: str = "u1"


RINGS, RINGS_B, RINGS_C, ANSWERS, BUSY, NOBODY, VOICEMAIL = 11, 12, 13, 14, 15, 16, 17
DECLINES, GIVES_UP, TCP_RINGS, REDIRECTS, CROSSES, REINVITES, READS = 18, 19, 20, 21, 22, 23, 24
# NOBODY stands for a phone that has lost its network: an address where nothing listens.

PHONES = (
    Phone(RINGS, "phone_rings"),
    Phone(RINGS_B, "phone_rings"),
    Phone(RINGS_C, "phone_rings"),
    Phone(ANSWERS, "phone_answers"),
    Phone(BUSY, "phone_is_busy"),
    Phone(VOICEMAIL, "voicemail"),
    Phone(DECLINES, "phone_declines", ring_ms=1500),
    Phone(GIVES_UP, "phone_gives_up", ring_ms=3000),
    Phone(TCP_RINGS, "phone_rings", transport="t1"),
    Phone(REDIRECTS, "phone_redirects"),
    Phone(CROSSES, "phone_crosses"),
    Phone(REINVITES, "phone_reinvites"),
    Phone(READS, "phone_reads"),
)


@dataclass(frozen=True, slots=True)
class Softphone:
    """A baresip process with one account, registered with a password."""

    user: str
    host: int
    on_call: str = ""
    """Command given 1.5 s after a call came in: `accept`, `hangup` or none."""


SOFTPHONES = (
    Softphone("phone-cancelled", 51),
    Softphone("phone-rejects", 52, on_call="hangup"),
    Softphone("phone-unattended", 53),
    Softphone("phone-answers", 54, on_call="accept"),
    Softphone("phone-and-desk", 55, on_call="accept"),
    Softphone("phone-caller", 56),
)

Fate = tuple[str, str]
"""Outcome and cause; the cause is "" unless missed."""

ANSWERED: Fate = ("answered", "")
ELSEWHERE: Fate = ("answered-elsewhere", "")
CANCELLED: Fate = ("missed", "caller-cancelled")
NO_ANSWER: Fate = ("missed", "no-answer")
UNREACHABLE: Fate = ("missed", "unreachable")
WAS_BUSY: Fate = ("missed", "busy")
DECLINED: Fate = ("declined", "")
MESSAGE_LEFT: Fate = ("diverted-to-voicemail", "")
NO_CALL: Fate = ("not-a-call", "")
NO_USER: Fate = ("not-a-user", "")


@dataclass(frozen=True, slots=True)
class Call:
    """One call, who plays it and what has to be decided about it."""

    callee: str
    what: str
    script: str
    fate: Fate
    phones: tuple[str, ...] = ()
    """Where the callee is registered: `host` or `host;q=0.5`, `tcp` hosts by their number too."""
    deputies: tuple[tuple[str, str], ...] = ()
    """Further users and the one host each is registered at."""
    caller: str = ""
    """User part; `caller-<callee>` unless the proxy has to challenge him."""
    talk_ms: int = 1500
    transport: str = "u1"
    seen_as: Fate | None = None
    """What the signalling lets one decide, where that is not what happened."""

    @property
    def decided(self) -> Fate:
        """What has to be decided."""
        return self.seen_as or self.fate


def at(*hosts: int) -> tuple[str, ...]:
    """All phones at once: contacts of equal priority."""
    return tuple(str(host) for host in hosts)


def one_after_the_other(*hosts: int) -> tuple[str, ...]:
    """Contacts of falling priority, which the proxy tries serially (RFC 3261 s.16.6)."""
    return tuple(f"{host};q={1 - n * 0.3:.1f}" for n, host in enumerate(hosts))


# fmt: off
CALLS = (
    # The caller gives up.
    Call("cancel-one", "one phone rings, the caller cancels", "caller_cancels", CANCELLED, at(RINGS)),
    Call("cancel-three", "three phones ring, the caller cancels", "caller_cancels", CANCELLED,
         at(RINGS, RINGS_B, RINGS_C)),
    Call("crossing", "the 200 crosses the caller's CANCEL, he hangs up at once", "caller_crosses", CANCELLED,
         at(CROSSES)),
    Call("tcp-caller", "caller on TCP, phone on UDP, the caller cancels", "caller_cancels", CANCELLED,
         at(RINGS), transport="t1"),
    Call("tcp-phone", "caller on UDP, phone on TCP, the caller cancels", "caller_cancels", CANCELLED,
         at(TCP_RINGS)),
    Call("digest-cancel", "challenged (407), tried again, rings, the caller cancels",
         "caller_proves_and_cancels", CANCELLED, at(RINGS), caller="digest-good"),
    Call("digest-left", "challenged (407), never tried again", "caller_is_challenged", NO_CALL, at(RINGS),
         caller="digest-bad"),

    # Nobody takes it, and the network says so.
    Call("timeout", "rings until the proxy's timer ends it (408)", "caller_waits", NO_ANSWER, at(RINGS)),
    Call("self-timeout", "the phone's own timer ends it (180, then 480)", "caller_waits", NO_ANSWER,
         at(GIVES_UP)),
    Call("serial-unanswered", "two phones one after the other, none answers", "caller_waits", NO_ANSWER,
         one_after_the_other(RINGS, RINGS_B)),
    Call("offline", "registered nowhere (480)", "caller_waits", UNREACHABLE),
    Call("dead-phone", "registered, but the phone is gone (408 without ringing)", "caller_waits",
         UNREACHABLE, at(NOBODY)),
    Call("nobody", "no such user (404)", "caller_waits", NO_USER),
    Call("busy", "the only phone is busy (486)", "caller_waits", WAS_BUSY, at(BUSY)),
    Call("busy-of-two", "one phone busy, the other rings, the caller cancels", "caller_cancels", CANCELLED,
         at(BUSY, RINGS)),

    # Somebody decides.
    Call("declined", "declined on the phone (603)", "caller_waits", DECLINED, at(DECLINES)),
    Call("declined-of-two", "declined on one phone while the other rings", "caller_waits", DECLINED,
         at(DECLINES, RINGS)),
    Call("answered", "one phone, answered", "caller_talks", ANSWERED, at(ANSWERS)),
    Call("second-answers", "two phones ring, the second answers", "caller_talks", ANSWERED,
         at(RINGS, ANSWERS)),
    Call("serial-answered", "the first phone is not answered, the next is", "caller_talks", ANSWERED,
         one_after_the_other(RINGS, ANSWERS)),
    Call("reinvited", "answered, then a re-INVITE from the called side", "caller_is_reinvited", ANSWERED,
         at(REINVITES)),

    # Forwarding. The primary is told at most once, the deputy never.
    Call("always-answered", "forwarded always (History-Info), answered", "caller_talks", ELSEWHERE,
         at(RINGS), (("always-deputy-a", "14"),)),
    Call("always-cancelled", "forwarded always (History-Info), rings there, the caller cancels",
         "caller_cancels", CANCELLED, at(RINGS), (("always-deputy-b", "12"),)),
    Call("noanswer-answered", "forwarded on no answer (Diversion), answered", "caller_talks", ELSEWHERE,
         at(RINGS), (("noanswer-deputy-a", "14"),)),
    Call("noanswer-unanswered", "forwarded on no answer (Diversion), not answered there either",
         "caller_waits", NO_ANSWER, at(RINGS), (("noanswer-deputy-b", "12"),)),
    Call("busy-answered", "forwarded on busy (Diversion), answered", "caller_talks", ELSEWHERE,
         at(BUSY), (("busy-deputy", "14"),)),
    Call("bare-answered", "forwarded on no answer without any header saying so, answered", "caller_talks",
         ELSEWHERE, at(RINGS), (("bare-deputy", "14"),), seen_as=ANSWERED),
    Call("spiral-unanswered", "forwarded through the proxy once more, not answered", "caller_waits",
         NO_ANSWER, at(RINGS), (("spiral-deputy", "12"),)),
    Call("follow-answered", "the phone redirects (302), the proxy follows, answered", "caller_talks",
         ELSEWHERE, at(REDIRECTS), (("follow-answered-deputy", "14"),)),
    Call("follow-unanswered", "the phone redirects (302), the proxy follows, not answered", "caller_waits",
         NO_ANSWER, at(REDIRECTS), (("follow-unanswered-deputy", "12"),)),
    Call("redirected", "the phone redirects (302), the caller follows himself, answered",
         "caller_follows_and_talks", ELSEWHERE, at(REDIRECTS), (("redirected-deputy", "14"),)),

    # Voicemail.
    Call("vm-greeting", "not answered, voicemail picks up, the caller hangs up in the greeting",
         "caller_talks", CANCELLED, at(RINGS)),
    Call("vm-message", "not answered, voicemail picks up, the caller leaves a message", "caller_talks",
         MESSAGE_LEFT, at(RINGS), talk_ms=11500),
    Call("vm-busy", "busy, voicemail known by its Contact only, hung up in the greeting", "caller_talks",
         CANCELLED, at(BUSY)),
    Call("vm-offline", "offline, voicemail picks up, hung up in the greeting", "caller_talks", CANCELLED),

    # Groups: the group misses the call, its members do not.
    Call("hunt", "a group of two rings, the caller cancels", "caller_cancels", CANCELLED,
         deputies=(("hunt-one", "11"), ("hunt-two", "12"))),
    Call("hunt-taken", "a group of two rings, one answers", "caller_talks", ANSWERED,
         deputies=(("hunt-three", "13"), ("hunt-four", "14"))),

    # Real user agents (baresip); the registrations are theirs.
    Call("phone-cancelled", "baresip rings, the caller cancels", "caller_cancels", CANCELLED),
    Call("phone-rejects", "baresip's user rejects, baresip says 486", "caller_waits", DECLINED, seen_as=WAS_BUSY),
    Call("phone-unattended", "baresip rings until the proxy's timer ends it", "caller_waits", NO_ANSWER),
    Call("phone-answers", "baresip's user answers", "caller_talks", ANSWERED),
    Call("phone-and-desk", "baresip and a desk phone ring, baresip answers", "caller_talks", ANSWERED,
         at(RINGS)),
    Call("called-by-phone", "baresip calls (digest), its user gives up", "softphone", CANCELLED, at(RINGS),
         caller="phone-caller"),
)
# fmt: on
