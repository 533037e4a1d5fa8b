"""The SIP behind a ladder: what each box really puts on the wire.

Rule 1: a box that has received an INVITE of a leg and sends one on is a proxy there: it adds one Via, keeps
        Call-ID, tags, CSeq and headers (RFC 3261 s.16.6). A box that has received none is the leg's UAC.
Rule 2: a response carries the Via stack of the request it answers (s.8.2.6.2). A box that was handed the same
        status from below passes that response on (s.16.7); otherwise the response is its own.
Rule 3: CANCEL and the ACK of a non-2xx final repeat branch, Request-URI and CSeq number of their INVITE
        (s.9.1, s.17.1.1.3); the ACK of a 2xx is a request of its own (s.13.2.2.4).
Rule 4: every tag, branch and Call-ID is a function of the seed: the same ladder, the same bytes.
"""

from support.ladder_boxes import Boxes
from support.ladder_state import LadderError, Leg, Request, Response, Say, Sent
from support.ladder_wire import PHRASES, merge, message


class Network(Boxes):
    """Boxes and what they have said to each other so far."""

    def __init__(self, seed: str = "", domain: str = "example.com", style: str = "rfc") -> None:
        super().__init__(seed, domain, style)
        self.legs: dict[str, Leg] = {}
        self.call_ids: dict[str, str] = {}
        """Leg name -> Call-ID, where the ladder wants one of its own."""
        self._log: list[Request] = []
        self._sent: dict[tuple[str, str, str, str, int], Sent] = {}
        self._count = 0

    def send(self, say: Say) -> Sent:
        """Put one message on one hop.

        Raises:
            LadderError: nothing before it explains the message.
        """
        where = (say.src, say.dst, say.label, say.method, say.status)
        if say.again:
            if where not in self._sent:
                raise LadderError(f"{say}: there is nothing to send again")
            before = self._sent[where]
            return Sent(say.at, say.src, say.dst, before.leg, before.wire, say.method, say.status)
        if say.status:
            request, wire = self._respond(say)
        else:
            request = self._request(say)
            self._log.append(request)
            wire = self._request_bytes(request)
        sent = Sent(say.at, say.src, say.dst, request.leg, wire, say.method, say.status)
        self._sent[where] = sent
        return sent

    def tag(self, box: str, leg: str = "a") -> str:
        """Return the tag by which the box is known in the leg, whether or not it has spoken yet."""
        return self.token("tag", leg, box)

    def call_id(self, leg: str) -> str:
        """Return the Call-ID of a leg that has begun."""
        if leg not in self.legs:
            raise LadderError(f"leg {leg} has not begun")
        return self.legs[leg].call_id

    # -- responses ------------------------------------------------------------------------------------

    def _respond(self, say: Say) -> tuple[Request, bytes]:
        request = self._last(say, say.method, back=True)
        if request is None:
            raise LadderError(f"{say}: no {say.method} to answer here")
        answer = self._answer(say, request)
        request.responses[say.status] = answer
        success = 200 <= say.status < 300
        if say.method == "INVITE" and success and not request.to_tag and not request.leg.answered_by:
            request.leg.answered_by = answer.maker
        if say.status >= 200:
            request.final = say.status
        return request, self._response_bytes(request, say.status, answer)

    def _answer(self, say: Say, request: Request) -> Response:
        if say.status > 100:
            below = [
                each.responses[say.status]
                for each in self._log
                if each.parent is request and say.status in each.responses
            ]
            if below:
                last = max(below, key=lambda response: response.at)
                headers, media = merge(last.headers, say.headers), say.media or last.media
                return Response(say.at, last.maker, last.to_tag, headers, media)
        tag = request.to_tag or ("" if say.status == 100 else self.tag(say.src, request.leg.name))
        if tag and say.method == "INVITE" and not request.to_tag:
            request.leg.to_tags[say.src] = tag
        offers = say.method == "INVITE" and (say.status == 183 or 200 <= say.status < 300)
        return Response(say.at, say.src, tag, say.headers, say.media or ("audio" if offers else "none"))

    # -- requests -------------------------------------------------------------------------------------

    def _request(self, say: Say) -> Request:
        if say.method in ("CANCEL", "ACK"):
            invite = self._last(say, "INVITE")
            if say.method == "CANCEL" and invite is None:
                raise LadderError(f"{say}: no INVITE to cancel here")
            if invite is not None and (say.method == "CANCEL" or not 200 <= invite.final < 300):
                return self._same_branch(say, invite)
            return self._within(say)
        if say.within or self._in_dialog(say):
            return self._within(say)
        return self._initial(say)

    def _initial(self, say: Say) -> Request:
        parent = self._received(say)
        headers, media = say.headers, say.media
        if parent is not None:
            leg, number = parent.leg, parent.number
            headers, media = merge(parent.headers, headers), media or parent.media
        else:
            leg = self.legs.get(say.leg or "a") or self._open(say)
            if leg.uac != say.src:
                raise LadderError(f"{say}: leg {leg.name} begins at {leg.uac}; name another leg")
            number = leg.cseq[say.src] = leg.cseq.get(say.src, 0) + 1
        before = parent or self._last(say, say.method)
        if say.target:
            uri = self.aor(say.target)
        elif self.user_of(say.dst):
            uri = self.registered(say.dst)
        elif before is not None:
            uri = before.uri
        else:
            raise LadderError(f"{say}: whom does it call?")
        request = self._new(say, leg, number, uri, parent)
        request.headers = headers
        request.media = media or ("audio" if say.method == "INVITE" else "none")
        return request

    def _same_branch(self, say: Say, invite: Request) -> Request:
        if say.method == "ACK" and not invite.final:
            raise LadderError(f"{say}: no final response to acknowledge here")
        tag = invite.responses[invite.final].to_tag if say.method == "ACK" else ""
        return Request(
            invite.leg,
            say.src,
            say.dst,
            say.label,
            say.method,
            invite.number,
            invite.branch,
            invite.uri,
            invite.vias[:1],
            say.headers,
            "none",
            invite.from_head,
            invite.to_head,
            tag or invite.to_tag,
            reversed=invite.reversed,
        )

    def _within(self, say: Say) -> Request:
        """Return a request inside a dialog (RFC 3261 s.12.2), or one that a proxy hands on."""
        leg = self._leg_of(say)
        parent = self._to_hand_on(say, leg)
        if parent is not None:
            parent.passed_on = True
            request = self._new(say, leg, parent.number, parent.uri, parent)
            request.headers, request.media = merge(parent.headers, say.headers), say.media or parent.media
            request.to_tag, request.reversed = parent.to_tag, parent.reversed
        else:
            by_callee, callee = self._side(say, leg)
            if say.method == "ACK":
                number = max(
                    (r.number for r in self._log if r.leg is leg and r.method == "INVITE"), default=1
                )
            else:
                number = leg.cseq[say.src] = leg.cseq.get(say.src, 0) + 1
            uri = self.aor(say.target) if say.target else self.contact(leg.uac if by_callee else callee)
            request = self._new(say, leg, number, uri, None)
            request.media = say.media or ("audio" if say.method == "INVITE" else "none")
            request.reversed = by_callee
            request.to_tag = leg.from_tag if by_callee else leg.to_tags[callee]
        if request.reversed:
            request.from_head, request.to_head = leg.to_head, leg.from_head
        return request

    def _new(self, say: Say, leg: Leg, number: int, uri: str, parent: Request | None) -> Request:
        self._count += 1
        branch = f"z9hG4bK{self.token('branch', str(self._count), n=14)}"
        own = f"SIP/2.0/{self.transport_of(say.src, say.dst).upper()} {self.address(say.src, say.dst)}"
        if self.style == "rfc":
            own += f";rport;branch={branch}"
        elif self.style == "lync" and not self.user_of(say.src):
            own += f";branch={branch};branched=TRUE"  # a Lync client writes no branch; servers do
        return Request(
            leg,
            say.src,
            say.dst,
            say.label,
            say.method,
            number,
            branch,
            uri,
            (own, *self._seen(parent)) if parent else (own,),
            say.headers,
            "none",
            leg.from_head,
            leg.to_head,
            hops_left=parent.hops_left - 1 if parent else 70,
            parent=parent,
        )

    def _open(self, say: Say) -> Leg:
        name = say.leg or "a"
        if not say.target and not self.user_of(say.dst):
            raise LadderError(f"{say}: the first request of leg {name} needs a target")
        first = next(iter(self.legs.values()), None)
        if say.from_:
            from_head = self.head(say.from_)
        elif self.user_of(say.src) or first is None:
            from_head = self.head(self.user_of(say.src) or say.src)
        else:
            from_head = first.from_head  # a B2BUA shows the caller's name on its own leg
        to_head = self.head(say.to) if say.to else f"<{self.aor(say.target or self.user_of(say.dst))}>"
        call_id = self.call_ids.get(name) or f"{self.token('call', name, n=16)}@{self.ip(say.src)}"
        leg = Leg(name, call_id, say.src, from_head, to_head, self.tag(say.src, name))
        self.legs[name] = leg
        return leg

    # -- what came before -----------------------------------------------------------------------------

    def _last(self, say: Say, method: str, *, back: bool = False) -> Request | None:
        """Return the hop's latest request of the method; `back`: of the hop the other way round."""
        src, dst = (say.dst, say.src) if back else (say.src, say.dst)
        for each in reversed(self._log):
            if (each.src, each.dst, each.label, each.method) == (src, dst, say.label, method) and (
                not say.leg or each.leg.name == say.leg
            ):
                return each
        return None

    def _received(self, say: Say) -> Request | None:
        """Return what the sender got and can pass on."""
        for each in reversed(self._log):
            fits = each.dst == say.src and each.method == say.method and not each.to_tag
            if fits and say.leg in ("", each.leg.name):
                return each
        return None

    def _to_hand_on(self, say: Say, leg: Leg) -> Request | None:
        if say.src == leg.uac or (say.src in leg.to_tags and not self._sends_on(say.src, leg)):
            return None
        for each in reversed(self._log):
            fits = each.leg is leg and each.dst == say.src and each.method == say.method
            if fits and each.to_tag and not each.passed_on:
                return each
        return None

    def _side(self, say: Say, leg: Leg) -> tuple[bool, str]:
        """Return whether the callee's side speaks, and which callee's dialog it is."""
        sends_on = self._sends_on(say.src, leg)
        by_callee = say.src in leg.to_tags and not sends_on
        if sends_on and say.src != leg.uac:
            # a server in between ends the dialog itself: towards the caller it speaks for the callee
            by_callee = any(r.leg is leg and (r.src, r.dst) == (say.dst, say.src) for r in self._log)
        callee = say.dialog or leg.answered_by or next(reversed(leg.to_tags), "")
        if by_callee and not sends_on:
            callee = say.src
        if not callee:
            raise LadderError(f"{say}: leg {leg.name} has no dialog yet")
        return by_callee, callee

    def _sends_on(self, box: str, leg: Leg) -> bool:
        return any(r.leg is leg and r.src == box and r.method == "INVITE" and not r.to_tag for r in self._log)

    def _in_dialog(self, say: Say) -> bool:
        """Return whether a request other than INVITE belongs to a dialog that an INVITE opened."""
        if say.method == "INVITE":
            return False
        if say.leg:
            leg = self.legs.get(say.leg)
            return leg is not None and bool(leg.to_tags)
        if self._received(say):
            return False
        return any(r.method == "INVITE" and say.src in (r.src, r.dst) and r.leg.to_tags for r in self._log)

    def _leg_of(self, say: Say) -> Leg:
        if say.leg:
            return self.legs[say.leg]
        for ends in ({say.src, say.dst}, {say.src}):
            for each in reversed(self._log):
                if each.leg.to_tags and ends <= {each.src, each.dst}:
                    return each.leg
        raise LadderError(f"{say}: which leg?")

    # -- bytes ----------------------------------------------------------------------------------------

    def _seen(self, request: Request) -> tuple[str, ...]:
        """Return the Via stack as the receiver notes it (RFC 3261 s.18.2.1, RFC 3581 s.4)."""
        top = request.vias[0]
        ip, _, port = self.address(request.src, request.dst).rpartition(":")
        if self.style == "lync":
            cid = self.token("cid", request.src, n=4).upper()
            top += f";ms-received-port={port};ms-received-cid={cid}"
        elif self.style == "rfc":
            top = top.replace(";rport;", f";rport={port};received={ip};", 1)
        return (top, *request.vias[1:])

    def _dialog(self, request: Request, vias: tuple[str, ...], to: str) -> list[tuple[str, str]]:
        leg, maker = request.leg, request.origin.src
        tag = leg.from_tag
        if request.reversed:
            speaker = maker if maker in leg.to_tags else leg.answered_by or next(reversed(leg.to_tags))
            tag = leg.to_tags[speaker]
        return [
            *(("Via", via) for via in vias),
            ("From", f"{request.from_head};tag={tag}{self.epid(maker)}"),
            ("To", to),
            ("Call-ID", leg.call_id),
            ("CSeq", f"{request.number} {request.method}"),
        ]

    def _request_bytes(self, request: Request) -> bytes:
        maker = request.origin.src
        to = f"{request.to_head};tag={request.to_tag}" if request.to_tag else request.to_head
        own = self._dialog(request, request.vias, to)
        own.insert(len(request.vias), ("Max-Forwards", str(request.hops_left)))
        if request.method in ("INVITE", "SUBSCRIBE", "REFER", "REGISTER", "UPDATE"):
            own.append(("Contact", f"<{self.contact(maker)}>"))
        if request.method not in ("ACK", "CANCEL"):
            own.append(("User-Agent", self._product(maker)))
        return message(f"{request.method} {request.uri} SIP/2.0", own, request.headers, request.media)

    def _response_bytes(self, request: Request, status: int, answer: Response) -> bytes:
        to = request.to_head
        if answer.to_tag:
            to += f";tag={answer.to_tag}{self.epid(answer.maker)}"
        own = self._dialog(request, self._seen(request), to)
        if request.method == "INVITE" and 100 < status < 300:
            own.append(("Contact", f"<{self.contact(answer.maker)}>"))
        own.append(("Server", self._product(answer.maker)))
        start = f"SIP/2.0 {status} {PHRASES.get(status, 'Unknown')}"
        return message(start, own, answer.headers, answer.media)

    def _product(self, box: str) -> str:
        return "Phone 2.4" if self.user_of(box) else f"{box} 5.1"
