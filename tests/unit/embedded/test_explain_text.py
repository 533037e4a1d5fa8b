"""What explain says of a call: the ladder, the rule, the legs, and every user."""

import pytest
from support import ladder
from support.ladder_capture import batches

from missedcall_classifier.engine import Engine
from missedcall_classifier.rules import RULES
from missedcall_embedded import telling
from missedcall_embedded.explain import SOURCES, Search, explanation
from missedcall_embedded.joins import Joins
from missedcall_schemas.records import Cause, Outcome, Verdict

CANCELLED = """
0.000  alice>proxy>bob.1   INVITE bob
0.200  bob.1>proxy>alice   180
9.400  alice>proxy>bob.1   CANCEL
9.420  bob.1>proxy>alice   487
"""

FORWARDED = """
0.000  alice>proxy         INVITE bob
0.010  proxy>bob.1         INVITE
0.060  bob.1>proxy         302 | Contact: <sip:carol@example.com>
0.100  proxy>carol.1       INVITE carol
  History-Info: <sip:bob@example.com?Reason=SIP%3Bcause%3D302>;index=1, <sip:carol@example.com>;index=1.1;mp=1
0.280  carol.1>proxy>alice 180
9.500  alice>proxy>carol.1 CANCEL
9.540  carol.1>proxy>alice 487
"""


SESSION = f"Session-ID: 1ef4a22f7a1a5fd3aa0d0aa2f2c5e1e0;remote={'0' * 32}"


def explained(text, width=120):
    trace = ladder.parse(text)
    engine, joins = Engine(trace.policy, keep_ladders=True), Joins(trace.policy)
    decisions = []
    for batch in batches(trace.messages(), tail_s=300):
        for message in batch.messages:
            joins.note(message)
        decisions += engine.feed(batch)
    return ["\n".join(explanation(decision, joins, width)) for decision in decisions]


def test_the_rule_stands_with_its_source_and_the_messages_that_made_it_fire():
    (said,) = explained(CANCELLED)

    assert "rule      caller-cancelled (RFC 3261 s.9" in said
    assert "fired on  +9.400  10.1.1.1:5060 -> 10.0.0.10:5060  CANCEL" in said


def test_the_rules_that_held_as_well_are_named():
    (said,) = explained(CANCELLED)

    assert "near      rang-out" in said


def test_who_missed_the_call_is_told_and_why():
    (said,) = explained(CANCELLED)

    assert "bob@example.com  missed: caller-cancelled -> is told\n" in said
    assert "because   the caller gave up before anybody took the call" in said


def test_who_was_only_reached_as_well_is_not_told_and_why():
    (said,) = explained(FORWARDED)

    assert "carol@example.com  secondary-suppressed -> is not told" in said
    assert "because   the call was for somebody else" in said


def test_a_policy_that_keeps_a_notice_back_is_named():
    (said,) = explained("policy min_ring_s=30\n" + CANCELLED)

    assert "-> is not told" in said
    assert "it rang for less than the policy's min_ring_s" in said


def test_a_retraction_is_explained_as_one():
    late = """
0.000  alice>proxy>bob.1   INVITE bob
0.200  bob.1>proxy>alice   180
9.400  alice>proxy>bob.1   CANCEL
9.420  bob.1>proxy>alice   487
30.000 bob.1>proxy>alice   200
"""
    said = explained(late)

    assert "answered, revision 2 -> is told that the call was not missed after all" in said[-1]


@pytest.mark.parametrize(
    ("settings", "second", "reason"),
    [
        ("leg b hep={call-id:a}", "b:pbx>bob.1 INVITE bob", "its HEP correlation id is the Call-ID of leg a"),
        (
            "leg b call-id={call-id:a}_b2b-1",
            "b:pbx>bob.1 INVITE bob",
            "its Call-ID is that of leg a with a B2BUA's suffix",
        ),
        (
            "",
            "b:pbx>bob.1 INVITE bob | X-CID: {call-id:a}",
            "a header of its INVITE names the Call-ID of leg a",
        ),
        (
            "",
            "b:pbx>bob.1 INVITE bob | P-Charging-Vector: icid-value=1234",
            "it has the icid-value of leg a in P-Charging-Vector (RFC 7315)",
        ),
        (
            "",
            f"b:pbx>bob.1 INVITE bob | {SESSION}",
            "it has the Session-ID of leg a (RFC 7989)",
        ),
    ],
)
def test_joined_legs_say_why(settings, second, reason):
    (said,) = explained(f"""
{settings}
0.000  alice>pbx   INVITE bob | P-Charging-Vector: icid-value=1234 | {SESSION}
0.050  {second}
0.200  bob.1>pbx   180
0.210  pbx>alice   180
9.000  alice>pbx   CANCEL
9.010  pbx>bob.1   CANCEL
9.020  bob.1>pbx   487
9.030  pbx>alice   487
""")

    assert "Leg a  " in said
    assert "nearest to the caller" in said
    assert reason in said


def test_what_a_sender_wrote_cannot_move_the_cursor():
    (said,) = explained(
        CANCELLED.replace("INVITE bob", 'INVITE bob from="\\"\x1b[2J\\" <sip:eve@example.net>"')
    )

    assert all(line.isprintable() for line in said.split("\n"))


def test_every_rule_of_the_table_has_a_source():
    assert all(SOURCES[rule.name] for rule in RULES)


def test_every_outcome_and_cause_has_words():
    assert set(telling.OUTCOMES) == set(Outcome.__args__)
    assert set(telling.CAUSES) == set(Cause.__args__)


def test_every_filter_has_words():
    from missedcall_classifier.verdicts import FILTERS

    assert {row.name for row in FILTERS} == set(telling.SUPPRESSED)


def test_a_newer_value_is_shown_as_it_is():
    verdict = Verdict(
        call_id="x", callee="sip:bob@example.com", outcome="missed", rule="r", suppressed="new-reason"
    )

    assert "new-reason" in telling.why(verdict)


def test_an_unknown_call_id_is_never_guessed_at():
    search = Search("a@b")
    search.note("a@c", b"INVITE sip:bob@example.com SIP/2.0\r\n")

    assert search.missing().startswith("no message of a call has the Call-ID a@b; ")


def test_a_call_id_that_begins_no_call_says_what_it_was():
    search = Search("a@b")
    search.note("a@b", b"INFO sip:bob@example.com SIP/2.0\r\n")
    search.note("a@b", b"SIP/2.0 200 OK\r\n")

    assert search.missing() == "no call begins with the Call-ID a@b; messages that have it: 2 (INFO)"
