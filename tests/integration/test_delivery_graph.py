"""Items in Exchange Online over a real socket, to a strict server that follows a script."""

import asyncio
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import pytest
import requests
import trustme
from graph_server.faults import (
    BAD_GATEWAY_AFTER_COMMIT,
    DRIPPING_AFTER_COMMIT,
    DROPPED,
    DROPPED_AFTER_COMMIT,
    GARBAGE_AFTER_COMMIT,
    HALF_A_BODY_AFTER_COMMIT,
    SERVED,
    SILENT_AFTER_COMMIT,
    Fault,
    says,
    throttled,
    unavailable,
)
from hypothesis import strategies as st
from support.graph import (
    BOB,
    KEY,
    SECRET,
    authority,
    credential,
    facts_in,
    make_attempt,
    make_server,
    make_settings,
    run_channel,
    send,
)
from support.notify import NOW, Log, ManualClock, Running, make_fact, make_retraction, turns_until

from missedcall_notifier.app import Notifier
from missedcall_notifier.channels.exchange_answers import SETTLE_S
from missedcall_notifier.delivery import State
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.settings import NotifierSettings
from missedcall_notifier.source import MemoryFacts
from missedcall_schemas.records import Party

CAROL = "carol@contoso.example"
CREATED, FOUND = Sent("created"), Sent("found")
SETTLING = Failed(Failure.TRANSIENT, "settling", SETTLE_S)
AT = "2026-11-23T10:42:07Z"


def uncertain(detail, asked_s=SETTLE_S):
    return Failed(Failure.UNCERTAIN, detail, asked_s)


def test_an_item_is_what_phones_take_for_a_missed_call(tmp_path):
    server = make_server()

    assert send(server, tmp_path) == [CREATED]

    [item] = server.store
    assert datetime.fromtimestamp(NOW, UTC) == datetime.fromisoformat(AT)
    assert item.folder == "inbox"
    assert not item.is_draft
    assert not item.is_read
    assert item.received == AT
    assert item.fields["subject"] == "Missed call from +49 30 123 (“Alice”)"
    assert "hung up after 9 s of ringing on 2 devices" in item.fields["body"]["content"]
    caller = {"emailAddress": {"name": "+49 30 123 (“Alice”)", "address": "missed-calls@contoso.example"}}
    assert item.fields["from"] == item.fields["sender"] == caller
    assert item.properties == {
        KEY: "fact-1",
        "Integer 0x0e07": "4",
        "SystemTime 0x0e06": AT,
        "SystemTime 0x0039": AT,
        "String 0x001a": "IPM.Note.Microsoft.Missed.Voice",
        "String 0x6802": "+4930123",
        "String 0x6803": "Alice",
        "String 0x6806": "a84b4c76e66710@pc33.example.com",
    }


def test_another_client_finds_it_as_the_documentation_says(tmp_path):
    """Plain requests, written from Microsoft's pages: so that server and channel do not share mistakes."""
    server = make_server()
    key = "String {8F3D0D0A-5A3C-4A53-9C0E-6D1F2B7C9E41} Name MissedCallFactId"

    def look():
        session = requests.Session()
        session.trust_env = False
        session.verify = str(tmp_path / "ca.pem")
        form = {
            "client_id": server.entra.client_id,
            "client_secret": SECRET,
            "scope": f"{server.url}/.default",
            "grant_type": "client_credentials",
        }
        token = session.post(f"{server.url}/{server.entra.tenant}/oauth2/v2.0/token", data=form).json()
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        with session:
            found = session.get(
                f"{server.url}/v1.0/users/{BOB}/messages",
                params={
                    "$filter": f"singleValueExtendedProperties/any(ep: ep/id eq '{key}' and ep/value eq 'fact-1')",
                    "$expand": f"singleValueExtendedProperties($filter=id eq '{key}' or id eq 'String 0x001A')",
                },
            )
        found.raise_for_status()
        return found.json()["value"]

    async def work(channel):
        attempt = make_attempt()
        await channel.send(attempt, channel.render(attempt))
        return await asyncio.to_thread(look)

    [message] = run_channel(server, tmp_path, work)

    assert message["subject"] == "Missed call from +49 30 123 (“Alice”)"
    assert message["receivedDateTime"] == AT
    assert message["isDraft"] is False
    assert {p["value"] for p in message["singleValueExtendedProperties"]} == {
        "fact-1",
        "IPM.Note.Microsoft.Missed.Voice",
    }


def test_an_item_costs_one_request_and_all_of_them_one_token(tmp_path):
    server = make_server(BOB, CAROL)

    send(server, tmp_path, make_attempt(), make_attempt(recipient=CAROL))

    assert [(a.operation, a.mailbox) for a in server.asked] == [("create", BOB), ("create", CAROL)]
    assert {a.connection for a in server.asked} == {0}
    assert server.entra.requests == 1
    assert server.http_requests == 2 + 2, "a look at the tenant, a token"


def test_an_anonymous_caller_leaves_nothing_of_himself(tmp_path):
    server = make_server()
    caller = Party(uri="sip:alice@example.net", number="+4930123", display_name="Alice", anonymous=True)

    send(server, tmp_path, make_attempt(make_fact(caller=caller)))

    [item] = server.store
    assert {"String 0x6802", "String 0x6803"}.isdisjoint(item.properties)
    assert item.fields["from"]["emailAddress"]["name"] == "an anonymous caller"
    assert "Alice" not in str(item.fields)


@pytest.mark.parametrize(
    "name",
    [
        '"}],"isDraft":true,"x":[{"',
        "a\r\nBcc: x@example.org\x00\x0b\x1b[2J",
        "\u202e\ufeff\ufffe\uffff\ud800",
        "Z" * 4000,
        "\U0001f4a9" * 400,
        "') or ep/value ne ('",
    ],
    ids=["markup", "controls", "invisible", "long", "astral", "quotes"],
)
def test_no_name_makes_an_invalid_request(tmp_path, name):
    server = make_server()
    party = Party(uri="sip:alice@example.net", number="+4930123", display_name=name, source="from")
    fact_id = name.encode("utf-8", "replace").decode()
    fact = make_fact(
        fact_id, caller=party, call_id=name, callee=f"sip:{name}@example.com", also_rang=(name,) * 9
    )

    assert send(server, tmp_path, make_attempt(fact), make_attempt(fact, lost=1)) == [CREATED, FOUND]

    [item] = server.store
    assert item.fields["subject"].startswith("Missed call from +49 30 123")
    assert len(item.properties.get("String 0x6806", "")) <= 255


def test_a_recipient_cannot_leave_his_place_in_the_path(tmp_path):
    server = make_server()

    [report] = send(server, tmp_path, make_attempt(recipient="bob/../carol?x=1#@contoso.example"))

    assert report == Failed(Failure.PERMANENT_RECIPIENT, "create 404 ErrorInvalidUser")


UNCERTAIN = {
    "dropped-before": (DROPPED, "create ServerDisconnectedError"),
    "dropped-after-commit": (DROPPED_AFTER_COMMIT, "create ServerDisconnectedError"),
    "502-after-commit": (BAD_GATEWAY_AFTER_COMMIT, "create 502"),
    "503-of-a-proxy": (Fault(status=503), "create 503"),
    "503-of-graph": (unavailable(), "create 503 serviceNotAvailable"),
    "504-after-commit": (Fault(status=504, after_commit=True), "create 504"),
    "garbage": (GARBAGE_AFTER_COMMIT, "create 200"),
    "internal-error": (says(500, "InternalServerError"), "create 500 InternalServerError"),
    "transient": (
        says(500, "ErrorInternalServerTransientError"),
        "create 500 ErrorInternalServerTransientError",
    ),
    "code-that-nobody-knows": (says(503, "ErrorOfTheYear2031"), "create 503 ErrorOfTheYear2031"),
    "timeout-at-the-server": (says(500, "ErrorTimeoutExpired"), "create 500 ErrorTimeoutExpired"),
    "408-of-a-proxy": (Fault(status=408, after_commit=True), "create 408"),
}


@pytest.mark.parametrize("name", UNCERTAIN)
def test_whatever_is_lost_after_the_store_there_is_one_item(tmp_path, name):
    fault, detail = UNCERTAIN[name]
    server = make_server()
    server.plan("create", fault)
    again = make_attempt(lost=1)

    first, second, third = send(server, tmp_path, make_attempt(), again, again)

    assert first == uncertain(detail)
    assert second == (FOUND if fault.after_commit else CREATED)
    assert third == FOUND
    assert facts_in(server) == ["fact-1"]
    assert server.count("create") == (1 if fault.after_commit else 2)


def test_a_status_that_says_created_is_believed_though_its_body_is_lost(tmp_path):
    server = make_server()
    server.plan("create", HALF_A_BODY_AFTER_COMMIT)

    assert send(server, tmp_path) == [CREATED]
    assert facts_in(server) == ["fact-1"]


def test_an_answer_that_does_not_come_is_uncertain_and_not_waited_for_longer(tmp_path):
    server = make_server()
    server.plan("create", SILENT_AFTER_COMMIT)

    first, second = send(server, tmp_path, make_attempt(), make_attempt(lost=1), timeout_s=2.0)

    assert first == uncertain("create TimeoutError")
    assert second == FOUND
    assert server.commits == 1


def test_an_answer_that_drips_is_not_listened_to_for_ever(tmp_path):
    server = make_server()
    server.plan("find", DRIPPING_AFTER_COMMIT)
    began = time.monotonic()

    reports = send(server, tmp_path, make_attempt(lost=1), timeout_s=1.0)

    assert reports == [Failed(Failure.TRANSIENT, "find TimeoutError")]
    assert time.monotonic() - began < 5


def test_an_answer_without_end_is_not_kept(tmp_path):
    server = make_server()
    server.plan("find", Fault(garbage=b'{"value": [' + b" " * (2 << 20)))

    assert send(server, tmp_path, make_attempt(lost=1)) == [Failed(Failure.TRANSIENT, "find ValueError")]


def test_nothing_of_the_machine_says_where_a_request_goes(tmp_path, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert send(make_server(), tmp_path) == [CREATED]


def test_an_item_that_the_user_deleted_meanwhile_is_found_in_the_bin(tmp_path):
    server = make_server()
    send(server, tmp_path)
    [item] = server.store
    item.folder = "deleteditems"

    assert send(server, tmp_path, make_attempt(lost=1)) == [FOUND]
    assert server.commits == 1


def test_a_first_attempt_searches_nothing(tmp_path):
    server = make_server()

    send(server, tmp_path, make_attempt(), make_attempt(make_fact("fact-2")))

    assert server.count("find") == 0


@pytest.mark.parametrize(
    ("fault", "report"),
    [
        (throttled(7), Failed(Failure.THROTTLED, "create 429 TooManyRequests", 7.0)),
        (throttled(), Failed(Failure.THROTTLED, "create 429 TooManyRequests")),
        (Fault(status=429), Failed(Failure.THROTTLED, "create 429")),
        (
            throttled(7, "ApplicationThrottled"),
            Failed(Failure.TRANSIENT, "create 429 ApplicationThrottled", 7.0),
        ),
        (says(507, "ErrorQuotaExceeded"), Failed(Failure.SLOW, "create 507 ErrorQuotaExceeded")),
        (says(403, "quotaLimitReached"), Failed(Failure.SLOW, "create 403 quotaLimitReached")),
        (
            says(404, "MailboxNotEnabledForRESTAPI"),
            Failed(Failure.PERMANENT_RECIPIENT, "create 404 MailboxNotEnabledForRESTAPI"),
        ),
        (
            says(404, "Request_ResourceNotFound"),
            Failed(Failure.PERMANENT_RECIPIENT, "create 404 Request_ResourceNotFound"),
        ),
        (
            says(400, "ErrorInvalidRecipients"),
            Failed(Failure.PERMANENT_ITEM, "create 400 ErrorInvalidRecipients"),
        ),
        (says(400, "badRequest", "invalidPath"), Failed(Failure.PERMANENT_ITEM, "create 400 invalidPath")),
        (says(403, "ErrorAccessDenied"), Failed(Failure.CHANNEL_DOWN, "create 403 ErrorAccessDenied")),
        (
            says(409, "ErrorMailboxMoveInProgress"),
            Failed(Failure.TRANSIENT, "create 409 ErrorMailboxMoveInProgress"),
        ),
        (Fault(status=403), Failed(Failure.CHANNEL_DOWN, "create 403")),
        (Fault(status=404), Failed(Failure.CHANNEL_DOWN, "create 404")),
        (
            Fault(status=302, headers=(("Location", "/login"),)),
            Failed(Failure.CHANNEL_DOWN, "create 302"),
        ),
    ],
    ids=lambda value: value.detail if isinstance(value, Failed) else "",
)
def test_an_answer_is_told_by_its_code_or_status_and_asked_for_once(tmp_path, fault, report):
    server = make_server()
    server.plan("create", fault)

    assert send(server, tmp_path) == [report]
    assert len(server.asked) == 1
    assert facts_in(server) == []


def test_a_mailbox_that_is_not_there_is_not_tried_again(tmp_path):
    [report] = send(make_server(CAROL), tmp_path)

    assert report == Failed(Failure.PERMANENT_RECIPIENT, "create 404 ErrorInvalidUser")


def test_one_mailbox_out_of_scope_does_not_stop_the_others(tmp_path):
    server = make_server(BOB, CAROL)
    server.out_of_scope.add(CAROL)
    outside = make_attempt(recipient=CAROL)

    reports = send(server, tmp_path, outside, make_attempt(), outside)

    denied = "create 403 ErrorAccessDenied"
    assert reports == [Failed(Failure.CHANNEL_DOWN, denied), CREATED, Failed(Failure.SLOW, denied)]


@pytest.mark.parametrize(
    ("fault", "report"),
    [
        (DROPPED, Failed(Failure.TRANSIENT, "find ServerDisconnectedError")),
        (says(500, "InternalServerError"), Failed(Failure.TRANSIENT, "find 500 InternalServerError")),
        (HALF_A_BODY_AFTER_COMMIT, Failed(Failure.TRANSIENT, "find ClientPayloadError")),
        (GARBAGE_AFTER_COMMIT, Failed(Failure.TRANSIENT, "find no list")),
        (Fault(status=502), Failed(Failure.TRANSIENT, "find 502")),
    ],
    ids=lambda value: value.detail if isinstance(value, Failed) else "",
)
def test_a_search_that_fails_is_not_a_further_uncertain_attempt(tmp_path, fault, report):
    server = make_server()
    server.plan("find", fault, fault)  # a search that was cut off may be repeated: it changes nothing

    assert send(server, tmp_path, make_attempt(lost=1)) == [report]
    assert server.count("create") == 0


def test_a_service_that_is_not_there_is_a_channel_that_is_down(tmp_path):
    server = make_server()

    async def work(channel):
        attempt = make_attempt()
        first = await channel.send(attempt, channel.render(attempt))
        await server.__aexit__()
        await channel.close()
        return first, await channel.send(attempt, channel.render(attempt))

    first, second = run_channel(server, tmp_path, work)

    assert first == CREATED
    assert second == Failed(Failure.CHANNEL_DOWN, "create ClientConnectorError")


def test_a_certificate_of_a_stranger_is_not_believed(tmp_path):
    server = make_server()
    ca_file = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(ca_file)

    assert send(server, tmp_path, ca_file=str(ca_file)) == [Failed(Failure.CHANNEL_DOWN, "token certificate")]
    assert server.http_requests == 0


# -- pauses


def test_a_mailbox_that_asks_for_a_pause_gets_it_and_the_others_go_on(tmp_path):
    server, clock = make_server(BOB, CAROL), ManualClock()
    server.plan("create", throttled(30, "ApplicationThrottled"))
    fact_2 = make_attempt(make_fact("fact-2"))

    async def work(channel):
        async def one(attempt):
            return await channel.send(attempt, channel.render(attempt))

        reports = [await one(make_attempt()), await one(fact_2), await one(make_attempt(recipient=CAROL))]
        clock.advance(31)
        return [*reports, await one(fact_2)]

    assert run_channel(server, tmp_path, work, clock) == [
        Failed(Failure.TRANSIENT, "create 429 ApplicationThrottled", 30.0),
        Failed(Failure.TRANSIENT, "pause", 30.0),
        CREATED,
        CREATED,
    ]
    assert [a.mailbox for a in server.asked] == [BOB, CAROL, BOB]


@pytest.mark.parametrize("fault", [throttled(90), unavailable(90)], ids=["429", "503"])
def test_while_the_service_asks_for_a_pause_nobody_asks_it(tmp_path, fault):
    server = make_server(BOB, CAROL)
    server.plan("create", fault)

    first, second = send(server, tmp_path, make_attempt(), make_attempt(recipient=CAROL))

    assert first.asked_s == 90.0
    assert second == Failed(Failure.THROTTLED, "pause", 90.0)
    assert len(server.asked) == 1


def test_a_pause_that_nobody_means_is_cut(tmp_path):
    server = make_server()
    server.plan("create", throttled(999_999_999))

    _, second = send(server, tmp_path, make_attempt(), make_attempt(make_fact("fact-2")))

    assert second == Failed(Failure.THROTTLED, "pause", 300.0)


def test_one_mailbox_never_sees_more_than_four_requests_at_once(tmp_path):
    server = make_server(BOB, CAROL)
    server.plan("create", *[Fault(slow_s=0.05)] * 24)

    async def work(channel):
        attempts = [make_attempt(make_fact(f"fact-{n}"), (BOB, CAROL)[n % 2]) for n in range(24)]
        return await asyncio.gather(*(channel.send(a, channel.render(a)) for a in attempts))

    assert run_channel(server, tmp_path, work, connections=24) == [CREATED] * 24
    assert server.most_under_way == {BOB: 4, CAROL: 4}


# -- tokens


def test_a_certificate_stands_in_for_a_secret(tmp_path):
    leaf = credential()
    public = leaf.cert_chain_pems[0].bytes().decode()
    file = tmp_path / "app.pem"
    leaf.private_key_and_cert_chain_pem.write_to_path(file)
    server = make_server(secret="", certificate=public)

    assert send(server, tmp_path, secret_file="", certificate_file=str(file)) == [CREATED]


def test_another_certificate_is_refused(tmp_path):
    file = tmp_path / "app.pem"
    authority().issue_cert(
        "x.example", key_type=trustme.KeyType.RSA
    ).private_key_and_cert_chain_pem.write_to_path(file)
    server = make_server(secret="", certificate=credential().cert_chain_pems[0].bytes().decode())

    [report] = send(server, tmp_path, secret_file="", certificate_file=str(file))

    assert report == Failed(Failure.CHANNEL_DOWN, "token invalid_client 700027")


def test_a_file_that_is_no_certificate_is_a_channel_that_is_down(tmp_path):
    server = make_server()

    [report] = send(server, tmp_path, certificate_file=str(tmp_path / "secret"), secret_file="")

    assert report.failure is Failure.CHANNEL_DOWN
    assert report.detail.startswith("token ")


def test_a_wrong_secret_is_tried_once_and_a_new_one_is_taken_from_the_file(tmp_path):
    (tmp_path / "secret").write_text("wrong")
    server = make_server()

    async def work(channel):
        attempt = make_attempt()
        first = await channel.send(attempt, channel.render(attempt))
        tried = server.entra.requests
        (tmp_path / "secret").write_text(SECRET)
        return first, tried, await channel.send(attempt, channel.render(attempt))

    first, tried, second = run_channel(server, tmp_path, work)

    assert first == Failed(Failure.CHANNEL_DOWN, "token invalid_client 7000215")
    assert tried == 1
    assert second == CREATED


def test_a_secret_file_that_is_gone_is_a_channel_that_is_down(tmp_path):
    server = make_server()

    [report] = send(server, tmp_path, secret_file=str(tmp_path / "nothing"))

    assert report == Failed(Failure.CHANNEL_DOWN, "settings SettingsError")
    assert server.http_requests == 0


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"tenant": "fabrikam.example"}, "token ValueError"),
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, "token unauthorized_client 700016"),
    ],
)
def test_a_wrong_application_is_a_channel_that_is_down(tmp_path, changes, detail):
    assert send(make_server(), tmp_path, **changes) == [Failed(Failure.CHANNEL_DOWN, detail)]


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(status=429), DROPPED, Fault(garbage=b"<html>")])
def test_a_token_server_in_trouble_is_a_channel_that_is_down_and_asked_again(tmp_path, fault, caplog):
    server = make_server()
    server.plan("token", fault)

    first, second = send(server, tmp_path, make_attempt(), make_attempt())

    assert first.failure is Failure.CHANNEL_DOWN
    assert first.detail.startswith("token ")
    assert second == CREATED
    assert caplog.records == [], "the library says nothing of its own"


def test_a_token_that_has_run_out_or_was_revoked_is_replaced_within_the_attempt(tmp_path):
    server = make_server()
    server.entra.lifetimes_s.append(-30)

    async def work(channel):
        reports = []
        for n in range(4):
            if n == 2:
                server.entra.revoked_before = server.entra.issued
            attempt = make_attempt(make_fact(f"fact-{n}"))
            reports.append(await channel.send(attempt, channel.render(attempt)))
        return reports

    assert run_channel(server, tmp_path, work) == [CREATED] * 4
    assert server.entra.requests == 3
    assert len(facts_in(server)) == 4


def test_a_token_that_is_never_believed_is_asked_for_twice(tmp_path):
    server = make_server()
    server.entra.revoked_before = 99

    assert send(server, tmp_path) == [Failed(Failure.CHANNEL_DOWN, "create 401 InvalidAuthenticationToken")]
    assert server.entra.requests == 2


def test_an_application_without_the_permission_is_a_channel_that_is_down(tmp_path):
    server = make_server(roles=("Mail.Read",))

    assert send(server, tmp_path) == [Failed(Failure.CHANNEL_DOWN, "create 403 ErrorAccessDenied")]


def test_many_attempts_at_once_share_one_token(tmp_path):
    server = make_server()

    async def work(channel):
        attempts = [make_attempt(make_fact(f"fact-{n}")) for n in range(12)]
        return await asyncio.gather(*(channel.send(a, channel.render(a)) for a in attempts))

    assert run_channel(server, tmp_path, work) == [CREATED] * 12
    assert server.entra.requests == 1


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing(tmp_path):
    server = make_server()

    async def work(channel):
        reports = []
        for n in range(3):
            attempt = make_attempt(make_fact(f"fact-{n}"))
            reports.append(await channel.send(attempt, channel.render(attempt)))
            server.hang_up()
            [[(connection, _)]] = channel.client._session.connector._conns.values()
            await turns_until(lambda: not connection.is_connected(), every_s=0.001)  # noqa: B023
        return reports

    assert run_channel(server, tmp_path, work) == [CREATED] * 3


# -- retractions


@pytest.mark.parametrize("retracted", ["remove", "mark"])
def test_a_retraction_finds_the_item_and_can_be_repeated(tmp_path, retracted):
    server = make_server()
    fact = make_fact()
    correction = make_attempt(make_retraction(fact))
    again = make_attempt(make_retraction(fact), detail="settling")

    reports = send(server, tmp_path, make_attempt(fact), correction, correction, again, retracted=retracted)

    [item] = server.store
    if retracted == "remove":
        assert reports == [CREATED, Sent("removed"), SETTLING, Sent("absent")]
        assert item.folder == "deleteditems"
    else:
        assert reports == [CREATED, Sent("marked"), Sent("marked"), Sent("marked")]
        assert item.folder == "inbox"
        assert item.fields["categories"] == ["Not missed after all"]
        assert item.is_read


@pytest.mark.parametrize("operation", ["remove", "mark"])
def test_a_retraction_of_an_item_that_the_user_deleted_is_done(tmp_path, operation):
    server = make_server()
    server.plan({"remove": "move", "mark": "update"}[operation], says(404, "ErrorItemNotFound"))
    correction = make_attempt(make_retraction(make_fact()))

    assert send(server, tmp_path, make_attempt(), correction, retracted=operation) == [
        CREATED,
        Sent("absent"),
    ]


def test_a_retraction_whose_answer_is_lost_is_made_again(tmp_path):
    server = make_server()
    server.plan("move", DROPPED_AFTER_COMMIT)
    correction = make_attempt(make_retraction(make_fact()))

    reports = send(server, tmp_path, make_attempt(), correction, correction)

    assert reports == [CREATED, uncertain("remove ServerDisconnectedError"), SETTLING]


def test_a_notice_that_is_stored_after_its_retraction_was_looked_for_is_removed_all_the_same(tmp_path):
    server = make_server()
    correction = make_attempt(make_retraction(make_fact()))
    again = make_attempt(make_retraction(make_fact()), detail="settling")

    assert send(server, tmp_path, correction, make_attempt(), again) == [SETTLING, CREATED, Sent("removed")]


# -- in the notifier


def deliver(server, tmp_path, facts, *, count, advance_s=0.0, **settings):
    """Run a notifier until `count` deliveries were sent; return all that it said."""
    log, clock = Log(), ManualClock(NOW + 20)

    async def main():
        async with server, SqliteJournal(tmp_path / "notify.db") as journal:
            notify = NotifierSettings(graph=make_settings(server, tmp_path, **settings))
            async with Running(Notifier(notify, MemoryFacts(facts), journal, clock, observe=log)):
                sent = asyncio.ensure_future(log.until(State.SENT, count=count))
                while not sent.done():
                    await asyncio.wait({sent}, timeout=0.02)
                    clock.advance(advance_s)
                await sent

    asyncio.run(main())
    assert server.refused == []
    return log.seen


def test_every_fact_becomes_one_item_over_several_connections(tmp_path):
    server = make_server()
    facts = [make_fact(f"fact-{n}") for n in range(60)]

    deliver(server, tmp_path, facts, count=60)

    assert sorted(facts_in(server)) == sorted(fact.fact_id for fact in facts)
    assert server.most_under_way[BOB] <= 4
    assert server.count("find") == 0


FATES = [
    *(fault for fault, _ in UNCERTAIN.values()),
    *(throttled(1), throttled(1, "ApplicationThrottled"), unavailable(1)),
    *(says(409, "ErrorMailboxMoveInProgress"), HALF_A_BODY_AFTER_COMMIT, SERVED),
]
FINDS = [DROPPED, says(500, "InternalServerError"), throttled(1), HALF_A_BODY_AFTER_COMMIT, SERVED]


def test_whatever_the_service_does_every_fact_becomes_one_item(tmp_path):
    server = make_server()
    server.plan("create", *FATES, *FATES)
    server.plan("find", *FINDS)
    facts = [make_fact(f"fact-{n}") for n in range(40)]

    seen = deliver(server, tmp_path, facts, count=40, advance_s=600)

    assert sorted(facts_in(server)) == sorted(fact.fact_id for fact in facts)
    assert State.DEAD not in {delivery.state for delivery in seen}


@hypothesis.settings(max_examples=20, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    creates=st.lists(st.sampled_from(FATES), max_size=12), finds=st.lists(st.sampled_from(FINDS), max_size=6)
)
def test_no_order_of_faults_makes_two_items_or_none(creates, finds):
    server = make_server()
    server.plan("create", *creates)
    server.plan("find", *finds)
    facts = [make_fact(f"fact-{n}") for n in range(3)]

    with tempfile.TemporaryDirectory() as folder:
        deliver(server, Path(folder), facts, count=3, advance_s=600)

    assert sorted(facts_in(server)) == ["fact-0", "fact-1", "fact-2"]


def test_what_may_still_be_stored_is_given_time_before_it_is_looked_for(tmp_path):
    server = make_server()
    server.plan("create", SILENT_AFTER_COMMIT)
    log, clock = Log(), ManualClock(NOW + 20)

    async def main():
        async with server, SqliteJournal(tmp_path / "notify.db") as journal:
            settings = NotifierSettings(graph=make_settings(server, tmp_path, timeout_s=2.0))
            async with Running(Notifier(settings, MemoryFacts([make_fact()]), journal, clock, observe=log)):
                [lost] = await log.until(State.UNCERTAIN)
                clock.advance(SETTLE_S - 1)
                await turns_until(lambda: lost.next_at in clock.sleeping)
                looked = server.count("find")
                clock.advance(SETTLE_S)
                await log.until(State.SENT)
                return looked

    assert asyncio.run(main()) == 0
    assert facts_in(server) == ["fact-1"]


def test_what_a_dead_process_asked_for_is_given_time_before_it_is_looked_for(tmp_path):
    server = make_server()
    found = make_attempt(lost=1, failure=Failure.UNCERTAIN, detail="interrupted")

    assert send(server, tmp_path, found) == [uncertain("settling")]
    assert server.http_requests == 0
