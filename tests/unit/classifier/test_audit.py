"""The comparison of what was published with what follows from the log."""

import json
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from support import hep_calls
from support.classifier_process import offline

from missedcall_classifier import engine
from missedcall_classifier.policy import Policy
from missedcall_classifier.stream.audit import Auditor, Finding, UndecidableError, audit, reach_s
from missedcall_schemas.codec import decode_missed_call, encode_batch, encode_missed_call

BATCHES = list(hep_calls.batches(40, 20.0))
LOG = [encode_batch(batch) for batch in BATCHES]
FACTS = offline(SimpleNamespace(batches={0: BATCHES})).facts
LAST = len(LOG) - 1


def ids(fact):
    read = decode_missed_call(fact)
    return read.fact_id, read.revision


def counts(report):
    names = ("duplicate", "missing", "different", "unexpected")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def audited(facts=FACTS, log=LOG, committed=LAST, policy=None, cut_at=None):
    auditor = Auditor(policy or Policy(), cut_at=cut_at)
    for fact in facts:
        auditor.published(fact)
    for offset, value in enumerate(log):
        auditor.logged(0, value, committed=offset <= committed)
    return auditor.report()


def test_what_follows_from_the_log_is_exact():
    report = audit(Policy(), FACTS, {0: LOG})

    assert report.exact
    assert (report.calls, report.facts, report.compared) == (40, len(FACTS), len(FACTS))
    assert (report.gaps, report.repeats, report.restarts, report.findings) == (0, 0, 0, ())


def test_the_order_of_facts_does_not_matter():
    assert audit(Policy(), reversed(FACTS), {0: LOG}).exact


@pytest.mark.parametrize(
    ("facts", "kind", "count"),
    [([*FACTS, FACTS[3], FACTS[3]], "duplicate", 2), ([*FACTS[:3], *FACTS[4:]], "missing", 1)],
)
def test_what_is_wrong_is_counted_and_named(facts, kind, count):
    report = audit(Policy(), facts, {0: LOG})

    assert counts(report) == {kind: count}
    assert not report.exact
    assert set(report.findings) == {Finding(kind, *ids(FACTS[3]))}


def changed(fact, **fields):
    return encode_missed_call(replace(decode_missed_call(fact), **fields))


@pytest.mark.parametrize(
    "fields", [{"cause": "unreachable"}, {"ring_s": 99.0}, {"blind_window": True}, {"decided_at": 1.7e9 + 5}]
)
def test_another_content_is_different(fields):
    report = audit(Policy(), [changed(FACTS[0], **fields), *FACTS[1:]], {0: LOG})

    assert counts(report) == {"different": 1}
    assert report.findings == (Finding("different", *ids(FACTS[0])),)


def test_a_fact_that_does_not_follow_is_unexpected_and_the_right_one_is_missing():
    report = audit(Policy(), [changed(FACTS[0], fact_id="other"), *FACTS[1:]], {0: LOG})

    assert counts(report) == {"missing": 1, "unexpected": 1}
    assert Finding("unexpected", "other", 1) in report.findings


def test_a_field_of_a_newer_release_makes_no_difference():
    newer = json.dumps({**json.loads(FACTS[0]), "from_the_future": 1}).encode()

    assert audit(Policy(), [newer, *FACTS[1:]], {0: LOG}).exact


def test_what_is_no_fact_is_not_exact():
    report = audit(Policy(), [*FACTS, b"{}"], {0: LOG})

    assert (report.unreadable, report.exact) == (1, False)


def test_what_the_classifier_has_not_committed_may_be_there_or_not():
    half = 18  # before the last calls have settled
    due = offline(SimpleNamespace(batches={0: BATCHES[:half]})).facts

    without, with_it = audited(due, committed=half - 1), audited(FACTS, committed=half - 1)

    assert 0 < len(due) < len(FACTS)
    assert (counts(without), without.pending) == ({}, len(FACTS) - len(due))
    assert (counts(with_it), with_it.pending) == ({}, 0)
    assert without.calls == with_it.calls < 40


def test_what_is_not_committed_is_compared_all_the_same_once_it_is_there():
    report = audited([*FACTS[:-1], changed(FACTS[-1], ring_s=99.0)], committed=0)

    assert counts(report) == {"different": 1}


def test_facts_of_calls_that_the_beginning_of_the_log_may_have_cut_are_not_compared():
    policy = Policy(
        queue_s=1.0, give_up_s=1.0, open_branch_s=1.0, greeting_s=0.0, settle_s=0.5, closed_keep_s=0.5
    )
    batches = list(hep_calls.batches(400, 40.0))
    facts = [encode_missed_call(fact) for fact in decided(policy, batches)]
    for cut in (7, 11, 23):
        rest = batches[cut:]
        cut_at = rest[0].clock_ms / 1000
        report = audited(facts, [encode_batch(batch) for batch in rest], 10_000, policy, cut_at)

        assert counts(report) == {}
        assert report.older > 0
        assert report.compared == report.facts == len(facts) - report.older > 100
        assert report.gaps == 0


def decided(policy, batches):
    core = engine.Engine(policy)
    return [fact for batch in batches for decision in core.feed(batch) for fact in decision.facts]


def test_what_was_decided_before_a_fact_of_another_policy_is_not_compared():
    policy = Policy(
        queue_s=1.0, give_up_s=1.0, open_branch_s=1.0, greeting_s=0.0, settle_s=0.5, closed_keep_s=0.5
    )
    before = replace(policy, min_ring_s=9.0)
    batches = list(hep_calls.batches(400, 40.0))
    log = [encode_batch(batch) for batch in batches]
    changed_at = batches[30].clock_ms / 1000
    facts = [fact for fact in decided(before, batches) if fact.decided_at < changed_at]
    old = len(facts)
    facts += [fact for fact in decided(policy, batches) if fact.decided_at >= changed_at]

    report = audited([encode_missed_call(fact) for fact in facts], log, 10_000, policy)

    assert counts(report) == {}
    assert report.other_policy == old > 0
    assert 100 < report.compared < len(facts) - old


def test_with_another_policy_than_the_classifiers_nothing_is_compared():
    report = audited(policy=Policy(min_ring_s=9.0))

    assert (report.other_policy, report.compared, counts(report)) == (len(FACTS), 0, {})


def test_a_fact_may_be_decided_as_late_as_a_call_is_kept():
    policy = Policy()

    assert reach_s(policy) >= policy.queue_s + policy.closed_keep_s
    assert reach_s(replace(policy, give_up_s=9_000.0)) >= 9_000


def test_lost_batches_are_gaps_and_batches_that_came_again_are_repeats():
    holed = [*LOG[:5], *LOG[7:10], LOG[9], *LOG[10:]]

    report = audit(Policy(), [], {0: holed})

    assert (report.gaps, report.repeats, report.restarts) == (2, 1, 0)


def test_a_collector_that_begins_anew_is_no_gap_unless_its_first_batches_are_missing():
    lives = [*BATCHES, *(replace(batch, incarnation=2) for batch in BATCHES[3:6])]

    report = audit(Policy(), [], {0: map(encode_batch, lives)})

    assert (report.gaps, report.restarts) == (3, 1)


def test_where_the_log_is_cut_the_first_number_is_no_gap():
    assert audited([], LOG[5:], cut_at=BATCHES[5].clock_ms / 1000).gaps == 0
    assert audited([], LOG[5:]).gaps == 5


def test_a_record_that_is_no_batch_is_counted():
    report = audit(Policy(), FACTS, {0: [b"no batch", *LOG]})

    assert (report.undecidable, report.exact) == (1, True)


def test_a_record_that_our_own_code_fails_on_ends_the_comparison(monkeypatch):
    if not engine.__file__.endswith(".py"):
        pytest.skip("a compiled core calls its functions directly: none can be made to fail")
    monkeypatch.setattr(engine, "see", lambda *_: 1 / 0)

    with pytest.raises(UndecidableError, match="partition 0: ZeroDivisionError"):
        audit(Policy(), [], {0: LOG})
