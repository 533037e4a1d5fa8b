"""For tests of calls that are told as one notice: a mailbox as those of Exchange are filled, and a story."""

import asyncio
import contextlib
import random

from msgspec.structs import replace
from support.notify import NOW, CrashError, CrashingJournal, ManualClock, make_fact, turns_until

from missedcall_notifier.app import Notifier
from missedcall_notifier.channels.ews import SETTLING
from missedcall_notifier.channels.item import key_of, keys_before
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.source import MemoryFacts
from missedcall_schemas.records import Party


class DiedError(Exception):
    """The process died within an attempt."""


class Mailbox:
    """Items by what they are found by; an item is the ids of the facts that it tells."""

    def __init__(self):
        self.inbox = {}
        self.deleted = {}
        self.faults = []
        """Of the next requests: "", "before" (refused), "after" (done, the answer lost), "die", "die-after"."""
        self.fewest = None
        """Of the items that were there at once since it was set."""

    def send(self, delivery):
        """Make one attempt."""
        try:
            return self._correct(delivery) if delivery.corrects else self._deliver(delivery)
        except ConnectionError as error:
            return Failed(Failure.UNCERTAIN if str(error) == "after" else Failure.TRANSIENT, str(error))

    def _deliver(self, delivery):
        key = key_of(delivery)
        if not (delivery.maybe_made and self._ask(lambda: key in self.inbox or key in self.deleted)):
            self._ask(lambda: self._create(key, delivery))
        for before, sure in keys_before(delivery):
            if self._ask(lambda: before in self.inbox):  # noqa: B023
                self._ask(lambda: self._remove(before))  # noqa: B023
            elif not sure and delivery.detail != SETTLING:
                return Failed(Failure.TRANSIENT, SETTLING)
        return Sent("done")

    def _correct(self, delivery):
        for key, _ in keys_before(delivery):
            if self._ask(lambda: key in self.inbox):  # noqa: B023
                self._ask(lambda: self._remove(key))  # noqa: B023
        return Sent("done")

    def _create(self, key, delivery):
        assert key not in self.inbox, "a second item of one notice"
        self.inbox[key] = [call.fact_id for call in delivery.calls]

    def _remove(self, key):
        self.deleted[key] = self.inbox.pop(key)
        if self.fewest is not None:
            self.fewest = min(self.fewest, len(self.inbox))

    def _ask(self, request):
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            raise ConnectionError("before")
        if fault == "die":
            raise DiedError
        answer = request()
        if fault == "after":
            raise ConnectionError("after")
        if fault == "die-after":
            raise DiedError
        return answer


def taken(fact):
    """Return the retraction of a fact."""
    return replace(fact, revision=fact.revision + 1, state="retracted")


STORY = [make_fact(f"fact-{n}", rang_at=NOW + 60 * n) for n in (1, 2, 3)]
STORY.insert(2, taken(STORY[0]))
"""Two calls, the first of which was taken after all, and a third: in the end one notice of two calls is there."""


async def live(settings, path, crash=None, *, at_once=False):
    """One life of a notifier: until it dies, or all of the story is told.

    Args:
        settings: of the notifier.
        path: of its journal.
        crash: at which change of the journal it dies, and whether after it.
        at_once: whether the story waits as a whole, or goes on when what was told before has ended.
    """
    clock = ManualClock(NOW + 200)
    async with SqliteJournal(path) as journal:
        seen = CrashingJournal(journal, crash[0], after=crash[1]) if crash else journal
        given = len(STORY) if at_once else min(await ended(journal) + 1, len(STORY))
        facts = MemoryFacts(STORY[:given])
        notifier = Notifier(replace(settings, repeats_s=600.0), facts, seen, clock)
        running = asyncio.ensure_future(notifier.run())
        while not running.done():
            await asyncio.wait({running}, timeout=0.005)
            clock.advance(10)
            if (done := await ended(journal)) == len(STORY):
                notifier.stop()
            elif done == given:
                facts.add(STORY[given])
                given += 1
        with contextlib.suppress(ExceptionGroup, CrashError):
            running.result()


async def ended(journal):
    query = "SELECT count(*) FROM notify_journal WHERE ended IS NOT NULL"
    return await journal._run(lambda db: db.execute(query).fetchone()[0])


CALLERS, TIMES = 10, 6


def redials():
    """Return facts of CALLERS callers, each of whom rings TIMES times, in turn."""
    return [
        make_fact(f"fact-{n}-{c}", rang_at=NOW + n, caller=Party(uri=f"sip:caller-{c}@example.net"))
        for n in range(TIMES)
        for c in range(CALLERS)
    ]


async def run_redials(settings, channel, journal, clock):
    """Run a notifier to which a call more becomes known every few milliseconds, from where its journal stands."""
    calls = redials()
    at = (await journal.positions(channel))[0]
    facts = MemoryFacts(calls[:at])
    notifier = Notifier(replace(settings, repeats_s=600.0), facts, journal, clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(notifier.run())
        for call in calls[at:]:
            await asyncio.sleep(0.01)
            facts.add(call)


def all_ended(states):
    """Whether all calls of `redials` have come to a good end."""
    return len(states) == CALLERS * TIMES and set(states) <= {"sent", "suppressed"}


async def kill_while_callers_ring_again(server, plans, start, kill, states):
    """Kill a notifier that is told of `redials` five times, and let it come to its end.

    Args:
        server: that it writes to; must serve.
        plans: the faults of each operation, in each life.
        start: a process of `run_redials`.
        kill: it.
        states: in its journal.
    """
    moments = random.Random(20261128)

    def ended_well():
        return all_ended(states())

    for _ in range(5):
        for operation, faults in plans.items():
            server.plan(operation, *faults)
        process = await start()
        enough = server.commits + 5

        def wrote_enough(enough=enough):
            return server.commits >= enough or (server.commits and ended_well())

        await turns_until(wrote_enough, within_s=60, every_s=0.005)
        await asyncio.sleep(moments.uniform(0, 0.1))
        await kill(process)
    process = await start()
    await turns_until(ended_well, within_s=60, every_s=0.05)
    await kill(process)


def assert_one_item_per_caller(items, fact_of, subject_of):
    """Assert that what is in the inbox tells all calls of each caller, once."""
    left = [item for item in items if item.folder == "inbox"]
    assert sorted(subject_of(item) for item in left) == [
        f"{TIMES} missed calls from sip:caller-{c}@example.net" for c in range(CALLERS)
    ]
    facts = [fact_of(item) for item in items]
    assert len(facts) == len(set(facts)), "an item was written twice"
    assert len(facts) > CALLERS, "nothing was replaced: the test proves nothing"
