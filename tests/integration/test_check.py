"""`missedcall check` against real servers: each cause, its words, and that nothing is left behind."""

import asyncio
import ssl
from contextlib import AsyncExitStack

import pytest
import trustme
from ews_server.faults import Fault as EwsFault
from ews_server.faults import busy, faults
from graph_server.faults import Fault, says, throttled
from support import ews, graph
from support.smtp_sink import DROP, SmtpSink
from support.smtp_tokens import Authority, TokenSink
from support.webhook_sink import SECRET_LINE, WebhookSink

from missedcall_embedded.cli import main
from missedcall_notifier.checks.__main__ import main as check_service
from missedcall_notifier.checks.findings import State
from missedcall_notifier.checks.probes import Wish, check_channels
from missedcall_notifier.settings import NotifierSettings, PeopleSettings, SmtpSettings, WebhookSettings

OK, FAILS, UNTESTED = State.OK, State.FAILS, State.UNTESTED


def check(make, *servers, mailbox="", write=False):
    """Return what is found, by step; `make()` gives the settings once the servers run."""

    async def run():
        async with AsyncExitStack() as stack:
            for server in servers:
                await stack.enter_async_context(server)
            return [f async for f in check_channels(make(), Wish(mailbox, write))]

    found = asyncio.run(run())
    assert all(f.todo for f in found if f.state is FAILS), "what is to be done is always said"
    return found


def states(found):
    return {f.step: f.state for f in found}


def failure(found):
    """Return the words of the one step that failed."""
    [failed] = [f for f in found if f.state is FAILS]
    return f"{failed.step}: {failed.words}"


# -- mail


def smtp(relay, tmp_path, **changes):
    def make():
        (tmp_path / "password").write_text("secret\n")
        given = {
            "host": "localhost",
            "port": relay.port,
            "security": "none",
            "helo_name": "test.example.com",
            "sender": "missed-calls@example.com",
            "always": ("bob@example.com",),
            "timeout_s": 2.0,
        }
        given |= changes
        if given.get("username"):
            given.setdefault("password_file", str(tmp_path / "password"))
        return NotifierSettings(smtp=SmtpSettings(**given))

    return make


def test_mail_is_tried_up_to_the_recipient_and_nothing_is_sent(tmp_path):
    relay = SmtpSink()

    found = check(smtp(relay, tmp_path), relay)

    assert states(found) == {"connect": OK, "sender": OK, "recipient": OK}
    assert relay.mails == []
    assert relay.envelopes == []


def test_without_a_recipient_mail_is_tried_up_to_the_sender(tmp_path):
    relay = SmtpSink()

    found = check(smtp(relay, tmp_path, always=(), pattern="{user}@example.com"), relay)

    assert states(found) == {"connect": OK, "sender": OK, "recipient": UNTESTED}


@pytest.mark.parametrize(
    ("command", "answer", "words"),
    [
        ("CONNECT", "554 go away", "connect: the relay refuses to talk to this machine"),
        ("EHLO", DROP, "connect: the relay refuses our EHLO"),
        ("MAIL", "550 5.7.1 no", "sender: the relay takes no mail from smtp.sender"),
        ("MAIL", "530 5.7.0 log in", "login: the relay wants a login"),
        ("RCPT", "550 5.7.1 relaying denied", "recipient: the relay refuses the recipient"),
        ("RCPT", "450 4.7.1 greylisted", "recipient: the relay does not take the recipient now"),
        ("RCPT", "530 5.7.0 log in", "login: the relay wants a login"),
    ],
)
def test_what_a_relay_refuses_is_said(tmp_path, command, answer, words):
    relay = SmtpSink()
    relay.answers[command].extend([answer] * 2)

    assert failure(check(smtp(relay, tmp_path), relay)).startswith(words)
    assert relay.mails == []


def test_a_relay_that_is_not_there_is_said(tmp_path):
    relay = SmtpSink()

    def make():
        asyncio.get_running_loop()
        return smtp(relay, tmp_path, port=1)()

    assert failure(check(make)).startswith("connect: the relay cannot be reached")


def test_a_relay_without_starttls_is_said(tmp_path):
    relay = SmtpSink()

    assert failure(check(smtp(relay, tmp_path, security="starttls"), relay)).startswith(
        "tls: the relay speaks no STARTTLS"
    )


@pytest.fixture
def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_relay_with_a_strangers_certificate_is_said(tmp_path, tls, security):
    relay = SmtpSink(tls=tls, implicit_tls=security == "tls")

    found = check(smtp(relay, tmp_path, security=security), relay)

    assert failure(found).startswith("tls: the relay's certificate is not believed")
    assert states(found)["connect"] is OK


def test_a_wrong_password_is_said_and_tried_once(tmp_path):
    relay = SmtpSink(login=("missedcall", "another"))

    found = check(smtp(relay, tmp_path, username="missedcall", host="127.0.0.1"), relay)

    assert failure(found).startswith("login: the relay refuses user name or password")
    assert relay.logins == 1


def test_a_password_that_cannot_be_read_is_said(tmp_path):
    relay = SmtpSink(login=("missedcall", "secret"))
    make = smtp(relay, tmp_path, username="missedcall", password_file="/nowhere", host="127.0.0.1")

    assert failure(check(make, relay)).startswith("login: the password cannot be read")


def test_a_relay_without_a_login_is_said(tmp_path):
    relay = SmtpSink()

    found = check(smtp(relay, tmp_path, username="missedcall", host="127.0.0.1"), relay)

    assert failure(found).startswith("login: the relay offers no login that we speak")


# -- Exchange


def with_token(relay, authority, tmp_path, **changes):
    """Return the settings for a relay that wants a token, once both run."""

    def make():
        given = {
            "auth": "oauth",
            "username": "missed-calls@example.com",
            "client_id": "app-1",
            "token_url": authority.url,
            "scope": "s",
        }
        settings = smtp(relay, tmp_path, **(given | changes))()
        (tmp_path / "password").write_text("geheim\n")
        return settings

    return make


def test_a_relay_that_wants_a_token_is_logged_in_to(tmp_path):
    relay, authority = TokenSink("XOAUTH2"), Authority()

    found = check(with_token(relay, authority, tmp_path), relay, authority, mailbox="bob@example.com")

    assert states(found) == {"connect": OK, "login": OK, "sender": OK, "recipient": OK}
    assert relay.mails == []


@pytest.mark.parametrize(
    ("relay", "changes", "words"),
    [
        (TokenSink("XOAUTH2", good="other"), {}, "the relay refuses user name or password (auth 535 5.7.8)"),
        (SmtpSink(login=("a", "b")), {}, "the relay offers no login that we speak (auth SMTPNotSupported)"),
        (
            TokenSink("XOAUTH2"),
            {"token_url": "http://127.0.0.1:1/token"},
            "smtp.token_url cannot be reached (auth ClientConnectorError)",
        ),
    ],
    ids=["token", "no-token", "authority"],
)
def test_why_a_token_does_not_help_is_said(tmp_path, relay, changes, words):
    authority = Authority()

    found = check(with_token(relay, authority, tmp_path, **changes), relay, authority)

    assert failure(found) == f"login: {words}"


def test_a_client_secret_that_the_authority_refuses_is_said(tmp_path):
    relay, authority = TokenSink("XOAUTH2"), Authority(secret="another")

    found = check(with_token(relay, authority, tmp_path), relay, authority)

    assert failure(found) == "login: the authority gives no token (auth token 401)"
    assert relay.shown == []


def on_premises(server, tmp_path, **changes):
    return lambda: NotifierSettings(ews=ews.make_settings(server, tmp_path, **changes))


def test_a_mailbox_is_read_and_left_as_it_was(tmp_path):
    server = ews.make_server()

    found = check(on_premises(server, tmp_path), server)

    assert states(found) == {"reach": OK, "login": OK, "mailbox": OK, "write": UNTESTED}
    assert [a.operation for a in server.asked] == ["FindItem"]
    ews.assert_valid(server)


@pytest.mark.parametrize("retracted", ["remove", "mark"])
def test_a_test_item_is_written_and_taken_away(tmp_path, retracted):
    server = ews.make_server()

    found = check(on_premises(server, tmp_path, retracted=retracted), server, write=True)

    assert set(states(found).values()) == {OK}
    assert [item.folder for item in server.store] == ["deleteditems"]
    ews.assert_valid(server)


def test_a_test_item_that_stays_is_said(tmp_path):
    server = ews.make_server()
    server.plan("DeleteItem", faults("ErrorAccessDenied"))

    found = check(on_premises(server, tmp_path), server, write=True)

    assert failure(found) == (
        "write: a test item was written and could not be taken away (remove ErrorAccessDenied)"
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults("ErrorImpersonateUserDenied"), "mailbox: the account may not act for this mailbox"),
        (faults("ErrorAccessDenied"), "mailbox: the account has no right to this mailbox"),
        (
            faults("ErrorNonPrimarySmtpAddress"),
            "mailbox: there is no such mailbox, or this is not its primary",
        ),
        (busy(), "mailbox: Exchange is busy"),
        (faults("ErrorADUnavailable"), "mailbox: Exchange has trouble of its own"),
        (EwsFault(status=503), "mailbox: Exchange has trouble of its own"),
        (faults("ErrorItemCorrupt"), "mailbox: the mailbox could not be read"),
        (EwsFault(status=404), "reach: there is no EWS at this address"),
        (EwsFault(status=302, headers=(("Location", "/owa"),)), "reach: there is no EWS at this address"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_exchange_refuses_is_said(tmp_path, fault, words):
    server = ews.make_server()
    server.plan("FindItem", fault)

    assert failure(check(on_premises(server, tmp_path), server)).startswith(words)


def test_a_mailbox_that_is_named_is_the_one_that_is_tried(tmp_path):
    server = ews.make_server()

    found = check(on_premises(server, tmp_path), server, mailbox="nobody@example.com")

    assert failure(found).startswith("mailbox: there is no such mailbox")


def test_a_wrong_password_for_exchange_is_said(tmp_path):
    (tmp_path / "password").write_text("wrong")
    server = ews.make_server(schemes=("ntlm",))

    found = check(on_premises(server, tmp_path, auth="ntlm"), server)

    assert failure(found).startswith("login: Exchange refuses the account")
    assert states(found) == {"reach": OK, "login": FAILS, "mailbox": UNTESTED, "write": UNTESTED}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password_file": "/nowhere"}, "login: the password cannot be read"),
        ({"ca_file": "/nowhere"}, "reach: ews.ca_file cannot be used"),
        ({"url": "http://127.0.0.1:1/EWS/Exchange.asmx"}, "reach: the server cannot be reached"),
    ],
)
def test_what_is_wrong_with_the_settings_of_exchange_is_said(tmp_path, changes, words):
    server = ews.make_server()

    assert failure(check(on_premises(server, tmp_path, **changes), server)).startswith(words)


def test_a_strangers_certificate_at_exchange_is_said(tmp_path, tls):
    server = ews.make_server(tls=tls)

    assert failure(check(on_premises(server, tmp_path), server)).startswith(
        "reach: the server's certificate is not believed"
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults("ErrorQuotaExceeded"), "write: the mailbox is full"),
        (faults("ErrorItemSavePropertyError"), "write: Exchange did not take the test item"),
    ],
)
def test_why_exchange_took_no_item_is_said(tmp_path, fault, words):
    server = ews.make_server()
    server.plan("CreateItem", fault)

    assert failure(check(on_premises(server, tmp_path), server, write=True)).startswith(words)


# -- Exchange Online


def online(server, tmp_path, **changes):
    return lambda: NotifierSettings(graph=graph.make_settings(server, tmp_path, **changes))


def test_a_mailbox_online_is_read_and_left_as_it_was(tmp_path):
    server = graph.make_server()

    found = check(online(server, tmp_path), server)

    assert states(found) == {"token": OK, "permission": OK, "reach": OK, "mailbox": OK, "write": UNTESTED}
    assert [a.operation for a in server.asked] == ["find"]


@pytest.mark.parametrize("retracted", ["remove", "mark"])
def test_a_test_item_online_is_written_and_taken_away(tmp_path, retracted):
    server = graph.make_server()

    found = check(online(server, tmp_path, retracted=retracted), server, write=True)

    assert set(states(found).values()) == {OK}
    assert [item.folder for item in server.store] == ["deleteditems"]


def test_a_token_without_the_permission_is_said_and_the_mailbox_decides(tmp_path):
    server = graph.make_server(roles=("User.Read.All",))

    found = check(online(server, tmp_path), server)

    assert states(found)["permission"] is UNTESTED
    assert failure(found).startswith("mailbox: the application may not open this mailbox (find 403")


def test_a_mailbox_outside_the_scope_is_said(tmp_path):
    server = graph.make_server()
    server.out_of_scope.add(graph.BOB)

    assert failure(check(online(server, tmp_path), server)).startswith(
        "mailbox: the application may not open this mailbox"
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (says(404, "ErrorInvalidUser"), "mailbox: there is no such user"),
        (says(404, "MailboxNotEnabledForRESTAPI"), "mailbox: the user has no mailbox in Exchange Online"),
        (Fault(status=404), "reach: there is no Graph at this address"),
        (throttled(5), "mailbox: Graph asks for a pause"),
        (says(500, "InternalServerError"), "mailbox: the mailbox could not be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_graph_refuses_is_said(tmp_path, fault, words):
    server = graph.make_server()
    server.plan("find", fault)

    assert failure(check(online(server, tmp_path), server)).startswith(words)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (says(507, "ErrorQuotaExceeded"), "write: the mailbox is full"),
        (says(400, "ErrorInvalidRecipients"), "write: Exchange did not take the test item"),
    ],
)
def test_why_graph_took_no_item_is_said(tmp_path, fault, words):
    server = graph.make_server()
    server.plan("create", fault)

    assert failure(check(online(server, tmp_path), server, write=True)).startswith(words)


def test_a_token_that_graph_does_not_believe_is_said(tmp_path):
    server = graph.make_server()
    server.entra.revoked_before = 99

    assert failure(check(online(server, tmp_path), server)).startswith(
        "reach: Graph does not believe the token"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret_file": "/nowhere"}, "token: the credential cannot be read"),
        ({"ca_file": "/nowhere"}, "token: graph.ca_file cannot be used"),
        ({"ca_file": ""}, "token: the server's certificate is not believed"),
        ({"client_id": "other"}, "token: this tenant does not know the application"),
        ({"tenant": "fabrikam.example"}, "token: there is no such tenant"),
        ({"authority": "https://localhost:1"}, "token: Entra ID cannot be reached"),
        ({"endpoint": "https://localhost:1"}, "token: this cloud has no such Graph"),
    ],
)
def test_what_is_wrong_with_the_settings_of_graph_is_said(tmp_path, changes, words):
    server = graph.make_server()

    found = check(online(server, tmp_path, **changes), server)

    assert failure(found).startswith(words)
    assert states(found)["write"] is UNTESTED


def test_a_wrong_secret_is_said(tmp_path):
    (tmp_path / "secret").write_text("wrong")
    server = graph.make_server()

    assert failure(check(online(server, tmp_path), server)).startswith("token: the client secret is wrong")


def test_a_certificate_that_entra_does_not_know_is_said(tmp_path):
    file = tmp_path / "app.pem"
    graph.credential().private_key_and_cert_chain_pem.write_to_path(file)
    server = graph.make_server()

    found = check(online(server, tmp_path, secret_file="", certificate_file=str(file)), server)

    assert failure(found).startswith("token: Entra ID does not know the certificate")


# -- webhook


def hook(sink, tmp_path, **changes):
    def make():
        (tmp_path / "whsec").write_text(SECRET_LINE)
        given = {
            "url": f"http://127.0.0.1:{sink.port}/hook",
            "secret_file": str(tmp_path / "whsec"),
            "insecure_http": True,
            "allow": ("127.0.0.1", "::1"),
            "connect_timeout_s": 2.0,
        }
        return NotifierSettings(webhook=WebhookSettings(**(given | changes)))

    return make


def test_an_endpoint_is_reached_and_not_called(tmp_path):
    sink = WebhookSink()

    found = check(hook(sink, tmp_path), sink)

    assert states(found) == {"secret": OK, "name": OK, "address": OK, "connect": OK, "ping": UNTESTED}
    assert sink.calls == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret_file": "/nowhere"}, "secret: the secrets, or webhook.ca_file, cannot be read"),
        ({"ca_file": "/nowhere"}, "secret: the secrets, or webhook.ca_file, cannot be read"),
        ({"url": "http://no-such-host.invalid/"}, "name: the host in webhook.url has no address"),
        ({"allow": ()}, "address: the host is on an address that must not be called"),
        ({"url": "http://127.0.0.1:1/"}, "connect: the receiver cannot be reached"),
    ],
)
def test_why_an_endpoint_cannot_be_called_is_said(tmp_path, changes, words):
    sink = WebhookSink()

    assert failure(check(hook(sink, tmp_path, **changes), sink)).startswith(words)


def test_an_endpoint_gets_a_test_event_if_that_is_wanted(tmp_path):
    sink = WebhookSink()

    found = check(hook(sink, tmp_path), sink, write=True)

    assert states(found)["ping"] is OK
    [call] = sink.calls
    assert call.signed
    assert call.event["type"].endswith("test")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (401, "ping: the receiver refuses our signature"),
        (404, "ping: there is nobody for POST at this path"),
        (410, "ping: the receiver says that the endpoint is gone"),
        ((302, {"Location": "/elsewhere"}), "ping: the receiver sends us elsewhere"),
        (500, "ping: the receiver did not accept the test event"),
    ],
)
def test_why_a_test_event_is_not_accepted_is_said(tmp_path, answer, words):
    sink = WebhookSink(answer)

    assert failure(check(hook(sink, tmp_path), sink, write=True)).startswith(words)


def test_every_endpoint_is_checked_under_its_own_name(tmp_path):
    sink = WebhookSink()

    def make():
        first = hook(sink, tmp_path)().webhook
        second = hook(sink, tmp_path, allow=())().webhook
        return NotifierSettings(webhook=first, webhooks={"pager": second})

    found = check(make, sink)

    assert [(f.channel, f.step) for f in found if f.state is FAILS] == [("webhook-pager", "address")]
    assert [f.step for f in found if f.channel == "webhook" and f.state is OK] == [
        "secret",
        "name",
        "address",
        "connect",
    ]


def test_an_endpoint_without_tls_where_it_should_be_is_said(tmp_path):
    sink = WebhookSink()

    def make():
        return hook(sink, tmp_path, url=f"https://127.0.0.1:{sink.port}/hook")()

    assert failure(check(make, sink)).startswith("tls: the receiver speaks no TLS that we speak")


def test_an_endpoint_with_a_strangers_certificate_is_said(tmp_path, tls):
    sink = WebhookSink(tls=tls)

    def make():
        return hook(sink, tmp_path, url=f"https://localhost:{sink.port}/hook")()

    assert failure(check(make, sink)).startswith("tls: the receiver's certificate is not believed")


# -- the command


def test_people_are_read(tmp_path):
    good, bad = tmp_path / "wishes.toml", tmp_path / "users.csv"
    good.write_text("")
    bad.write_text("nonsense\n1\n")
    people = PeopleSettings(directory_file=str(bad), preferences_file=str(good))

    found = check(lambda: NotifierSettings(people=people))

    assert states(found) == {"directory": FAILS, "preferences": OK}


def test_a_template_that_fails_on_some_calls_is_said_with_the_kind_of_call(tmp_path):
    (tmp_path / "notice.txt").write_text("Ring\n{{ caller.number if not caller.anonymous else callre }}\n")

    found = check(lambda: NotifierSettings(people=PeopleSettings(templates_folder=str(tmp_path))))

    assert failure(found) == (
        "templates: notify.people.templates_folder: notice.txt: line 2: UndefinedError: 'callre' is undefined"
        " (de: missed, caller-cancelled, anonymous caller)"
    )


def test_the_command_prints_a_line_for_each_step_and_says_by_its_status_whether_something_fails(
    tmp_path, capsys
):
    config = tmp_path / "missedcall.toml"
    config.write_text(
        '[notify.smtp]\nhost = "127.0.0.1"\nport = 1\nsender = "m@example.com"\nalways = ["b@example.com"]\n'
    )

    assert main(["check", "--config", str(config)]) == 1

    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("smtp connect         fails: the relay cannot be reached (connect ")
    assert out[1] == "smtp tls             not tested: connect comes first"


def test_the_service_is_checked_by_its_own_variables(capsys):
    environment = {
        "MISSEDCALL_NOTIFY_SMTP_HOST": "127.0.0.1",
        "MISSEDCALL_NOTIFY_SMTP_PORT": "1",
        "MISSEDCALL_NOTIFY_SMTP_SENDER": "m@example.com",
        "MISSEDCALL_NOTIFY_SMTP_ALWAYS": "b@example.com",
    }

    assert check_service([], environment) == 1
    assert capsys.readouterr().out.startswith("smtp connect         fails: ")
    assert check_service([], {"MISSEDCALL_NOTIFY_SMTP_HOST": "127.0.0.1"}) == 2
    assert "MISSEDCALL_NOTIFY_SMTP_SENDER" in capsys.readouterr().err


def test_nothing_to_check_is_no_success(tmp_path, capsys):
    config = tmp_path / "missedcall.toml"
    config.write_text("")

    assert main(["check", "--config", str(config)]) == 1
    assert capsys.readouterr().err == "nothing to check: no channel is on\n"


def test_a_configuration_that_cannot_be_used_is_not_checked(tmp_path, capsys):
    config = tmp_path / "missedcall.toml"
    config.write_text('[notify.smtp]\nhost = "x"\n')

    assert main(["check", "--config", str(config)]) == 2
    assert "notify.smtp.sender" in capsys.readouterr().err
