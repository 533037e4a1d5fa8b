"""From the picture to the case: whose phones the call went to, and how each of them ended.

Rule 1: a leaf is a branch with nothing below it, or one whose 2xx came from nothing below it: a phone or a machine.
Rule 2: a 2xx counts as a person's unless something says that a machine sent it, or that nobody could hear it.
"""

from collections import ChainMap
from collections.abc import Mapping

from .case import TAKEOVER_MS, Case
from .causes import RETRIED, Says
from .ends import End, Leaf, end_of
from .picture import Branch, Leg, Picture
from .policy import Policy
from .seen import Seen
from .users import called, host_part, provisioned, user_of, user_part


def build_all(picture: Picture, policy: Policy) -> list[Case]:
    """Return the cases of a call: the caller's own first, then those of the calls within it."""
    return [build(picture, policy), *(build(later, policy, behind=True) for later in picture.later)]


def build(picture: Picture, policy: Policy, *, behind: bool = False) -> Case:
    """Return the case of the called user of a picture's root leg."""
    first = called(picture.root.offer, policy)
    case = _begin(picture, policy, first, behind=behind)
    case.leaves = _leaves(case, first)
    case.heads = [Leaf(branch, first) for branch in case.attempt]
    _judge_answers(case)
    for leaf in (*case.leaves, *case.heads):
        leaf.end = end_of(leaf)
    answered = [leaf for leaf in case.leaves if leaf.end is End.ANSWERED]
    machines = [leaf for leaf in case.leaves if leaf.end is End.MACHINE]
    case.human = min(answered, key=_answered_ms, default=None)
    case.machine = max(machines, key=_answered_ms, default=None)
    case.deciding = _deciding(case.leaves)
    case.told = _told(case)
    case.told_ends = frozenset(leaf.end for leaf in case.told)
    for takeover in picture.takeovers:
        oks = [ok for branch in takeover.branches for ok in branch.oks]
        case.pickups.extend(sorted(oks, key=_at_ms)[:1])
    return case


def _begin(picture: Picture, policy: Policy, first: str, *, behind: bool) -> Case:
    """Return the case as far as the upstream-most leg tells it."""
    root = picture.root
    attempt = root.last_attempt
    cancels = [branch.cancel for branch in attempt if branch.cancel is not None]
    finals = [branch.finals[0] for branch in attempt if branch.finals]
    final = min(finals, key=_at_ms, default=None)
    machine_only = "acd" in root.offer.traits and not root.offer.history
    return Case(
        picture=picture,
        policy=policy,
        root=root,
        offer=root.offer,
        primary="" if machine_only else first,
        behind=behind,
        began_ms=root.first_ms,
        attempt=attempt,
        branches=[branch for top in root.roots for branch in top.tree()],
        byes=sorted((bye for leg in picture.legs for bye in leg.byes), key=_at_ms),
        cancel=min(cancels, key=_at_ms, default=None),
        cancel_known=any(branch.cancel_known for branch in attempt),
        final=final,
        status=final.status if final else 0,
        root_says=frozenset(what for branch in attempt for what in branch.says),
    )


def _at_ms(seen: Seen) -> int:
    return seen.at_ms


def _answered_ms(leaf: Leaf) -> int:
    return leaf.branch.oks[0].at_ms


def _deciding(leaves: list[Leaf]) -> list[Leaf]:
    people = [leaf for leaf in leaves if not leaf.machine] or leaves
    if len(people) == 1:
        return people
    started_ms = max(leaf.branch.first_ms for leaf in people)
    started = next(leaf for leaf in people if leaf.branch.first_ms == started_ms)
    users = {
        leaf.user for leaf in people if not leaf.branch.ended_ms or leaf.branch.ended_ms > started_ms
    } | {started.user}
    return [leaf for leaf in people if leaf.user in users]


def _told(case: Case) -> list[Leaf]:
    if all(leaf.end is not End.OPEN for leaf in case.deciding):
        return case.deciding
    known = {leaf.branch for leaf in case.deciding}
    return case.deciding + [leaf for leaf in case.heads if leaf.branch not in known]


# -- whose phones ----------------------------------------------------------------------------------


def _leaves(case: Case, primary: str) -> list[Leaf]:
    bases = {}
    for leg in case.picture.legs:
        base = called(leg.offer, case.policy)
        bases[leg.call_id] = primary if user_part(base) == user_part(primary) else base
    leaves = []
    users: dict[Branch, str] = {}
    names = _names(case)
    superseded = _superseded(case.root)
    for branch in case.branches:
        base = bases.get(branch.call_id, primary)
        parent = branch.parent
        above = users.get(parent, base) if parent and parent.call_id == branch.call_id else base
        user = users[branch] = user_of(branch, base, above, names)
        if branch in superseded and not branch.children:
            continue
        answered_here = branch.oks and not any(_took(child) for child in branch.children)
        if not branch.children or answered_here:
            leaves.append(Leaf(branch, user, _machine_called(case, branch, user)))
    return leaves or [Leaf(branch, primary) for branch in case.attempt]


def _names(case: Case) -> Mapping[str, str]:
    """Return the users that the call is known to have been sent to, by their user part."""
    known = provisioned(case.policy, host_part(case.primary))
    contacts = {
        user_part(contact): contact
        for branch in case.branches
        for final in branch.finals
        if final.ending is not None
        for contact in final.ending.contacts
        if contact and contact != "voicemail"
    }
    return ChainMap(known, contacts) if known and contacts else known or contacts


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


# -- who answered ----------------------------------------------------------------------------------


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
    told = any(Says.ELSEWHERE in phone.says for phone in phones)
    if told or any(_stopped(phone) and abs(phone.ended_ms - ok_ms) <= TAKEOVER_MS for phone in phones):
        return ""  # another phone took it, one that was not captured
    if all(0 < phone.ended_ms <= ok_ms for phone in phones):
        return "voicemail"
    return "attendant"


def _stopped(phone: Branch) -> bool:
    return phone.cancel_known or any(final.status == 487 for final in phone.finals)
