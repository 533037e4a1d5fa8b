"""One call as one user's case: the facts that the rules ask about.

Rule 1: every property here is read off the picture; nothing is decided.
Rule 2: all times are capture milliseconds; 0 means "not seen".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .causes import RETRIED, Says
from .ends import End, Leaf, end_of, rang_ms, says
from .picture import Branch, Leg, Picture
from .policy import Policy
from .seen import Offer, Seen
from .users import called, host_part, ours, retargeted, user_of, user_part

TAKEOVER_MS = 1000
"""A PBX that hears one phone answer cancels the others and answers the caller within this (row 36).
Less: the answer of a phone outside the capture reads as the PBX's own. More: a voicemail reads as a person."""

MEMBER_MS = 2000
"""Legs that begin this close to each other ring as a group, later ones in turn."""


@dataclass(slots=True, eq=False)
class Case:
    """A root leg, its tree of branches, and the user whom the caller called."""

    picture: Picture
    root: Leg
    policy: Policy
    primary: str
    """Address of record of the called user; "" if only a machine knows it."""
    leaves: list[Leaf]
    heads: list[Leaf] = field(default_factory=list)
    """The caller's last attempt, its end read as if nothing were below it."""
    behind: bool = False
    """A call within a call: to a transfer target, to a person behind an attendant, a consultation."""
    twins: bool = False
    picked_up_unseen: bool = False
    """When the caller gave up, he had just answered a call whose INVITE is lost: it may have replaced this one."""
    covered: bool = False
    """An unjoined leg nearer the caller, through the same box, is decided by itself."""
    pickups: list[Seen] = field(default_factory=list)
    """2xx of legs that took the caller's or the callee's dialog over (RFC 3891)."""

    @property
    def offer(self) -> Offer:
        """What the caller's first INVITE said."""
        return self.root.offer

    @property
    def attempt(self) -> list[Branch]:
        """The caller's last attempt; several branches if the call was forked before our capture."""
        return self.root.last_attempt

    @property
    def began_ms(self) -> int:
        """Capture time of the first INVITE."""
        return self.root.first_ms

    # -- who answered ------------------------------------------------------------------------------

    def answers(self, end: End) -> list[Leaf]:
        """Return the leaves that ended so."""
        return [leaf for leaf in self.leaves if leaf.end is end]

    @property
    def human(self) -> Leaf | None:
        """The first person who answered."""
        return min(self.answers(End.ANSWERED), key=lambda leaf: leaf.branch.oks[0].at_ms, default=None)

    @property
    def machine(self) -> Leaf | None:
        """The last machine that answered."""
        return max(self.answers(End.MACHINE), key=lambda leaf: leaf.branch.oks[0].at_ms, default=None)

    def bye_after(self, at_ms: int, *, by_caller: bool) -> Seen | None:
        """Return the first BYE after ``at_ms`` from the caller's side (or else from the other)."""
        for bye in self.byes:
            if bye.at_ms >= at_ms and by_caller == self._from_caller(bye):
                return bye
        return None

    @property
    def byes(self) -> list[Seen]:
        """Every BYE of the call in order of capture."""
        return sorted((bye for leg in self.picture.legs for bye in leg.byes), key=lambda bye: bye.at_ms)

    def _from_caller(self, bye: Seen) -> bool:
        return any(leg.call_id == bye.call_id and leg.from_tag == bye.from_tag for leg in self.picture.legs)

    @property
    def took_over_callee(self) -> bool:
        """The leg that took over was sent to the called user, not to the caller: he answered it himself."""
        return any(
            user_part(leg.offer.to) == user_part(self.primary) != user_part(self.offer.caller.uri)
            for leg in self.picture.takeovers
        )

    # -- what the caller did and got ---------------------------------------------------------------

    @property
    def cancel(self) -> Seen | None:
        """The CANCEL on the upstream-most leg."""
        found = [branch.cancel for branch in self.attempt if branch.cancel is not None]
        return min(found, key=lambda cancel: cancel.at_ms, default=None)

    @property
    def cancel_known(self) -> bool:
        """A CANCEL on the upstream-most leg was captured or answered."""
        return any(branch.cancel_known for branch in self.attempt)

    @property
    def final(self) -> Seen | None:
        """The failure that the caller got in the last attempt."""
        found = [final for branch in self.attempt if (final := branch.final) is not None]
        return min(found, key=lambda final: final.at_ms, default=None)

    @property
    def status(self) -> int:
        """Its status; 0 if none."""
        final = self.final
        return final.status if final else 0

    @property
    def root_says(self) -> frozenset[str]:
        """What Reasons and diagnostics on the upstream-most leg say."""
        return frozenset(what for branch in self.attempt for what in says(branch))

    @property
    def early_bye(self) -> Seen | None:
        """A BYE of the caller on an early dialog, with the failure that follows (RFC 3261 s.15)."""
        if self.final is None or any(branch.oks for branch in self.attempt):
            return None
        answered = {ok.to_tag for branch in self.branches() for ok in branch.oks}
        return next((b for b in self.root.byes if self._from_caller(b) and b.to_tag not in answered), None)

    @property
    def offered(self) -> bool:
        """Whether an initial INVITE was captured: without one nothing says what was called, or whether it was."""
        return any(branch.invite is not None for branch in self.branches())

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
        return any(leaf.end is End.ELSEWHERE for leaf in self.leaves)

    # -- what the phones did -----------------------------------------------------------------------

    @property
    def own(self) -> list[Leaf]:
        """The called user's branches; all of them for a group that has no phone of its own."""
        return [leaf for leaf in self.leaves if leaf.user == self.primary] or self.leaves

    @property
    def deciding(self) -> list[Leaf]:
        """The branches of the user whom the call reached last: they give a forwarded call its cause."""
        people = [leaf for leaf in self.leaves if not leaf.machine] or self.leaves
        started = max(people, key=lambda leaf: leaf.branch.first_ms)
        parallel = [
            leaf
            for leaf in people
            if not leaf.branch.ended_ms or leaf.branch.ended_ms > started.branch.first_ms
        ]
        users = {leaf.user for leaf in (*parallel, started)}
        return [leaf for leaf in people if leaf.user in users]

    @property
    def told(self) -> list[Leaf]:
        """The deciding branches; where a final of theirs was lost, what the caller was told stands for it."""
        leaves = self.deciding
        if any(leaf.end is End.OPEN for leaf in leaves):
            return leaves + [
                leaf for leaf in self.heads if leaf.branch not in {each.branch for each in leaves}
            ]
        return leaves

    def any_deciding(self, *ends: End) -> bool:
        """Whether a deciding branch ended so."""
        return any(leaf.end in ends for leaf in self.told)

    @property
    def rang(self) -> bool:
        """Whether a phone rang, as far as any hop shows."""
        return bool(self.rang_at_ms)

    @property
    def rang_out(self) -> bool:
        """A phone rang until something other than the caller ended it."""
        return any(
            leaf.end is End.RANG_OUT or (leaf.end in {End.CANCELLED, End.ELSEWHERE} and leaf.rang)
            for leaf in self.deciding
        ) or (self.status in {408, 480, 487, 504} and any(b.ringing_ms for b in self.branches()))

    @property
    def declined(self) -> Leaf | None:
        """The person's refusal, unless other phones rang on: then it was for one device only (row 16)."""
        leaves = self.told
        if any(leaf.end is End.CANCELLED for leaf in leaves):
            leaves = [*leaves, *self.heads]  # whoever declined may be outside the capture
        for leaf in leaves:
            if leaf.end is not End.DECLINED:
                continue
            refused_ms = leaf.branch.ended_ms
            went_on = any(
                other.branch.alerted_ms and other.branch.ended_ms > refused_ms + 2 * TAKEOVER_MS
                for other in self.deciding
                if other is not leaf
            )
            if not went_on:
                return leaf
        return None

    @property
    def takeover_rings(self) -> bool:
        """A leg that replaces a dialog of this call has no end yet (row 41)."""
        return any(
            not (branch.ended_ms or branch.acked)
            for leg in self.picture.takeovers
            for branch in leg.last_attempt
        )

    @property
    def open_branch(self) -> bool:
        """A branch was answered by something and has no end."""
        return any(
            branch.open for branch in self.branches() if branch.cseq == self.attempt[0].cseq or branch.parent
        )

    def branches(self) -> Iterator[Branch]:
        """Yield every branch of the call."""
        for root in self.root.roots:
            yield from root.tree()

    @property
    def rang_at_ms(self) -> int:
        """When the first phone rang; 0 if none did."""
        sure = [branch.ringing_ms for branch in self.branches() if branch.ringing_ms]
        return min(sure or [at_ms for branch in self.branches() if (at_ms := rang_ms(branch))], default=0)

    @property
    def ended_at_ms(self) -> int:
        """When the attempt ended for the caller: his CANCEL, else the failure, else the last message."""
        ends = [m.at_ms for m in (self.cancel, self.early_bye, self.final) if m is not None]
        if self.machine is not None and (
            bye := self.bye_after(self.machine.branch.oks[0].at_ms, by_caller=True)
        ):
            return bye.at_ms
        return min(ends) if ends else max(seen.at_ms for seen in self.picture.seen)

    @property
    def ring_end_ms(self) -> int:
        """When the last phone stopped ringing: at the latest when the call ended for the caller."""
        rung = [leaf.branch.ended_ms for leaf in self.leaves if leaf.rang and not leaf.machine]
        ended = self.ended_at_ms
        return min(ended, max(rung)) if rung and all(rung) else ended

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
        found = [entry.aor for entry in (*retargeted(self.offer), *self.offer.diversions[1:])]
        found += [leaf.user for leaf in sorted(self.leaves, key=lambda leaf: leaf.branch.first_ms)]
        voicemail = {leaf.user for leaf in self.leaves if leaf.machine == "voicemail"} | {"voicemail"}
        voicemail |= {entry.aor for entry in self.offer.history if entry.voicemail}
        return [u for u in dict.fromkeys(found) if u and u != self.primary and u not in voicemail]

    def is_member(self, user: str) -> bool:
        """Whether ``user`` was rung as one of a group: several users, the called one not among them.

        At once, or in turn on legs that a PBX made for each of them.
        """
        if self.offer.history or self.offer.diversions:
            return False
        if any(leaf.user == self.primary and leaf.branch not in self.attempt for leaf in self.leaves):
            return False
        mine = [leaf.branch for leaf in self.leaves if leaf.user == user]
        others = [
            leaf.branch for leaf in self.leaves if leaf.user not in {user, self.primary} and not leaf.machine
        ]
        return any(
            abs(other.first_ms - branch.first_ms) <= MEMBER_MS
            or self.root.call_id not in {branch.call_id, other.call_id}
            for branch in mine
            for other in others
        )

    @property
    def taken_at_another_phone(self) -> bool:
        """The box answered the caller, but none of the phones that it rang; they were told "elsewhere" (row 39)."""
        human = self.human
        if human is None:
            return False
        phones = [child for child in human.branch.children if child.call_id != human.branch.call_id]
        return any(Says.ELSEWHERE in says(phone) for phone in phones)

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
        return any(m.method == "INFO" and m.ending and m.ending.machine for m in self.picture.seen)


def build(picture: Picture, policy: Policy, *, behind: bool = False) -> Case:
    """Return the case of the called user of a picture's root leg."""
    leg = picture.root
    first = called(leg.offer, policy)
    case = Case(picture, leg, policy, first, [], behind=behind)
    if "acd" in leg.offer.traits and not leg.offer.history:
        case.primary = ""
    case.leaves = _leaves(case, first)
    case.heads = [Leaf(branch, first) for branch in case.attempt]
    _judge_answers(case)
    for leaf in (*case.leaves, *case.heads):
        leaf.end = end_of(leaf)
    for takeover in picture.takeovers:
        oks = [ok for branch in takeover.branches for ok in branch.oks]
        case.pickups.extend(sorted(oks, key=lambda ok: ok.at_ms)[:1])
    return case


def build_all(picture: Picture, policy: Policy) -> list[Case]:
    """Return the cases of a call: the caller's own first, then those of the calls within it."""
    return [build(picture, policy), *(build(later, policy, behind=True) for later in picture.later)]


def _leaves(case: Case, primary: str) -> list[Leaf]:
    bases = {}
    for leg in case.picture.legs:
        base = called(leg.offer, case.policy)
        bases[leg.call_id] = primary if user_part(base) == user_part(primary) else base
    leaves = []
    names = _names(case)
    superseded = _superseded(case.root)
    for branch in case.branches():
        if branch in superseded and not branch.children:
            continue
        answered_here = branch.oks and not any(_took(child) for child in branch.children)
        if not branch.children or answered_here:
            user = user_of(branch, bases.get(branch.call_id, primary), names)
            leaves.append(Leaf(branch, user, _machine_called(case, branch, user)))
    return leaves or [Leaf(branch, primary) for branch in case.attempt]


def _names(case: Case) -> dict[str, str]:
    """Return the users that the call is known to have been sent to, by their user part."""
    given = [
        contact
        for branch in case.branches()
        for final in branch.finals
        if final.ending is not None
        for contact in final.ending.contacts
        if contact and contact != "voicemail"
    ]
    domain = host_part(case.primary)
    given += [user for user in case.policy.users or () if host_part(user) == domain]
    return {user_part(aor): aor for aor in given}


def _took(child: Branch) -> bool:
    """Whether a 2xx came from ``child`` or below it."""
    return any(branch.oks for branch in child.tree())


def _superseded(leg: Leg) -> set[Branch]:
    """Return the roots after whose failure the caller tried again: one attempt (rows 20, 22)."""
    last = leg.last_attempt
    return {
        root
        for root in leg.roots
        if root not in last and not root.oks and (root.final is None or root.final.status in RETRIED)
    }


def _judge_answers(case: Case) -> None:
    """Mark which 2xx are a machine's and which do not count."""
    dropped = _not_answered_tags(case)
    for leaf in case.leaves:
        if not leaf.branch.oks:
            continue
        ok = leaf.branch.oks[0]
        leaf.machine = _machine(leaf)
        if (ok.call_id, ok.to_tag) in dropped or _crossed(case, ok.at_ms):
            leaf.discarded = "cancelled"
        elif _escaped(case, leaf):
            leaf.discarded = "escaped"


def _not_answered_tags(case: Case) -> set[tuple[str, str]]:
    """Dialogs that a server ended because their INVITE had been cancelled (Lync 5009, 5010)."""
    return {
        (message.call_id, message.to_tag)
        for message in case.picture.seen
        if message.method in {"ACK", "BYE"} and message.ending and Says.NOT_ANSWERED in message.ending.says
    }


def _crossed(case: Case, ok_ms: int) -> bool:
    """Row 5: the caller cancelled, a 2xx crossed it, and he hung up at once (RFC 5407 s.3.1.2)."""
    cancel = case.cancel
    if cancel is None or cancel.at_ms > ok_ms:
        return False
    bye = case.bye_after(ok_ms, by_caller=True)
    return bye is not None and bye.at_ms - ok_ms <= case.policy.crossing_s * 1000


def _escaped(case: Case, leaf: Leaf) -> bool:
    """Row 30: a mobile's voicemail answered at once and was dropped while other phones rang on."""
    ok = leaf.branch.oks[0]
    bye = next(
        (
            bye
            for bye in case.byes
            if bye.call_id == ok.call_id and bye.to_tag == ok.to_tag and bye.from_tag == ok.from_tag
        ),
        None,
    )
    if bye is None or bye.at_ms - ok.at_ms > case.policy.voicemail_escape_s * 1000:
        return False
    return any(
        other is not leaf
        and other.branch.provisionals
        and (not other.branch.ended_ms or other.branch.ended_ms > bye.at_ms)
        for other in case.leaves
    )


def _machine_called(case: Case, branch: Branch, user: str) -> str:
    """Return what a branch was sent to, if that is known to be no person (RFC 4458; row 26)."""
    policy = case.policy
    offer = branch.offer
    targets = {user} if offer is None else {user, offer.target}
    if targets & policy.voicemail:
        return "voicemail"
    if offer is not None:
        history = offer.history[-1:] if branch.children or branch.parent or len(offer.history) > 1 else ()
        if "voicemail" in offer.traits or any(entry.voicemail for entry in history):
            return "voicemail"
    return "attendant" if targets & policy.attendants else ""


def _machine(leaf: Leaf) -> str:
    """Return what answered if no person did (row 29)."""
    branch: Branch | None = leaf.branch
    while branch is not None and branch.call_id == leaf.branch.call_id:
        for ok in branch.oks:
            if ok.ending and ok.ending.machine:
                return ok.ending.machine
        branch = branch.parent
    return leaf.machine or _answered_by_box(leaf)


def _answered_by_box(leaf: Leaf) -> str:
    """A PBX that answered the caller while or after it rang phones, none of which answered, was no person."""
    phones = [child for child in leaf.branch.children if child.call_id != leaf.branch.call_id]
    if not phones:
        return ""
    ok_ms = leaf.branch.oks[0].at_ms
    told = any(Says.ELSEWHERE in says(phone) for phone in phones)
    if told or any(_stopped(phone) and abs(phone.ended_ms - ok_ms) <= TAKEOVER_MS for phone in phones):
        return ""  # another phone took it, one that was not captured
    if all(0 < phone.ended_ms <= ok_ms for phone in phones):
        return "voicemail"
    return "attendant"


def _stopped(phone: Branch) -> bool:
    return phone.cancel_known or any(final.status == 487 for final in phone.finals)
