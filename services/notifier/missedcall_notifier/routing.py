"""Who is told of a fact over one channel, and if nobody, why.

Rule 1: pure: fact and configuration in, intents or a named reason out. The reasons are metric labels.
Rule 2: a callee comes from the wire. An address made of it goes to a mail relay, so its parts are held to an
        alphabet that neither SMTP nor a relay's routing syntax (`user%host`, `!`) gives a second meaning.
Rule 3: a pattern that takes the host from the wire needs a list of hosts: else whoever can send us an INVITE
        could have us mail anybody.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from missedcall_schemas.records import MissedCall

from .delivery import Delivery, intent

Recipients = Callable[[MissedCall], Sequence[str]]
"""Who is told: nobody if the callee is unknown to the channel."""

SUPPRESSED = "suppressed"
"""The classifier says that no notice is due; its own reason follows: `suppressed:notified-by-exchange`."""
TOO_OLD = "too-old"
"""The decision is older than a delivery may become: after a long pause, or a channel that was just added."""
UNKNOWN_CALLEE = "unknown-callee"
UNREADABLE = "unreadable"
"""The source could not read the fact and has said so in the log."""

_LOCAL_PART = re.compile(r"[A-Za-z0-9_+'-]+(?:\.[A-Za-z0-9_+'-]+)*")
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_LOCAL_PART_LIMIT = 64  # RFC 5321 s.4.5.3.1.1
_HOST_LIMIT = 253


class Unrouted(Struct, frozen=True):
    """Nobody is told."""

    reason: str


def route(
    fact: MissedCall, channel: str, recipients: Recipients, *, now: float, max_age_s: float
) -> list[Delivery] | Unrouted:
    """Return the intents for `fact`, due now, or why there are none.

    A retraction gives intents too: whether a notice was sent that it corrects, the journal knows.
    """
    if fact.suppressed:
        return Unrouted(f"{SUPPRESSED}:{fact.suppressed}")
    if now - fact.decided_at > max_age_s:
        return Unrouted(TOO_OLD)
    told = dict.fromkeys(recipients(fact))  # in order, each once
    if not told:
        return Unrouted(UNKNOWN_CALLEE)
    return [intent(fact, channel, recipient, now) for recipient in told]


def everything_to(*names: str) -> Recipients:
    """Return the rule of a channel whose recipients are fixed: endpoints, a team's mailbox."""
    return lambda _: names


def by_mail(
    table: Mapping[str, str], pattern: str = "", hosts: Sequence[str] = (), always: Sequence[str] = ()
) -> Recipients:
    """Return the rule of a mail channel.

    Args:
        table: address of record -> mail address; comes before the pattern.
        pattern: mail address with `{user}` and `{host}` of the callee; "" for none.
        hosts: the callees' hosts for which the pattern holds; empty for all.
        always: mail addresses that are told of every fact.
    """

    def recipients(fact: MissedCall) -> Sequence[str]:
        address = table.get(fact.callee) or address_by_pattern(fact.callee, pattern, hosts)
        return (*always, address) if address else always

    return recipients


def address_by_pattern(callee: str, pattern: str, hosts: Sequence[str]) -> str:
    """Return the mail address that `pattern` makes of an address of record; "" if it makes none."""
    scheme, _, rest = callee.partition(":")
    user, _, host = rest.partition("@")
    if not pattern or scheme not in {"sip", "sips", "tel"} or (hosts and host not in hosts):
        return ""
    if len(user) > _LOCAL_PART_LIMIT or not _LOCAL_PART.fullmatch(user):
        return ""
    if "{host}" in pattern and not _HOST.fullmatch(host):
        return ""
    return pattern.replace("{user}", user).replace("{host}", host)


def is_mail_address(text: str) -> bool:
    """Whether `text` is a mail address that we are willing to send to: ASCII, no quoting, no source route."""
    local, _, host = text.rpartition("@")
    return (
        len(local) <= _LOCAL_PART_LIMIT
        and _LOCAL_PART.fullmatch(local) is not None
        and _HOST.fullmatch(host.lower()) is not None
    )
