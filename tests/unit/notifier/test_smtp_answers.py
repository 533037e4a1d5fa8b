"""Every phase and every class of answer: what it means is a row, and each channel must answer for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missedcall_notifier.channels.smtp import Phase, classify
from missedcall_notifier.failure import Failure

P, F = Phase, Failure


@pytest.mark.parametrize(
    ("phase", "code", "text", "failure"),
    [
        (P.CONNECT, 421, "too busy", F.CHANNEL_DOWN),
        (P.CONNECT, 554, "5.7.1 your address is blocked", F.CHANNEL_DOWN),
        (P.HELLO, 550, "bad name", F.CHANNEL_DOWN),
        (P.STARTTLS, 454, "TLS not available", F.CHANNEL_DOWN),
        (P.LOGIN, 535, "5.7.8 wrong password", F.CHANNEL_DOWN),
        (P.LOGIN, 454, "4.7.0 try later", F.CHANNEL_DOWN),
        (P.MAIL, 530, "5.7.0 authentication required", F.CHANNEL_DOWN),
        (P.MAIL, 550, "5.7.60 client may not send as this sender", F.CHANNEL_DOWN),
        (P.MAIL, 552, "message size exceeds limit", F.PERMANENT_ITEM),
        (P.MAIL, 451, "4.3.0 try again", F.TRANSIENT),
        (P.RCPT, 550, "5.1.1 no such user", F.PERMANENT_RECIPIENT),
        (P.RCPT, 550, "no such user", F.PERMANENT_RECIPIENT),
        (P.RCPT, 553, "bad mailbox name", F.PERMANENT_RECIPIENT),
        (P.RCPT, 552, "5.2.2 mailbox full", F.SLOW),
        (P.RCPT, 552, "mailbox full", F.SLOW),
        (P.RCPT, 452, "4.2.2 mailbox full", F.SLOW),
        (P.RCPT, 450, "4.2.0 greylisted", F.TRANSIENT),
        (P.RCPT, 451, "4.7.1 greylisted", F.THROTTLED),
        (P.RCPT, 550, "5.7.1 relaying denied", F.SLOW),
        (P.RCPT, 530, "5.7.0 authentication required", F.CHANNEL_DOWN),
        (P.DATA, 451, "local error", F.TRANSIENT),
        (P.DATA, 554, "no valid recipients", F.TRANSIENT),
        (P.BODY, 421, "closing", F.TRANSIENT),
        (P.BODY, 451, "4.3.0 disk", F.TRANSIENT),
        (P.BODY, 554, "5.6.0 malformed", F.PERMANENT_ITEM),
        (P.BODY, 552, "5.3.4 too large", F.PERMANENT_ITEM),
        (P.BODY, 554, "5.7.1 looks like spam", F.SLOW),
        (P.BODY, -1, "nonsense", F.UNCERTAIN),
        (P.BODY, 354, "once more?", F.UNCERTAIN),
        (P.RCPT, -1, "nonsense", F.TRANSIENT),
        (P.MAIL, 999, "", F.TRANSIENT),
    ],
)
def test_an_answer_means(phase, code, text, failure):
    assert classify(phase, code, text) is failure


@given(st.sampled_from(Phase), st.integers(-10, 10_000), st.text())
def test_every_answer_means_something_and_only_after_the_dot_uncertain(phase, code, text):
    assert classify(phase, code, text) is not F.UNCERTAIN or phase is P.BODY
