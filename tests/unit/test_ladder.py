"""The ladder makes the SIP that the boxes would have made (RFC 3261)."""

import re
from collections import Counter
from itertools import pairwise

import pytest
from support import ladder
from support.ladder_capture import EPOCH_MS, batches, head_of
from support.ladder_expect import differences
from support.ladder_state import LadderError

from missedcall_classifier.decision import Decision
from missedcall_schemas.records import Verdict

CANCELLED = """
# the caller gives up
0.000  alice>proxy>bob.1   INVITE bob
0.200  bob.1>proxy>alice   180
9.400  alice>proxy>bob.1   CANCEL
9.420  bob.1>proxy>alice   487
"""

ANSWERED = """
0.000  alice>proxy>bob.1   INVITE bob
0.200  bob.1>proxy>alice   180
2.000  bob.1>proxy>alice   200
2.050  alice>proxy>bob.1   ACK
"""


def find(text, start, src="", dst=""):
    """Return the heads that begin with `start`, as lists of lines, on a hop or on all."""
    trace = ladder.parse(text)
    found = []
    for message in trace.messages():
        lines = message.head.decode().split("\r\n")
        hop = (not src or message.src.startswith(trace.network.ip(src) + ":")) and (
            not dst or message.dst.startswith(trace.network.ip(dst) + ":")
        )
        if lines[0].startswith(start) and hop:
            found.append(lines)
    return found


def values(lines, name):
    return [line.partition(": ")[2] for line in lines if line.lower().startswith(name.lower() + ":")]


def branch(via):
    return re.search(r"branch=([^;]+)", via)[1]


def test_a_proxy_adds_its_via_and_lowers_max_forwards():
    [above] = find(CANCELLED, "INVITE", "alice")
    [below] = find(CANCELLED, "INVITE", "proxy")

    assert len(values(below, "Via")) == len(values(above, "Via")) + 1
    assert branch(values(below, "Via")[1]) == branch(values(above, "Via")[0])
    assert int(values(below, "Max-Forwards")[0]) == int(values(above, "Max-Forwards")[0]) - 1


def test_a_response_carries_the_via_stack_of_its_request():
    [below] = find(CANCELLED, "SIP/2.0 180", "bob.1")
    [invite] = find(CANCELLED, "INVITE", "proxy")

    assert list(map(branch, values(below, "Via"))) == list(map(branch, values(invite, "Via")))


def test_a_response_handed_up_keeps_tag_and_contact_of_who_made_it():
    [above] = find(CANCELLED, "SIP/2.0 180", "proxy")
    [below] = find(CANCELLED, "SIP/2.0 180", "bob.1")

    assert values(above, "To") == values(below, "To")
    assert values(above, "Contact") == values(below, "Contact")
    assert len(values(above, "Via")) == 1


@pytest.mark.parametrize(("start", "method"), [("CANCEL", "CANCEL"), ("ACK", "ACK")])
def test_cancel_and_ack_of_a_failure_repeat_the_branch_of_the_invite(start, method):
    for src, dst in (("alice", "proxy"), ("proxy", "bob.1")):
        [request] = find(CANCELLED, start, src, dst)
        [invite] = find(CANCELLED, "INVITE", src, dst)

        assert list(map(branch, values(request, "Via"))) == [branch(values(invite, "Via")[0])]
        assert request[0].split()[1] == invite[0].split()[1]
        assert values(request, "CSeq") == [f"1 {method}"]


def test_the_ack_of_a_success_has_a_branch_of_its_own_and_goes_to_the_contact():
    [ack] = find(ANSWERED, "ACK", "alice")
    [invite] = find(ANSWERED, "INVITE", "alice")

    assert branch(values(ack, "Via")[0]) != branch(values(invite, "Via")[0])
    assert ack[0] == "ACK sip:bob@10.1.2.1:5060 SIP/2.0"
    assert values(ack, "CSeq") == ["1 ACK"]


def test_a_request_of_the_callee_has_the_tags_the_other_way_round():
    text = ANSWERED + "5.0 bob.1>proxy>alice BYE\n5.1 alice>proxy>bob.1 200 BYE\n"
    bye = find(text, "BYE", "proxy")[0]
    ok = find(ANSWERED, "SIP/2.0 200", "bob.1")[0]

    assert re.search("tag=(.+)", values(bye, "From")[0])[1] == re.search("tag=(.+)", values(ok, "To")[0])[1]
    assert re.search("tag=(.+)", values(bye, "To")[0])[1] == re.search("tag=(.+)", values(ok, "From")[0])[1]
    assert bye[0] == "BYE sip:alice@10.1.1.1:5060 SIP/2.0"


def test_a_retry_counts_cseq_up_and_keeps_call_id_and_from_tag():
    text = "0 alice>proxy INVITE bob\n0.01 proxy>alice 407\n0.05 alice>proxy INVITE"
    first, second = find(text, "INVITE")

    assert values(first, "CSeq") == ["1 INVITE"]
    assert values(second, "CSeq") == ["2 INVITE"]
    assert values(first, "From") == values(second, "From")
    assert values(first, "Call-ID") == values(second, "Call-ID")
    assert first[0] == second[0]


def test_forks_share_everything_but_branch_and_request_uri():
    text = "0 alice>proxy INVITE bob\n0.01 proxy>bob.1 INVITE\n0.01 proxy>bob.2 INVITE"
    one, two = find(text, "INVITE", "proxy")

    assert one[0] != two[0]
    assert branch(values(one, "Via")[0]) != branch(values(two, "Via")[0])
    assert values(one, "Call-ID") == values(two, "Call-ID")
    assert values(one, "CSeq") == values(two, "CSeq")


def test_a_b2bua_leg_has_its_own_call_id_and_shows_the_caller():
    text = "0 alice>pbx INVITE bob\n0.01 b:pbx>bob.1 INVITE bob\n0.2 bob.1>pbx>alice 180"
    first, second = find(text, "INVITE")

    assert values(first, "Call-ID") != values(second, "Call-ID")
    assert values(first, "From")[0].split(";")[0] == values(second, "From")[0].split(";")[0]
    assert values(second, "CSeq") == ["1 INVITE"]
    assert len(values(second, "Via")) == 1


def test_a_leg_may_derive_its_call_id():
    text = "leg b call-id={call-id:a}_b2b-1\n0 alice>pbx INVITE bob\n0.01 b:pbx>bob.1 INVITE bob"
    first, second = find(text, "INVITE")

    assert values(second, "Call-ID")[0] == values(first, "Call-ID")[0] + "_b2b-1"


def test_a_hep_correlation_id_is_on_every_message_of_its_leg():
    trace = ladder.parse("leg b hep={call-id:a}\n0 alice>pbx INVITE bob\n0.01 b:pbx>bob.1 INVITE bob\n")
    first, *_, last = trace.messages()

    assert last.correlation_id == first.call_id
    assert first.correlation_id == ""


def test_headers_are_inherited_replaced_added_and_dropped():
    text = """
0 alice>proxy INVITE bob | Priority: urgent | X-One: 1
0.01 proxy>bob.1 INVITE | X-One: 2 | +Priority: normal | User-Agent:
"""
    [below] = find(text, "INVITE", "proxy")

    assert values(below, "X-One") == ["2"]
    assert values(below, "Priority") == ["urgent", "normal"]
    assert values(below, "User-Agent") == []


def test_a_retransmission_is_the_same_bytes_later():
    trace = ladder.parse("0 alice>proxy INVITE bob alone\n0.5 alice>proxy INVITE again")
    first, second = trace.messages()

    assert first.head == second.head
    assert second.captured_ms - first.captured_ms == 500


def test_what_is_lost_happened_but_was_not_captured():
    heads = find(ANSWERED.replace("180", "180 lost"), "SIP/2.0 180")

    assert heads == []
    assert find(ANSWERED.replace("180", "180 lost"), "SIP/2.0 200")


def test_a_capture_at_one_box_sees_that_box_only():
    trace = ladder.parse("capture bob.1\n" + CANCELLED)
    phone = trace.network.ip("bob.1")

    assert all(message.src.startswith(phone) or message.dst.startswith(phone) for message in trace.messages())
    assert {message.agent for message in trace.messages()} == {"bob.1"}


def test_a_capture_at_both_ends_sees_everything_twice():
    once = ladder.parse(CANCELLED).messages()
    twice = ladder.parse("capture twice\n" + CANCELLED).messages()

    assert Counter(message.head for message in twice) == Counter(2 * [message.head for message in once])


def test_a_late_message_is_received_later_but_was_captured_in_time():
    trace = ladder.parse("0 alice>proxy INVITE bob alone late=1.5\n0.2 proxy>alice 180")
    first, second = trace.messages()

    assert (first.captured_ms - EPOCH_MS, second.captured_ms - EPOCH_MS) == (200, 0)


def test_lync_writes_no_branch_at_the_client_and_no_user_towards_it():
    text = "style lync\ndomain contoso.com\n0 alice>fe>bob.1 INVITE bob\n0.2 bob.1>fe>alice 180"
    [above] = find(text, "INVITE", "alice")
    [below] = find(text, "INVITE", "fe")

    assert "branch=" not in values(above, "Via")[0]
    assert ";epid=" in values(above, "From")[0]
    assert below[0].startswith("INVITE sip:10.1.2.1:51001;transport=tls;ms-opaque=")


def test_a_record_keeps_the_media_lines_and_nothing_else_of_the_body():
    head = head_of(b"INVITE x SIP/2.0\r\nA: b\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0\r\na=x\r\n")

    assert head == b"INVITE x SIP/2.0\r\nA: b\r\n\r\nm=audio 1 RTP/AVP 0\r\n"


def test_batches_tick_while_nothing_happens():
    trace = ladder.parse(CANCELLED)
    made = list(batches(trace.messages(), tail_s=5))

    assert [batch.sequence for batch in made] == list(range(len(made)))
    assert sum(len(batch.messages) for batch in made) == len(trace.messages())
    assert all(later.clock_ms - batch.clock_ms <= 1000 for batch, later in pairwise(made))
    assert all(message.received_ms <= batch.clock_ms for batch in made for message in batch.messages)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 alice>proxy INVITE", "line 1: .*target"),
        ("0 bob>alice 180", "line 1: .*no INVITE to answer"),
        ("0 alice>proxy CANCEL", "line 1: .*no INVITE to cancel"),
        ("0 alice>proxy INVITE bob nonsense", "line 1: not understood: nonsense"),
        ("gibberish here", "line 1: no such setting"),
        ("=> bob lost", "line 1: lost is no outcome"),
        ("=> bob missed", "line 1: .*needs a cause"),
        ("policy nothing=1", "line 1: Policy has no nothing"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_refused_with_its_line(text, says):
    with pytest.raises(LadderError, match=says):
        ladder.parse(text)


def test_an_unexpected_verdict_and_a_missing_one_are_both_reported():
    trace = ladder.parse(CANCELLED + "=> bob missed caller-cancelled")
    verdict = Verdict(call_id="x", callee="sip:carol@example.com", outcome="answered", rule="r")
    wrong = differences(
        trace.expected, [Decision(("x",), (verdict,), ())], aor=trace.aor, call_id=trace.network.call_id
    )

    assert len(wrong) == 2
    assert "no verdict for sip:bob@example.com" in wrong[0]
    assert "unexpected verdict: sip:carol@example.com answered" in wrong[1]


def test_policy_settings_have_the_types_of_the_policy():
    trace = ladder.parse("policy users=bob,carol greeting_s=7 notify_unrung=false members=all")

    assert trace.policy.users == frozenset({"sip:bob@example.com", "sip:carol@example.com"})
    assert trace.policy.greeting_s == 7.0
    assert trace.policy.notify_unrung is False
    assert trace.policy.members == "all"


def test_inside_a_dialog_the_callee_keeps_her_side_in_every_message():
    text = (
        ANSWERED + "5.0 bob.1>proxy>alice re-INVITE\n5.1 alice>proxy>bob.1 200\n5.2 bob.1>proxy>alice ACK\n"
    )
    reinvite, ack = find(text, "INVITE", "bob.1")[0], find(text, "ACK", "bob.1")[0]
    [trying] = find(text, "SIP/2.0 100", "proxy", "bob.1")

    assert values(ack, "From") == values(reinvite, "From") == values(trying, "From")
    assert values(ack, "To") == values(reinvite, "To") == values(trying, "To")
    assert ack[0] == "ACK sip:alice@10.1.1.1:5060 SIP/2.0"
    assert len(find(text, "ACK", "proxy", "alice")) == 1


def test_a_tilde_folds_a_header():
    [invite] = find("0 alice>bob INVITE bob alone | X-Long: a,~b", "INVITE")

    assert invite[invite.index("X-Long: a,") + 1] == " b"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_capture_file_gives_the_same_records_back(tmp_path, transport):
    from missedcall_collector.capture import open_capture

    path = tmp_path / "ladder.pcap"
    trace = ladder.parse(f"transport {transport}\n{CANCELLED}")
    ladder.to_pcap(trace, path)

    read = {(each.captured_ms, each.src, each.dst, each.head) for each in open_capture(path)}
    # the filter keeps what decides: 100 says nothing
    told = {(each.captured_ms, each.src, each.dst, each.head) for each in trace.messages()}
    assert read <= told
    assert {head.split(b" ", 1)[0] for *_, head in read} >= {b"INVITE", b"CANCEL", b"SIP/2.0"}
