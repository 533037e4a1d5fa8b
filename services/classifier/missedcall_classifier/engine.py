"""One partition's classifier, without a broker: batches in, decisions and changed state rows out.

A shell does, per transaction: `feed` each batch, publish `facts` and `verdicts` of its decisions, write
`changes()` to `call-state`, and move its position; all of it or none of it.

Rule 1: the only clock is the collectors': a batch's `clock_ms`, and `received_ms` of its messages. Deadlines
        that lie before a message are met before that message is observed, so how messages are batched
        does not matter.
Rule 2: the watermark is the slowest collector heard within `IDLE_COLLECTOR_S`: one that lags delays decisions
        and never falsifies them.
Rule 3: a batch without a collector's name says that nothing comes any more: its clock passes collectors that
        have been silent for `IDLE_COLLECTOR_S`, and holds nobody back.
Rule 4: a call is decided when nothing in it is open and it has settled; see `rules.WAITS`.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Final, final

import msgspec

from missedcall_common.placing import BETWEEN
from missedcall_common.sip.message import SipError
from missedcall_schemas.records import CaptureBatch, SipMessage, Verdict

from .build import build_all
from .call import Call, Ruled, call_ids
from .case import Case
from .decision import Decision, Meta
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
    weak,
)
from .picture import Picture, draw, order
from .policy import Policy
from .reading import ReadBatch
from .rows import StateError, decode_row, encode_row
from .rules import wait_s
from .seen import Offer, Seen, repeated_offer, see
from .users import called, ours, user_part
from .verdicts import evidence, publish, rule_on

IDLE_COLLECTOR_S = 30.0
"""A collector silent this long does not hold the watermark back. Less: a pause counts its calls as silent.
More: a dead collector delays every timeout by as much."""

FORGOTTEN_COLLECTOR_S = 86_400.0
"""A collector silent this long is forgotten once another appears, and is new when it comes back. Less: what it had
not sent before a long absence of Kafka is no gap. More: where each start has a name of its own, state grows."""

META = "__meta__"
"""Key of the row that holds the clocks: part of the state, for the watermark is a function of the log."""

MAX_GAPS = 64
"""Times of lost batches that are remembered for `blind_window`."""

REST_ABOVE: Final = 20_000
"""Calls above which those that only ring are packed. Less: small systems pay for memory that they have. More:
large ones need it."""

REST_MS: Final = 2_000
"""A call this old mostly rings and hears nothing for a while. Less: packed in vain, for the next message comes
soon. More: memory."""

SPARE: Final = 1024
"""Closed calls that may stand in the queue of open ones before it is swept. Less: swept too often."""


@final
class Engine:
    """All calls of one partition."""

    def __init__(self, policy: Policy, *, keep_ladders: bool = False) -> None:
        self.policy: Final = policy
        self.counts: Counter[str] = Counter()
        """What was seen, by cause: messages that became nothing, outcomes, facts."""
        self._digest = policy.digest()
        self._keep_ladders = keep_ladders
        self._headers: tuple[str, ...] = policy.correlation_headers
        self._max_open: int = policy.max_open_calls
        self._max_legs: int = policy.max_legs_per_call
        self._max_messages: int = policy.max_messages_per_call
        self._settle_ms = int(policy.settle_s * 1000)
        self._open_branch_ms = int(policy.open_branch_s * 1000)
        self._closed_keep_ms = int(policy.closed_keep_s * 1000)
        self._calls: dict[str, Call] = {}
        self._index = Index(policy)
        self._due: list[tuple[int, str]] = []
        self._opened: deque[Call] = deque()
        """Calls in the order in which they were opened, among them some that are closed or gone."""
        self._awake: deque[Call] = deque()
        """Calls opened lately, the earliest first."""
        self._rest_above = REST_ABOVE
        self._rest_ms = REST_MS
        self._dirty: dict[str, None] = {}
        self._meta = Meta({}, {}, [], 0)
        self._closed = 0

    # -- the shell's verbs -------------------------------------------------------------------------

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up the state that `changes` wrote before a restart. Call before the first `feed`.

        Raises:
            StateError: a row that this release cannot read.
        """
        calls = []
        for key, row in rows:
            if key == META:
                try:
                    self._meta = msgspec.msgpack.decode(row, type=Meta)
                except msgspec.DecodeError as error:
                    raise StateError(f"row {META} of {len(row)} bytes is no engine state: {error}") from error
                meta = self._meta  # an earlier release did not note `heard_ms`
                meta.heard_ms = meta.gaps[: len(meta.gaps) - len(meta.heard_ms)] + meta.heard_ms
                continue
            call = self._calls[key] = decode_row(row)
            self._index.enter(call)
            if call.forget_ms:
                self._closed += 1
            else:
                calls.append(call)
            self._schedule(call)
        self._opened.extend(sorted(calls, key=_age))

    def feed(self, batch: CaptureBatch) -> list[Decision]:
        """Observe the batch's messages, then let its clock end what is due."""
        decisions: list[Decision] = []
        due = self._due
        slowest_ms = self._begin(batch.collector, batch.incarnation, batch.sequence, batch.clock_ms)
        for message in batch.messages:
            now_ms = min(message.received_ms, slowest_ms)
            if due and due[0][0] <= now_ms:
                self._run_due(now_ms, decisions)
            try:
                seen = see(message, self._headers)
            except SipError:
                self.counts["malformed-sip"] += 1
                continue
            if seen is None:
                self.counts["noise-method"] += 1
            else:
                self._observe(seen, message.received_ms, message, None, decisions)
        self._end(batch.collector, batch.clock_ms, slowest_ms, decisions)
        return decisions

    def feed_read(self, batch: ReadBatch) -> list[Decision]:
        """Do as `feed` with a batch whose messages were read elsewhere."""
        decisions: list[Decision] = []
        due = self._due
        slowest_ms = self._begin(batch.collector, batch.incarnation, batch.sequence, batch.clock_ms)
        for at, seen in enumerate(batch.seen):
            received_ms = batch.received_ms[at]
            now_ms = min(received_ms, slowest_ms)
            if due and due[0][0] <= now_ms:
                self._run_due(now_ms, decisions)
            self._observe(seen, received_ms, None, batch.hints.get(at), decisions)
        if batch.malformed:
            self.counts["malformed-sip"] += batch.malformed
        if batch.noise:
            self.counts["noise-method"] += batch.noise
        self._end(batch.collector, batch.clock_ms, slowest_ms, decisions)
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
                call = self._calls.get(key)
                yield key, encode_row(call) if call is not None else None

    def rows(self) -> Iterator[tuple[str, bytes]]:
        """Yield every state row, whether it has changed or not."""
        yield META, msgspec.msgpack.encode(self._meta)
        for key, call in self._calls.items():
            yield key, encode_row(call)

    @property
    def open_calls(self) -> int:
        """Calls not yet decided."""
        return len(self._calls) - self._closed

    @property
    def clock_ms(self) -> int:
        """The watermark: up to here everything due has been decided; 0 before the first batch."""
        return self._meta.watermark_ms

    # -- observing ---------------------------------------------------------------------------------

    def _begin(self, collector: str, incarnation: int, sequence: int, clock_ms: int) -> int:
        """Take note of a batch; return the clock of the slowest collector, which its messages do not pass."""
        meta = self._meta
        if not collector:
            return self._slowest(clock_ms, list(meta.clocks.values()))
        if collector not in meta.clocks:
            self._forget_collectors(clock_ms)
        known, expected = meta.sequences.get(collector, (incarnation, sequence))
        anew = known != incarnation
        if anew or sequence > expected:  # a hole in the sequence, or a collector that began anew
            self.counts["gap"] += 1 if anew else sequence - expected
            meta.gaps = [*meta.gaps, clock_ms][-MAX_GAPS:]
            meta.heard_ms = [*meta.heard_ms, meta.clocks.get(collector, clock_ms)][-MAX_GAPS:]
        meta.sequences[collector] = (incarnation, sequence + 1)
        return self._slowest(clock_ms, [clock for name, clock in meta.clocks.items() if name != collector])

    def _slowest(self, clock_ms: int, others: list[int]) -> int:
        """Return the slowest clock among others' that are not idle; the latest if all are."""
        latest = max([clock_ms, *others])
        return min([clock for clock in others if clock >= latest - IDLE_COLLECTOR_S * 1000], default=latest)

    def _forget_collectors(self, clock_ms: int) -> None:
        """Forget those that have been silent for long."""
        meta = self._meta
        since_ms = clock_ms - FORGOTTEN_COLLECTOR_S * 1000
        for name in [name for name, clock in meta.clocks.items() if clock < since_ms]:
            del meta.clocks[name]
            meta.sequences.pop(name, None)

    def _end(self, collector: str, clock_ms: int, slowest_ms: int, decisions: list[Decision]) -> None:
        """Let the clock of a batch end what is due."""
        meta = self._meta
        if collector:
            meta.clocks[collector] = max(clock_ms, meta.clocks.get(collector, 0))
        meta.watermark_ms = max(meta.watermark_ms, min(clock_ms, slowest_ms))
        self._dirty[META] = None
        self._run_due(meta.watermark_ms, decisions)
        awake = self._awake
        until_ms = meta.watermark_ms - self._rest_ms
        while awake and awake[0].opened_ms <= until_ms:
            call = awake.popleft()
            if len(self._calls) > self._rest_above and self._is_open(call):
                call.rest()

    def _observe(
        self,
        seen: Seen,
        received: int,
        message: SipMessage | None,
        hint: Offer | None,
        decisions: list[Decision],
    ) -> None:
        """Observe a message; where it is not given, ``hint`` is what it repeats of an INVITE."""
        call = self._index.by_call_id(seen.call_id)
        known = call.find(seen) if call is not None else None
        if call is not None and known is not None:
            self.counts["duplicate"] += 1
            if call.note_copy(known, seen, received):
                self._dirty[call.key] = None
            if names_more(seen):
                links = self._index.links(known, new_leg=False)
                joined = self._joined(known, call, links) or call
                self._index.add(known.call_id, links, joined)
            return
        if call is not None and call.forget_ms and _is_another_call(call, seen):
            self._forget(call)
            call = None
        if seen.offer is None:
            if message is not None:
                named = f"call:{message.correlation_id}" if message.correlation_id else ""
                hint = repeated_offer(message) if _hints(call, seen, named) else None
            elif hint is not None and not _hints(call, seen, hint.links[0] if hint.links else ""):
                hint = None
        self._add(seen, call, received, hint, BETWEEN if message is None else message.key)
        if len(self._calls) - self._closed > self._max_open:
            self._close_oldest(decisions)

    def _add(self, seen: Seen, call: Call | None, received_ms: int, hint: Offer | None, key: str) -> None:
        """Add a new message to the call that it belongs to; only what the call keeps is indexed."""
        index = self._index
        links: list[str] = []
        names = call is None or names_more(seen)
        if names:
            links = index.links(seen, new_leg=call is None or not call.has_offer(seen.call_id))
            if hint is not None:
                links.extend(hint.links)
            call = self._joined(seen, call, links)
        if call is None:
            call = self._open(seen, received_ms)
        if len(call.seen) >= self._max_messages:
            call.refused += 1
            self.counts["limit"] += 1
            return
        call.belongs(key)
        full = names and self._has_too_many_legs(call)
        call.observe(seen, received_ms, self._settle_ms, self._open_branch_ms)
        if full:
            self.counts["limit"] += 1
            links = []
        if names:
            index.add(seen.call_id, links, call)
        if hint is not None:
            call.hint(seen.call_id, hint)
            index.add_parties(hint, call)
        if seen.offer is not None and seen.method == "INVITE":
            index.add_parties(seen.offer, call)
            if call.held_by is None and seen.vias == 1:
                upper = self._upstream(seen, self._relatives(call, seen))
                if upper is not None and upper.dst:
                    call.held_by = (upper.src, upper.dst)
        if call.settling and call.forget_ms:
            self._reopen(call)
        self._dirty[call.key] = None
        self._schedule(call)

    def _open(self, seen: Seen, received_ms: int) -> Call:
        """Begin a call with its first message."""
        due_ms = 0
        if seen.offer is None and seen.status < 180:
            due_ms = received_ms + self._settle_ms
        key = seen.call_id if seen.call_id not in self._calls else f"{seen.call_id}\x00{received_ms}"
        call = self._calls[key] = Call(key, received_ms, received_ms, due_ms, [])
        self._queue(call)
        return call

    def _has_too_many_legs(self, call: Call) -> bool:
        most = self._max_legs
        return len(call.seen) >= most and len(call_ids(call.seen)) >= most

    def _reopen(self, call: Call) -> None:
        call.forget_ms = 0
        self._closed -= 1
        self._queue(call)

    def _queue(self, call: Call) -> None:
        self._awake.append(call)
        opened = self._opened
        opened.append(call)
        if len(opened) > 2 * len(self._calls) + SPARE:
            self._opened = deque([each for each in opened if self._is_open(each)])

    def _is_open(self, call: Call) -> bool:
        return not call.forget_ms and self._calls.get(call.key) is call

    def _joined(self, seen: Seen, call: Call | None, links: list[str]) -> Call | None:
        """Return the call that ``links`` name, ``call`` if none does; several turn out to be one."""
        index = self._index
        found = index.matches(links) if links else []
        if not found or (len(found) == 1 and found[0] is call):
            return call
        named = seen.offer.links if seen.offer is not None else ()
        sure = index.matches([link for link in links if link not in named and not weak(link)])
        found = index.matches([link for link in links if not weak(link) or self._may_join(link, seen)])
        others = sorted([other for other in found if other is not call], key=_age)
        if not others:
            return call
        mine = None
        if len(sure) < len(found):
            mine = outline([*(call.seen if call is not None else ()), seen])
        for other in others:
            # An identifier that never changes must not join the world.
            if other not in sure and mine is not None and not _related(other, mine):
                self.counts["unrelated"] += 1
            elif self._has_too_many_legs(other):
                self.counts["limit"] += 1
            elif call is None:
                call = other
            elif self._calls.get(other.key) is other:
                call = self._merge(call, other) or call
        return call

    def _relatives(self, call: Call, invite: Seen | None) -> list[tuple[Call, Outline]]:
        """Return the other calls of the same caller or for the same callee whose INVITE was captured."""
        found: list[tuple[Call, Outline]] = []
        if invite is None or invite.offer is None:
            return found
        for other in self._index.relatives(invite.offer):
            if other is call:
                continue
            theirs = outline(other.seen, other.hints)
            if theirs is not None:
                found.append((other, theirs))
        return found

    def _upstream(self, invite: Seen, relatives: list[tuple[Call, Outline]]) -> Seen | None:
        """Return the INVITE of a call of ours that holds the box which this leg comes out of (ADR 0005)."""
        if not relatives:
            return None
        mine = Outline(invite, 0, 0, 0)
        for _, theirs in relatives:
            offer = theirs.invite.offer
            if offer is None or not goes_on_as(theirs, mine, self.policy.resemblance_window_s):
                continue
            if ours(called(offer, self.policy), self.policy):
                return theirs.invite
        return None

    def _may_join(self, link: str, seen: Seen) -> bool:
        """Whether the call that ``link`` names weakly takes this leg: it is open, and this is no second try."""
        call = self._index.named(link)
        if call is None or call.forget_ms:
            return False
        first = outline(call.seen)
        return first is None or first.invite.src != seen.src or _retargeted(first.invite)

    def _merge(self, one: Call, other: Call) -> Call | None:
        """Make two calls one: the older takes the younger over; None if that were too much for one call."""
        legs = len(call_ids(one.seen)) + len(call_ids(other.seen))
        messages = len(one.seen) + len(other.seen)
        if legs > self._max_legs or messages > self._max_messages:
            self.counts["limit"] += 1
            return None
        kept, gone = (one, other) if _age(one) <= _age(other) else (other, one)
        kept.absorb(gone)
        if gone.forget_ms:
            self._closed -= 1
        if kept.forget_ms:
            self._reopen(kept)
        self._index.leave(gone)
        self._index.enter(kept)
        del self._calls[gone.key]
        self._dirty[gone.key] = None
        self._dirty[kept.key] = None
        self._schedule(kept)
        return kept

    # -- deciding ----------------------------------------------------------------------------------

    def _schedule(self, call: Call) -> None:
        """Queue a call to be looked at; one that is queued for earlier is put off when its turn comes."""
        due_ms = call.due_ms
        if not call.scheduled_ms or due_ms < call.scheduled_ms:
            call.scheduled_ms = due_ms
            heapq.heappush(self._due, (due_ms, call.key))

    def _run_due(self, now_ms: int, decisions: list[Decision]) -> None:
        due = self._due
        while due and due[0][0] <= now_ms:
            at_ms, key = heapq.heappop(due)
            call = self._calls.get(key)
            if call is None or call.scheduled_ms != at_ms:
                continue  # forgotten, or queued anew for earlier
            call.scheduled_ms = 0
            if call.due_ms <= at_ms:
                self._look(call, at_ms, decisions)
            else:
                self._schedule(call)

    def _look(self, call: Call, now_ms: int, decisions: list[Decision], *, force: bool = False) -> None:
        """Decide a call, or say when to look again."""
        self._dirty[call.key] = None
        if call.forget_ms and now_ms >= call.forget_ms:
            self._forget(call)
            return
        try:
            self._judge(call, now_ms, decisions, force=force)
        except Exception:  # noqa: BLE001 - a mistake in a rule must cost one call, not every restart
            self.counts["rule-failed"] += 1
            self._give_up(call, now_ms, decisions)

    def _judge(self, call: Call, now_ms: int, decisions: list[Decision], *, force: bool) -> None:
        invite = nearest_invite(call.seen)
        relatives = self._relatives(call, invite)
        if relatives:
            call = self._join_by_resemblance(call, relatives)
            invite = nearest_invite(call.seen)
            relatives = self._relatives(call, invite)
        picture = draw(call.seen, call.hints, self.policy.attendants)
        cases = self._cases(call, picture, invite, relatives) if picture is not None else []
        if picture is None or not _tells_a_call(cases):
            # In-dialog messages of a call long decided, or all that a lossy capture has of one.
            if not call.forget_ms and picture is not None and picture.root.answered_ms:
                call.settling = False  # kept a while: it may have been a pickup
                self._close(call, now_ms)
                return
            self.counts["invite-unseen"] += len(call.seen)
            self._forget(call)
            return
        call.settling = False
        ready_ms = call.last_ms + int(wait_s(cases, self.policy) * 1000)
        if now_ms < ready_ms and not force:
            call.due_ms = ready_ms
            self._schedule(call)
            return
        self._decide(call, picture, cases, now_ms, decisions)

    def _give_up(self, call: Call, now_ms: int, decisions: list[Decision]) -> None:
        """Close a call that our own rules failed on: incomplete, by name, and nobody is told."""
        call = self._calls.get(call.key, call)
        offers = [seen.offer for seen in call.seen if seen.offer is not None]
        offer = next(iter([*offers, *call.hints.values()]), None)
        call.settling = False
        self._close(call, now_ms)
        if offer is None or call.ruled:
            return
        first = min(call.seen, key=order)
        call.rule(offer.to, Ruled("incomplete", "rule-failed"))
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
        decisions.append(Decision(tuple(call_ids(call.seen)), (verdict,), ()))

    def _cases(
        self, call: Call, picture: Picture, invite: Seen | None, relatives: list[tuple[Call, Outline]]
    ) -> list[Case]:
        """Build the cases; mark the first if other calls may be legs of the same one (decision 12)."""
        cases = build_all(picture, self.policy)
        case = cases[0]
        if invite is None or (len(picture.all_legs) > 1 and not call.low_confidence):
            return cases
        cancel = case.cancel
        if cancel is not None and case.offer.caller.uri:
            for other in self._index.calls_to(user_part(case.offer.caller.uri)):
                if other is not call and took_instead(other.seen, cancel.at_ms):
                    case.picked_up_unseen = True
                    break
        held = call.held_by
        case.covered = (held is not None and leaves(held[0], held[1], invite.src)) or self._upstream(
            invite, relatives
        ) is not None
        if relatives:
            mine = outline(call.seen)
            if mine is not None:
                case.twins = any([rang_together(mine, theirs) for _, theirs in relatives])
        return cases

    def _join_by_resemblance(self, call: Call, relatives: list[tuple[Call, Outline]]) -> Call:
        """Join what nothing but resemblance joins, marked as such.

        Always the legs of a PBX to several devices of one user: he is to be told once. The leg that continues
        another through a box only if the operator asked for it.
        """
        mine = outline(call.seen)
        if mine is None:
            return call
        window_s = self.policy.resemblance_window_s
        for other, theirs in relatives:
            if self._calls.get(other.key) is not other or not same_callee(mine, theirs):
                continue
            near = abs(mine.invite.at_ms - theirs.invite.at_ms) <= window_s * 1000
            asked = self.policy.join_by_resemblance and near
            if rang_beside(mine, theirs) or (
                asked and (goes_on_as(theirs, mine, window_s) or goes_on_as(mine, theirs, window_s))
            ):
                call = self._merge(call, other) or call
                call.low_confidence = True  # also where a limit keeps them apart: judged beside the other
        return call

    def _decide(
        self, call: Call, picture: Picture, cases: list[Case], now_ms: int, decisions: list[Decision]
    ) -> None:
        gaps = zip(self._meta.heard_ms, self._meta.gaps, strict=True)
        blind = any([heard <= now_ms and call.opened_ms <= again for heard, again in gaps])
        verdicts, facts = publish(call, rule_on(call, cases, now_ms, self._digest), blind=blind)
        self._close(call, now_ms)
        for verdict in verdicts:
            self.counts[f"outcome-{verdict.outcome}"] += 1
        if facts:
            self.counts["facts"] += len(facts)
        if verdicts:
            ordered = dict.fromkeys([leg.call_id for leg in picture.all_legs])
            messages = sorted(call.seen, key=order) if self._keep_ladders else []
            ladder = tuple([evidence(seen) for seen in messages])
            decisions.append(Decision(tuple(ordered), tuple(verdicts), tuple(facts), ladder))

    def _close(self, call: Call, now_ms: int) -> None:
        if not call.forget_ms:
            self._closed += 1
        call.forget_ms = call.due_ms = now_ms + self._closed_keep_ms
        self._schedule(call)

    def _forget(self, call: Call) -> None:
        if call.forget_ms:
            self._closed -= 1
        del self._calls[call.key]
        self._dirty[call.key] = None
        self._index.leave(call)

    def _close_oldest(self, decisions: list[Decision]) -> None:
        """Decide the call that has been open longest: memory is bounded, and the loss is counted."""
        oldest = self._oldest()
        self.counts["limit"] += 1
        self._look(oldest, max(oldest.last_ms, self._meta.watermark_ms), decisions, force=True)

    def _oldest(self) -> Call:
        while True:
            call = self._opened.popleft()
            if self._is_open(call):
                return call


def _tells_a_call(cases: list[Case]) -> bool:
    """Whether an INVITE was captured, or that a phone rang."""
    for case in cases:
        if case.offered or case.rang:
            return True
    return False


def _related(call: Call, mine: Outline) -> bool:
    """Whether a call that an identifier names can be the one that a leg belongs to.

    Legs of one call share the caller or the callee, or one leaves the box that the other entered.
    """
    nameless = True
    for seen in call.seen:
        if seen.offer is None:
            continue
        nameless = False
        if seen.method != "INVITE":
            continue
        theirs = Outline(seen, 0, 0, 0)
        into, out = (seen, mine.invite) if seen.at_ms <= mine.invite.at_ms else (mine.invite, seen)
        if same_caller(theirs, mine) or same_callee(theirs, mine) or leaves(into.src, into.dst, out.src):
            return True
    return nameless


def _is_another_call(call: Call, seen: Seen) -> bool:
    """Whether a message belongs to a new call under the Call-ID of one already decided.

    It should not (RFC 3261 s.8.1.1.4), but phones do when they redial; the From-tag is a new one.
    """
    known = False
    for each in call.seen:
        if each.call_id == seen.call_id:
            if seen.from_tag in (each.from_tag, each.to_tag):
                return False
            known = True
    return known


def _hints(call: Call | None, seen: Seen, named: str) -> bool:
    """Whether a message says what is not known: of an INVITE not captured, or, in ``named``, of its leg."""
    if seen.method not in ("INVITE", "CANCEL"):
        return False
    if call is None:
        return True
    if seen.call_id in call.hints:
        return False
    for known in call.seen:
        if known.offer is not None and known.method == "INVITE" and known.call_id == seen.call_id:
            return bool(named) and named not in known.offer.links
    return True


def _age(call: Call) -> tuple[int, str]:
    return (call.opened_ms, call.key)


def _retargeted(invite: Seen) -> bool:
    """Whether a leg comes from a box, or by a REFER, that tries one user after another."""
    offer = invite.offer
    return offer is not None and (len(offer.history) > 1 or bool(offer.referred_by))
