"""Ladders: a call as text, one message per line, expanded to complete captured SIP.

    # row 03: the caller gives up while one phone rings
    0.000  alice>proxy>bob.1   INVITE bob
    0.200  bob.1>proxy>alice   180
    9.400  alice>proxy>bob.1   CANCEL
    9.420  bob.1>proxy>alice   487
    => bob  missed  caller-cancelled  rang_at=0 ring_s=9.2

Messages
    Seconds, hops, message, then what is not the default. Seconds count from the beginning (`+0.2`: from
    the line before). Hops are `a>b>c`, 5 ms each. A name that is a person is a phone (`bob`, `bob.2`: his
    second device); any other name is a server. `b:pbx>carol INVITE carol` opens leg b with a Call-ID of
    its own; later lines find their leg by their hop. `pbx>proxy/2` tells transactions apart that run
    between the same boxes at once.
    A message is a method, `re-INVITE`, or a status with the method it answers (`200 BYE`; alone: INVITE).
    The word after a request is its target. Options: from= to= media= dialog= late=SECONDS. Flags: `again`
    (the same bytes once more), `lost` (sent, not captured), `alone` (nothing filled in).
    Headers follow a `|`, one after each, or stand indented on the next lines, as `Name: value`; `+Name`
    adds to those that the message inherits; an empty value drops one; `~` folds the line. `Phrase:` is the
    reason phrase, `Body:` a body.
    {call-id:b} {tag:bob.1} {tag:b/bob.1} {aor:bob} {contact:bob.1} {ip:proxy} stand for what was made.

Filled in: 100 from a server that gets an INVITE, 200 for a CANCEL, ACK for a final above 299.

Settings (before the first message)
    policy name=value ...       a field of Policy; collections are comma-separated (`policy users=bob,carol`)
    domain contoso.com          host of the addresses of record
    style lync|rfc2543          how headers look
    user bob sip:+493012@x.org  another address of record
    contact bob.2 sip:k3j@10.1.2.2:5060   another contact than user@ip
    transport tcp [a>b]         everywhere, or on one hop
    leg b call-id=... hep=...   a Call-ID or HEP correlation id of its own
    capture all|twice|BOX ...   each message once (default); at both ends, clocks apart; as these boxes see it
    clock BOX +0.030            how wrong the box's clock is

Expectations
    => CALLEE OUTCOME [CAUSE] [key=value ...]      a verdict, and with `missed` the fact that goes with it
    => CALLEE OUTCOME state=retracted              a later verdict that takes the fact back
    => none                                        no verdict
    => ...                                         more verdicts may come, as long as none is a fact
    OUTCOME and CAUSE may be `one|other` where operators do not care; a value of `*` is anything but empty.
    Exactly these verdicts are due, in any order between callees, in this order for one callee.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_type_hints

from support.ladder_capture import Capture
from support.ladder_expect import Expectation, expectation
from support.ladder_sip import Network
from support.ladder_state import LadderError, Sent
from support.ladder_talk import along
from support.ladder_wire import Headers

from missedcall_classifier.policy import Policy
from missedcall_schemas.records import SipMessage

_LINE = re.compile(
    r"(?P<at>[+]?\d+(?:\.\d*)?)\s+(?:(?P<leg>[\w-]+):)?(?P<hops>[^\s>]+(?:>[^\s>]+)+)\s+(?P<rest>.+)"
)
_PLACE = re.compile(r"\{(call-id|tag|aor|contact|ip):([^{}]*)\}")
_OPTIONS = {"from", "to", "media", "dialog", "late"}
_FIELDS = {"from": "from_"}
_FLAGS = {"again", "lost", "alone"}


@dataclass(slots=True)
class Line:
    """One line of messages."""

    number: int
    at: float
    leg: str
    hops: tuple[str, ...]
    what: str
    target: str = ""
    options: dict[str, str] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Trace:
    """A parsed ladder."""

    name: str
    claim: str
    policy: Policy
    network: Network
    capture: Capture
    expected: list[Expectation]
    open_ended: bool
    sent: list[tuple[Sent, float]]
    """Each captured message and how much later than the others it reaches the collector, seconds."""

    def messages(self) -> list[SipMessage]:
        """Return the captured messages in the order in which the collector received them."""
        return self.capture.messages(self.network, self.sent)

    def aor(self, name: str) -> str:
        """Return an address of record as verdicts write it: no parameters, no port."""
        return address_of_record(self.network.aor(name))


def address_of_record(uri: str) -> str:
    """Return `sip:user@host` without parameters and port, host in lower case."""
    scheme, _, rest = uri.partition(":")
    user, at, host = rest.partition(";")[0].rpartition("@")
    return f"{'sip' if scheme == 'sips' else scheme}:{user}{at}{re.sub(r':[0-9]+$', '', host).lower()}"


def load(path: Path) -> Trace:
    """Read a `.trace` file."""
    return parse(path.read_text(encoding="utf-8"), path.stem)


def parse(text: str, name: str = "ladder") -> Trace:
    """Expand a ladder.

    Raises:
        LadderError: a line is not understood; the message begins with its number.
    """
    return _Reader(name).read(text)


def to_pcap(trace: Trace, path: Path) -> int:
    """Write the messages as a capture file; return the number of packets."""
    from missedcall_collector.pcap_writer import write_pcap

    return write_pcap(path, trace.capture.whole(trace.network, trace.sent))


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.claim = ""
        self.policy: dict[str, object] = {}
        self.network = Network(name)
        self.capture = Capture()
        self.expected: list[Expectation] = []
        self.open_ended = False
        self.hep: dict[str, str] = {}
        self.lines: list[Line] = []

    def read(self, text: str) -> Trace:
        for number, raw in enumerate(text.splitlines(), start=1):
            try:
                self._line(number, raw)
            except (LadderError, ValueError, TypeError) as error:
                raise LadderError(f"{self.name} line {number}: {error}") from error
        sent = list(self._expand())
        sent.sort(key=lambda pair: pair[0].at)
        users = self.policy.get("users")
        if isinstance(users, frozenset):
            self.policy["users"] = frozenset(address_of_record(self.network.aor(user)) for user in users)
        for known in ("voicemail", "attendants"):
            given = self.policy.get(known)
            if isinstance(given, frozenset):
                self.policy[known] = frozenset(address_of_record(self.network.aor(user)) for user in given)
        return Trace(
            self.name,
            self.claim,
            Policy(**self.policy),
            self.network,
            self.capture,
            self.expected,
            self.open_ended,
            sent,
        )

    # -- lines ----------------------------------------------------------------------------------------

    def _line(self, number: int, raw: str) -> None:
        line = raw.rstrip()
        if not line.strip() or line.lstrip().startswith("#"):
            if not self.claim and line.lstrip().startswith("#"):
                self.claim = line.lstrip("# ").strip()
            return
        if line.startswith("=>"):
            self._expect(line[2:].strip())
        elif line[0] in " \t":
            if not self.lines:
                raise LadderError("a header without a message")
            self.lines[-1].headers.append(_header(line.strip()))
        elif line[0].isdigit() or line[0] == "+":
            self.lines.append(self._message(number, line))
        else:
            self._setting(line)

    def _message(self, number: int, line: str) -> Line:
        match = _LINE.fullmatch(line)
        if not match:
            raise LadderError(f"not `seconds a>b message`: {line}")
        at = float(match["at"])
        if match["at"].startswith("+"):
            at += self.lines[-1].at if self.lines else 0.0
        rest, *headers = re.split(r"\s+\|\s+", match["rest"])
        words = shlex.split(rest)
        what = words.pop(0)
        if what.isdigit() and words and words[0].isupper():
            what = f"{what} {words.pop(0)}"
        found = Line(number, at, match["leg"] or "", tuple(match["hops"].split(">")), what)
        flags = set()
        for word in words:
            key, equals, value = word.partition("=")
            if word in _FLAGS:
                flags.add(word)
            elif equals and key in _OPTIONS:
                found.options[key] = value
            elif not found.target:
                found.target = word
            else:
                raise LadderError(f"not understood: {word}")
        found.flags = frozenset(flags)
        found.headers = [_header(text) for text in headers]
        return found

    def _setting(self, line: str) -> None:
        word, *rest = shlex.split(line)
        if word not in _SETTINGS:
            raise LadderError(f"no such setting: {word}; one of {', '.join(_SETTINGS)}")
        _SETTINGS[word](self, *rest)

    def _set_policy(self, *pairs: str) -> None:
        for key, value in map(_pair, pairs):
            self.policy[key] = _policy_value(key, value)

    def _set_domain(self, domain: str) -> None:
        self.network.domain = domain

    def _set_style(self, style: str) -> None:
        self.network.style = style
        if style == "lync":
            self.network.transport = "tls"

    def _set_user(self, name: str, aor: str) -> None:
        self.network.users[name] = aor

    def _set_contact(self, box: str, uri: str) -> None:
        self.network.contacts[box] = uri

    def _set_transport(self, transport: str, hop: str = "") -> None:
        if hop:
            src, _, dst = hop.partition(">")
            self.network.transports[src, dst] = transport
        else:
            self.network.transport = transport

    def _set_leg(self, leg: str, *pairs: str) -> None:
        for key, value in map(_pair, pairs):
            if key == "call-id":
                self.network.call_ids[leg] = value
            elif key == "hep":
                self.hep[leg] = value
            else:
                raise LadderError(f"leg has call-id= and hep=, not {key}=")

    def _set_capture(self, *view: str) -> None:
        self.capture.view(list(view))

    def _set_clock(self, box: str, seconds: str) -> None:
        self.capture.skew[box] = float(seconds)

    def _expect(self, text: str) -> None:
        if text == "...":
            self.open_ended = True
        elif text != "none":
            self.expected.append(expectation(shlex.split(text)))

    # -- expansion ------------------------------------------------------------------------------------

    def _expand(self) -> Iterator[tuple[Sent, float]]:
        for line in sorted(self.lines, key=lambda each: each.at):
            try:
                yield from self._hops(line)
            except LadderError as error:
                raise LadderError(f"{self.name} line {line.number}: {error}") from error

    def _hops(self, line: Line) -> Iterator[tuple[Sent, float]]:
        late = float(line.options.get("late", 0))
        options = {_FIELDS.get(key, key): value for key, value in line.options.items() if key != "late"}
        leg = line.leg
        if leg in self.network.call_ids:
            self.network.call_ids[leg] = self._fill(self.network.call_ids[leg])
        for sent in along(
            self.network,
            line.at,
            line.hops,
            line.what,
            alone="alone" in line.flags,
            headers=self._headers(line),
            leg=leg,
            target=line.target,
            again="again" in line.flags,
            **options,
        ):
            if sent.leg.name in self.hep:
                sent.leg.correlation_id = self._fill(self.hep[sent.leg.name])
            if "lost" not in line.flags:
                yield sent, late

    def _headers(self, line: Line) -> Headers:
        return tuple((name, self._fill(value)) for name, value in line.headers)

    def _fill(self, text: str) -> str:
        def made(match: re.Match[str]) -> str:
            kind, name = match[1], match[2]
            if kind == "call-id":
                return self.network.call_id(name)
            if kind == "tag":
                leg, slash, box = name.partition("/")
                return self.network.tag(box, leg) if slash else self.network.tag(name)
            return {"aor": self.network.aor, "contact": self.network.contact, "ip": self.network.ip}[kind](
                name
            )

        return _PLACE.sub(made, text)


_SETTINGS = {name.removeprefix("_set_"): f for name, f in vars(_Reader).items() if name.startswith("_set_")}


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise LadderError(f"not name=value: {text}")
    return key, value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or " " in name.strip():
        raise LadderError(f"not a header: {text}")
    return name.strip(), value.strip().replace("~", "\r\n ")


def _policy_value(key: str, value: str) -> object:
    """Return the value as the field's type has it; collections are comma-separated, `none` is None."""
    hints = get_type_hints(Policy)
    if key not in hints:
        raise LadderError(f"Policy has no {key}")
    kind = str(hints[key])
    if "frozenset" in kind:
        return frozenset(value.split(",")) if value else frozenset()
    if "tuple" in kind:
        return tuple(value.split(",")) if value else ()
    if kind == "<class 'bool'>":
        return {"true": True, "false": False}[value]
    if kind == "<class 'float'>":
        return float(value)
    return int(value) if kind == "<class 'int'>" else value
