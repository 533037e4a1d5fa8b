"""Items in Exchange over a real socket, to a strict server that follows a script."""

import asyncio
import hashlib
import ssl
import tempfile
import threading
import time
from pathlib import Path

import hypothesis
import pytest
import trustme
from aiohttp import web
from ews_server.faults import (
    BAD_GATEWAY_AFTER_COMMIT,
    DRIPPING_AFTER_COMMIT,
    DROPPED,
    DROPPED_AFTER_COMMIT,
    GARBAGE_AFTER_COMMIT,
    HALF_A_BODY_AFTER_COMMIT,
    SILENT_AFTER_COMMIT,
    Fault,
    busy,
    faults,
    says,
)
from ews_server.server import DRIP_S
from hypothesis import strategies as st
from support.ews import (
    ACCOUNT,
    BOB,
    KEY,
    PASSWORD,
    assert_valid,
    facts_in,
    make_attempt,
    make_server,
    make_settings,
    send,
)
from support.notify import (
    NOW,
    Log,
    ManualClock,
    Running,
    make_fact,
    make_notices,
    make_retraction,
    turns_until,
)

from missedcall_notifier.app import Notifier
from missedcall_notifier.channels import exchange_wire
from missedcall_notifier.channels.ews import EwsChannel
from missedcall_notifier.channels.exchange_answers import SETTLE_S
from missedcall_notifier.delivery import State
from missedcall_notifier.failure import Failed, Failure, Sent
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.settings import NotifierSettings
from missedcall_notifier.source import MemoryFacts
from missedcall_schemas.records import Party

CREATED, FOUND = Sent("created"), Sent("found")
SETTLING = Failed(Failure.TRANSIENT, "settling", SETTLE_S)


def uncertain(detail):
    return Failed(Failure.UNCERTAIN, detail, SETTLE_S)


def test_an_item_is_what_phones_take_for_a_missed_call(tmp_path):
    server = make_server()

    assert send(server, tmp_path) == [CREATED]

    [item] = server.store
    assert item.folder == "inbox"
    assert item.text("ItemClass") == "IPM.Note.Microsoft.Missed.Voice"
    assert item.text("Subject") == "Missed call from +49 30 123 (“Alice”)"
    assert "hung up after 9 s of ringing on 2 devices" in item.text("Body")
    assert not item.is_draft
    assert not item.is_read
    assert item.received.timestamp() == NOW
    assert (
        item.mailbox("From") == item.mailbox("Sender") == ("+49 30 123 (“Alice”)", "missed-calls@example.com")
    )
    assert {key: value for key, value in item.properties.items() if key[-1] == "String"} == {
        ("0x6802", "String"): "+4930123",
        ("0x6803", "String"): "Alice",
        ("0x6806", "String"): "a84b4c76e66710@pc33.example.com",
        KEY: "fact-1",
    }
    assert item.properties["0x39", "SystemTime"] == item.properties["0xe06", "SystemTime"]


def test_an_item_costs_one_request_and_impersonates_its_recipient(tmp_path):
    server = make_server(BOB, "carol@example.com")

    send(server, tmp_path, make_attempt(), make_attempt(recipient="carol@example.com"))

    assert [(a.operation, a.account, a.mailbox) for a in server.asked] == [
        ("CreateItem", ACCOUNT, BOB),
        ("CreateItem", ACCOUNT, "carol@example.com"),
    ]
    assert server.http_requests == 2
    assert {a.connection for a in server.asked} == {0}


def test_delegate_access_works_without_impersonation(tmp_path):
    server = make_server(delegates=(BOB,), impersonation=False)

    assert send(server, tmp_path, access="delegate") == [CREATED]
    assert server.asked[0].mailbox == ""
    assert facts_in(server) == ["fact-1"]


def test_an_anonymous_caller_leaves_nothing_of_himself(tmp_path):
    server = make_server()
    caller = Party(uri="sip:alice@example.net", number="+4930123", display_name="Alice", anonymous=True)

    send(server, tmp_path, make_attempt(make_fact(caller=caller)))

    [item] = server.store
    assert {("0x6802", "String"), ("0x6803", "String")}.isdisjoint(item.properties)
    assert item.mailbox("From")[0] == "an anonymous caller"
    assert "Alice" not in item.text("Body") + item.text("Subject")


@pytest.mark.parametrize(
    "name",
    [
        "]]></t:Subject><t:Subject>",
        "&#0;&lt;script&gt;",
        "a\r\nBcc: x@example.org\x00\x0b\x1b[2J",
        "\u202e\ufeff\ufffe\uffff\ud800",
        "=?utf-8?q?a=0D=0ABcc:_x@y.example?=",
        "Z" * 4000,
        "\U0001f4a9" * 400,
        "e" + "\u0301" * 300,
    ],
    ids=["markup", "entities", "controls", "invisible", "encoded-word", "long", "astral", "marks"],
)
def test_no_name_makes_an_invalid_request(tmp_path, name):
    server = make_server()
    party = Party(uri="sip:alice@example.net", number="+4930123", display_name=name, source="from")
    fact = make_fact(caller=party, call_id=name, callee=f"sip:{name}@example.com", also_rang=(name,) * 9)

    assert send(server, tmp_path, make_attempt(fact)) == [CREATED]

    [item] = server.store
    assert item.text("Subject").startswith("Missed call from +49 30 123")
    assert len(item.text("Subject")) <= 255
    assert len(item.properties.get(("0x6806", "String"), "")) <= 255


EMPTY = b"""<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><m:CreateItemResponse
xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><m:ResponseMessages/></m:CreateItemResponse>
</s:Body></s:Envelope>"""

UNCERTAIN = {
    "dropped-before": (DROPPED, "create ConnectionError"),
    "dropped-after-commit": (DROPPED_AFTER_COMMIT, "create ConnectionError"),
    "502-after-commit": (BAD_GATEWAY_AFTER_COMMIT, "create 502"),
    "503": (Fault(status=503), "create 503"),
    "504-after-commit": (Fault(status=504, after_commit=True), "create 504"),
    "half-a-body": (HALF_A_BODY_AFTER_COMMIT, "create ConnectionError"),
    "garbage": (GARBAGE_AFTER_COMMIT, "create 200"),
    "soap-without-a-result": (Fault(garbage=EMPTY, after_commit=True), "create 200"),
    "500-that-is-no-soap": (Fault(status=500, after_commit=True), "create 500"),
    "internal-error": (faults("ErrorInternalServerError"), "create ErrorInternalServerError"),
    "code-that-nobody-knows": (says("ErrorCannotEmptyFolder"), "create ErrorCannotEmptyFolder"),
    "timeout-at-the-server": (says("ErrorTimeoutExpired"), "create ErrorTimeoutExpired"),
}


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("name", UNCERTAIN)
def test_whatever_is_lost_after_the_store_there_is_one_item(tmp_path, name, connections):
    """With four connections the library's own loop would send the item again."""
    fault, detail = UNCERTAIN[name]
    server = make_server()
    server.plan("CreateItem", fault)
    again = make_attempt(lost=1)

    first, second, third = send(server, tmp_path, make_attempt(), again, again, connections=connections)

    assert first == uncertain(detail)
    assert second == (FOUND if fault.after_commit else CREATED)
    assert third == FOUND
    assert facts_in(server) == ["fact-1"]
    assert [a.operation for a in server.asked] == [
        "CreateItem",
        "FindItem",
        *([] if fault.after_commit else ["CreateItem"]),
        "FindItem",
    ]


def test_however_the_url_is_spelt_what_was_asked_is_not_taken_for_unasked(tmp_path):
    """The library spells the host in its own way; who compares by spelling would create a second item."""
    server = make_server()
    server.plan("CreateItem", DROPPED_AFTER_COMMIT)

    async def main():
        async with server:
            settings = make_settings(server, tmp_path, url=server.url.replace("127.0.0.1", "LocalHost"))
            channel = EwsChannel(settings, make_notices())
            try:
                return await channel.send(make_attempt(), channel.render(make_attempt()))
            finally:
                await channel.close()

    assert asyncio.run(main()) == uncertain("create ConnectionError")


@pytest.mark.parametrize("challenge", ["NTLM", "NTLM !!!!", "NTLM TlRMTVNTUAACAAAA", "Negotiate", ""])
def test_a_server_that_cannot_shake_hands_is_a_channel_that_is_down(tmp_path, monkeypatch, challenge):
    server = make_server(schemes=("ntlm",))

    def broken(*_):
        return web.Response(status=401, headers={"WWW-Authenticate": challenge} if challenge else {})

    monkeypatch.setattr(server.auth, "who", broken)

    [report] = send(server, tmp_path, auth="ntlm")

    assert report == Failed(Failure.CHANNEL_DOWN, "create 401")


def test_an_answer_that_does_not_come_is_uncertain_and_not_waited_for_longer(tmp_path):
    server = make_server()
    server.plan("CreateItem", SILENT_AFTER_COMMIT)

    first, second = send(server, tmp_path, make_attempt(), make_attempt(lost=1), timeout_s=2.0)

    assert first == uncertain("create ReadTimeout")
    assert second == FOUND
    assert server.commits == 1


def test_an_answer_that_drips_is_not_listened_to_for_ever(tmp_path):
    server = make_server()
    server.plan("CreateItem", DRIPPING_AFTER_COMMIT)
    began = time.monotonic()

    reports = send(server, tmp_path, make_attempt(), timeout_s=2.0)

    assert reports == [uncertain("create Timeout")]
    assert time.monotonic() - began < 400 * DRIP_S, "the answer has more than 400 bytes"


def test_an_answer_without_end_is_not_kept(tmp_path):
    server = make_server()
    server.plan("CreateItem", Fault(garbage=b"<s:Envelope " + b" " * (2 << 20), after_commit=True))

    assert send(server, tmp_path, make_attempt(), make_attempt(lost=1)) == [
        uncertain("create ConnectionError"),
        FOUND,
    ]


def test_nothing_of_the_machine_says_where_a_request_goes(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert send(make_server(), tmp_path) == [CREATED]


def test_no_cookie_of_one_mailbox_goes_along_to_another(tmp_path):
    server = make_server(BOB, "carol@example.com")

    send(server, tmp_path, make_attempt(), make_attempt(recipient="carol@example.com"))

    assert server.cookies == {}


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

    assert server.count("FindItem") == 0


@pytest.mark.parametrize(
    ("fault", "report"),
    [
        (busy(1500), Failed(Failure.THROTTLED, "create ErrorServerBusy", 1.5)),
        (busy(), Failed(Failure.THROTTLED, "create ErrorServerBusy")),
        (says("ErrorTooManyObjectsOpened"), Failed(Failure.THROTTLED, "create ErrorTooManyObjectsOpened")),
        (
            faults("ErrorExceededConnectionCount"),
            Failed(Failure.THROTTLED, "create ErrorExceededConnectionCount"),
        ),
        (Fault(status=429, headers=(("Retry-After", "7"),)), Failed(Failure.THROTTLED, "create 429", 7.0)),
        (
            faults("ErrorMailboxMoveInProgress"),
            Failed(Failure.TRANSIENT, "create ErrorMailboxMoveInProgress"),
        ),
        (says("ErrorQuotaExceeded"), Failed(Failure.SLOW, "create ErrorQuotaExceeded")),
        (
            says("ErrorNonPrimarySmtpAddress"),
            Failed(Failure.PERMANENT_RECIPIENT, "create ErrorNonPrimarySmtpAddress"),
        ),
        (faults("ErrorCannotFindUser"), Failed(Failure.PERMANENT_RECIPIENT, "create ErrorCannotFindUser")),
        (
            says("ErrorItemSavePropertyError"),
            Failed(Failure.PERMANENT_ITEM, "create ErrorItemSavePropertyError"),
        ),
        (faults("ErrorInvalidRequest"), Failed(Failure.PERMANENT_ITEM, "create ErrorInvalidRequest")),
        (
            faults("ErrorImpersonateUserDenied"),
            Failed(Failure.CHANNEL_DOWN, "create ErrorImpersonateUserDenied"),
        ),
        (
            faults("ErrorInvalidServerVersion"),
            Failed(Failure.CHANNEL_DOWN, "create ErrorInvalidServerVersion"),
        ),
        (Fault(status=404), Failed(Failure.CHANNEL_DOWN, "create 404")),
        (
            Fault(status=302, headers=(("Location", "/owa/auth/logon.aspx"),)),
            Failed(Failure.CHANNEL_DOWN, "create 302"),
        ),
    ],
    ids=lambda value: value.detail if isinstance(value, Failed) else "",
)
def test_an_answer_is_told_by_its_code_or_status_and_asked_for_once(tmp_path, fault, report):
    server = make_server()
    server.plan("CreateItem", fault)

    assert send(server, tmp_path, connections=4) == [report]
    assert server.http_requests == 1
    assert facts_in(server) == []


def test_a_mailbox_that_is_not_there_is_not_tried_again(tmp_path):
    [report] = send(make_server("carol@example.com"), tmp_path)

    assert report == Failed(Failure.PERMANENT_RECIPIENT, "create ErrorNonExistentMailbox")


def test_one_mailbox_out_of_scope_does_not_stop_the_others(tmp_path):
    server = make_server()
    server.plan("CreateItem", Fault(), faults("ErrorImpersonateUserDenied"))

    _, report = send(server, tmp_path, make_attempt(), make_attempt(make_fact("fact-2")))

    assert report == Failed(Failure.SLOW, "create ErrorImpersonateUserDenied")


def test_a_search_that_fails_is_not_a_further_uncertain_attempt(tmp_path):
    server = make_server()
    server.plan("FindItem", DROPPED, says("ErrorInternalServerError"), busy(250))

    reports = send(server, tmp_path, *[make_attempt(lost=1)] * 3)

    assert reports == [
        Failed(Failure.TRANSIENT, "find ConnectionError"),
        Failed(Failure.TRANSIENT, "find ErrorInternalServerError"),
        Failed(Failure.THROTTLED, "find ErrorServerBusy", 0.25),
    ]
    assert server.count("CreateItem") == 0


def test_a_server_that_is_not_there_is_a_channel_that_is_down(tmp_path):
    async def main():
        server = make_server()
        async with server:
            settings = make_settings(server, tmp_path)
        channel = EwsChannel(settings, make_notices())
        try:
            return await channel.send(make_attempt(), channel.render(make_attempt()))
        finally:
            await channel.close()

    assert asyncio.run(main()) == Failed(Failure.CHANNEL_DOWN, "create ConnectionError")


# -- logging on


@pytest.mark.parametrize("scheme", ["ntlm", "basic"])
def test_the_account_logs_on(tmp_path, scheme):
    server = make_server(schemes=(scheme,))

    assert send(server, tmp_path, auth=scheme) == [CREATED]
    assert server.asked[0].account == ACCOUNT


def test_ntlm_shakes_hands_once_for_a_connection(tmp_path):
    server = make_server(schemes=("ntlm",))

    send(server, tmp_path, *(make_attempt(make_fact(f"fact-{n}")) for n in range(3)), auth="ntlm")

    assert server.http_requests == 2 + 3
    assert server.commits == 3


@pytest.mark.parametrize("scheme", ["ntlm", "basic"])
def test_a_wrong_password_is_tried_once(tmp_path, scheme):
    (tmp_path / "password").write_text("wrong")
    server = make_server(schemes=(scheme,))

    assert send(server, tmp_path, auth=scheme) == [Failed(Failure.CHANNEL_DOWN, "create 401")]
    assert server.http_requests == {"ntlm": 3, "basic": 1}[scheme]
    assert server.asked == []


@pytest.mark.parametrize("scheme", ["ntlm", "basic"])
def test_a_new_password_is_taken_from_the_file(tmp_path, scheme):
    server = make_server(schemes=(scheme,))

    async def main():
        async with server:
            channel = EwsChannel(make_settings(server, tmp_path, auth=scheme), make_notices())
            try:
                attempts = [make_attempt(make_fact(f"fact-{n}")) for n in range(3)]
                first = await channel.send(attempts[0], channel.render(attempts[0]))
                server.auth.accounts[ACCOUNT] = "battery staple"
                server.auth.forget()
                second = await channel.send(attempts[1], channel.render(attempts[1]))
                (tmp_path / "password").write_text("battery staple\n")
                third = await channel.send(attempts[2], channel.render(attempts[2]))
                return first, second, third
            finally:
                await channel.close()

    assert asyncio.run(main()) == (CREATED, Failed(Failure.CHANNEL_DOWN, "create 401"), CREATED)


def test_a_password_file_that_is_gone_is_a_channel_that_is_down(tmp_path):
    server = make_server()

    [report] = send(server, tmp_path, password_file=str(tmp_path / "nothing"))

    assert report == Failed(Failure.CHANNEL_DOWN, "settings SettingsError")
    assert server.http_requests == 0


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def certificate(authority):
    return authority.issue_cert("localhost")


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def test_the_named_authority_is_believed(tmp_path, tls, ca_file):
    server = make_server(schemes=("ntlm",), tls=tls)

    assert send(server, tmp_path, auth="ntlm", ca_file=ca_file) == [CREATED]


@pytest.mark.parametrize("own", [True, False], ids=["own", "another"])
def test_ntlm_names_the_certificate_that_it_sees(tmp_path, certificate, tls, ca_file, own):
    """A server with Extended Protection takes no logon that was made for another server's connection."""
    der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    server = make_server(schemes=("ntlm",), tls=tls)
    server.auth.certificate_hash = hashlib.sha256(der if own else b"another").digest()

    [report] = send(server, tmp_path, auth="ntlm", ca_file=ca_file)

    assert report == (CREATED if own else Failed(Failure.CHANNEL_DOWN, "create 401"))


def test_a_certificate_of_a_stranger_is_not_believed(tmp_path, tls):
    server = make_server(tls=tls)

    assert send(server, tmp_path) == [Failed(Failure.CHANNEL_DOWN, "create certificate")]
    assert server.http_requests == 0


def oauth(server, ca_file):
    return {
        "auth": "oauth",
        "ca_file": ca_file,
        "token_url": server.url.rpartition("/EWS")[0] + "/token",
        "username": "client-1",
    }


def make_oauth_server(tls):
    return make_server(schemes=("bearer",), accounts={"client-1": PASSWORD}, tls=tls)


def oauth_sends(server, tmp_path, ca_file, count, between=None, **changes):
    """Make `count` attempts over one channel; call `between` after the first."""

    async def main():
        async with server:
            settings = make_settings(server, tmp_path, **oauth(server, ca_file), **changes)
            channel, reports = EwsChannel(settings, make_notices()), []
            try:
                for n in range(count):
                    attempt = make_attempt(make_fact(f"fact-{n}"))
                    reports.append(await channel.send(attempt, channel.render(attempt)))
                    if between and n == 0:
                        await between()
                return reports
            finally:
                await channel.close()

    reports = asyncio.run(main())
    assert_valid(server)
    return reports


def test_client_credentials_get_one_token_for_many_items(tmp_path, tls, ca_file):
    server = make_oauth_server(tls)

    assert oauth_sends(server, tmp_path, ca_file, 5) == [CREATED] * 5
    assert server.auth.token_requests == 1


def test_client_credentials_serve_several_connections(tmp_path, tls, ca_file):
    server = make_oauth_server(tls)
    server.auth.lifetimes_s.extend([-1, -1])
    facts = [make_fact(f"fact-{n}") for n in range(40)]

    deliver(server, tmp_path, facts, count=40, advance_s=600, settings=lambda: oauth(server, ca_file))

    assert sorted(facts_in(server)) == sorted(fact.fact_id for fact in facts)
    assert server.auth.token_requests < len(facts)


def test_a_token_that_has_run_out_is_replaced_within_the_attempt(tmp_path, tls, ca_file):
    server = make_oauth_server(tls)
    server.auth.lifetimes_s.append(-1)

    assert oauth_sends(server, tmp_path, ca_file, 2) == [CREATED, CREATED]
    assert server.auth.token_requests == 2
    assert len(facts_in(server)) == 2


def test_a_token_that_is_no_longer_believed_is_replaced_by_the_next_attempt(tmp_path, tls, ca_file):
    server = make_oauth_server(tls)

    async def revoke():
        server.auth.tokens.clear()

    reports = oauth_sends(server, tmp_path, ca_file, 3, between=revoke)

    assert reports == [CREATED, Failed(Failure.CHANNEL_DOWN, "create 401"), CREATED]


def test_lost_answers_and_refused_tokens_do_not_use_up_the_connections(tmp_path, tls, ca_file):
    """The library loses a connection's place when it cannot make another; then threads would wait for ever."""
    server = make_oauth_server(tls)
    server.plan("CreateItem", Fault(), DROPPED)

    async def main():
        async with server:
            settings = make_settings(server, tmp_path, connections=1, **oauth(server, ca_file))
            channel, reports = EwsChannel(settings, make_notices()), []
            try:
                for n, status in enumerate([200, 503, 503, 200]):
                    server.auth.token_status = status
                    attempt = make_attempt(make_fact(f"fact-{n}"))
                    async with asyncio.timeout(10):
                        reports.append(await channel.send(attempt, channel.render(attempt)))
                return reports
            finally:
                await channel.close()

    assert [getattr(report, "failure", report) for report in asyncio.run(main())] == [
        CREATED,
        Failure.UNCERTAIN,
        Failure.CHANNEL_DOWN,
        CREATED,
    ]


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing(tmp_path):
    server = make_server(schemes=("ntlm",))

    async def main():
        async with server:
            channel, reports = EwsChannel(make_settings(server, tmp_path, auth="ntlm"), make_notices()), []
            try:
                for n in range(3):
                    attempt = make_attempt(make_fact(f"fact-{n}"))
                    reports.append(await channel.send(attempt, channel.render(attempt)))
                    server.hang_up()
                    await asyncio.sleep(0)
                return reports
            finally:
                await channel.close()

    assert asyncio.run(main()) == [CREATED] * 3


@pytest.mark.parametrize(("idle_s", "connections"), [(0.0, 3), (600.0, 1)])
def test_a_connection_that_idled_is_not_trusted(tmp_path, monkeypatch, idle_s, connections):
    monkeypatch.setattr(exchange_wire, "IDLE_S", idle_s)
    server = make_server()

    send(server, tmp_path, *(make_attempt(make_fact(f"fact-{n}")) for n in range(3)))

    assert len({a.connection for a in server.asked}) == connections


def test_no_more_requests_at_once_than_connections_even_if_one_is_given_up(tmp_path, monkeypatch):
    server = make_server()
    server.plan("CreateItem", *[SILENT_AFTER_COMMIT] * 8)
    running, most, lock, run = 0, 0, threading.Lock(), EwsChannel._run

    def counted(*args):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return run(*args)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(EwsChannel, "_run", counted)

    async def main():
        async with server:
            channel = EwsChannel(
                make_settings(server, tmp_path, connections=2, timeout_s=2.0), make_notices()
            )
            attempts = [make_attempt(make_fact(f"fact-{n}")) for n in range(6)]
            sending = [asyncio.ensure_future(channel.send(a, channel.render(a))) for a in attempts]
            await turns_until(lambda: server.commits == 2)
            sending[0].cancel()
            await asyncio.wait(sending)
            await channel.close()

    asyncio.run(main())
    assert most == 2


def test_many_lost_answers_do_not_use_up_the_connections(tmp_path):
    server = make_server()
    server.plan("CreateItem", *[DROPPED] * 10)

    reports = send(server, tmp_path, *[make_attempt()] * 11, connections=2)

    assert reports == [uncertain("create ConnectionError")] * 10 + [CREATED]


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
        assert item.text("Subject").startswith("Not missed after all")
        assert "was taken after all" in item.text("Body")
        assert item.is_read


@pytest.mark.parametrize("operation", ["remove", "mark"])
def test_a_retraction_of_an_item_that_the_user_deleted_is_done(tmp_path, operation):
    server = make_server()
    name = {"remove": "DeleteItem", "mark": "UpdateItem"}[operation]
    server.plan(name, says("ErrorItemNotFound"))
    correction = make_attempt(make_retraction(make_fact()))

    assert send(server, tmp_path, make_attempt(), correction, retracted=operation) == [
        CREATED,
        Sent("absent"),
    ]


def test_a_retraction_whose_answer_is_lost_is_made_again(tmp_path):
    server = make_server()
    server.plan("DeleteItem", DROPPED_AFTER_COMMIT)
    correction = make_attempt(make_retraction(make_fact()))

    reports = send(server, tmp_path, make_attempt(), correction, correction)

    assert reports == [CREATED, uncertain("remove ConnectionError"), SETTLING]


def test_a_notice_that_is_stored_after_its_retraction_was_looked_for_is_removed_all_the_same(tmp_path):
    server = make_server()
    correction = make_attempt(make_retraction(make_fact()))
    again = make_attempt(make_retraction(make_fact()), detail="settling")

    reports = send(server, tmp_path, correction, make_attempt(), again)

    assert reports == [SETTLING, CREATED, Sent("removed")]


# -- in the notifier


def deliver(server, tmp_path, facts, *, count, advance_s=0.0, settings=None):
    """Run a notifier until `count` deliveries were sent; return all that it said."""
    log, clock = Log(), ManualClock(NOW + 20)

    async def main():
        async with server, SqliteJournal(tmp_path / "notify.db") as journal:
            notify = NotifierSettings(ews=make_settings(server, tmp_path, **(settings() if settings else {})))
            async with Running(Notifier(notify, MemoryFacts(facts), journal, clock, observe=log)):
                sent = asyncio.ensure_future(log.until(State.SENT, count=count))
                while not sent.done():
                    await asyncio.wait({sent}, timeout=0.02)
                    clock.advance(advance_s)
                await sent

    asyncio.run(main())
    assert_valid(server)
    return log.seen


def test_every_fact_becomes_one_item_over_several_connections(tmp_path):
    server = make_server()
    facts = [make_fact(f"fact-{n}") for n in range(60)]

    deliver(server, tmp_path, facts, count=60)

    assert sorted(facts_in(server)) == sorted(fact.fact_id for fact in facts)
    assert len({a.connection for a in server.asked}) <= 4
    assert server.most_under_way <= 4
    assert server.count("FindItem") == 0


def test_whatever_the_server_does_every_fact_becomes_one_item(tmp_path):
    server = make_server()
    plan = [fault for fault, _ in UNCERTAIN.values()] + [busy(100), Fault(), says("ErrorADUnavailable")]
    server.plan("CreateItem", *plan, *plan)
    server.plan("FindItem", DROPPED, Fault(), busy(100), says("ErrorInternalServerError"))
    facts = [make_fact(f"fact-{n}") for n in range(40)]

    seen = deliver(server, tmp_path, facts, count=40, advance_s=600)

    assert sorted(facts_in(server)) == sorted(fact.fact_id for fact in facts)
    assert State.DEAD not in {delivery.state for delivery in seen}


def test_while_the_server_backs_off_nobody_asks_it(tmp_path):
    server = make_server()
    server.plan("CreateItem", busy(90_000))
    facts = [make_fact(f"fact-{n}") for n in range(6)]
    log, clock = Log(), ManualClock(NOW + 20)

    async def main():
        async with server, SqliteJournal(tmp_path / "notify.db") as journal:
            settings = NotifierSettings(ews=make_settings(server, tmp_path, connections=1))
            async with Running(Notifier(settings, MemoryFacts(facts), journal, clock, observe=log)):
                await log.until(State.RETRY)
                clock.advance(89)
                await turns_until(lambda: clock.sleeping.count(NOW + 20 + 90) == 1)
                asked_meanwhile = server.count("CreateItem")
                clock.advance(60)
                await log.until(State.SENT, count=len(facts))
                return asked_meanwhile

    assert asyncio.run(main()) == 1
    assert sorted(facts_in(server)) == sorted(fact.fact_id for fact in facts)


def test_what_may_still_be_stored_is_given_time_before_it_is_looked_for(tmp_path):
    server = make_server()
    server.plan("CreateItem", SILENT_AFTER_COMMIT)
    log, clock = Log(), ManualClock(NOW + 20)

    async def main():
        async with server, SqliteJournal(tmp_path / "notify.db") as journal:
            settings = NotifierSettings(ews=make_settings(server, tmp_path, timeout_s=2.0))
            async with Running(Notifier(settings, MemoryFacts([make_fact()]), journal, clock, observe=log)):
                [lost] = await log.until(State.UNCERTAIN)
                clock.advance(SETTLE_S - 1)
                await turns_until(lambda: lost.next_at in clock.sleeping)
                looked = server.count("FindItem")
                clock.advance(SETTLE_S)
                await log.until(State.SENT)
                return looked

    assert asyncio.run(main()) == 0
    assert facts_in(server) == ["fact-1"]


def test_what_a_dead_process_asked_for_is_given_time_before_it_is_looked_for(tmp_path):
    server = make_server()
    found = make_attempt(lost=1, failure=Failure.UNCERTAIN, detail="interrupted")

    assert send(server, tmp_path, found) == [Failed(Failure.UNCERTAIN, "settling", SETTLE_S)]
    assert server.http_requests == 0


FATES = [fault for fault, _ in UNCERTAIN.values()] + [busy(100), says("ErrorADUnavailable"), Fault()]


@hypothesis.settings(max_examples=20, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    creates=st.lists(st.sampled_from(FATES), max_size=12),
    finds=st.lists(
        st.sampled_from([DROPPED, says("ErrorInternalServerError"), busy(100), Fault()]), max_size=6
    ),
)
def test_no_order_of_faults_makes_two_items_or_none(creates, finds):
    server = make_server()
    server.plan("CreateItem", *creates)
    server.plan("FindItem", *finds)
    facts = [make_fact(f"fact-{n}") for n in range(3)]

    with tempfile.TemporaryDirectory() as folder:
        deliver(server, Path(folder), facts, count=3, advance_s=600)

    assert sorted(facts_in(server)) == ["fact-0", "fact-1", "fact-2"]


def test_threads_end_with_the_channel(tmp_path):
    send(make_server(), tmp_path, make_attempt(), make_attempt())

    for thread in threading.enumerate():
        if thread.name.startswith("notify-ews"):
            thread.join(10)
            assert not thread.is_alive()
