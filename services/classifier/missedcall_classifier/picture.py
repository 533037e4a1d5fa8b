"""A call's messages read as what they were: legs, attempts, and a tree of branches (RFC 3261 s.16, s.17).

Rule 1: a branch is one INVITE client transaction on one hop; its parent is the branch whose id stands in the
        next Via. Where a B2BUA or topology hiding cuts the Via stack, the parent is the latest earlier branch
        into the box that this one comes out of.
Rule 2: the root leg is the one nearest the caller. Its last attempt says what the caller got; the leaves of
        the tree say what the phones did.
Rule 3: nothing is judged here. Every list is in a fixed order (capture time, then content), so the picture is
        a function of the set of messages.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

from .seen import Offer, Seen

NO_MESSAGES: Final[list[Seen]] = []
"""Stands for an empty list until there is something to put into one; nothing is ever added to it."""


@final
class Branch:
    """One INVITE transaction on one hop."""

    __slots__ = (
        "acked", "call_id", "cancel", "cancel_known", "children", "cseq", "dst", "ended_ms", "final",
        "finals", "first_ms", "id", "in_dialog", "invite", "nested", "offer", "oks", "parent", "parent_id",
        "progress_ms", "provisionals", "ringing_ms", "says", "src", "user", "vias",
    )  # fmt: skip

    id: str
    cseq: int
    call_id: str
    parent_id: str
    vias: int
    first_ms: int
    """Capture time of its first message, milliseconds."""
    src: str
    dst: str
    invite: Seen | None
    offer: Offer | None
    """What the INVITE said, if it was captured."""
    provisionals: list[Seen]
    oks: list[Seen]
    """2xx responses; of one not captured, the ACK or BYE that shows it."""
    finals: list[Seen]
    """Final responses from 300 on, in order of capture."""
    final: Seen | None
    """The failure that ended it; the first, for the rest are copies through other hops."""
    cancel: Seen | None
    """The CANCEL request itself."""
    cancel_known: bool
    """A CANCEL or a response to one was captured."""
    acked: bool
    """An ACK with this branch: it was for a final from 300 on (RFC 3261 s.17.1.1.3)."""
    in_dialog: bool
    says: tuple[str, ...]
    """What the Reasons and diagnostics of its CANCEL and finals say."""
    ringing_ms: int
    """Capture time of the first 180; 0 if none."""
    progress_ms: int
    """Capture time of the first 183; 0 if none."""
    ended_ms: int
    """Capture time of its end: the first of CANCEL, failure and 2xx; 0 while it is open."""
    parent: "Branch | None"
    """None again once the case is built, so that the memory of a tree is free when it is dropped."""
    nested: bool
    """It has or had a parent."""
    children: list["Branch"]
    user: str
    """Whose phone it is for; `build.py` says it."""

    def __init__(self, first: Seen) -> None:
        self.id = first.branch
        self.cseq = first.cseq
        self.call_id = first.call_id
        self.parent_id = first.parent
        self.vias = first.vias
        self.first_ms = first.at_ms
        if first.status:
            self.src, self.dst = first.dst, first.src
        else:
            self.src, self.dst = first.src, first.dst
        self.invite = None
        self.offer = None
        self.provisionals = NO_MESSAGES
        self.oks = NO_MESSAGES
        self.finals = NO_MESSAGES
        self.final = None
        self.cancel = None
        self.cancel_known = False
        self.acked = False
        self.in_dialog = False
        self.says = ()
        self.ringing_ms = 0
        self.progress_ms = 0
        self.ended_ms = 0
        self.parent = None
        self.nested = False
        self.children = NO_BRANCHES
        self.user = ""

    def note(self, seen: Seen) -> None:
        """Take up a message of this transaction; they come in order of capture."""
        status = seen.status
        if seen.method == "CANCEL":
            self.cancel_known = True
            if status or self.cancel is not None:
                return
            self.cancel = seen
        elif status >= 300:
            if self.final is None:
                self.final, self.finals = seen, [seen]
            else:
                self.finals.append(seen)
        elif status >= 200:
            self._add_ok(seen)
            self.ended_ms = self.ended_ms or seen.at_ms
            return
        elif status:
            if self.provisionals:
                self.provisionals.append(seen)
            else:
                self.provisionals = [seen]
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
        ending = seen.ending
        if ending is not None and ending.says:
            self.says += ending.says

    def infer_ok(self, seen: Seen) -> None:
        """Let a message stand for a 2xx that was not captured."""
        if not self.oks:
            self.ended_ms = min(self.ended_ms or seen.at_ms, seen.at_ms)
        self._add_ok(seen)

    def _add_ok(self, seen: Seen) -> None:
        if self.oks:
            self.oks.append(seen)
        else:
            self.oks = [seen]

    def hang(self, child: "Branch") -> None:
        """Take a branch for one that came out of the box that this one entered."""
        child.parent = self
        child.nested = True
        if self.children:
            self.children.append(child)
        else:
            self.children = [child]

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


NO_BRANCHES: Final[list[Branch]] = []


@final
@mypyc_attr(acyclic=True)
class Leg:
    """Everything under one Call-ID."""

    __slots__ = ("attempts", "branches", "byes", "call_id", "first_ms", "from_tag", "offer", "roots")

    call_id: str
    offer: Offer
    from_tag: str
    first_ms: int
    branches: list[Branch]
    roots: list[Branch]
    """Branches without a captured parent in this leg."""
    byes: list[Seen]
    attempts: list[list[Branch]]
    """The roots by CSeq: all but the last were challenged, redirected or retried."""

    def __init__(
        self,
        call_id: str,
        offer: Offer,
        from_tag: str,
        first_ms: int,
        branches: list[Branch],
        roots: list[Branch],
        byes: list[Seen],
    ) -> None:
        self.call_id = call_id
        self.offer = offer
        self.from_tag = from_tag
        self.first_ms = first_ms
        self.branches = branches
        self.roots = roots
        self.byes = byes
        self.attempts = _by_cseq(roots)

    @property
    def last_attempt(self) -> list[Branch]:
        """What the caller tried last; several branches if it was forked before our capture."""
        return self.attempts[-1]

    @property
    def answered_ms(self) -> int:
        """Capture time of the first 2xx on any hop; 0 if none."""
        first = 0
        for branch in self.branches:
            for ok in branch.oks:
                if not first or ok.at_ms < first:
                    first = ok.at_ms
        return first


@final
@mypyc_attr(acyclic=True)
class Picture:
    """A call as legs and branches."""

    __slots__ = ("all_legs", "handed_over", "later", "legs", "root", "seen", "takeovers", "upstream_unseen")

    legs: list[Leg]
    """The root leg, then those below it in order of their first message."""
    root: Leg
    """The leg nearest the caller."""
    takeovers: list[Leg]
    """Legs whose INVITE replaces a dialog of this call (RFC 3891)."""
    later: list["Picture"]
    """Calls within the call: to a transfer target, to a person behind an attendant, a consultation."""
    seen: list[Seen]
    all_legs: list[Leg]
    """Every leg that was joined, of this picture and of those around it."""
    upstream_unseen: bool
    """The root leg names a leg nearer the caller, of which only in-dialog messages were captured."""
    handed_over: bool
    """A REFER asked somebody to replace a dialog of this call."""

    def __init__(self, legs: list[Leg], all_legs: list[Leg], seen: list[Seen]) -> None:
        self.legs = legs
        self.root = legs[0]
        self.takeovers = []
        self.later = []
        self.seen = seen
        self.all_legs = all_legs
        self.upstream_unseen = False
        self.handed_over = False


def draw(
    messages: list[Seen], hints: dict[str, Offer], queues: frozenset[str] = frozenset()
) -> Picture | None:
    """Return the picture of a call; None if no INVITE of it is known, not even from a response.

    Args:
        messages: The call's distinct messages, in any order.
        hints: By Call-ID, what stands for an INVITE that was not captured.
        queues: Addresses of record that ring agents for whoever they answer.
    """
    ordered = _in_order(messages)
    by_leg = _by_call_id(ordered)
    legs = []
    for call_id, group in by_leg.items():
        leg = _leg(call_id, group, hints.get(call_id))
        if leg is not None:
            legs.append(leg)
    if not legs:
        return None
    if len(legs) > 1:
        return _joined(legs, ordered, by_leg, queues)
    only = legs[0]
    picture = Picture(legs, legs, ordered)
    for link in only.offer.links:
        if link.startswith("call:") and link[5:] in by_leg:
            picture.upstream_unseen = True
    picture.handed_over = only.call_id in _handed_over(ordered)
    return picture


def _in_order(messages: list[Seen]) -> list[Seen]:
    """Return the messages sorted by `order`. They mostly come so, and then a look at each is enough."""
    before: Seen | None = None
    for seen in messages:
        if before is not None and before.at_ms >= seen.at_ms and _follows(before, seen):
            return sorted(messages, key=order)
        before = seen
    return messages[:]


def _follows(one: Seen, other: Seen) -> bool:
    """Whether the first of two messages, which is not the earlier one, comes after the other."""
    if one.at_ms != other.at_ms:
        return True
    if one.status != other.status:
        return one.status > other.status
    return order(one) > order(other)


def _by_call_id(messages: list[Seen]) -> dict[str, list[Seen]]:
    by_leg: dict[str, list[Seen]] = {}
    call_id = ""
    group: list[Seen] | None = None
    for seen in messages:
        if group is None or seen.call_id != call_id:
            call_id = seen.call_id
            group = by_leg.get(call_id)
            if group is None:
                group = by_leg[call_id] = []
        group.append(seen)
    return by_leg


def _joined(
    legs: list[Leg], ordered: list[Seen], by_leg: dict[str, list[Seen]], queues: frozenset[str]
) -> Picture:
    """Return the picture of a call of several legs."""
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
        elif leg in behind and not (queue and _same_caller(leg, root)):
            apart.append(leg)
            continue
        else:
            _attach(leg, root, below)
        below.append(leg)
    handed_over = _handed_over(ordered)
    all_legs = plain + takeovers
    whole = Picture(below, all_legs, [])
    whole.later = [Picture([leg], all_legs, []) for leg in apart]
    for picture in [whole, *whole.later]:
        ids = {leg.call_id for leg in picture.legs}
        picture.takeovers = [leg for leg in takeovers if leg.offer.replaces in ids]
        ids |= {leg.call_id for leg in picture.takeovers}
        picture.seen = [seen for seen in ordered if seen.call_id in ids]
        picture.handed_over = not ids.isdisjoint(handed_over)
    return whole


def _handed_over(messages: list[Seen]) -> list[str]:
    """Return the Call-IDs that a REFER says are to be replaced (RFC 5589 s.7)."""
    return [seen.offer.replaces for seen in messages if seen.method == "REFER" and seen.offer]


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
    same_box = mine.src == theirs.src or (
        same_host(mine.src, theirs.src) and not same_host(theirs.src, mine.dst)
    )
    finals = [branch.final.at_ms for branch in root.last_attempt if branch.final is not None]
    return bool(mine.src) and same_box and bool(finals) and leg.first_ms >= min(finals)


def order(seen: Seen) -> tuple[int, int, str, str, int, str]:
    """Sort key of messages: capture time, then content, so that equal times have one order."""
    return (seen.at_ms, seen.status, seen.method, seen.branch, seen.cseq, seen.to_tag)


@final
@mypyc_attr(acyclic=True)
class _Branches:
    """Branches by CSeq and id. Nearly always the id alone tells them apart."""

    __slots__ = ("_by_id", "_others", "all")

    all: list[Branch]
    """In order of their first message."""

    def __init__(self) -> None:
        self.all = []
        self._by_id: dict[str, Branch] = {}
        self._others: dict[tuple[int, str], Branch] = {}

    def find(self, cseq: int, branch_id: str) -> Branch | None:
        branch = self._by_id.get(branch_id)
        if branch is None or branch.cseq == cseq:
            return branch
        return self._others.get((cseq, branch_id))

    def add(self, branch: Branch) -> None:
        self.all.append(branch)
        if branch.id in self._by_id:
            self._others[branch.cseq, branch.id] = branch
        else:
            self._by_id[branch.id] = branch


def _leg(call_id: str, messages: list[Seen], hint: Offer | None) -> Leg | None:
    branches = _Branches()
    unmatched: list[Seen] = []
    byes: list[Seen] = []
    from_tag = tag_of_any = ""
    for seen in messages:
        method = seen.method
        if method == "INVITE" or method == "CANCEL":
            branch = branches.find(seen.cseq, seen.branch)
            if branch is None:
                branch = Branch(seen)
                branches.add(branch)
            branch.note(seen)
            if not tag_of_any:
                tag_of_any = seen.from_tag
            if not from_tag and seen.offer is not None:
                from_tag = seen.from_tag
        elif method == "ACK":
            unmatched.append(seen)
        elif method == "BYE" and not seen.status:
            byes.append(seen)
    calling = [branch for branch in branches.all if not branch.in_dialog]
    offer = hint
    for branch in calling:
        if branch.offer is not None:
            offer = branch.offer
            break
    if not calling or offer is None:
        return None
    acks = []
    for seen in unmatched:
        matched = branches.find(seen.cseq, seen.branch)
        if matched is None:
            acks.append(seen)
        else:
            matched.acked = True
    first_ms = calling[0].first_ms
    from_tag = from_tag or tag_of_any
    calling = [b for b in calling if b.invite is not None or not _from_callee(b, from_tag)] or calling
    if len(calling) < len(branches.all):
        branches = _Branches()
        for branch in calling:
            branches.add(branch)
    roots = _link(branches)
    if acks or byes:
        _infer_answers(calling, acks, byes)
    return Leg(call_id, offer, from_tag, first_ms, calling, roots, byes)


def _by_cseq(roots: list[Branch]) -> list[list[Branch]]:
    if len(roots) == 1:
        return [roots[:]]
    attempts: dict[int, list[Branch]] = {}
    for root in roots:
        attempts.setdefault(root.cseq, []).append(root)
    return [attempts[cseq] for cseq in sorted(attempts)]


def _infer_answers(branches: list[Branch], acks: list[Seen], byes: list[Seen]) -> None:
    """Let an ACK or BYE stand for a 2xx that was not captured.

    Only a 2xx has an ACK of its own branch (RFC 3261 s.13.2.2.4), and only a confirmed dialog, or the caller of
    an early one before its 487, a BYE (s.15).
    """
    ended: set[str] = set()
    refused = False
    for branch in branches:
        for ok in branch.oks:
            ended.add(ok.to_tag)
        for failure in branch.finals:
            ended.add(failure.to_tag)
        refused = refused or bool(branch.finals) or branch.cancel_known
    for message in acks + byes:
        if not message.to_tag or message.from_tag in ended or message.to_tag in ended:
            continue
        if refused and message.method == "BYE":
            continue
        ended.add(message.to_tag)
        tags = (message.from_tag, message.to_tag)
        in_dialog = [b for b in branches if any(p.to_tag in tags for p in b.provisionals if p.to_tag)]
        answered = [b for b in in_dialog if not b.children] or in_dialog or branches[-1:]
        if not answered[-1].finals:
            answered[-1].infer_ok(message)


def _from_callee(branch: Branch, from_tag: str) -> bool:
    """Whether a branch known from responses only is the callee's re-INVITE: its tags are the other way round."""
    answers = branch.provisionals or branch.oks or branch.finals
    return bool(answers) and answers[0].from_tag != from_tag and answers[0].to_tag == from_tag


def _link(branches: _Branches) -> list[Branch]:
    """Build the tree of one leg by its Via stacks; return the roots."""
    roots = []
    for branch in branches.all:
        parent = branches.find(branch.cseq, branch.parent_id) if branch.parent_id else None
        if parent is not None and not _is_above(branch, parent):
            parent.hang(branch)
        else:
            roots.append(branch)
    if len(roots) > 1:
        roots = _link_by_box(roots, branches.all)
    return roots


def tree(roots: list[Branch]) -> list[Branch]:
    """Return branches and all below them, each above those below it."""
    found = []
    waiting = roots[::-1]
    while waiting:
        branch = waiting.pop()
        found.append(branch)
        if branch.children:
            waiting.extend(branch.children[::-1])
    return found


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
            same[-1].hang(root)
        else:
            remaining.append(root)
    return remaining or roots[:1]


def host(address: str) -> str:
    """Return the host of `host:port`."""
    return address.rpartition(":")[0]


def same_host(one: str, other: str) -> bool:
    """Whether two `host:port` have the same host."""
    end = max(0, one.rfind(":"))
    return end == max(0, other.rfind(":")) and one[:end] == other[:end]


def out_of(into: Branch, out: Branch) -> bool:
    """Whether ``out`` leaves the box that ``into`` enters (and is not a retry of ``into``)."""
    if not into.dst or not out.src or into is out:
        return False
    if into.dst == out.src:
        return True
    # One address, several programs: only the port tells them apart.
    return same_host(into.dst, out.src) and not same_host(into.src, into.dst)


def _root_first(legs: list[Leg]) -> list[Leg]:
    """Sort the legs: the one nearest the caller first, the rest by time."""
    if len(legs) == 1:
        return legs
    named = {link[5:] for leg in legs for link in leg.offer.links if link.startswith("call:")}
    first = legs[0]
    nearest = _nearness(first, legs, named)
    for leg in legs[1:]:
        near = _nearness(leg, legs, named)
        if near < nearest:
            first, nearest = leg, near
    return [first, *sorted([leg for leg in legs if leg is not first], key=_by_time)]


def _nearness(leg: Leg, legs: list[Leg], named: set[str]) -> tuple[bool, bool, bool, int, str]:
    """Sort key of legs: the least is nearest the caller."""
    referred = bool(leg.offer.referred_by and not leg.offer.history)
    return (referred, _comes_out(leg, legs), leg.call_id not in named, leg.first_ms, leg.call_id)


def _comes_out(leg: Leg, legs: list[Leg]) -> bool:
    """Whether a leg comes out of a box that an earlier one enters."""
    root, first_ms = leg.roots[0], leg.first_ms
    for other in legs:
        if other is leg:
            continue
        for branch in other.branches:
            if branch.first_ms <= first_ms and out_of(branch, root):
                return True
    return False


def _by_time(leg: Leg) -> tuple[int, str]:
    return (leg.first_ms, leg.call_id)


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
        parent.hang(branch)
