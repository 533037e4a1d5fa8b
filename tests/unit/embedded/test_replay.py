"""Replay: captures in, facts out, nothing lost of what was readable."""

import io

import pytest
from msgspec.structs import replace
from support import ladder
from support.command import missedcall
from support.ladder_capture import batches

from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_collector.pcap_writer import write_pcap
from missedcall_embedded.demo import SAMPLES
from missedcall_embedded.progress import Progress
from missedcall_embedded.replay import caller, decided, fact_cells, table_rows
from missedcall_embedded.source import BATCH_MESSAGES, Sources, batched
from missedcall_embedded.store import Store
from missedcall_embedded.store_file import BATCHES
from missedcall_schemas import codec
from missedcall_schemas.records import MissedCall, Party

CANCELLED = """
0.000  alice>proxy>bob.1   INVITE bob
0.200  bob.1>proxy>alice   180
9.400  alice>proxy>bob.1   CANCEL
9.420  bob.1>proxy>alice   487
"""
BUSY = """
5.000  alice>proxy>carol.1   INVITE carol
5.200  carol.1>proxy>alice   486
"""
OPEN = """
0.000  alice>proxy>dave.1   INVITE dave
0.200  dave.1>proxy>alice   180
30.00  proxy>alice          480
"""
RETRACTED = """
0.000  alice>proxy>bob.1   INVITE bob
0.200  bob.1>proxy>alice   180
9.400  alice>proxy>bob.1   CANCEL
9.420  bob.1>proxy>alice   487
30.000 bob.1>proxy>alice   200
"""
UNKNOWN = """
0.000  alice>proxy   INVITE erin
0.100  proxy>alice   404
"""


@pytest.fixture
def pcap(tmp_path):
    def make(text, name="call"):
        path = tmp_path / f"{name}.pcap"
        write_pcap(path, ladder.parse(text, name).messages())
        return path

    return make


def facts(done):
    return [codec.decode_missed_call(line.encode()) for line in done.stdout.splitlines()]


def verdicts(done):
    return [codec.decode_verdict(line.encode()) for line in done.stdout.splitlines()]


# -- jsonl ------------------------------------------------------------------------------------------------


def test_jsonl_is_one_fact_per_line_and_nothing_else(pcap):
    done = missedcall("replay", pcap(CANCELLED), "--format", "jsonl")

    (fact,) = facts(done)
    assert (done.returncode, done.stderr) == (0, "")
    assert (fact.callee, fact.cause, fact.caller.uri) == (
        "sip:bob@example.com",
        "caller-cancelled",
        "sip:alice@example.com",
    )


def test_verdicts_are_one_line_per_call_and_user_missed_or_not(pcap):
    done = missedcall("replay", pcap(UNKNOWN), "--format", "jsonl", "--verdicts")

    (verdict,) = verdicts(done)
    assert (verdict.callee, verdict.outcome, verdict.rule) == (
        "sip:erin@example.com",
        "not-a-user",
        "unknown-user",
    )


def test_a_call_that_is_open_at_the_end_is_decided(pcap):
    done = missedcall("replay", pcap(OPEN), "--format", "jsonl")

    assert [fact.callee for fact in facts(done)] == ["sip:dave@example.com"]


def test_a_retraction_is_a_second_line_of_the_same_fact(pcap):
    done = missedcall("replay", pcap(RETRACTED), "--format", "jsonl")

    first, second = facts(done)
    assert (first.fact_id, first.revision, first.state) == (second.fact_id, 1, "missed")
    assert (second.revision, second.state) == (2, "retracted")


def test_nothing_missed_is_no_line(pcap):
    done = missedcall("replay", pcap(UNKNOWN), "--format", "jsonl")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- several files ----------------------------------------------------------------------------------------


def test_two_captures_of_one_call_are_one_call(tmp_path):
    trace = ladder.parse("capture alice proxy\n" + CANCELLED)
    for agent in ("alice", "proxy"):
        write_pcap(tmp_path / agent, [m for m in trace.messages() if m.agent == agent])

    done = missedcall("replay", tmp_path / "alice", tmp_path / "proxy", "--format", "jsonl")

    assert [fact.cause for fact in facts(done)] == ["caller-cancelled"]


def test_files_are_merged_by_time_whatever_their_order(pcap):
    one, two = pcap(CANCELLED, "one"), pcap(BUSY, "two")

    assert (
        missedcall("replay", one, two, "--format", "jsonl").stdout
        == missedcall("replay", two, one, "--format", "jsonl").stdout
    )


def test_the_same_file_twice_changes_nothing(pcap):
    path = pcap(CANCELLED)

    assert (
        missedcall("replay", path, path, "--format", "jsonl").stdout
        == missedcall("replay", path, "--format", "jsonl").stdout
    )


def test_the_merge_holds_one_message_per_file(pcap):
    paths = [pcap(CANCELLED, "one"), pcap(BUSY, "two")]
    sources = Sources(paths)
    messages = sources.messages()

    next(messages)

    assert sources.read == 2


def test_batches_are_bounded_and_keep_the_order(pcap):
    (first, *_) = Sources([pcap(BUSY)]).messages()
    many = [first] * (2 * BATCH_MESSAGES + 1)

    cut = list(batched(many))

    assert [len(batch.messages) for batch in cut] == [BATCH_MESSAGES, BATCH_MESSAGES, 1]
    assert [batch.sequence for batch in cut] == [0, 1, 2]


def test_what_a_replay_decided_is_not_kept(pcap):
    busy = list(Sources([pcap(BUSY)]).messages())
    calls = 500

    def messages():
        for n in range(calls):
            for message in busy:
                at_ms = message.captured_ms + n * 60_000
                head = message.head.replace(message.call_id.encode(), b"call-%d" % n)
                yield replace(message, call_id=f"call-{n}", captured_ms=at_ms, received_ms=at_ms, head=head)

    engine = Engine(Policy())
    steps = (engine.feed(batch) for batch in batched(messages()))
    made = decided(engine, steps, Sources([]), Progress(io.StringIO()))

    assert sum(len(decisions) for decisions in made) == calls
    assert len(list(engine.changes())) < BATCH_MESSAGES


# -- bad input --------------------------------------------------------------------------------------------


def test_what_was_readable_before_the_damage_is_printed(pcap, tmp_path):
    whole = pcap(CANCELLED).read_bytes()
    damaged = tmp_path / "damaged.pcap"
    damaged.write_bytes(whole + b"\0" * 8)

    done = missedcall("replay", damaged, "--format", "jsonl")

    assert done.returncode == 2
    assert [fact.cause for fact in facts(done)] == ["caller-cancelled"]
    assert done.stderr.count("\n") == 1
    assert f"offset {len(whole)}" in done.stderr
    assert str(damaged) in done.stderr


def test_a_broken_file_does_not_stop_the_others(pcap, tmp_path):
    broken = tmp_path / "broken.pcap"
    broken.write_bytes(b"\1\2\3\4 no capture")

    done = missedcall("replay", broken, pcap(CANCELLED), "--format", "jsonl")

    assert done.returncode == 2
    assert len(facts(done)) == 1
    assert "expected pcap, pcapng" in done.stderr


@pytest.mark.parametrize(
    "content", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"SQLite format 3\0" + b"\0" * 84]
)
def test_a_file_of_something_else_is_one_line(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)

    done = missedcall("replay", path)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(path) in done.stderr


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    done = missedcall("replay", tmp_path / "nowhere.pcap")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No such file" in done.stderr


def test_a_folder_is_one_line(tmp_path):
    done = missedcall("replay", tmp_path)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


# -- policy -----------------------------------------------------------------------------------------------


def test_a_provisioned_user_whom_the_server_does_not_know_is_unreachable(pcap, tmp_path):
    users = tmp_path / "users.txt"
    users.write_text("sip:erin@example.com\n")

    done = missedcall("replay", pcap(UNKNOWN), "--users", users, "--format", "jsonl")

    assert [(fact.callee, fact.cause) for fact in facts(done)] == [("sip:erin@example.com", "unreachable")]


def test_who_is_not_in_the_file_of_users_is_not_ours(pcap, tmp_path):
    users = tmp_path / "users.txt"
    users.write_text("sip:somebody@example.com\n")

    done = missedcall("replay", pcap(CANCELLED), "--users", users, "--format", "jsonl", "--verdicts")

    assert [verdict.outcome for verdict in verdicts(done)] == ["not-a-user"]


def test_a_wrong_line_of_users_ends_it_before_anything_is_read(pcap, tmp_path):
    users = tmp_path / "users.txt"
    users.write_text("sip:bob@example.com\nbob\n")

    done = missedcall("replay", pcap(CANCELLED), "--users", users)

    assert (done.returncode, done.stdout) == (2, "")
    assert "users.txt:2: 'bob' is no address of record" in done.stderr


def test_the_configuration_decides(pcap, tmp_path):
    config = tmp_path / "missedcall.toml"
    config.write_text("[decide]\nmin_ring_s = 60.0\n")

    done = missedcall("replay", pcap(CANCELLED), "--config", config, "--format", "jsonl")

    assert [fact.suppressed for fact in facts(done)] == ["short-ring"]


def test_a_wrong_configuration_names_every_key(pcap, tmp_path):
    config = tmp_path / "missedcall.toml"
    config.write_text("[decide]\ngreeting_s = -1.0\nsettle_s = -1.0\n")

    done = missedcall("replay", pcap(CANCELLED), "--config", config)

    first, second = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert ("greeting_s" in first, "settle_s" in second) == (True, True)


def test_a_trace_is_read_in_the_time_zone_given():
    trace = SAMPLES / "7-lync-rings-out.log"

    (utc,) = facts(missedcall("replay", trace, "--format", "jsonl"))
    (berlin,) = facts(missedcall("replay", trace, "--format", "jsonl", "--zone", "Europe/Berlin"))

    assert utc.rang_at - berlin.rang_at == 3600


# -- the pipeline's own file ------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    def make(text, skip=()):
        path = tmp_path / "missedcall.db"
        with Store(path) as store:
            for batch in batches(ladder.parse(text).messages()):
                if batch.sequence not in skip:
                    store.append(BATCHES, "0", batch.clock_ms, codec.encode_batch(batch))
            store.commit()
        return path

    return make


def test_the_pipelines_own_file_is_replayed(stored, pcap):
    done = missedcall("replay", stored(CANCELLED), "--format", "jsonl")

    assert [fact.cause for fact in facts(done)] == ["caller-cancelled"]


def test_a_hole_in_the_pipelines_own_file_is_seen_again(stored):
    done = missedcall("replay", stored(CANCELLED, skip={4}), "--format", "jsonl")

    assert [fact.blind_window for fact in facts(done)] == [True]


def test_the_pipelines_own_file_beside_a_capture_is_one_log(stored, pcap):
    done = missedcall("replay", stored(CANCELLED), pcap(BUSY, "busy"), "--format", "jsonl")

    assert sorted(fact.cause for fact in facts(done)) == ["busy", "caller-cancelled"]


# -- table and stats --------------------------------------------------------------------------------------


def test_the_table_is_aligned(pcap):
    done = missedcall("replay", pcap(CANCELLED, "one"), pcap(BUSY, "two"))

    heading, *rows = done.stdout.splitlines()
    at = heading.index("CALLEE")
    assert [row[at:].split()[0] for row in rows] == ["carol@example.com", "bob@example.com"]


def test_the_table_of_verdicts_names_the_outcome(pcap):
    done = missedcall("replay", pcap(UNKNOWN), "--verdicts")

    assert "not-a-user" in done.stdout.splitlines()[1]


def test_a_retraction_stands_in_the_table(pcap):
    done = missedcall("replay", pcap(RETRACTED))

    assert ["caller-cancelled" in row or "retracted" in row for row in done.stdout.splitlines()[1:]] == [
        True,
        True,
    ]


def test_stats_go_to_standard_error(pcap):
    done = missedcall("replay", pcap(CANCELLED), "--format", "jsonl", "--stats")

    counted = dict(reversed(line.split(maxsplit=1)) for line in done.stderr.splitlines())
    assert len(facts(done)) == 1
    assert (counted["missed caller-cancelled"], counted["outcome-missed"]) == ("1", "1")


def test_a_heading_is_printed_even_if_nothing_was_missed():
    out = io.StringIO()
    table_rows(verdicts=False, out=out)

    assert out.getvalue().split() == ["RANG", "AT", "CAUSE", "RANG", "CALLEE", "CALLER", "RULE"]


def test_a_caller_is_shown_by_the_best_that_is_known():
    parties = [Party(uri="sip:a@b.c", number="+49"), Party(number="+49"), Party(anonymous=True), Party()]

    assert [caller(party) for party in parties] == ["a@b.c", "+49", "anonymous", "unknown"]


def test_times_are_those_of_the_capture(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    fact = MissedCall(
        fact_id="f",
        call_id="c",
        callee="sip:b@c.d",
        caller=Party(),
        cause="busy",
        rang_at=1_700_000_000.0,
        ended_at=0,
        rule="r",
        decided_at=0,
    )
    shown = fact_cells(fact)["RANG AT"]
    monkeypatch.undo()
    time.tzset()

    assert shown == "2023-11-14 23:13:20"


# -- progress ---------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_for_terminals_only():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.show("half")

    assert stream.getvalue() == ""


def test_the_progress_line_is_gone_at_the_end():
    stream = Terminal()
    with Progress(stream) as progress:
        progress.show("half")

    assert stream.getvalue() == "\r\x1b[Khalf\r\x1b[K"
