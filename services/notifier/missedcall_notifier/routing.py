"""Who is told of a fact over one channel, and if nobody, why.

Rule 1: pure: fact, people and configuration in, intents and named reasons out. The reasons are metric labels.
Rule 2: the directory knows best; then come the channel's table and its pattern. A callee comes from the wire: an
        address made of it is held to an alphabet that is safe (`mail_address`).
Rule 3: a pattern that takes the host from the wire needs a list of hosts: else whoever can send us an INVITE
        could have us mail anybody.
Rule 4: preferences are the callee's, for the callee's own mailbox. Who is always told, a team's mailbox or an
        endpoint, is told by the operator.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from missedcall_schemas.records import MissedCall, Person

from .delivery import Delivery, intent
from .mail_address import by_pattern
from .people.port import People
from .people.preferences import Situation, not_before, unwanted
from .reader import Defaults, reader_of, zone_of
from .repeats import series_of


class Told(NamedTuple):
    """Somebody who is told."""

    recipient: str
    """Mail address, or the endpoint's name."""
    own: bool = False
    """Whether this is the callee's own mailbox, for which the callee's preferences hold."""


Recipients = Callable[[MissedCall, Person | None], Sequence[Told]]
"""Who is told, given whom the directory knows the callee as: nobody if the callee is unknown to the channel."""

SUPPRESSED = "suppressed"
"""The classifier says that no notice is due; its own reason follows: `suppressed:notified-by-exchange`."""
TOO_OLD = "too-old"
"""The decision is older than a delivery may become: after a long pause, or a channel that was just added."""
UNKNOWN_CALLEE = "unknown-callee"
OTHER_CHANNEL = "other-channel"
"""The directory says that the callee's mailbox is reached over other channels."""
UNREADABLE = "unreadable"
"""The source could not read the fact and has said so in the log."""


class Routed(Struct, frozen=True):
    """What becomes of a fact on one channel."""

    intents: tuple[Delivery, ...] = ()
    unrouted: tuple[str, ...] = ()
    """Why somebody is not told, once per person; nobody at all counts as one."""


def route(
    fact: MissedCall,
    channel: str,
    recipients: Recipients,
    people: People,
    defaults: Defaults,
    *,
    now: float,
    max_age_s: float,
    repeats_s: float = 0.0,
) -> Routed:
    """Return the intents for `fact`, and why somebody is not told.

    A retraction gives intents too: whether a notice was sent that it corrects, the journal knows.

    Args:
        fact: the missed call.
        channel: the channel's name.
        recipients: the channel's rule.
        people: who is known, as of now.
        defaults: language, zone and region where the directory names none.
        now: POSIX seconds.
        max_age_s: seconds after the decision in which a delivery may begin.
        repeats_s: seconds within which calls of one caller are one notice, unless the callee wishes otherwise.
    """
    if fact.suppressed:
        return Routed(unrouted=(f"{SUPPRESSED}:{fact.suppressed}",))
    if now - fact.decided_at > max_age_s:
        return Routed(unrouted=(TOO_OLD,))
    callee = people.directory.user(fact.callee)
    told = {to.recipient: to for to in reversed(recipients(fact, callee))}  # each once; the first counts
    if not told:
        return Routed(unrouted=(UNKNOWN_CALLEE,))
    intents, unrouted = [], []
    for to in reversed(told.values()):
        due, within_s = now, repeats_s
        person = callee if to.own else people.directory.reader(to.recipient)
        reader = reader_of(fact, people.directory, person, defaults)
        if to.own and callee is not None and callee.channels and channel not in callee.channels:
            unrouted.append(OTHER_CHANNEL)
            continue
        if to.own:
            wish = people.wishes.of(fact.callee, callee)
            caller = people.directory.caller(fact.caller)
            if reason := unwanted(wish, Situation(fact, channel, known=caller is not None)):
                unrouted.append(reason)
                continue
            due = not_before(wish, fact, zone_of(reader, defaults), now)
            within_s = repeats_s if wish.repeats_s is None else wish.repeats_s
        series = series_of(fact, channel, to.recipient, within_s)
        intents.append(intent(fact, channel, to.recipient, now, reader=reader, not_before=due, series=series))
    return Routed(tuple(intents), tuple(unrouted))


def everything_to(*names: str) -> Recipients:
    """Return the rule of a channel whose recipients are fixed: endpoints, a team's mailbox."""
    return lambda _fact, _callee: [Told(name) for name in names]


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

    def recipients(fact: MissedCall, callee: Person | None) -> Sequence[Told]:
        told = [Told(address) for address in always]
        known = callee.mailbox if callee is not None else ""
        address = known or table.get(fact.callee) or by_pattern(fact.callee, pattern, hosts)
        return [*told, Told(address, own=True)] if address else told

    return recipients
