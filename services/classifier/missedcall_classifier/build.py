"""From the picture to the case: whose phones the call went to, and how each of them ended.

Rule 1: a leaf is a branch with nothing below it, or one whose 2xx came from nothing below it: a phone or a machine.
Rule 2: a 2xx counts as a person's unless something says that a machine sent it, or that nobody could hear it.
"""

from typing import Final

from .case import TAKEOVER_MS, Case
from .causes import RETRIED, Says
from .ends import End, Leaf, end_of
from .picture import Branch, Picture, tree
from .policy import Policy
from .seen import Seen
from .users import called, host_part, provisioned, user_of, user_part


def build_all(picture: Picture, policy: Policy) -> list[Case]:
    """Return the cases of a call: the caller's own first, then those of the calls within it."""
    cases = [build(picture, policy)]
    for later in picture.later:
        cases.append(build(later, policy, behind=True))
    return cases


def build(picture: Picture, policy: Policy, *, behind: bool = False) -> Case:
    """Return the case of the called user of a picture's root leg."""
    offer = picture.root.offer
    first = called(offer, policy)
    machine_only = bool(offer.traits) and "acd" in offer.traits and not offer.history
    case = Case(picture, policy, "" if machine_only else first, behind=behind)
    _read_root(case)
    case.leaves = _leaves(case, first)
    _judge_answers(case)
    _read_ends(case)
    case.deciding = _deciding(case.leaves)
    case.told = _told(case)
    case.told_ends = [leaf.end for leaf in case.told]
    for takeover in picture.takeovers:
        oks = [ok for branch in takeover.branches for ok in branch.oks]
        case.pickups.extend(sorted(oks, key=_at_ms)[:1])
    for branch in case.branches:
        branch.parent = None
    return case


def _at_ms(seen: Seen) -> int:
    return seen.at_ms


def _read_root(case: Case) -> None:
    """Fill in what the upstream-most leg tells."""
    case.branches = tree(case.root.roots)
    if len(case.picture.legs) > 1:
        case.byes = sorted([bye for leg in case.picture.legs for bye in leg.byes], key=_at_ms)
    says: tuple[str, ...] = ()
    for branch in case.attempt:
        cancel, final = branch.cancel, branch.final
        if cancel is not None and (case.cancel is None or cancel.at_ms < case.cancel.at_ms):
            case.cancel = cancel
        if final is not None and (case.final is None or final.at_ms < case.final.at_ms):
            case.final = final
        if branch.cancel_known:
            case.cancel_known = True
        if branch.says:
            says += branch.says
    if case.final is not None:
        case.status = case.final.status
    if says:
        case.root_says = frozenset(says)


def _read_ends(case: Case) -> None:
    """Fill in how the leaves ended, the first person and the last machine that answered."""
    human_ms = machine_ms = 0
    for leaf in case.leaves:
        end = leaf.end = end_of(leaf)
        if end is End.ANSWERED:
            at_ms = leaf.branch.oks[0].at_ms
            if case.human is None or at_ms < human_ms:
                case.human, human_ms = leaf, at_ms
        elif end is End.MACHINE:
            at_ms = leaf.branch.oks[0].at_ms
            if case.machine is None or at_ms > machine_ms:
                case.machine, machine_ms = leaf, at_ms


def _deciding(leaves: list[Leaf]) -> list[Leaf]:
    people = [leaf for leaf in leaves if not leaf.machine] or leaves
    started = people[0]
    alike = True
    for leaf in people:
        alike = alike and leaf.user == started.user
        if leaf.branch.first_ms > started.branch.first_ms:
            started = leaf
    if alike:
        return people
    started_ms = started.branch.first_ms
    users = {started.user}
    for leaf in people:
        if not leaf.branch.ended_ms or leaf.branch.ended_ms > started_ms:
            users.add(leaf.user)
    return [leaf for leaf in people if leaf.user in users]


def _told(case: Case) -> list[Leaf]:
    for leaf in case.deciding:
        if leaf.end is End.OPEN:
            known = {leaf.branch for leaf in case.deciding}
            return case.deciding + [leaf for leaf in case.heads if leaf.branch not in known]
    return case.deciding


# -- whose phones ----------------------------------------------------------------------------------


def _leaves(case: Case, primary: str) -> list[Leaf]:
    """Return the leaves, and say of every branch whose phone it is for."""
    bases = _bases(case, primary) if len(case.picture.legs) > 1 else None
    known = provisioned(case.policy, host_part(case.primary)) if case.policy.users else NOBODY
    contacts = _contacts(case.branches)
    retried = len(case.root.attempts) > 1
    voicemail, attendants = case.policy.voicemail, case.policy.attendants
    leaves = []
    for branch in case.branches:
        base = primary if bases is None else bases.get(branch.call_id, primary)
        parent = branch.parent
        above = parent.user if parent is not None and parent.call_id == branch.call_id else base
        user = branch.user = user_of(branch, base, above, known, contacts)
        if branch.children:
            if not branch.oks or _taken_below(branch):
                continue
        elif retried and _superseded(branch, case.attempt):
            continue
        leaves.append(Leaf(branch, user, _machine_called(branch, user, voicemail, attendants)))
    return leaves or [Leaf(branch, primary) for branch in case.attempt]


def _bases(case: Case, primary: str) -> dict[str, str]:
    """Return by Call-ID the user whom a leg is for."""
    bases = {}
    for leg in case.picture.legs:
        base = called(leg.offer, case.policy)
        bases[leg.call_id] = primary if user_part(base) == user_part(primary) else base
    return bases


NOBODY: Final[dict[str, str]] = {}


def _contacts(branches: list[Branch]) -> dict[str, str]:
    """Return the users that redirections named, by their user part."""
    contacts = NOBODY
    for branch in branches:
        for final in branch.finals:
            if final.ending is None:
                continue
            for contact in final.ending.contacts:
                if contact and contact != "voicemail":
                    if contacts is NOBODY:
                        contacts = {}
                    contacts[user_part(contact)] = contact
    return contacts


def _taken_below(branch: Branch) -> bool:
    """Whether a 2xx came from below a branch."""
    for below in branch.children:
        if below.oks:
            return True
    for below in tree(branch.children):
        if below.oks:
            return True
    return False


def _superseded(branch: Branch, last: list[Branch]) -> bool:
    """Whether a root failed so that the caller tried again: one attempt (rows 20, 22)."""
    if branch.nested or branch.oks or branch in last:
        return False
    return branch.final is None or branch.final.status in RETRIED


# -- who answered ----------------------------------------------------------------------------------


def _judge_answers(case: Case) -> None:
    """Mark which 2xx are a machine's and which do not count."""
    dropped: list[Seen] | None = None
    for leaf in case.leaves:
        if not leaf.branch.oks:
            continue
        if dropped is None:
            dropped = _not_answered(case)
        leaf.machine = _machine(leaf)
        if _crossed(case, _as_the_caller_got_it(leaf.branch), dropped):
            leaf.discarded = "cancelled"
        elif _escaped(case, leaf):
            leaf.discarded = "escaped"


def _not_answered(case: Case) -> list[Seen]:
    """Return what ended dialogs because their INVITE had been cancelled (Lync 5009, 5010)."""
    found = []
    for message in case.picture.seen:
        ending = message.ending
        if ending is None or not ending.says or message.method not in ("ACK", "BYE"):
            continue
        if Says.NOT_ANSWERED in ending.says:
            found.append(message)
    return found


def _as_the_caller_got_it(branch: Branch) -> Seen:
    """Return a branch's 2xx on the hop nearest the caller: what crossed is told apart by one box's clock."""
    ok = branch.oks[0]
    above = branch.parent
    while above is not None and above.call_id == ok.call_id:
        for copy in above.oks:
            if copy.to_tag == ok.to_tag:
                ok = copy
        above = above.parent
    return ok


def _crossed(case: Case, ok: Seen, dropped: list[Seen]) -> bool:
    """Row 5: the caller cancelled, a 2xx crossed it, and he hung up at once (RFC 5407 s.3.1.2)."""
    for message in dropped:
        if message.to_tag == ok.to_tag and message.call_id == ok.call_id:
            return True
    cancel = case.cancel
    if cancel is None or cancel.at_ms > ok.at_ms:
        return False
    bye = case.bye_after(ok.at_ms, by_caller=True)
    return bye is not None and bye.at_ms - ok.at_ms <= case.policy.crossing_s * 1000


def _escaped(case: Case, leaf: Leaf) -> bool:
    """Row 30: a mobile's voicemail answered at once and was dropped while other phones rang on."""
    if len(case.leaves) < 2:
        return False
    ok = leaf.branch.oks[0]
    for bye in case.byes:
        if bye.to_tag == ok.to_tag and bye.from_tag == ok.from_tag and bye.call_id == ok.call_id:
            break
    else:
        return False
    if bye.at_ms - ok.at_ms > case.policy.voicemail_escape_s * 1000:
        return False
    for other in case.leaves:
        branch = other.branch
        if other is not leaf and branch.provisionals and (not branch.ended_ms or branch.ended_ms > bye.at_ms):
            return True
    return False


def _machine_called(branch: Branch, user: str, voicemail: frozenset[str], attendants: frozenset[str]) -> str:
    """Return what a branch was sent to, if that is known to be no person (RFC 4458; row 26)."""
    offer = branch.offer
    target = user if offer is None else offer.target
    if voicemail and (user in voicemail or target in voicemail):
        return "voicemail"
    if offer is not None:
        if offer.traits and "voicemail" in offer.traits:
            return "voicemail"
        history = offer.history
        if history and history[-1].voicemail and (branch.children or branch.nested or len(history) > 1):
            return "voicemail"
    return "attendant" if attendants and (user in attendants or target in attendants) else ""


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
    for phone in phones:
        if Says.ELSEWHERE in phone.says:
            return ""  # another phone took it, one that was not captured
        if abs(phone.ended_ms - ok_ms) <= TAKEOVER_MS and _stopped(phone):
            return ""
    for phone in phones:
        if not 0 < phone.ended_ms <= ok_ms:
            return "attendant"
    return "voicemail"


def _stopped(phone: Branch) -> bool:
    return phone.cancel_known or any(final.status == 487 for final in phone.finals)
