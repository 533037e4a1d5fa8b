from support.notify import NOW, make_delivery, make_fact, make_retraction, states_of

from missedcall_notifier.claim import NOTHING_SENT, RETRACTED, claim
from missedcall_notifier.delivery import State, begin, intent, interrupted, settle
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.retry import RetryPolicy

NOTICE = make_delivery()
CORRECTION = intent(make_retraction(make_fact()), "fake", "bob", NOW)
SENT = settle(begin(NOTICE, NOW), Sent(), RetryPolicy(), NOW)
REFUSED = settle(begin(NOTICE, NOW), Failed(Failure.PERMANENT_RECIPIENT), RetryPolicy(), NOW)


def claimed(due, *others, limit=10):
    held = {delivery.delivery_id: delivery for delivery in (*due, *others)}
    return [after for _, after in claim(due, held.get, now=NOW, limit=limit)]


def test_what_is_due_begins():
    assert states_of(claimed([NOTICE])) == ["attempt"]


def test_no_more_begin_than_are_asked_for():
    due = [make_delivery(f"fact-{n}") for n in range(5)]

    assert len(claimed(due, limit=2)) == 2


def test_a_sent_notice_is_corrected():
    assert states_of(claimed([CORRECTION], SENT)) == ["attempt"]


def test_a_correction_waits_for_the_notice_under_way():
    assert claimed([CORRECTION], begin(NOTICE, NOW)) == []


def test_neither_is_sent_if_the_retraction_was_faster():
    notice, correction = claimed([CORRECTION], NOTICE)

    assert (notice.state, notice.detail) == (State.SUPPRESSED, RETRACTED)
    assert (correction.state, correction.detail) == (State.SUPPRESSED, NOTHING_SENT)


def test_a_notice_due_beside_its_correction_is_withdrawn_and_not_begun():
    assert states_of(claimed([CORRECTION, NOTICE])) == ["suppressed", "suppressed"]


def test_an_uncertain_notice_is_not_repeated_but_corrected():
    uncertain = interrupted(begin(NOTICE, NOW), NOW)

    notice, correction = claimed([CORRECTION], uncertain)

    assert (notice.state, correction.state) == (State.SUPPRESSED, State.ATTEMPT)


def test_a_notice_that_nobody_got_is_not_corrected():
    assert states_of(claimed([CORRECTION], REFUSED)) == ["suppressed"]


def test_a_notice_that_is_forgotten_is_not_corrected():
    assert states_of(claimed([CORRECTION])) == ["suppressed"]
