"""Whose call it is: addresses of record, and which of them are ours.

Rule 1: the called user is whom the caller called: the first History-Info entry, the lowest Diversion, else To.
Rule 2: a branch belongs to the user it was retargeted to; a Request-URI that is a registered contact names a
        device of the user that its parent was for, unless a Diversion says that it was sent on from there.
Rule 3: who is one of ours is configuration, never a lookup.
"""

from functools import lru_cache

from .picture import Branch
from .policy import Policy
from .seen import Offer, Retarget


@lru_cache(maxsize=4_096)  # the same few users are asked for at every comparison
def user_part(aor: str) -> str:
    """Return the user of an address of record, lower case, without its scheme; numbers as they are."""
    name = aor.partition(":")[2].partition("@")[0]
    return name.partition(";")[0].lower() if aor.startswith("tel:") else name.lower()


def host_part(aor: str) -> str:
    """Return the host of an address of record; "" for `tel:`."""
    return aor.rpartition("@")[2] if "@" in aor else ""


def _is_address(host: str) -> bool:
    return host.startswith("[") or host.replace(".", "").isdigit()


def _is_hidden(aor: str) -> bool:
    return host_part(aor).endswith(".invalid") or user_part(aor) == "anonymous"


def _by_index(entry: Retarget) -> tuple[int, ...]:
    return tuple(int(part) for part in entry.index.split(".") if part.isdigit())


def called(offer: Offer, policy: Policy) -> str:
    """Return the address of record that the caller called; "" if only a machine knows (row 33)."""
    if offer.history:
        first = min(offer.history, key=_by_index)
        if first.aor and not first.own_contact and not _is_hidden(first.aor):
            return first.aor
    if offer.diversions and offer.diversions[0].aor:
        return offer.diversions[0].aor
    if policy.users is not None and offer.to not in policy.users and offer.target in policy.users:
        return offer.target
    return offer.to or offer.target


def retargeted(offer: Offer) -> list[Retarget]:
    """Return the History-Info entries that name a user, in the order of their index."""
    named = sorted(offer.history, key=_by_index)
    return [e for e in named if e.aor and not e.own_contact and not _is_hidden(e.aor)]


def user_of(branch: Branch, base: str, above: str, known: dict[str, str], contacts: dict[str, str]) -> str:
    """Return whose phone a branch is for.

    Args:
        branch: The branch.
        base: The user that its leg was for.
        above: The user that the branch above it is for, ``base`` if there is none in this leg.
        known: The provisioned users of the called user's domain, by their user part.
        contacts: Users that a redirection named, by their user part.
    """
    offer = branch.offer
    if offer is None or not offer.target:
        return above
    if offer.history:
        last = retargeted(offer)[-1:]
        same_host = last and host_part(last[0].aor) == host_part(base)
        if last and last[0].aor != base and (same_host or not _is_address(host_part(last[0].aor))):
            return last[0].aor
    target = offer.target
    if target == base:
        return base
    name = user_part(target)
    if name == user_part(base):
        return base
    if name == user_part(above):
        return above
    if name in known:
        return known[name]
    if name in contacts:
        return contacts[name]
    if _diverted_here(branch) and _is_address(host_part(target)):
        # A proxy that forwards and looks up the new target in one step writes only the contact's address.
        return f"sip:{name}@{host_part(base)}"
    same_domain = host_part(target) == host_part(base)
    if offer.contact_like and not (same_domain and not _is_address(host_part(target))):
        return above
    return target


def provisioned(policy: Policy, domain: str) -> dict[str, str]:
    """Return the provisioned users of a domain by their user part."""
    return _by_domain(policy.users).get(domain, {}) if policy.users else {}


@lru_cache(maxsize=4)
def _by_domain(users: frozenset[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for aor in sorted(users):
        found.setdefault(host_part(aor), {})[user_part(aor)] = aor
    return found


def ours(aor: str, policy: Policy) -> bool:
    """Whether ``aor`` is one of the users we decide for."""
    if policy.users is not None:
        return aor in policy.users
    domains, prefixes = policy.domains, policy.number_prefixes
    if not domains and not prefixes:
        return True
    if domains and host_part(aor) in domains:
        return True
    return bool(prefixes) and user_part(aor).startswith(prefixes)


def _diverted_here(branch: Branch) -> bool:
    """Whether the branch's INVITE names a diverter that the one above it does not (RFC 5806)."""
    above = branch.parent.offer if branch.parent else None
    own = branch.offer
    return own is not None and len(own.diversions) > (len(above.diversions) if above else 0)
