"""One partition's classifier, without a broker: batches in, decisions and changed state rows out.

A shell does, per transaction: `feed` each batch, publish `facts` and `verdicts` of its decisions, write
`changes()` to `call-state`, and move its position; all of it or none of it.

Rule 1: the only clock is the collectors': a batch's `clock_ms`, and `received_ms` of its messages. Deadlines
        that lie before a message are met before that message is observed, so how messages are batched
        does not matter.
Rule 2: the watermark is the slowest collector heard within `IDLE_COLLECTOR_S`: one that lags delays decisions
        and never falsifies them.
Rule 3: a call is decided when nothing in it is open and it has settled; see `rules.WAITS`.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from missedcall_common.sip.message import SipError
from missedcall_schemas.records import CaptureBatch, Evidence, MissedCall, SipMessage, Verdict

from .build import build_all
from .call import Call, Live, Ruled, StateError, call_ids, decode_row, encode_row
from .case import Case
from .join import (
    Index,
    Outline,
    goes_on_as,
    leaves,
    names_more,
    nearest_invite,
    outline,
    rang_beside,
    rang_together,
    same_callee,
    same_caller,
    took_instead,
)
from .picture import Picture, draw, order
from .policy import Policy
from .rules import wait_s
from .seen import Offer, Seen, repeated_offer, see
from .users import called, ours, user_part
from .verdicts import evidence, publish, rule_on

IDLE_COLLECTOR_S = 30.0
"""A collector silent this long does not hold the watermark back. Less: a pause counts its calls as silent.
More: a dead collector delays every timeout by as much."""

META = "__meta__"
"""Key of the row that holds the clocks: part of the state, for the watermark is a function of the log."""

MAX_GAPS = 64
"""Times of lost batches that are remembered for `blind_window`."""


class Decision(Struct, frozen=True):
    """What became of one call."""

    call_ids: tuple[str, ...]
    """All Call-IDs that were joined, upstream-most first."""
    verdicts: tuple[Verdict, ...]
    facts: tuple[MissedCall, ...]
    ladder: tuple[Evidence, ...] = ()
    """Every distinct message of the call in order of capture; filled only if the engine keeps ladders."""


class Meta(Struct, array_like=True):
    """The engine's own state row."""

    clocks: dict[str, int] = {}
    """Collector -> its clock in milliseconds."""
    sequences: dict[str, tuple[int, int]] = {}
    """Collector -> incarnation and the sequence number expected next."""
    gaps: list[int] = []
    """Collector times at which batches were found to be missing, the latest `MAX_GAPS`."""
    watermark_ms: int = 0


class Engine:
    """All calls of one partition."""

    def __init__(self, policy: Policy, *, keep_ladders: bool = False) -> None:
        self.policy = policy
        self.counts: Counter[str] = Counter()
        """What was seen, by cause: messages that became nothing, outcomes, facts."""
        self._digest = policy.digest()
        self._keep_ladders = keep_ladders
        self._calls: dict[str, Live] = {}
        self._index = Index(policy)
        self._due: list[tuple[int, str]] = []
        self._dirty: dict[str, None] = {}
        self._meta = Meta({}, {}, [], 0)
        self._closed = 0

    # -- the shell's verbs -------------------------------------------------------------------------

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up the state that `changes` wrote before a restart. Call before the first `feed`.

        Raises:
            StateError: a row that this release cannot read.
        """
        for key, row in rows:
            if key == META:
                try:
                    self._meta = msgspec.msgpack.decode(row, type=Meta)
                except msgspec.DecodeError as error:
                    raise StateError(f"row {META} of {len(row)} bytes is no engine state: {error}") from error
                continue
            call = decode_row(row)
            live = self._calls[key] = Live(call)
            self._index.enter(call)
            if call.forget_ms:
                self._closed += 1
            self._schedule(live)

    def feed(self, batch: CaptureBatch) -> list[Decision]:
        """Observe the batch's messages, then let its clock end what is due."""
        decisions: list[Decision] = []
        self._note_sequence(batch)
        meta, due = self._meta, self._due
        others = [clock for name, clock in meta.clocks.items() if name != batch.collector]
        latest = max((batch.clock_ms, *others))
        slowest = min(
            (clock for clock in others if clock >= latest - IDLE_COLLECTOR_S * 1000), default=latest
        )
        for message in batch.messages:
            now_ms = min(message.received_ms, slowest)
            if due and due[0][0] <= now_ms:
                self._run_due(now_ms, decisions)
            self._observe(message, decisions)
        meta.clocks[batch.collector] = max(batch.clock_ms, meta.clocks.get(batch.collector, 0))
        meta.watermark_ms = max(meta.watermark_ms, min(batch.clock_ms, slowest))
        self._dirty[META] = None
        self._run_due(meta.watermark_ms, decisions)
        return decisions

    def finish(self) -> list[Decision]:
        """Decide every open call as if the log went on for ever without another message; forget them all."""
        decisions: list[Decision] = []
        while self._due:
            self._run_due(self._due[0][0], decisions)
        return decisions

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield the state rows changed since the last call of `changes`; None deletes the row."""
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            if key == META:
                yield key, msgspec.msgpack.encode(self._meta)
            else:
                live = self._calls.get(key)
                yield key, encode_row(live.row) if live is not None else None

    @property
    def open_calls(self) -> int:
        """Calls not yet decided."""
        return len(self._calls) - self._closed

    @property
    def clock_ms(self) -> int:
        """The watermark: up to here everything due has been decided; 0 before the first batch."""
        return self._meta.watermark_ms

    # -- observing ---------------------------------------------------------------------------------

    def _note_sequence(self, batch: CaptureBatch) -> None:
        """Note where batches are missing: a hole in a sequence, or a collector that began anew."""
        incarnation, expected = self._meta.sequences.get(batch.collector, (batch.incarnation, batch.sequence))
        anew = incarnation != batch.incarnation
        if anew or batch.sequence > expected:
            self.counts["gap"] += 1 if anew else batch.sequence - expected
            self._meta.gaps = [*self._meta.gaps, batch.clock_ms][-MAX_GAPS:]
        self._meta.sequences[batch.collector] = (batch.incarnation, batch.sequence + 1)

    def _observe(self, message: SipMessage, decisions: list[Decision]) -> None:
        try:
            seen = see(message, self.policy.correlation_headers)
        except SipError:
            self.counts["malformed-sip"] += 1
            return
        if seen is None:
            self.counts["noise-method"] += 1
            return
        received = message.received_ms
        key = self._index.by_call_id(seen.call_id)
        live = self._calls[key] if key is not None else None
        known = live.find(seen) if live is not None else None
        if live is not None and known is not None:
            self.counts["duplicate"] += 1
            if live.note_copy(known, seen, received):
                self._dirty[live.row.key] = None
            if names_more(seen):
                links = self._index.links(known)
                joined = self._joined(known, live, links) or live
                self._index.add(links, joined.row.key)
            return
        if live is not None and _is_another_call(live, seen):
            self._forget(live)
            live = None
        hint = repeated_offer(message) if _hints(live, seen, message) else None
        self._add(seen, live, received, hint)
        if len(self._calls) - self._closed > self.policy.max_open_calls:
            self._close_oldest(decisions)

    def _add(self, seen: Seen, live: Live | None, received_ms: int, hint: Offer | None) -> None:
        """Add a new message to the call that it belongs to; only what the call keeps is indexed."""
        index = self._index
        names = live is None or names_more(seen)
        links = index.links(seen) + list(hint.links if hint else ()) if names else []
        if names:
            live = self._joined(seen, live, links)
        if live is None:
            due = 0
            if seen.offer is None and seen.status < 180:
                due = received_ms + int(self.policy.settle_s * 1000)
            key = seen.call_id if seen.call_id not in self._calls else f"{seen.call_id}\x00{received_ms}"
            live = self._calls[key] = Live(Call(key, received_ms, received_ms, due, [], {}, {}))
        row = live.row
        full = names and len(call_ids(row.seen)) >= self.policy.max_legs_per_call
        if not live.observe(seen, received_ms, self.policy):
            self.counts["limit"] += 1
            return
        if full:
            self.counts["limit"] += 1
            del links[1:]
        index.add(links, row.key)
        if hint is not None:
            row.hints[seen.call_id] = hint
            index.add_parties(hint, row.key)
        if seen.offer is not None and seen.method == "INVITE":
            index.add_parties(seen.offer, row.key)
            if not row.held_by[1] and seen.vias == 1:
                upper = self._upstream(seen, self._relatives(live, seen))
                row.held_by = (upper.src, upper.dst) if upper is not None else ("", "")
        if row.forget_ms and row.settling:
            row.forget_ms = 0
            self._closed -= 1
        self._dirty[row.key] = None
        self._schedule(live)

    def _joined(self, seen: Seen, live: Live | None, links: list[str]) -> Live | None:
        """Return the call that ``links`` name, ``live`` if none does; several turn out to be one."""
        keys = self._index.matches(links, lambda key: self._may_join(key, seen))
        others = sorted((other for key in keys if (other := self._calls[key]) is not live), key=_age)
        if not others:
            return live
        named = seen.offer.links if seen.offer is not None else ()
        sure = self._index.matches([link for link in links if link not in named], lambda _key: False)
        mine = (
            outline([*(live.row.seen if live is not None else ()), seen]) if len(sure) < len(keys) else None
        )
        for other in others:
            # An identifier that never changes must not join the world.
            if other.row.key not in sure and mine is not None and not _related(other, mine):
                self.counts["unrelated"] += 1
            elif len(call_ids(other.row.seen)) >= self.policy.max_legs_per_call:
                self.counts["limit"] += 1
            elif live is None:
                live = other
            elif other.row.key in self._calls:
                live = self._merge(live, other) or live
        return live

    def _relatives(self, live: Live, invite: Seen | None) -> list[tuple[Live, Outline]]:
        """Return the other calls of the same caller or for the same callee whose INVITE was captured."""
        if invite is None or invite.offer is None:
            return []
        others = [self._calls.get(key) for key in self._index.relatives(invite.offer)]
        return [
            (other, theirs)
            for other in others
            if other is not None
            and other is not live
            and (theirs := outline(other.row.seen, other.row.hints)) is not None
        ]

    def _upstream(self, invite: Seen, relatives: list[tuple[Live, Outline]]) -> Seen | None:
        """Return the INVITE of a call of ours that holds the box which this leg comes out of (ADR 0005)."""
        mine = Outline(invite, 0, 0, 0)
        for _, theirs in relatives:
            offer = theirs.invite.offer
            if offer is None or not goes_on_as(theirs, mine, self.policy.resemblance_window_s):
                continue
            if ours(called(offer, self.policy), self.policy):
                return theirs.invite
        return None

    def _may_join(self, key: str, seen: Seen) -> bool:
        """Whether a call takes a leg that names it weakly: it is open, and this is not its caller trying again."""
        row = self._calls[key].row
        first = outline(row.seen)
        return not row.forget_ms and (
            first is None or first.invite.src != seen.src or _retargeted(first.invite)
        )

    def _merge(self, one: Live, other: Live) -> Live | None:
        """Make two calls one: the older takes the younger over; None if that were too much for one call."""
        legs = len(call_ids(one.row.seen)) + len(call_ids(other.row.seen))
        messages = len(one.row.seen) + len(other.row.seen)
        if legs > self.policy.max_legs_per_call or messages > self.policy.max_messages_per_call:
            self.counts["limit"] += 1
            return None
        kept, gone = sorted((one, other), key=_age)
        closed = [live for live in (kept, gone) if live.row.forget_ms]
        kept.absorb(gone)
        self._closed -= len(closed)
        kept.row.forget_ms = 0
        self._index.leave(gone.row)
        self._index.enter(kept.row)
        del self._calls[gone.row.key]
        self._dirty[gone.row.key] = None
        self._dirty[kept.row.key] = None
        self._schedule(kept)
        return kept

    # -- deciding ----------------------------------------------------------------------------------

    def _schedule(self, live: Live) -> None:
        """Queue a call to be looked at; one that is queued for earlier is put off when its turn comes."""
        due_ms = live.row.due_ms
        if not live.scheduled_ms or due_ms < live.scheduled_ms:
            live.scheduled_ms = due_ms
            heapq.heappush(self._due, (due_ms, live.row.key))

    def _run_due(self, now_ms: int, decisions: list[Decision]) -> None:
        due = self._due
        while due and due[0][0] <= now_ms:
            at_ms, key = heapq.heappop(due)
            live = self._calls.get(key)
            if live is None or live.scheduled_ms != at_ms:
                continue  # forgotten, or queued anew for earlier
            live.scheduled_ms = 0
            if live.row.due_ms <= at_ms:
                self._look(live, at_ms, decisions)
            else:
                self._schedule(live)

    def _look(self, live: Live, now_ms: int, decisions: list[Decision], *, force: bool = False) -> None:
        """Decide a call, or say when to look again."""
        row = live.row
        self._dirty[row.key] = None
        if row.forget_ms and now_ms >= row.forget_ms:
            self._forget(live)
            return
        try:
            self._judge(live, now_ms, decisions, force=force)
        except Exception:  # noqa: BLE001 - a mistake in a rule must cost one call, not every restart
            self.counts["rule-failed"] += 1
            self._give_up(live, now_ms, decisions)

    def _judge(self, live: Live, now_ms: int, decisions: list[Decision], *, force: bool) -> None:
        relatives = self._relatives(live, nearest_invite(live.row.seen))
        if relatives:
            live = self._join_by_resemblance(live, relatives)
        row = live.row
        picture = draw(row.seen, row.hints, self.policy.attendants)
        cases = self._cases(live, picture) if picture is not None else []
        if picture is None or not any(case.offered or case.rang for case in cases):
            # In-dialog messages of a call long decided, or all that a lossy capture has of one.
            if not row.forget_ms and picture is not None and picture.root.answered_ms:
                row.settling = False  # kept a while: it may have been a pickup
                self._close(row, now_ms)
                self._schedule(live)
                return
            self.counts["invite-unseen"] += len(row.seen)
            self._forget(live)
            return
        row.settling = False
        ready_ms = row.last_ms + int(wait_s(cases, self.policy) * 1000)
        if now_ms < ready_ms and not force:
            row.due_ms = ready_ms
            self._schedule(live)
            return
        self._decide(live, picture, cases, now_ms, decisions)

    def _give_up(self, live: Live, now_ms: int, decisions: list[Decision]) -> None:
        """Close a call that our own rules failed on: incomplete, by name, and nobody is told."""
        row = self._calls.get(live.row.key, live).row
        offer = next((seen.offer for seen in row.seen if seen.offer), None) or next(
            iter(row.hints.values()), None
        )
        row.settling = False
        self._close(row, now_ms)
        self._schedule(live)
        if offer is None or row.ruled:
            return
        first = min(row.seen, key=order)
        row.ruled[offer.to] = Ruled("incomplete", "rule-failed")
        verdict = Verdict(
            call_id=first.call_id,
            callee=offer.to,
            outcome="incomplete",
            rule="rule-failed",
            rang_at=first.at_ms / 1000,
            decided_at=now_ms / 1000,
            policy=self._digest,
        )
        self.counts["outcome-incomplete"] += 1
        decisions.append(Decision(tuple(call_ids(row.seen)), (verdict,), ()))

    def _cases(self, live: Live, picture: Picture) -> list[Case]:
        """Build the cases; mark the first if other calls may be legs of the same one (decision 12)."""
        cases = build_all(picture, self.policy)
        case = cases[0]
        row = live.row
        invite = nearest_invite(row.seen)
        if invite is None or (len(picture.all_legs) > 1 and not row.low_confidence):
            return cases
        if case.cancel is not None and case.offer.caller.uri:
            keys = self._index.calls_to(user_part(case.offer.caller.uri))
            others = [self._calls[key] for key in keys if key in self._calls and key != row.key]
            case.picked_up_unseen = any(took_instead(o.row.seen, case.cancel.at_ms) for o in others)
        relatives = self._relatives(live, invite)
        case.covered = leaves(*row.held_by, invite.src) or self._upstream(invite, relatives) is not None
        if relatives and (mine := outline(row.seen)) is not None:
            case.twins = any(rang_together(mine, theirs) for _, theirs in relatives)
        return cases

    def _join_by_resemblance(self, live: Live, relatives: list[tuple[Live, Outline]]) -> Live:
        """Join what nothing but resemblance joins, marked as such.

        Always the legs of a PBX to several devices of one user: he is to be told once. The leg that continues
        another through a box only if the operator asked for it.
        """
        mine = outline(live.row.seen)
        if mine is None:
            return live
        window_s = self.policy.resemblance_window_s
        for other, theirs in relatives:
            if other.row.key not in self._calls or not same_callee(mine, theirs):
                continue
            near = abs(mine.invite.at_ms - theirs.invite.at_ms) <= window_s * 1000
            asked = self.policy.join_by_resemblance and near
            if rang_beside(mine, theirs) or (
                asked and (goes_on_as(theirs, mine, window_s) or goes_on_as(mine, theirs, window_s))
            ):
                live = self._merge(live, other) or live
                live.row.low_confidence = True  # also where a limit keeps them apart: judged beside the other
        return live

    def _decide(
        self, live: Live, picture: Picture, cases: list[Case], now_ms: int, decisions: list[Decision]
    ) -> None:
        row = live.row
        blind = any(row.opened_ms <= gap <= now_ms for gap in self._meta.gaps)
        verdicts, facts = publish(row, rule_on(row, cases, now_ms, self._digest), blind=blind)
        self._close(row, now_ms)
        self._schedule(live)
        for verdict in verdicts:
            self.counts[f"outcome-{verdict.outcome}"] += 1
        self.counts["facts"] += len(facts)
        if verdicts:
            ordered = dict.fromkeys(leg.call_id for leg in picture.all_legs)
            messages = sorted(row.seen, key=order) if self._keep_ladders else ()
            ladder = tuple(evidence(seen) for seen in messages)
            decisions.append(Decision(tuple(ordered), tuple(verdicts), tuple(facts), ladder))

    def _close(self, row: Call, now_ms: int) -> None:
        if not row.forget_ms:
            self._closed += 1
        row.forget_ms = row.due_ms = now_ms + int(self.policy.closed_keep_s * 1000)

    def _forget(self, live: Live) -> None:
        row = live.row
        if row.forget_ms:
            self._closed -= 1
        del self._calls[row.key]
        self._dirty[row.key] = None
        self._index.leave(row)

    def _close_oldest(self, decisions: list[Decision]) -> None:
        """Decide the call that has been open longest: memory is bounded, and the loss is counted."""
        oldest = next(live for live in self._calls.values() if not live.row.forget_ms)
        self.counts["limit"] += 1
        self._look(oldest, max(oldest.row.last_ms, self._meta.watermark_ms), decisions, force=True)


def _related(live: Live, mine: Outline) -> bool:
    """Whether a call that an identifier names can be the one that a leg belongs to.

    Legs of one call share the caller or the callee, or one leaves the box that the other entered.
    """
    for seen in live.row.seen:
        if seen.offer is None or seen.method != "INVITE":
            continue
        theirs = Outline(seen, 0, 0, 0)
        into, out = (seen, mine.invite) if seen.at_ms <= mine.invite.at_ms else (mine.invite, seen)
        if same_caller(theirs, mine) or same_callee(theirs, mine) or leaves(into.src, into.dst, out.src):
            return True
    return all(seen.offer is None for seen in live.row.seen)


def _is_another_call(live: Live, seen: Seen) -> bool:
    """Whether a message belongs to a new call under the Call-ID of one already decided.

    It should not (RFC 3261 s.8.1.1.4), but phones do when they redial; the From-tag is a new one.
    """
    if not live.row.forget_ms:
        return False
    known = [each for each in live.row.seen if each.call_id == seen.call_id]
    return bool(known) and all(seen.from_tag not in {each.from_tag, each.to_tag} for each in known)


def _hints(live: Live | None, seen: Seen, message: SipMessage) -> bool:
    """Whether a message says what is not known: of an INVITE not captured, or of its leg."""
    if seen.offer is not None or seen.method not in {"INVITE", "CANCEL"}:
        return False
    if live is None:
        return True
    if seen.call_id in live.row.hints:
        return False
    for known in live.row.seen:
        if known.offer is not None and known.method == "INVITE" and known.call_id == seen.call_id:
            return bool(message.correlation_id) and f"call:{message.correlation_id}" not in known.offer.links
    return True


def _age(live: Live) -> tuple[int, str]:
    return (live.row.opened_ms, live.row.key)


def _retargeted(invite: Seen) -> bool:
    """Whether a leg comes from a box, or by a REFER, that tries one user after another."""
    offer = invite.offer
    return offer is not None and (len(offer.history) > 1 or bool(offer.referred_by))
