"""A call's messages read as what they were: legs, attempts, and a tree of branches (RFC 3261 s.16, s.17).

Rule 1: a branch is one INVITE client transaction on one hop; its parent is the branch whose id stands in the
        next Via. Where a B2BUA or topology hiding cuts the Via stack, the parent is the latest earlier branch
        into the box that this one comes out of.
Rule 2: the root leg is the one nearest the caller. Its last attempt says what the caller got; the leaves of
        the tree say what the phones did.
Rule 3: nothing is judged here. Every list is in a fixed order (capture time, then content), so the picture is
        a function of the set of messages.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .seen import Offer, Seen


@dataclass(slots=True, eq=False)
class Branch:
    """One INVITE transaction on one hop."""

    id: str
    cseq: int
    call_id: str
    parent_id: str
    vias: int
    first_ms: int
    """Capture time of its first message, milliseconds."""
    src: str
    dst: str
    invite: Seen | None = None
    provisionals: list[Seen] = field(default_factory=list)
    oks: list[Seen] = field(default_factory=list)
    finals: list[Seen] = field(default_factory=list)
    """Final responses from 300 on, in order of capture."""
    cancel: Seen | None = None
    """The CANCEL request itself."""
    cancel_known: bool = False
    """A CANCEL or a response to one was captured."""
    acked: bool = False
    """An ACK with this branch: it was for a final from 300 on (RFC 3261 s.17.1.1.3)."""
    in_dialog: bool = False
    parent: "Branch | None" = None
    children: list["Branch"] = field(default_factory=list)

    @property
    def offer(self) -> Offer | None:
        """What the INVITE said, if it was captured."""
        return self.invite.offer if self.invite else None

    @property
    def final(self) -> Seen | None:
        """The failure that ended it; the first, for the rest are copies through other hops."""
        return self.finals[0] if self.finals else None

    @property
    def ringing_ms(self) -> int:
        """Capture time of the first 180; 0 if none."""
        return next((p.at_ms for p in self.provisionals if p.status == 180), 0)

    @property
    def alerted_ms(self) -> int:
        """Capture time of the first 180, 181, 182 or 183; 0 if none. Weaker than ringing (domain row 31)."""
        return next((p.at_ms for p in self.provisionals if 180 <= p.status <= 183), 0)

    @property
    def ended_ms(self) -> int:
        """Capture time of its end: the CANCEL, else the final response; 0 while it is open."""
        final = self.final
        times = [m.at_ms for m in (self.cancel, final, *self.oks[:1]) if m is not None]
        return min(times) if times else 0

    @property
    def open(self) -> bool:
        """Whether something answered it and nothing ended it."""
        return not (self.ended_ms or self.acked or self.cancel_known) and bool(self.provisionals)

    @property
    def silent(self) -> bool:
        """Whether nothing at all came back."""
        return not (self.provisionals or self.oks or self.finals or self.acked)

    def tree(self) -> Iterator["Branch"]:
        """Yield this branch and all below it."""
        yield self
        for child in self.children:
            yield from child.tree()


@dataclass(slots=True, eq=False)
class Leg:
    """Everything under one Call-ID."""

    call_id: str
    offer: Offer
    from_tag: str
    first_ms: int
    branches: list[Branch]
    roots: list[Branch]
    """Branches without a captured parent in this leg."""
    byes: list[Seen]
    acks: list[Seen]
    """ACKs on a branch of their own: for a 2xx (RFC 3261 s.13.2.2.4)."""
    others: list[Seen]
    """INFO and REFER."""
    reinvited: bool = False

    @property
    def last_attempt(self) -> list[Branch]:
        """The roots of the highest CSeq: earlier ones were challenged, redirected or retried."""
        highest = max(root.cseq for root in self.roots)
        return [root for root in self.roots if root.cseq == highest]


@dataclass(slots=True, eq=False)
class Picture:
    """A call as legs and branches."""

    legs: list[Leg]
    """Root leg first, then in order of their first message."""
    takeovers: list[Leg]
    """Legs whose INVITE replaces a dialog of this call (RFC 3891)."""
    transfers: list[Leg]
    """Legs to a transfer target, begun by a REFER (RFC 3515)."""
    seen: list[Seen]

    @property
    def root(self) -> Leg:
        """The leg nearest the caller."""
        return self.legs[0]


def draw(messages: list[Seen], hints: dict[str, Offer]) -> Picture | None:
    """Return the picture of a call; None if no INVITE of it is known, not even from a response."""
    ordered = sorted(messages, key=_order)
    by_leg: dict[str, list[Seen]] = {}
    for seen in ordered:
        by_leg.setdefault(seen.call_id, []).append(seen)
    legs = [leg for call_id, group in by_leg.items() if (leg := _leg(call_id, group, hints.get(call_id)))]
    if not legs:
        return None
    takeovers = [leg for leg in legs if leg.offer.replaces and leg.offer.replaces in by_leg]
    plain = [leg for leg in legs if leg not in takeovers] or takeovers
    if plain is takeovers:
        takeovers = []
    plain = _root_first(plain)
    root = plain[0]
    transfers = [
        leg for leg in plain[1:] if leg.offer.referred_by and not leg.offer.history and _follows(leg, root)
    ]
    plain = [leg for leg in plain if leg not in transfers]
    for leg in plain[1:]:
        _attach(leg, root, plain)
    return Picture(plain, takeovers, transfers, ordered)


def _order(seen: Seen) -> tuple[int, int, str, str, int, str]:
    return (seen.at_ms, seen.status, seen.method, seen.branch, seen.cseq, seen.to_tag)


def _leg(call_id: str, messages: list[Seen], hint: Offer | None) -> Leg | None:
    branches: dict[tuple[int, str], Branch] = {}
    unmatched: list[Seen] = []
    byes: list[Seen] = []
    others: list[Seen] = []
    for seen in messages:
        method = seen.method
        if method in {"INVITE", "CANCEL", "ACK"}:
            if method == "ACK":
                unmatched.append(seen)
                continue
            key = (seen.cseq, seen.branch)
            branch = branches.get(key)
            if branch is None:
                src, dst = (seen.src, seen.dst) if not seen.status else (seen.dst, seen.src)
                branch = branches[key] = Branch(
                    seen.branch, seen.cseq, call_id, seen.parent, seen.vias, seen.at_ms, src, dst
                )
            _note(branch, seen)
        elif not seen.status:
            (byes if method == "BYE" else others).append(seen)
    acks = []
    for seen in unmatched:
        matched = branches.get((seen.cseq, seen.branch))
        if matched is None:
            acks.append(seen)
        else:
            matched.acked = True
    reinvited = any(branch.in_dialog for branch in branches.values())
    calling = [branch for branch in branches.values() if not branch.in_dialog]
    offered = next((b.invite.offer for b in calling if b.invite and b.invite.offer), None)
    offer = offered or hint
    if not calling or offer is None:
        return None
    first = calling[0]
    from_tag = next((m.from_tag for m in messages if m.method == "INVITE" and m.offer), "") or next(
        (m.from_tag for m in messages if m.method in {"INVITE", "CANCEL"}), ""
    )
    calling = [b for b in calling if b.invite or not _from_callee(b, from_tag)] or calling
    roots = _link(calling)
    return Leg(
        call_id,
        offer,
        from_tag,
        first.first_ms,
        calling,
        roots,
        byes,
        [ack for ack in acks if ack.to_tag],
        others,
        reinvited,
    )


def _from_callee(branch: Branch, from_tag: str) -> bool:
    """Whether a branch known from responses only is the callee's re-INVITE: its tags are the other way round."""
    answers = branch.provisionals or branch.oks or branch.finals
    return bool(answers) and answers[0].from_tag != from_tag and answers[0].to_tag == from_tag


def _note(branch: Branch, seen: Seen) -> None:
    status = seen.status
    if seen.method == "CANCEL":
        branch.cancel_known = True
        if not status and branch.cancel is None:
            branch.cancel = seen
    elif not status:
        if seen.to_tag:
            branch.in_dialog = True
        elif branch.invite is None:
            branch.invite = seen
    elif status < 200:
        branch.provisionals.append(seen)
    elif status < 300:
        branch.oks.append(seen)
    else:
        branch.finals.append(seen)


def _link(branches: list[Branch]) -> list[Branch]:
    """Build the tree of one leg by its Via stacks; return the roots."""
    known = {(b.cseq, b.id): b for b in branches}
    roots = []
    for branch in branches:
        parent = known.get((branch.cseq, branch.parent_id)) if branch.parent_id else None
        if parent is not None and parent is not branch and branch not in _ancestors(parent):
            branch.parent = parent
            parent.children.append(branch)
        else:
            roots.append(branch)
    if len(roots) > 1:
        roots = _link_by_box(roots, branches)
    return roots


def _ancestors(branch: Branch) -> list[Branch]:
    line = [branch]
    while (parent := line[-1].parent) is not None and parent not in line:
        line.append(parent)
    return line


def _link_by_box(roots: list[Branch], branches: list[Branch]) -> list[Branch]:
    """Hang roots under the branch into the box that they come out of; return those that remain."""
    remaining = []
    for root in roots:
        into = [
            b
            for b in branches
            if b.call_id == root.call_id
            and b.first_ms <= root.first_ms
            and out_of(b, root)
            and root not in _ancestors(b)
        ]
        same = [b for b in into if b.cseq == root.cseq] or into
        if same:
            parent = same[-1]
            root.parent = parent
            parent.children.append(root)
        else:
            remaining.append(root)
    return remaining or roots[:1]


def host(address: str) -> str:
    """Return the host of `host:port`."""
    return address.rpartition(":")[0]


def out_of(into: Branch, out: Branch) -> bool:
    """Whether ``out`` leaves the box that ``into`` enters (and is not a retry of ``into``)."""
    if not into.dst or not out.src or into is out:
        return False
    if into.dst == out.src:
        return True
    # One address, several programs: only the port tells them apart.
    if host(into.src) == host(into.dst):
        return False
    return host(into.dst) == host(out.src)


def _root_first(legs: list[Leg]) -> list[Leg]:
    """Sort the legs: the one nearest the caller first, the rest by time."""
    if len(legs) == 1:
        return legs
    named = {link.partition(":")[2] for leg in legs for link in leg.offer.links if link.startswith("call:")}

    def rank(leg: Leg) -> tuple[bool, bool, bool, int, str]:
        below = any(
            out_of(branch, leg.roots[0]) and branch.first_ms <= leg.first_ms
            for other in legs
            if other is not leg
            for branch in other.branches
        )
        return (
            bool(leg.offer.referred_by and not leg.offer.history),
            below,
            leg.call_id not in named,
            leg.first_ms,
            leg.call_id,
        )

    first = min(legs, key=rank)
    rest = sorted((leg for leg in legs if leg is not first), key=lambda leg: (leg.first_ms, leg.call_id))
    return [first, *rest]


def _follows(leg: Leg, root: Leg) -> bool:
    """Whether ``leg`` began after ``root`` was answered: then its target was called by transfer."""
    answered = min((ok.at_ms for branch in root.branches for ok in branch.oks), default=0)
    return bool(answered) and leg.first_ms >= answered


def _attach(leg: Leg, root: Leg, legs: list[Leg]) -> None:
    """Hang a downstream leg under the branch into its box, else under the caller's last attempt."""
    for branch in leg.roots:
        into = [
            b
            for other in legs
            if other is not leg
            for b in other.branches
            if b.first_ms <= branch.first_ms and out_of(b, branch) and branch not in _ancestors(b)
        ]
        parent = into[-1] if into else root.last_attempt[0]
        branch.parent = parent
        parent.children.append(branch)
