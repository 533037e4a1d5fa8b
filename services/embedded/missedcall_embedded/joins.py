"""Why legs were joined into one call, in words.

Rule 1: only what the engine itself joins by: the identifiers that `missedcall_classifier.join` reads.
Rule 2: bounded: the INVITEs of the latest `MAX_LEGS` Call-IDs, whatever the size of the captures.
"""

from collections.abc import Iterable, Mapping

from missedcall_classifier.join import Index
from missedcall_classifier.policy import Policy
from missedcall_classifier.seen import see
from missedcall_common.sip.message import SipError
from missedcall_schemas.records import SipMessage

MAX_LEGS = 200_000
"""Call-IDs remembered. Less: a leg that rang for hours is shown without its reason. More: memory."""

SHARED: Mapping[str, str] = {
    "session": "it has the Session-ID of leg {} (RFC 7989)",
    "icid": "it has the icid-value of leg {} in P-Charging-Vector (RFC 7315)",
    "conversation": "it has the ms-conversation-id of leg {}",
    "call": "its INVITE names the same Call-ID as that of leg {}",
}
"""By the kind of identifier that both legs carry."""


class Joins:
    """What the INVITEs of a log say about belonging together."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._index = Index(policy)
        self._legs: dict[str, tuple[tuple[str, ...], str, str]] = {}
        """Call-ID to its identifiers, the Call-ID that it replaces, its HEP correlation id."""

    def note(self, message: SipMessage) -> None:
        """Remember what an initial INVITE says; anything else says nothing."""
        if not message.head.startswith(b"INVITE ") or message.call_id in self._legs:
            return
        try:
            seen = see(message, self._policy.correlation_headers)
        except SipError:
            return
        if seen is None or seen.offer is None:
            return
        if len(self._legs) >= MAX_LEGS:
            del self._legs[next(iter(self._legs))]
        links = (f"call:{seen.call_id}", *self._index.links(seen))
        self._legs[seen.call_id] = (links, seen.offer.replaces, message.correlation_id)

    def why(self, call_id: str, legs: Mapping[str, str]) -> str:
        """Return why the leg belongs to the call.

        Args:
            call_id: of the leg.
            legs: Call-ID to letter of all legs of the call, upstream-most first.
        """
        if call_id == next(iter(legs)):
            return "nearest to the caller: it decides who ended the ringing"
        for other, letter in legs.items():
            if other != call_id and (reason := self._between(call_id, other)):
                return "joined: " + reason.format(letter)
        resemblance = " or by resemblance" if self._policy.join_by_resemblance else ""
        return f"joined: by what a message after its INVITE says (REFER, Replaces){resemblance}"

    def _between(self, call_id: str, other: str) -> str:
        """Return what joins two legs, with `{}` for the other's letter; "" if nothing in their INVITEs does."""
        own, replaced, correlation = self._legs.get(call_id, ((), "", ""))
        others, others_replaced, others_correlation = self._legs.get(other, ((), "", ""))
        if replaced == other:
            return "it takes over a dialog of leg {} (Replaces, RFC 3891)"
        if others_replaced == call_id:
            return "leg {} takes over a dialog of it (Replaces, RFC 3891)"
        if correlation == other:
            return "its HEP correlation id is the Call-ID of leg {}"
        if others_correlation == call_id:
            return "the HEP correlation id of leg {} is its Call-ID"
        for link in _shared(own, others):
            kind, _, value = link.partition(":")
            if kind == "call" and value == other:
                if call_id.startswith(other.partition("@")[0]):
                    return "its Call-ID is that of leg {} with a B2BUA's suffix"
                return "a header of its INVITE names the Call-ID of leg {}"
            if kind == "call" and value == call_id:
                return "a header of the INVITE of leg {} names its Call-ID"
            return SHARED.get(kind, "both INVITEs carry the same " + kind + " (leg {})")
        return ""


def _shared(one: Iterable[str], other: Iterable[str]) -> list[str]:
    known = set(other)
    return [link for link in one if link in known]
