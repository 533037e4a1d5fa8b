"""One call as one user's case: the facts that the rules ask about.

Rule 1: everything here is read off the picture; nothing is decided.
Rule 2: all times are capture milliseconds; 0 means "not seen".
Rule 3: what most rules ask for is a field, read once by `build.py`; the rest is a property, read when asked for.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

from .causes import Says
from .ends import End, Leaf, end_of, rang_ms
from .picture import Branch, Leg, Picture
from .policy import Policy, suffixes_of
from .seen import Offer, Seen
from .users import host_part, ours, retargeted, user_part

TAKEOVER_MS = 1000
"""A PBX that hears one phone answer cancels the others and answers the caller within this (row 36).
Less: the answer of a phone outside the capture reads as the PBX's own. More: a voicemail reads as a person."""

MEMBER_MS = 2000
"""Legs that begin this close to each other ring as a group, later ones in turn."""


NOTHING: Final[frozenset[str]] = frozenset()


@final
@mypyc_attr(acyclic=True)
class Case:
    """A root leg, its tree of branches, and the user whom the caller called."""

    __slots__ = (
        "_ended_at_ms", "_heads", "_rang_at_ms", "_users", "attempt", "began_ms", "behind", "branches",
        "byes", "cancel", "cancel_known", "covered", "deciding", "final", "human", "leaves", "machine",
        "offer", "picked_up_unseen", "pickups", "picture", "policy", "primary", "root", "root_says",
        "status", "told", "told_ends", "twins",
    )  # fmt: skip

    picture: Picture
    policy: Policy
    root: Leg
    offer: Offer
    """What the caller's first INVITE said."""
    primary: str
    """Address of record of the called user; "" if only a machine knows it."""
    behind: bool
    """A call within a call: to a transfer target, to a person behind an attendant, a consultation."""
    began_ms: int
    """Capture time of the first INVITE."""

    attempt: list[Branch]
    """The caller's last attempt; several branches if the call was forked before our capture."""
    branches: list[Branch]
    """Every branch of the call, each above those below it."""
    byes: list[Seen]
    """Every BYE of the call in order of capture."""
    cancel: Seen | None
    """The CANCEL on the upstream-most leg."""
    cancel_known: bool
    """A CANCEL on the upstream-most leg was captured or answered."""
    final: Seen | None
    """The failure that the caller got in the last attempt."""
    status: int
    """Its status; 0 if none."""
    root_says: frozenset[str]
    """What Reasons and diagnostics on the upstream-most leg say."""

    leaves: list[Leaf]
    """The branches that ended at a phone or a machine, or nowhere."""
    deciding: list[Leaf]
    """The branches of the user whom the call reached last: they give a forwarded call its cause."""
    told: list[Leaf]
    """The deciding branches; where a final of theirs was lost, what the caller was told stands for it."""
    told_ends: list[End]
    """How these ended."""
    human: Leaf | None
    """The first person who answered."""
    machine: Leaf | None
    """The last machine that answered."""
    pickups: list[Seen]
    """2xx of legs that took the caller's or the callee's dialog over (RFC 3891)."""

    twins: bool
    """Other phones rang at the same time for the same caller, on legs that nothing joins to this one."""
    covered: bool
    """An unjoined leg nearer the caller, through the same box, is decided by itself."""
    picked_up_unseen: bool
    """When the caller gave up, he had just answered a call whose INVITE is lost: it may have replaced this one."""

    def __init__(self, picture: Picture, policy: Policy, primary: str, *, behind: bool) -> None:
        root = picture.root
        self.picture = picture
        self.policy = policy
        self.root = root
        self.offer = root.offer
        self.primary = primary
        self.behind = behind
        self.began_ms = root.first_ms
        self.attempt = root.attempts[-1]
        self.branches = []
        self.byes = root.byes
        self.cancel = None
        self.cancel_known = False
        self.final = None
        self.status = 0
        self.root_says = NOTHING
        self.leaves = []
        self.deciding = []
        self.told = []
        self.told_ends = []
        self.human = None
        self.machine = None
        self.pickups = []
        self.twins = False
        self.covered = False
        self.picked_up_unseen = False
        self._heads: list[Leaf] | None = None
        self._rang_at_ms = -1
        self._ended_at_ms = -1
        self._users: list[str] | None = None

    @property
    def heads(self) -> list[Leaf]:
        """The caller's last attempt, its end read as if nothing were below it."""
        heads = self._heads
        if heads is None:
            heads = self._heads = [Leaf(branch, self.primary) for branch in self.attempt]
            for leaf in heads:
                leaf.end = end_of(leaf)
        return heads

    # -- who answered ------------------------------------------------------------------------------

    def bye_after(self, at_ms: int, *, by_caller: bool) -> Seen | None:
        """Return the first BYE after ``at_ms`` from the caller's side (or else from the other)."""
        for bye in self.byes:
            if bye.at_ms >= at_ms and by_caller == self._from_caller(bye):
                return bye
        return None

    def _from_caller(self, bye: Seen) -> bool:
        for leg in self.picture.legs:
            if leg.from_tag == bye.from_tag and leg.call_id == bye.call_id:
                return True
        return False

    @property
    def took_over_callee(self) -> bool:
        """The leg that took over was sent to the called user, not to the caller: he answered it himself."""
        return any(
            user_part(leg.offer.to) == user_part(self.primary) != user_part(self.offer.caller.uri)
            for leg in self.picture.takeovers
        )

    # -- what the caller did and got ---------------------------------------------------------------

    @property
    def early_bye(self) -> Seen | None:
        """A BYE of the caller on an early dialog, with the failure that follows (RFC 3261 s.15)."""
        if self.final is None or not self.root.byes or any(branch.oks for branch in self.attempt):
            return None
        answered = {ok.to_tag for branch in self.branches for ok in branch.oks}
        for bye in self.root.byes:
            if bye.to_tag not in answered and self._from_caller(bye):
                return bye
        return None

    @property
    def offered(self) -> bool:
        """Whether an initial INVITE was captured: without one nothing says what was called, or whether it was."""
        for branch in self.branches:
            if branch.invite is not None:
                return True
        return False

    @property
    def forked_upstream(self) -> bool:
        """The nearest INVITE came through a proxy that is not captured: others may have got it as well."""
        return all(branch.vias > 1 for branch in self.attempt)

    @property
    def went_on(self) -> bool:
        """The INVITE says that the call had left the called user: forwarded, not rung along with him."""
        if self.offer.diversions:
            return True
        return any(
            entry.reason == "forwarding" or (entry.cause and entry.reason not in {"team-call", "delegation"})
            for entry in self.offer.history
        )

    @property
    def challenged_before(self) -> bool:
        """An earlier attempt was answered 401 or 407."""
        if len(self.root.roots) == len(self.attempt):
            return False
        return any(
            final.status in {401, 407}
            for root in self.root.roots
            if root not in self.attempt
            for final in root.finals
        )

    @property
    def elsewhere(self) -> bool:
        """Whether "completed elsewhere" is believed: on the upstream-most leg, or if that leg's end is unseen.

        With the caller's own CANCEL or failure captured and no 2xx anywhere, the words of a downstream
        CANCEL are overridden: FreeSWITCH and Dial(c) write them on every CANCEL (docs/deciding.md).
        """
        if Says.ELSEWHERE in self.root_says:
            return True
        if self.cancel is not None or (self.final is not None and not self.cancel_known):
            return False
        for leaf in self.leaves:
            if leaf.end is End.ELSEWHERE:
                return True
        return False

    # -- what the phones did -----------------------------------------------------------------------

    @property
    def own(self) -> list[Leaf]:
        """The called user's branches; all of them for a group that has no phone of its own."""
        return [leaf for leaf in self.leaves if leaf.user == self.primary] or self.leaves

    def any_deciding(self, wanted: End) -> bool:
        """Whether a deciding branch ended so."""
        for end in self.told_ends:
            if end is wanted:
                return True
        return False

    @property
    def rang(self) -> bool:
        """Whether a phone rang, as far as any hop shows."""
        return self.rang_at_ms != 0

    @property
    def rang_out(self) -> bool:
        """A phone rang until something other than the caller ended it."""
        for leaf in self.deciding:
            end = leaf.end
            if end is End.RANG_OUT or (leaf.rang and (end is End.CANCELLED or end is End.ELSEWHERE)):
                return True
        if self.status in (408, 480, 487, 504):
            for branch in self.branches:
                if branch.ringing_ms:
                    return True
        return False

    @property
    def declined(self) -> Leaf | None:
        """The person's refusal, unless other phones rang on: then it was for one device only (row 16)."""
        leaves = self.told
        if self.any_deciding(End.CANCELLED):
            leaves = leaves + self.heads  # whoever declined may be outside the capture
        for leaf in leaves:
            if leaf.end is End.DECLINED and not self._rang_on(leaf):
                return leaf
        return None

    def _rang_on(self, refused: Leaf) -> bool:
        until_ms = refused.branch.ended_ms + 2 * TAKEOVER_MS
        for other in self.deciding:
            if other is not refused and other.branch.alerted_ms and other.branch.ended_ms > until_ms:
                return True
        return False

    @property
    def group_unseen(self) -> bool:
        """Legs to several users name a leg nearer the caller, and nothing of that one was captured (row 37)."""
        legs = self.picture.legs
        if len(legs) < 2:
            return False
        ids = {leg.call_id for leg in self.picture.all_legs}
        named = {link.partition(":")[2] for link in self.offer.links if link.startswith("call:")}
        suffixes = suffixes_of(self.policy.call_id_suffixes)
        if suffixes is not None:
            named |= {suffixes.stem(self.root.call_id)} - {""}
        return bool(named) and named.isdisjoint(ids) and len({user_part(leg.offer.to) for leg in legs}) > 1

    @property
    def takeover_rings(self) -> bool:
        """A leg that replaces a dialog of this call has no end yet (row 41)."""
        for leg in self.picture.takeovers:
            for branch in leg.last_attempt:
                if not (branch.ended_ms or branch.acked):
                    return True
        return False

    @property
    def open_branch(self) -> bool:
        """A branch was answered by something and has no end."""
        cseq = self.attempt[0].cseq
        return any(branch.open and (branch.cseq == cseq or branch.nested) for branch in self.branches)

    @property
    def rang_at_ms(self) -> int:
        """When the first phone rang; 0 if none did."""
        if self._rang_at_ms < 0:
            self._rang_at_ms = self._first_ring_ms()
        return self._rang_at_ms

    def _first_ring_ms(self) -> int:
        sure = unsure = 0
        for branch in self.branches:
            at_ms = branch.ringing_ms
            if at_ms:
                if not sure or at_ms < sure:
                    sure = at_ms
            elif not sure:
                at_ms = rang_ms(branch)
                if at_ms and (not unsure or at_ms < unsure):
                    unsure = at_ms
        return sure or unsure

    @property
    def ended_at_ms(self) -> int:
        """When the attempt ended for the caller: his CANCEL, else the failure, else the last message."""
        if self._ended_at_ms < 0:
            self._ended_at_ms = self._end_ms()
        return self._ended_at_ms

    def _end_ms(self) -> int:
        machine = self.machine
        if machine is not None:
            bye = self.bye_after(machine.branch.oks[0].at_ms, by_caller=True)
            if bye is not None:
                return bye.at_ms
        first: Seen | None = None
        for seen in (self.cancel, self.early_bye, self.final):
            if seen is not None and (first is None or seen.at_ms < first.at_ms):
                first = seen
        return (first or self.picture.seen[-1]).at_ms

    @property
    def ring_end_ms(self) -> int:
        """When the last phone stopped ringing: at the latest when the call ended for the caller."""
        last = 0
        for leaf in self.leaves:
            if leaf.rang and not leaf.machine:
                if not leaf.branch.ended_ms:
                    return self.ended_at_ms
                last = max(last or leaf.branch.ended_ms, leaf.branch.ended_ms)
        return min(self.ended_at_ms, last) if last else self.ended_at_ms

    @property
    def ring_at_most_ms(self) -> int:
        """How long a phone can have rung: from the INVITE where the ringing response was not captured."""
        return max(0, self.ring_end_ms - (self.rang_at_ms or self.began_ms))

    @property
    def devices_rung(self) -> int:
        """Phones of the called user that rang; told by To-tags where only one hop is captured."""
        rung = [leaf for leaf in self.own if leaf.rang]
        tags = {p.to_tag for leaf in rung for p in leaf.branch.provisionals if p.status == 180 and p.to_tag}
        return max(len(rung), len(tags))

    @property
    def users(self) -> list[str]:
        """Everyone but the called user whose phone the call went to, in order."""
        if self._users is None:
            self._users = self._other_users()
        return self._users

    def _other_users(self) -> list[str]:
        offer = self.offer
        if not offer.history and not offer.diversions:
            for leaf in self.leaves:
                if leaf.user and leaf.user != self.primary:
                    break
            else:
                return []
        found = [entry.aor for entry in (*retargeted(offer), *offer.diversions[1:])]
        found += [leaf.user for leaf in sorted(self.leaves, key=_first_ms)]
        voicemail = {leaf.user for leaf in self.leaves if leaf.machine == "voicemail"} | {"voicemail"}
        voicemail |= {entry.aor for entry in offer.history if entry.voicemail}
        return [u for u in dict.fromkeys(found) if u and u != self.primary and u not in voicemail]

    def is_member(self, user: str) -> bool:
        """Whether ``user`` was rung as one of a group: several users, the called one not among them.

        At once, or in turn on legs that a PBX made for each of them.
        """
        if self.offer.history or self.offer.diversions:
            return False
        mine = []
        others = []
        for leaf in self.leaves:
            if leaf.user == self.primary and leaf.branch not in self.attempt:
                return False
            if leaf.user == user:
                mine.append(leaf.branch)
            elif leaf.user != self.primary and not leaf.machine:
                others.append(leaf.branch)
        for branch in mine:
            for other in others:
                if abs(other.first_ms - branch.first_ms) <= MEMBER_MS:
                    return True
                if self.root.call_id not in (branch.call_id, other.call_id):
                    return True
        return False

    @property
    def taken_at_another_phone(self) -> bool:
        """The box answered the caller, but none of the phones that it rang; they were told "elsewhere" (row 39)."""
        human = self.human
        if human is None:
            return False
        for child in human.branch.children:
            if child.says and child.call_id != human.branch.call_id and Says.ELSEWHERE in child.says:
                return True
        return False

    @property
    def cancelled_by_box(self) -> bool:
        """A box placed this call for a caller who was with it, and ended it while he stayed (row 29)."""
        cancel = self.cancel
        if not self.behind or cancel is None or self.offer.referred_by:
            return False
        others = [leg for leg in self.picture.all_legs if leg is not self.root]
        served = any(leg.offer.caller.uri == self.offer.caller.uri and leg.answered_ms for leg in others)
        left = any(abs(bye.at_ms - cancel.at_ms) <= MEMBER_MS for leg in others for bye in leg.byes)
        return served and not left

    # -- who they are ------------------------------------------------------------------------------

    @property
    def is_ours(self) -> bool:
        """Whether the called user is one of ours."""
        return ours(self.primary, self.policy)

    @property
    def internal(self) -> bool:
        """Whether the caller is of our own domains."""
        return host_part(self.offer.caller.uri) in self.policy.domains

    @property
    def exchange_notifies(self) -> bool:
        """An INFO to Exchange UM asked it for the missed-call item."""
        for seen in self.picture.seen:
            if seen.method == "INFO" and seen.ending is not None and seen.ending.machine:
                return True
        return False


def _first_ms(leaf: Leaf) -> int:
    return leaf.branch.first_ms
