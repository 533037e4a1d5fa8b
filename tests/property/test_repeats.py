"""Whatever comes in between: of the calls of one caller that were missed, one item tells, and it tells them all."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.notify import NOW, make_fact
from support.repeats import DiedError, Mailbox, taken

from missedcall_notifier.delivery import State, intent, settle
from missedcall_notifier.ledger import Ledger
from missedcall_notifier.repeats import MOST, series_of
from missedcall_notifier.retry import RetryPolicy

POLICY = RetryPolicy(first_s=1.0, uncertain_attempts=1_000_000)
FAULTS = ("", "", "before", "after", "die", "die-after")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 300)),
        st.tuples(st.just("retract"), st.integers(0, 9)),
        st.tuples(st.just("work"), st.lists(st.sampled_from(FAULTS), max_size=5)),
        st.tuples(st.just("hold"), st.integers(1, 2)),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=25,
)


class Life:
    """A ledger, what of it is durable, and a mailbox."""

    def __init__(self, within_s):
        self.within_s = within_s
        self.now = NOW
        self.rows = {}
        self.ledger = Ledger(slim=True)
        self.mailbox = Mailbox()
        self.calls = []
        self.retracted = set()
        self.held = []

    def call(self, after_s):
        number = len(self.calls) + 1
        self.calls.append(make_fact(f"fact-{number}", rang_at=NOW + after_s))
        self.take(self.calls[-1])

    def retract(self, number):
        if number < len(self.calls):
            self.retracted.add(self.calls[number].fact_id)
            self.take(taken(self.calls[number]))

    def take(self, fact):
        series = series_of(fact, "fake", "bob", self.within_s)
        self.ledger.take([intent(fact, "fake", "bob", self.now, series=series)], self.ledger.position + 1)
        self.durable()

    def hold(self, count):
        """Begin attempts that stay under way."""
        self.held += self.claim(count)

    def work(self, faults):
        """Make the attempts that are under way and those that are due."""
        self.now += 1
        self.mailbox.faults = list(faults)
        try:
            for delivery in self.held + self.claim(3):
                after = settle(delivery, self.mailbox.send(delivery), POLICY, self.now)
                self.ledger.record(delivery, after)
                self.durable()
        except DiedError:
            self.restart(None)
        self.held = []

    def claim(self, limit):
        changed = self.ledger.claim(self.now, limit, newest_first=self.now % 2 == 1)
        self.durable()
        return [one for one in changed if one.state is State.ATTEMPT]

    def restart(self, _):
        self.ledger = Ledger(self.rows.values(), self.ledger.position, slim=True)
        self.held = []
        self.ledger.recover(self.now)
        self.durable()

    def durable(self):
        for name, row in self.ledger.turn().items():
            self.rows[name] = row

    def end(self):
        """Let everything come to its end."""
        self.work([])
        while self.ledger.waiting:
            self.now += 3600
            self.work([])


def played(steps, within_s=600.0):
    life = Life(within_s)
    for name, argument in steps:
        getattr(life, name)(argument)
    life.end()
    return life


def missed(life):
    return {call.fact_id for call in life.calls} - life.retracted


@settings(max_examples=400)
@given(STEPS)
@example(
    [("call", 0), ("work", ["after"]), ("call", 9), ("work", ["", "", "die"]), ("call", 9), ("retract", 1)]
)
@example([("call", 0), ("call", 1), ("work", ["before"]), ("retract", 1)])
@example(
    [("call", 0), ("hold", 1), ("call", 1), ("retract", 1), ("call", 2), ("restart", None), ("retract", 2)]
)
def test_one_item_tells_all_that_were_missed(steps):
    life = played(steps)

    told = [sorted(calls) for calls in life.mailbox.inbox.values()]
    assert told == ([sorted(missed(life))] if missed(life) else [])


@settings(max_examples=200)
@given(STEPS)
def test_whatever_the_window_each_missed_call_is_told_once(steps):
    life = played(steps, within_s=60.0)

    told = [fact_id for calls in life.mailbox.inbox.values() for fact_id in calls]
    assert sorted(told) == sorted(missed(life))
    rang_at = {call.fact_id: call.rang_at for call in life.calls}
    for calls in life.mailbox.inbox.values():
        times = [rang_at[fact_id] for fact_id in calls]
        assert max(times) - min(times) <= 60
        assert len(calls) <= MOST


@settings(max_examples=200)
@given(STEPS)
def test_switched_off_each_call_is_an_item_and_no_record_knows_of_series(steps):
    life = played(steps, within_s=0.0)

    assert sorted(life.mailbox.inbox.values()) == sorted([fact_id] for fact_id in missed(life))
    assert all(b'"series"' not in row for row in life.rows.values())


@settings(max_examples=200)
@given(st.lists(st.sampled_from(FAULTS), max_size=8), st.integers(1, 4))
def test_the_first_item_goes_when_the_next_is_there(faults, more):
    life = Life(600.0)
    life.call(0)
    life.work([])
    life.mailbox.fewest = 1
    for number in range(more):
        life.call(number + 1)
        life.work(faults)
    life.end()

    assert life.mailbox.fewest == 1, "for a moment nothing told of the missed calls"
    assert [len(calls) for calls in life.mailbox.inbox.values()] == [more + 1]
