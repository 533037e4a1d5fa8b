"""The mutator that knows SIP: messages change line by line and value by value and stay recognisable."""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

from support.fuzz_bytes import MAX_INPUT, few, number, raw

NAMES = b"""
Via v From f To t Call-ID i CSeq Contact m Content-Length l Content-Type c Reason History-Info Diversion Replaces
Referred-By b Session-ID P-Asserted-Identity Remote-Party-ID Privacy Warning Record-Route Subject User-Agent
ms-diagnostics ms-diagnostics-public ms-client-diagnostics ms-conversation-id X-CID P-Charging-Vector Alert-Info
Answer-Mode Priority Request-Disposition Refer-To
""".split()
_PLAIN = rb"""

"
""
<
>
<>
<sip:>
sip:
sip:@
sip:a@
sip:@b
sip:a@[::1]:5060
<sip:a@[v6]>;tag=
<sip:a%ff@b>
tel:+49(30)1;ext=2
SIP;cause=200
SIP;cause=99999999999999999999
Q.850;cause=16;text="a;b,c\"
SIP/2.0/UDP
SIP/2.0/TLS [::1]:1;branch=z9hG4bK
0 INVITE
1
4294967296 ACK
1 CANCEL
1 invite
*
-1
99999999999
id;user
none
anonymous
"Anonymous" <sip:anonymous@anonymous.invalid>
<sip:b@c?Reason=SIP%3Bcause%3D302>;index=1.1;mp=1
<sip:b@c?Reason=SIP&cause=302>;index=1;ms-retarget-reason=forwarding
<sip:b@c>;reason=no-answer;privacy=full
call-1;to-tag=a;from-tag=b;early-only
ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000
5025;reason="x;y";source="a";AppUri=b
13004;reason=
<sip:c@d>;actor="msg-taker";automata
multipart/mixed;boundary="
application/sdp
application/ms-rtc-usernotification+xml
""".split(b"\n")[1:]
VALUES = (*_PLAIN, b"\xff\xfe", "é".encode(), b"\xed\xa0\x80")  # the last: half a surrogate pair
STARTS = b"""
INVITE sip:bob@example.com SIP/2.0
ACK sip:bob@example.com SIP/2.0
CANCEL sip:bob@example.com SIP/2.0
BYE sip:bob@example.com SIP/2.0
REFER sip:bob@example.com SIP/2.0
INFO sip:bob@example.com SIP/2.0
OPTIONS sip:bob@example.com SIP/2.0
SIP/2.0 100 Trying
SIP/2.0 180 Ringing
SIP/2.0 200 OK
SIP/2.0 302 Moved
SIP/2.0 487
SIP/2.0 603 Decline
SIP/2.0 699 X
SIP/2.0 700 X
SIP/2.0 099 X
SIP/7.0 200 OK
INVITE  SIP/2.0
sip/2.0 180
X sip:a SIP/2.0
INVITE tel:+49301 SIP/2.0
INVITE urn:service:sos SIP/2.0
""".split(b"\n")[1:]
SDP = b"v=0\r\nm=audio 0 RTP/AVP 0\r\n"
BODIES = (
    *(b"", SDP, SDP + b"m=audio 1 RTP/AVP 0\r\n" * 40, b"m=audio", b"\r\n\r\n", b"\0" * 32, b"<a><b>"),
    b"--b\r\nContent-Type: application/sdp\r\n\r\n" + SDP + b"--b--",
    b"v=0\nm=image 1 udptl t38\n",
)

_LINE = re.compile(rb"([^:\s]{1,40})([ \t]*:[ \t]*)(.*)\Z", re.DOTALL)
_ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\r\n ", b"")

_Change: TypeAlias = Callable[[Random, list[bytes], Sequence[bytes]], None]


def sip(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return `data` with some of its lines changed."""
    head, blank, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    for _ in range(few(rng)):
        rng.choice(_CHANGES)(rng, lines, others)
    if rng.random() < 0.15:
        body = rng.choice(BODIES)
    if rng.random() < 0.05:
        body = raw(rng, body, others)
    end = rng.choice(_ENDS) if rng.random() < 0.1 else b"\r\n"
    if rng.random() < 0.05:
        blank = rng.choice((b"", b"\n\n", b"\r\n\n", b"\n\r\n", b"\r\n \r\n"))
    return (end.join(lines) + (blank or b"\r\n\r\n") + body)[:MAX_INPUT]


def _any(rng: Random, lines: list[bytes]) -> int:
    return rng.randrange(len(lines))


def _drop(rng: Random, lines: list[bytes], _: Sequence[bytes]) -> None:
    if len(lines) > 1:
        del lines[_any(rng, lines)]


def _double(rng: Random, lines: list[bytes], _: Sequence[bytes]) -> None:
    line = rng.choice(lines)
    lines[_any(rng, lines) + 1 : 0] = [line] * rng.choice((1, 1, 1, 2, 30, 2000))


def _swap(rng: Random, lines: list[bytes], _: Sequence[bytes]) -> None:
    one, other = _any(rng, lines), _any(rng, lines)
    lines[one], lines[other] = lines[other], lines[one]


def _start(rng: Random, lines: list[bytes], _: Sequence[bytes]) -> None:
    lines[0] = rng.choice(STARTS)


def _add(rng: Random, lines: list[bytes], _: Sequence[bytes]) -> None:
    lines.insert(_any(rng, lines) + 1, rng.choice(NAMES) + b": " + rng.choice(VALUES))


def _rename(rng: Random, lines: list[bytes], _: Sequence[bytes]) -> None:
    at = _any(rng, lines)
    found = _LINE.match(lines[at])
    if found:
        name = rng.choice((found[1].upper(), found[1].lower(), rng.choice(NAMES), found[1] + b" ", b""))
        lines[at] = name + rng.choice((b":", b": ", b" : ", b"\t:\t", b"")) + found[3]


def _value(rng: Random, lines: list[bytes], _: Sequence[bytes]) -> None:
    at = _any(rng, lines)
    found = _LINE.match(lines[at])
    if found:
        value = rng.choice(VALUES)
        joined = (value, found[3] + b"," + value, value + b", " + found[3], found[3] + b";" + value)
        lines[at] = found[1] + found[2] + rng.choice(joined)


def _borrow(rng: Random, lines: list[bytes], others: Sequence[bytes]) -> None:
    other = rng.choice(others)
    lines.insert(_any(rng, lines) + 1, rng.choice(other[:20_000].partition(b"\r\n\r\n")[0].split(b"\r\n")))


def _fold(rng: Random, lines: list[bytes], _: Sequence[bytes]) -> None:
    at = _any(rng, lines)
    cut = rng.randrange(len(lines[at]) + 1)
    lines[at] = (
        lines[at][:cut] + rng.choice((b"\r\n ", b"\r\n\t", b"\n ", b"\r\n", b"\n", b"\r")) + lines[at][cut:]
    )


def _long(rng: Random, lines: list[bytes], _: Sequence[bytes]) -> None:
    at = _any(rng, lines)
    begin = rng.randrange(len(lines[at]) + 1)
    grown = lines[at][begin : begin + rng.randrange(1, 12)] or b"a"
    lines[at] = lines[at][:begin] + grown * rng.choice((3, 40, 600, 5000)) + lines[at][begin:]


def _number(rng: Random, lines: list[bytes], _: Sequence[bytes]) -> None:
    at = _any(rng, lines)
    digits = list(re.finditer(rb"\d+", lines[at]))
    if digits:
        found = rng.choice(digits)
        written = str(number(rng, rng.choice((1, 2, 4, 8)))).encode()
        lines[at] = lines[at][: found.start()] + written + lines[at][found.end() :]


def _raw(rng: Random, lines: list[bytes], others: Sequence[bytes]) -> None:
    at = _any(rng, lines)
    lines[at] = raw(rng, lines[at], others)[:60_000]


_CHANGES: tuple[_Change, ...] = (
    _drop, _double, _swap, _start, _add, _add, _rename, _value, _value, _value, _borrow, _borrow, _fold, _long,
    _number, _number, _raw,
)  # fmt: skip
