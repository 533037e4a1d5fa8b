"""A random call on stage: what each box sends for a plan, and who has missed it.

Rule 1: what a shape cannot have is replaced by the nearest that it can (`_INSTEAD`).
Rule 2: an ending is a method of its own, named like it; it begins when ringing ends.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from support.ladder_capture import Capture
from support.ladder_sip import Network
from support.ladder_state import Sent
from support.ladder_talk import along

from missedcall_schemas.records import SipMessage

Shape = Literal["direct", "proxy", "sbc-and-proxy", "b2bua", "ring-group"]
"""Who stands between the caller and the phones. `ring-group`: a B2BUA that rings one phone each of several
people; all its legs carry the caller's Call-ID as HEP correlation id, as a configured agent sends it."""

Ending = Literal[
    "answered",
    "caller-cancels",
    "server-gives-up",
    "phone-gives-up",
    "busy",
    "declined",
    "offline",
    "answer-crosses-cancel",
    "cancel-crosses-answer",
    "forwarded-answered",
    "forwarded-cancelled",
    "voicemail-message",
    "voicemail-hang-up",
    "silent",
    "one-busy-then-cancelled",
    "serial-answered",
    "picked-up",
    "transferred-and-missed",
    "team-answered",
    "team-cancelled",
]
"""`answer-crosses-cancel`: 200 and CANCEL cross and the caller stays; `cancel-crosses-answer`: she hangs up.
`silent`: no phone reacts. `serial-answered`: the first phone rings out, the next one is tried and answers.
`picked-up`: carol takes the call with Replaces. `team-*`: carol's phone rings along (Lync team call)."""

SHAPES: tuple[Shape, ...] = get_args(Shape)
ENDINGS: tuple[Ending, ...] = get_args(Ending)

PEOPLE = ("alice", "bob", "carol", "dave", "erin")
_MISSED: dict[str, str] = {
    "caller-cancels": "caller-cancelled",
    "server-gives-up": "no-answer",
    "phone-gives-up": "no-answer",
    "busy": "busy",
    "offline": "unreachable",
    "cancel-crosses-answer": "caller-cancelled",
    "forwarded-cancelled": "caller-cancelled",
    "voicemail-hang-up": "caller-cancelled",
    "silent": "unreachable",
    "one-busy-then-cancelled": "caller-cancelled",
    "transferred-and-missed": "caller-cancelled",
    "team-cancelled": "caller-cancelled",
}
"""Endings that somebody has missed, and the cause."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens in one call. Durations are seconds."""

    shape: Shape = "proxy"
    ending: Ending = "answered"
    phones: int = 1
    """Of P; people in a ring group."""
    winner: int = 0
    """Which phone answers, declines or redirects."""
    challenged: bool = False
    ring_s: float = 5.0
    talk_s: float = 30.0
    reason: bool = True
    """Losers' CANCEL says that the call was completed elsewhere."""
    retransmits: bool = False
    early_media: bool = False
    """183 before 180."""


@dataclass(slots=True)
class Call:
    """A played plan."""

    plan: Plan
    network: Network
    sent: list[Sent]
    due: dict[str, str] = field(default_factory=dict)
    """Address of record -> cause: exactly these are told."""
    callees: frozenset[str] = frozenset()
    """Everybody about whom a verdict makes sense."""

    def messages(self, capture: Capture | None = None) -> list[SipMessage]:
        """Return what a capture shows of the call, in order of receipt."""
        return (capture or Capture()).messages(self.network, ((sent, 0.0) for sent in self.sent))


_INSTEAD: dict[Shape, dict[Ending, Ending]] = {
    # without a server nobody forks, gives up for the phone, diverts or picks up
    "direct": {
        "server-gives-up": "phone-gives-up",
        "offline": "busy",
        "voicemail-message": "answered",
        "voicemail-hang-up": "caller-cancels",
        "one-busy-then-cancelled": "caller-cancels",
        "serial-answered": "answered",
        "team-answered": "answered",
        "team-cancelled": "caller-cancels",
    },
    # a B2BUA answers, cancels and diverts on its own side
    "b2bua": {
        "forwarded-answered": "answered",
        "forwarded-cancelled": "caller-cancels",
        "answer-crosses-cancel": "answered",
        "cancel-crosses-answer": "caller-cancels",
        "serial-answered": "answered",
        "picked-up": "answered",
        "transferred-and-missed": "answered",
        "team-answered": "answered",
        "team-cancelled": "caller-cancels",
    },
    "ring-group": {
        "offline": "server-gives-up",
        "busy": "server-gives-up",
        "declined": "server-gives-up",
        "phone-gives-up": "server-gives-up",
        "one-busy-then-cancelled": "caller-cancels",
    },
}
_INSTEAD["ring-group"] = _INSTEAD["b2bua"] | _INSTEAD["ring-group"]


def _possible(plan: Plan) -> Plan:
    """Return the plan without what its shape cannot have."""
    ending = _INSTEAD.get(plan.shape, {}).get(plan.ending, plan.ending)
    phones = 1 if plan.shape == "direct" else plan.phones
    if plan.shape == "ring-group" or ending in ("one-busy-then-cancelled", "serial-answered"):
        phones = max(phones, 2)
    challenged = plan.challenged and plan.shape != "direct"
    return replace(plan, ending=ending, phones=phones, challenged=challenged, winner=plan.winner % phones)


_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


class _Stage:
    """One call in the making."""

    def __init__(self, plan: Plan, index: int, start: float, seed: str, mark: str) -> None:
        self.plan = plan
        self.start = start
        self.network = Network(f"{seed}-{index}")
        self.network.net = 1 + index % 200
        self.network.mark = mark
        number = mark or str(index)
        self.network.users = {name: f"sip:{name}{number}@example.com" for name in PEOPLE}
        self.sent: list[Sent] = []
        self.group = plan.shape == "ring-group"
        if self.group:
            self.phones = list(PEOPLE[1 : 1 + plan.phones])
            self.network.users["group"] = f"sip:600{number}@example.com"
        else:
            self.phones = [f"bob.{number + 1}" for number in range(plan.phones)]
        self.callee = "group" if self.group else "bob"
        self.separate = plan.shape in ("b2bua", "ring-group")
        self.above: tuple[str, ...] = {
            "direct": (),
            "proxy": ("proxy",),
            "sbc-and-proxy": ("sbc", "proxy"),
            "b2bua": ("pbx",),
            "ring-group": ("pbx",),
        }[plan.shape]

    def play(self) -> Call:
        plan = self.plan
        self._invite()
        if plan.ending == "offline":
            self._up(0.05, "480", ())
            end = 0.1
        else:
            end = self._ring()
            _ENDINGS[plan.ending](self, end)
        self.sent.sort(key=lambda sent: sent.at)
        aor = self.network.aor
        missing = "carol" if plan.ending == "transferred-and-missed" else self.callee
        due = {aor(missing): _MISSED[plan.ending]} if plan.ending in _MISSED else {}
        people = {aor(self.callee), aor("carol"), *(aor(phone.partition(".")[0]) for phone in self.phones)}
        return Call(plan, self.network, self.sent, due, frozenset(people))

    def say(self, at: float, hops: tuple[str, ...], what: str, **more: object) -> None:
        """Put a message on its way, `at` seconds after the call began."""
        made = list(along(self.network, self.start + at, hops, what, **more))
        for sent in made:
            if self.separate and sent.leg.name != "a":
                sent.leg.correlation_id = self.network.call_id("a")
        self.sent += made
        if self.plan.retransmits and what in ("INVITE", "CANCEL", "200") and "leg" not in more:
            # UDP: half a second later the sender has still heard nothing (RFC 3261 s.17.1.1.2)
            again = along(self.network, self.start + at + 0.5, hops[:2], what, again=True)
            self.sent += list(again)

    # -- pieces ---------------------------------------------------------------------------------------

    def _invite(self) -> None:
        first = ("alice", *self.above, *(self.phones[:1] if not self.above else ()))
        if self.plan.challenged:
            self.say(0.0, first[:2], "INVITE", target=self.callee)
            self.say(0.01, first[1::-1], "407")
            self.say(0.02, first, "INVITE")
        else:
            self.say(0.0, first, "INVITE", target=self.callee)
        if self.plan.ending == "offline" or not self.above:
            return
        tried = self.phones[:1] if self.plan.ending == "serial-answered" else self.phones
        for number, phone in enumerate(tried):
            more = {"leg": f"b{number}", "target": phone.partition(".")[0]} if self.separate else {}
            self.say(0.05 + number / 1000, (self.above[-1], phone), "INVITE", **more)

    def _ring(self) -> float:
        """Let the phones ring; return when that ends."""
        if self.plan.ending in ("busy", "silent"):
            return 0.3
        for number, phone in enumerate(self.phones):
            if number == 0 and self.plan.ending == "one-busy-then-cancelled":
                continue
            if number > 0 and self.plan.ending == "serial-answered":
                break
            if self.plan.early_media and number == 0:
                self._up(0.15, "183", (phone,))
            self._up(0.2 + number * 0.07, "180", (phone,))
        return 0.3 + self.plan.ring_s

    def _up(self, at: float, status: str, phone: tuple[str, ...]) -> None:
        """A response from a phone, or from the last server, to the caller."""
        path = (*phone, *reversed(self.above), "alice")
        if self.separate and phone:
            self.say(at, path[:2], status)
            self.say(at + 0.005, path[1:], status)
        else:
            self.say(at, path, status)

    def _down(self, at: float, what: str, phone: str, **more: object) -> None:
        """A request of the caller to a phone, over all hops."""
        path = ("alice", *self.above, phone)
        if self.separate:
            self.say(at, path[:2], what, leg="a", **more)
            self.say(at + 0.005, path[1:], what, leg=f"b{self.phones.index(phone)}", **more)
        else:
            self.say(at, path, what, **more)

    def _stop(self, at: float, phones: Iterable[str], reason: str = "") -> None:
        """The last server cancels these phones, which say 487 to it."""
        for number, phone in enumerate(phones):
            headers = (("Reason", reason),) if reason and self.plan.reason else ()
            self.say(at + number / 1000, (self.above[-1], phone), "CANCEL", headers=headers)
            self.say(at + 0.02 + number / 1000, (phone, self.above[-1]), "487")

    def _talk(self, at: float, phone: str) -> None:
        self._down(at + 0.03, "ACK", phone)
        self._down(at + self.plan.talk_s, "BYE", phone)
        self.say(at + self.plan.talk_s + 0.03, (phone, *reversed(self.above), "alice")[:2], "200 BYE")

    def _team(self) -> None:
        """carol's phone rings along, as Lync says it."""
        bob, carol = self.network.aor("bob"), self.network.aor("carol")
        headers = (
            ("history-info", f"<{bob}>;index=1;ms-retarget-reason=team-call,<{carol}>;index=1.1"),
            ("Referred-By", f"<{bob}>"),
        )
        self.say(0.25, (self.above[-1], "carol"), "INVITE", headers=headers)
        self.say(0.3, ("carol", self.above[-1]), "180")

    # -- endings --------------------------------------------------------------------------------------

    def answered(self, at: float) -> None:
        winner = self.phones[self.plan.winner]
        self._up(at, "200", (winner,))
        if self.above:
            self._stop(at + 0.01, (each for each in self.phones if each != winner), _ELSEWHERE)
        self._talk(at, winner)

    def caller_cancels(self, at: float) -> None:
        if not self.above:
            self.say(at, ("alice", self.phones[0]), "CANCEL")
            self.say(at + 0.02, (self.phones[0], "alice"), "487")
            return
        self.say(at, ("alice", *self.above), "CANCEL")
        self._stop(at + 0.01, self.phones)
        self._up(at + 0.05, "487", ())

    def server_gives_up(self, at: float) -> None:
        self._stop(at, self.phones)
        self._up(at + 0.05, "408", ())

    def phone_gives_up(self, at: float) -> None:
        for number, phone in enumerate(self.phones[1:]):
            self.say(at - 0.1 + number / 1000, (phone, self.above[-1]), "480")
        self._up(at, "480", self.phones[:1] and (self.phones[0],))

    def busy(self, at: float) -> None:
        del at
        for number, phone in enumerate(self.phones[1:]):
            self.say(0.1 + number / 1000, (phone, self.above[-1]), "486")
        self._up(0.15, "486", (self.phones[0],))

    def declined(self, at: float) -> None:
        decliner = self.phones[self.plan.winner]
        others = [each for each in self.phones if each != decliner]
        if others:
            self.say(at, (decliner, self.above[-1]), "603")
            self._stop(at + 0.005, others, 'SIP;cause=603;text="Decline"')
            self._up(at + 0.04, "603", ())
        else:
            self._up(at, "603", (decliner,))

    def answer_crosses_cancel(self, at: float) -> None:
        self._crossing(at)
        self.say(at + self.plan.talk_s, ("alice", *self.above, self.phones[self.plan.winner]), "BYE")

    def cancel_crosses_answer(self, at: float) -> None:
        self._crossing(at)
        self.say(at + 0.12, ("alice", *self.above, self.phones[self.plan.winner]), "BYE")

    def _crossing(self, at: float) -> None:
        winner = self.phones[self.plan.winner]
        self.say(at, ("alice", *self.above, *(() if self.above else (winner,))), "CANCEL")
        self.say(at + 0.002, (winner, *reversed(self.above), "alice"), "200")
        if self.above:
            self._stop(at + 0.02, (each for each in self.phones if each != winner), _ELSEWHERE)
        self.say(at + 0.1, ("alice", *self.above, winner), "ACK")

    def _forward(self, at: float) -> float:
        """The first phone redirects to carol, the caller's phone follows; return when carol has rung."""
        redirecting = self.phones[0]
        contact = (("Contact", f"<{self.network.aor('carol')}>"),)
        if len(self.phones) > 1:
            self.say(at, (redirecting, self.above[-1]), "302", headers=contact)
            self._stop(at + 0.005, self.phones[1:])
        self._up(at + 0.04, "302", (redirecting,)) if len(self.phones) == 1 else self.say(
            at + 0.04, (*reversed(self.above), "alice"), "302"
        )
        path = ("alice", *self.above, "carol")
        self.say(at + 0.1, path, "INVITE", target="carol")
        self.say(at + 0.3, path[::-1], "180")
        return at + 0.3 + self.plan.ring_s

    def forwarded_answered(self, at: float) -> None:
        end = self._forward(at)
        path = ("alice", *self.above, "carol")
        self.say(end, path[::-1], "200")
        self.say(end + 0.03, path, "ACK")
        self.say(end + self.plan.talk_s, path, "BYE")

    def forwarded_cancelled(self, at: float) -> None:
        end = self._forward(at)
        path = ("alice", *self.above, "carol")
        self.say(end, path, "CANCEL")
        self.say(end + 0.03, path[::-1], "487")

    def _voicemail(self, at: float) -> float:
        self._stop(at, self.phones)
        user = self.network.aor(self.callee).partition(":")[2].replace("@", "%40")
        target = f"sip:vm@example.com;target=sip:{user};cause=408"
        more = {"leg": "v"} if self.separate else {}
        self.say(at + 0.05, (self.above[-1], "vm"), "INVITE", target=target, **more)
        path = ("vm", *reversed(self.above), "alice")
        if self.separate:
            self.say(at + 0.1, path[:2], "200")
            self.say(at + 0.105, path[1:], "200")
            self.say(at + 0.11, path[1::-1], "ACK", leg="v")
            self.say(at + 0.12, path[:0:-1], "ACK", leg="a")
        else:
            self.say(at + 0.1, path, "200")
            self.say(at + 0.13, path[::-1], "ACK")
        return at + 0.1

    def _leave_voicemail(self, at: float) -> None:
        path = ("alice", *self.above, "vm")
        if self.separate:
            self.say(at, path[:2], "BYE", leg="a")
            self.say(at + 0.01, path[1:], "BYE", leg="v")
        else:
            self.say(at, path, "BYE")

    def voicemail_message(self, at: float) -> None:
        self._leave_voicemail(self._voicemail(at) + 14.0 + self.plan.talk_s)

    def voicemail_hang_up(self, at: float) -> None:
        self._leave_voicemail(self._voicemail(at) + 3.0)

    def silent(self, at: float) -> None:
        del at
        last = self.above[-1] if self.above else "alice"
        for number, phone in enumerate(self.phones):
            for wait in (0.5, 1.5, 3.5, 7.5, 15.5, 31.5):  # T1 doubling (RFC 3261 s.17.1.1.2)
                self.say(0.05 + number / 1000 + wait, (last, phone), "INVITE", again=True)
        if self.above:
            self._up(32.1, "408", ())

    def one_busy_then_cancelled(self, at: float) -> None:
        self.say(0.1, (self.phones[0], self.above[-1]), "486")
        self.say(at, ("alice", *self.above), "CANCEL")
        self._stop(at + 0.01, self.phones[1:])
        self._up(at + 0.05, "487", ())

    def serial_answered(self, at: float) -> None:
        self._stop(at, self.phones[:1])
        second = self.phones[1]
        self.say(at + 0.05, (self.above[-1], second), "INVITE")
        self._up(at + 0.2, "180", (second,))
        self._up(at + 2.0, "200", (second,))
        self._talk(at + 2.0, second)

    def picked_up(self, at: float) -> None:
        network = self.network
        early = self.phones[0]
        value = (
            f"{network.call_id('a')};to-tag={network.tag(early)};from-tag={network.tag('alice')};early-only"
        )
        path = ("carol", *reversed(self.above), "alice")
        self.say(at, path, "INVITE", leg="p", target="alice", headers=(("Replaces", value),))
        self.say(at + 0.05, path[::-1], "200", leg="p")
        self.say(at + 0.08, path, "ACK", leg="p")
        if self.above:
            self.say(at + 0.09, ("alice", *self.above), "CANCEL", leg="a")
            self._stop(at + 0.1, self.phones)
            self._up(at + 0.15, "487", ())
        else:
            self.say(at + 0.09, ("alice", early), "CANCEL", leg="a")
            self.say(at + 0.12, (early, "alice"), "487", leg="a")
        self.say(at + self.plan.talk_s, path, "BYE", leg="p")

    def transferred_and_missed(self, at: float) -> None:
        winner = self.phones[self.plan.winner]
        self._up(at, "200", (winner,))
        if self.above:
            self._stop(at + 0.01, (each for each in self.phones if each != winner), _ELSEWHERE)
        self._down(at + 0.03, "ACK", winner)
        back = (winner, *reversed(self.above), "alice")
        who = (("Referred-By", f"<{self.network.aor('bob')}>"),)
        refer = (*who, ("Refer-To", f"<{self.network.aor('carol')}>"))
        self.say(at + 2.0, back, "REFER", headers=refer)
        self.say(at + 2.05, back[::-1], "202 REFER")
        on = ("alice", *self.above, "carol")
        self.say(at + 2.1, on, "INVITE", leg="t", target="carol", headers=who)
        self.say(at + 2.3, on[::-1], "180", leg="t")
        self.say(at + 2.5, back, "BYE", leg="a")
        self.say(at + 2.3 + self.plan.ring_s, on, "CANCEL", leg="t")
        self.say(at + 2.35 + self.plan.ring_s, on[::-1], "487", leg="t")

    def team_answered(self, at: float) -> None:
        self._team()
        self._up(at, "200", ("carol",))
        self._stop(at + 0.01, self.phones, _ELSEWHERE)
        self._talk(at, "carol")

    def team_cancelled(self, at: float) -> None:
        self._team()
        self.say(at, ("alice", *self.above), "CANCEL")
        self._stop(at + 0.01, (*self.phones, "carol"))
        self._up(at + 0.05, "487", ())


_ENDINGS: dict[str, Callable[[_Stage, float], None]] = {
    ending: getattr(_Stage, ending.replace("-", "_")) for ending in ENDINGS if ending != "offline"
}


def play(plan: Plan, *, index: int = 0, start: float = 0.0, seed: str = "scenario", mark: str = "") -> Call:
    """Return the call: the same arguments give the same bytes.

    Args:
        plan: what happens; what its shape cannot have is replaced by the nearest that it can.
        index: tells calls of one seed apart: other people, tags, branches, Call-IDs.
        start: second at which it begins.
        seed: tells runs apart.
        mark: ends every token and user name, to be replaced by something unique (see `load`).
    """
    return _Stage(_possible(plan), index, start, seed, mark).play()
