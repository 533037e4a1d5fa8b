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
    offer: Offer | None = None
    """What the INVITE said, if it was captured."""
    provisionals: list[Seen] = field(default_factory=list)
    oks: list[Seen] = field(default_factory=list)
    """2xx responses; of one not captured, the ACK or BYE that shows it."""
    finals: list[Seen] = field(default_factory=list)
    """Final responses from 300 on, in order of capture."""
    cancel: Seen | None = None
    """The CANCEL request itself."""
    cancel_known: bool = False
    """A CANCEL or a response to one was captured."""
    acked: bool = False
    """An ACK with this branch: it was for a final from 300 on (RFC 3261 s.17.1.1.3)."""
    in_dialog: bool = False
    says: tuple[str, ...] = ()
    """What the Reasons and diagnostics of its CANCEL and finals say."""
    ringing_ms: int = 0
    """Capture time of the first 180; 0 if none."""
    progress_ms: int = 0
    """Capture time of the first 183; 0 if none."""
    ended_ms: int = 0
    """Capture time of its end: the first of CANCEL, failure and 2xx; 0 while it is open."""
    parent: "Branch | None" = None
    children: list["Branch"] = field(default_factory=list)

    def note(self, seen: Seen) -> None:
        """Take up a message of this transaction; they come in order of capture."""
        status = seen.status
        if seen.method == "CANCEL":
            self.cancel_known = True
            if status or self.cancel is not None:
                return
            self.cancel = seen
        elif status >= 300:
            self.finals.append(seen)
        elif status >= 200:
            self.oks.append(seen)
            self.ended_ms = self.ended_ms or seen.at_ms
            return
        elif status:
            self.provisionals.append(seen)
            if status == 180:
                self.ringing_ms = self.ringing_ms or seen.at_ms
            elif status == 183:
                self.progress_ms = self.progress_ms or seen.at_ms
            return
        else:
            if seen.to_tag:
                self.in_dialog = True
            elif self.invite is None:
                self.invite, self.offer = seen, seen.offer
            return
        self.ended_ms = self.ended_ms or seen.at_ms
        if seen.ending is not None:
            self.says += seen.ending.says

    def infer_ok(self, seen: Seen) -> None:
        """Let a message stand for a 2xx that was not captured."""
        if not self.oks:
            self.ended_ms = min(self.ended_ms or seen.at_ms, seen.at_ms)
        self.oks.append(seen)

    @property
    def final(self) -> Seen | None:
        """The failure that ended it; the first, for the rest are copies through other hops."""
        return self.finals[0] if self.finals else None

    @property
    def alerted_ms(self) -> int:
        """Capture time of the first 180, else of the first 183; 0 if none. 183 is weaker (row 31)."""
        return self.ringing_ms or self.progress_ms

    @property
    def open(self) -> bool:
        """Whether something answered it and nothing ended it."""
        return not (self.ended_ms or self.acked or self.cancel_known) and bool(self.provisionals)

    @property
    def silent(self) -> bool:
        """Whether nothing at all came back."""
        return not (self.provisionals or self.oks or self.finals or self.acked)

    def tree(self) -> Iterator["Branch"]:
        """Yield this branch and all below it, each above those below it."""
        waiting = [self]
        while waiting:
            branch = waiting.pop()
            yield branch
            waiting.extend(reversed(branch.children))


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
    attempts: list[list[Branch]]
    """The roots by CSeq: all but the last were challenged, redirected or retried."""

    @property
    def last_attempt(self) -> list[Branch]:
        """What the caller tried last; several branches if it was forked before our capture."""
        return self.attempts[-1]

    @property
    def answered_ms(self) -> int:
        """Capture time of the first 2xx on any hop; 0 if none."""
        return min((ok.at_ms for branch in self.branches for ok in branch.oks), default=0)


@dataclass(slots=True, eq=False)
class Picture:
    """A call as legs and branches."""

    legs: list[Leg]
    """The root leg, then those below it in order of their first message."""
    takeovers: list[Leg]
    """Legs whose INVITE replaces a dialog of this call (RFC 3891)."""
    later: list["Picture"]
    """Calls within the call: to a transfer target, to a person behind an attendant, a consultation."""
    seen: list[Seen]
    all_legs: list[Leg]
    """Every leg that was joined, of this picture and of those around it."""
    upstream_unseen: bool = False
    """The root leg names a leg nearer the caller, of which only in-dialog messages were captured."""
    handed_over: bool = False
    """A REFER asked somebody to replace a dialog of this call."""

    @property
    def root(self) -> Leg:
        """The leg nearest the caller."""
        return self.legs[0]


def draw(
    messages: list[Seen], hints: dict[str, Offer], queues: frozenset[str] = frozenset()
) -> Picture | None:
    """Return the picture of a call; None if no INVITE of it is known, not even from a response.

    Args:
        messages: The call's distinct messages, in any order.
        hints: By Call-ID, what stands for an INVITE that was not captured.
        queues: Addresses of record that ring agents for whoever they answer.
    """
    ordered = sorted(messages, key=order)
    by_leg: dict[str, list[Seen]] = {}
    for seen in ordered:
        by_leg.setdefault(seen.call_id, []).append(seen)
    legs = [leg for call_id, group in by_leg.items() if (leg := _leg(call_id, group, hints.get(call_id)))]
    if not legs:
        return None
    if len(legs) == 1:
        unseen = any(f"call:{call_id}" in legs[0].offer.links for call_id in by_leg)
        return Picture(legs, [], [], ordered, legs, unseen, legs[0].call_id in _handed_over(ordered))
    takeovers = [leg for leg in legs if leg.offer.replaces in by_leg and leg.offer.replaces]
    plain = _root_first([leg for leg in legs if leg not in takeovers] or takeovers)
    root = plain[0]
    if root in takeovers:
        takeovers = []
    below, apart = [root], []
    behind = [leg for leg in plain[1:] if _begins_after_answer(leg, root)]
    queue = root.offer.to in queues or _is_queue(root, behind)
    for leg in plain[1:]:
        if _beside(leg, root):
            root.roots.extend(leg.roots)
            root.attempts[-1].extend(leg.roots)
        elif _continues(leg, root):
            root.roots.extend(leg.roots)
            root.attempts.extend(leg.attempts)
            root.byes.extend(leg.byes)
            root.acks.extend(leg.acks)
        elif leg in behind and not (queue and _same_caller(leg, root)):
            apart.append(leg)
            continue
        else:
            _attach(leg, root, below)
        below.append(leg)
    whole = Picture(below, [], [], [], plain + takeovers)
    whole.later = [Picture([leg], [], [], [], whole.all_legs) for leg in apart]
    for picture in (whole, *whole.later):
        ids = {leg.call_id for leg in picture.legs}
        picture.takeovers = [leg for leg in takeovers if leg.offer.replaces in ids]
        ids |= {leg.call_id for leg in picture.takeovers}
        picture.seen = [seen for seen in ordered if seen.call_id in ids]
        picture.handed_over = not ids.isdisjoint(_handed_over(ordered))
    return whole


def _handed_over(messages: list[Seen]) -> set[str]:
    """Return the Call-IDs that a REFER says are to be replaced (RFC 5589 s.7)."""
    return {seen.offer.replaces for seen in messages if seen.method == "REFER" and seen.offer}


def _begins_after_answer(leg: Leg, root: Leg) -> bool:
    answered = root.answered_ms
    return bool(answered) and leg.first_ms >= answered


def _same_caller(leg: Leg, root: Leg) -> bool:
    return (leg.offer.caller.number or leg.offer.caller.uri) == (
        root.offer.caller.number or root.offer.caller.uri
    )


def _is_queue(root: Leg, behind: list[Leg]) -> bool:
    """Whether the legs behind an answered one ring its agents (rows 33, 37), not people called by name."""
    if any("acd" in leg.offer.traits or any(e.reason == "acd" for e in leg.offer.history) for leg in behind):
        return True
    if any(ok.ending and ok.ending.machine == "attendant" for branch in root.roots for ok in branch.oks):
        return True
    agents = {leg.offer.to for leg in behind if _same_caller(leg, root) and not leg.offer.referred_by}
    return len(agents) > 1


BESIDE_MS = 2000
"""Legs to one user's devices begin this close to each other. Less: a busy PBX takes longer. More: a redial is
one of them."""


def _beside(leg: Leg, root: Leg) -> bool:
    """Whether a PBX made the leg beside the root leg, for another device of the same user."""
    mine, theirs = root.roots[0], leg.roots[0]
    if not mine.src or mine.src != theirs.src or abs(leg.first_ms - root.first_ms) > BESIDE_MS:
        return False
    return root.offer.to.partition("@")[0] == leg.offer.to.partition("@")[0]


def _continues(leg: Leg, root: Leg) -> bool:
    """Whether a leg is the caller's next attempt under a new Call-ID, after a redirection (row 24)."""
    mine, theirs = root.roots[0], leg.roots[0]
    same_box = mine.src == theirs.src or (host(mine.src) == host(theirs.src) != host(mine.dst))
    finals = [final.at_ms for final in (b.final for b in root.last_attempt) if final is not None]
    return bool(mine.src) and same_box and bool(finals) and leg.first_ms >= min(finals)


def order(seen: Seen) -> tuple[int, int, str, str, int, str]:
    """Sort key of messages: capture time, then content, so that equal times have one order."""
    return (seen.at_ms, seen.status, seen.method, seen.branch, seen.cseq, seen.to_tag)


def _leg(call_id: str, messages: list[Seen], hint: Offer | None) -> Leg | None:
    branches: dict[tuple[int, str], Branch] = {}
    unmatched: list[Seen] = []
    byes: list[Seen] = []
    from_tag = tag_of_any = ""
    for seen in messages:
        method = seen.method
        if method == "INVITE" or method == "CANCEL":  # noqa: PLR1714 - for every message
            key = (seen.cseq, seen.branch)
            branch = branches.get(key)
            if branch is None:
                src, dst = (seen.dst, seen.src) if seen.status else (seen.src, seen.dst)
                branch = branches[key] = Branch(
                    seen.branch, seen.cseq, call_id, seen.parent, seen.vias, seen.at_ms, src, dst
                )
            branch.note(seen)
            tag_of_any = tag_of_any or seen.from_tag
            if seen.offer is not None:
                from_tag = from_tag or seen.from_tag
        elif method == "ACK":
            unmatched.append(seen)
        elif method == "BYE" and not seen.status:
            byes.append(seen)
    calling = [branch for branch in branches.values() if not branch.in_dialog]
    offer = next((branch.offer for branch in calling if branch.offer is not None), hint)
    if not calling or offer is None:
        return None
    acks = []
    for seen in unmatched:
        matched = branches.get((seen.cseq, seen.branch))
        if matched is None:
            acks.append(seen)
        else:
            matched.acked = True
    first_ms = calling[0].first_ms
    from_tag = from_tag or tag_of_any
    calling = [b for b in calling if b.invite or not _from_callee(b, from_tag)] or calling
    roots = _link(calling)
    if acks or byes:
        _infer_answers(calling, acks, byes)
    return Leg(
        call_id,
        offer,
        from_tag,
        first_ms,
        calling,
        roots,
        byes,
        [ack for ack in acks if ack.to_tag],
        _by_cseq(roots),
    )


def _by_cseq(roots: list[Branch]) -> list[list[Branch]]:
    if len(roots) == 1:
        return [list(roots)]
    attempts: dict[int, list[Branch]] = {}
    for root in roots:
        attempts.setdefault(root.cseq, []).append(root)
    return [attempts[cseq] for cseq in sorted(attempts)]


def _infer_answers(branches: list[Branch], acks: list[Seen], byes: list[Seen]) -> None:
    """Let an ACK or BYE stand for a 2xx that was not captured.

    Only a 2xx has an ACK of its own branch (RFC 3261 s.13.2.2.4), and only a confirmed dialog, or the caller of
    an early one before its 487, a BYE (s.15).
    """
    ended = {m.to_tag for branch in branches for m in (*branch.oks, *branch.finals)}
    for message in (*acks, *byes):
        tags = {message.from_tag, message.to_tag}
        if not message.to_tag or tags & ended:
            continue
        if message.method == "BYE" and any(branch.finals or branch.cancel_known for branch in branches):
            continue
        ended |= {message.to_tag}
        in_dialog = [b for b in branches if any(p.to_tag in tags for p in b.provisionals if p.to_tag)]
        answered = [b for b in in_dialog if not b.children] or in_dialog or branches[-1:]
        if not answered[-1].finals:
            answered[-1].infer_ok(message)


def _from_callee(branch: Branch, from_tag: str) -> bool:
    """Whether a branch known from responses only is the callee's re-INVITE: its tags are the other way round."""
    answers = branch.provisionals or branch.oks or branch.finals
    return bool(answers) and answers[0].from_tag != from_tag and answers[0].to_tag == from_tag


def _link(branches: list[Branch]) -> list[Branch]:
    """Build the tree of one leg by its Via stacks; return the roots."""
    known = {(b.cseq, b.id): b for b in branches}
    roots = []
    for branch in branches:
        parent = known.get((branch.cseq, branch.parent_id)) if branch.parent_id else None
        if parent is not None and not _is_above(branch, parent):
            branch.parent = parent
            parent.children.append(branch)
        else:
            roots.append(branch)
    if len(roots) > 1:
        roots = _link_by_box(roots, branches)
    return roots


def _is_above(branch: Branch, lower: Branch) -> bool:
    """Whether ``lower`` is ``branch`` or hangs below it."""
    at: Branch | None = lower
    while at is not None and at is not branch:
        at = at.parent
    return at is not None


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
            and not _is_above(root, b)
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


def _attach(leg: Leg, root: Leg, legs: list[Leg]) -> None:
    """Hang a downstream leg under the branch into its box, else under the caller's last attempt."""
    for branch in leg.roots:
        into = [
            b
            for other in legs
            if other is not leg
            for b in other.branches
            if b.first_ms <= branch.first_ms and out_of(b, branch) and not _is_above(branch, b)
        ]
        parent = into[-1] if into else root.last_attempt[0]
        branch.parent = parent
        parent.children.append(branch)
