import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from missedcall_common.runtime.settings import SettingsError, from_table
from missedcall_notifier.app import Notifier, ways_of
from missedcall_notifier.clock import SystemClock
from missedcall_notifier.journal import MemoryJournal
from missedcall_notifier.settings import (
    EwsSettings,
    NotifierSettings,
    PeopleSettings,
    SmtpSettings,
    WebhookSettings,
    from_environment,
    near,
    problems,
)
from missedcall_notifier.source import MemoryFacts

GOOD = """
time_zone = "Europe/Berlin"
[smtp]
host = "mail.example.com"
sender = "missed-calls@example.com"
pattern = "{user}@example.com"
hosts = ["example.com"]
[smtp.recipients]
"sip:bob@example.com" = "bob@mail.example.com"
[ews]
url = "https://exchange.example.com/EWS/Exchange.asmx"
username = 'EXAMPLE\\missedcall'
password_file = "ews.password"
sender = "missed-calls@example.com"
pattern = "{user}@example.com"
connections = 3
[graph]
tenant = "contoso.onmicrosoft.com"
client_id = "6731de76-14a6-49ae-97bc-6eba6914391e"
certificate_file = "app.pem"
sender = "missed-calls@example.com"
pattern = "{user}@example.com"
[webhook]
url = "https://hooks.example.com/calls"
secret_file = "webhook.secret"
allow = ["10.1.2.0/24"]
[webhooks.crm]
url = "https://crm.example.com/calls"
format = "cloudevents"
secret_file = "crm.secret"
"""


def read(text):
    return from_table(NotifierSettings, tomllib.loads(text))


def wrong(text):
    return [(key, right) for key, _, right in problems(read(text))]


def test_nothing_said_means_that_nothing_is_sent():
    assert ways_of(NotifierSettings(), SystemClock()) == []
    assert NotifierSettings().channels == ()


def test_all_channels_can_be_on():
    ways = ways_of(read(GOOD), SystemClock())

    assert [(way.channel.name, way.concurrency) for way in ways] == [
        ("smtp", 4),
        ("ews", 3),
        ("graph", 8),
        ("webhook", 8),
        ("webhook-crm", 8),
    ]
    assert read(GOOD).channels == ("smtp", "ews", "graph", "webhook", "webhook-crm")


def test_exchange_without_its_library_says_what_is_missing(monkeypatch):
    for module in [name for name in sys.modules if name.startswith("missedcall_notifier.channels.e")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "exchangelib", None)

    with pytest.raises(SettingsError, match=r"notify\.ews\.url is set: needs exchangelib"):
        ways_of(read(GOOD), SystemClock())


def test_exchange_online_without_its_library_says_what_is_missing(monkeypatch):
    for module in [name for name in sys.modules if name.startswith("missedcall_notifier.channels.graph")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "msal", None)

    with pytest.raises(SettingsError, match=r"notify\.graph\.tenant is set: needs msal"):
        ways_of(read(GOOD), SystemClock())


def test_what_can_be_repeated_without_harm_is_repeated_more_patiently_than_a_mail():
    smtp, *others = (way.policy.uncertain_attempts for way in ways_of(read(GOOD), SystemClock()))

    assert smtp < min(others)


def test_mailboxes_can_have_repeats_as_one_notice_and_endpoints_get_every_event():
    ways = ways_of(read(f"repeats_s = 600.0\n{GOOD}"), SystemClock())

    assert {way.channel.name: way.repeats_s for way in ways} == {
        "smtp": 600.0,
        "ews": 600.0,
        "graph": 600.0,
        "webhook": 0.0,
        "webhook-crm": 0.0,
    }


@pytest.mark.parametrize("seconds", [-1, 86401])
def test_the_window_of_repeats_is_a_day_at_most(seconds):
    with pytest.raises(SettingsError, match="repeats_s"):
        read(f"repeats_s = {seconds}\n{GOOD}")


@pytest.mark.parametrize(("security", "port"), [("none", 25), ("starttls", 587), ("tls", 465)])
def test_the_port_follows_from_the_security(security, port):
    assert SmtpSettings(security=security).actual_port == port


@dataclass
class Case:
    text: str
    key: str
    right: str


EWS = """url = "https://x/EWS/Exchange.asmx"\nusername = "u"\npassword_file = "f"\nsender = "a@b.example"
always = ["a@b.example"]
"""
EWS_CASES = [
    ('url = "http://x/EWS/Exchange.asmx"', "ews.url", "ews.insecure_http = true"),
    ('url = "x"', "ews.url", "https://HOST/PATH"),
    (
        'url = "https://outlook.office365.com/EWS/Exchange.asmx"',
        "ews.url",
        "Exchange Online turns EWS off",
    ),
    ('username = ""', "ews.username", "account"),
    ('password_file = ""', "ews.password_file", "password or client secret"),
    ('auth = "oauth"', "ews.token_url", "https://HOST/PATH"),
    (
        'auth = "oauth"\ntoken_url = "http://x/token"\ninsecure_http = true',
        "ews.token_url",
        "expected https:",
    ),
    ('token_url = "https://x/token"', "ews.token_url", "only with"),
    ('scope = "s"', "ews.scope", "only with"),
    ('sender = ""', "ews.sender", "mail address of yours"),
    ("always = []", "ews.recipients", "nobody would be told"),
    ('always = ["bob"]', "ews.always", "mail address"),
    ('pattern = "{user}@{host}"', "ews.hosts", "on the wire"),
    ('recipients = {bob = "b@b.example"}', "ews.recipients", "address of record"),
]


def wrong_ews(changes):
    """Return what is wrong with good settings after `changes`, a TOML text."""
    given = tomllib.loads(EWS) | tomllib.loads(changes)
    return [(key, right) for key, _, right in problems(from_table(NotifierSettings, {"ews": given}))]


@pytest.mark.parametrize(("changes", "key", "right"), EWS_CASES)
def test_settings_of_exchange_that_contradict_each_other_are_named(changes, key, right):
    [(found, expected)] = wrong_ews(changes)

    assert found == key
    assert right in expected


@pytest.mark.parametrize(
    "item_class", ["IPM.Appointment", "ipm.note", "IPM.Note.", "IPM.Note.a b", "IPM.Notes"]
)
def test_an_item_class_is_one_that_a_message_can_have(item_class):
    with pytest.raises(SettingsError, match=r"ews\.item_class = .*expected IPM\.Note, or a class below it"):
        wrong_ews(f'item_class = "{item_class}"')


def test_a_scope_follows_from_the_url():
    assert (
        EwsSettings(url="https://mail.example.com:444/EWS/Exchange.asmx").actual_scope
        == "https://mail.example.com/.default"
    )


@pytest.mark.parametrize(
    "case",
    [
        Case('time_zone = "Europe/Bonn"', "time_zone", "IANA"),
        Case('time_zone = "../../etc/passwd"', "time_zone", "IANA"),
        Case('[smtp]\nhost = "m"\nalways = ["a@b.example"]', "smtp.sender", "mail address of yours"),
        Case('[smtp]\nhost = "m"\nsender = "a@b.example"', "smtp.recipients", "nobody would be told"),
        Case(
            '[smtp]\nhost = "m"\nsender = "a@b.example"\npattern = "{user}@{host}"',
            "smtp.hosts",
            "on the wire",
        ),
        Case(
            '[smtp]\nhost = "m"\nsender = "a@b.example"\npattern = "{user}"',
            "smtp.pattern",
            "{user}@example.com",
        ),
        Case('[smtp]\nhost = "m"\nsender = "a@b.example"\nalways = ["bob"]', "smtp.always", "mail address"),
        Case(
            '[smtp]\nhost = "m"\nsender = "a@b.example"\nalways = ["a@b.example"]\nusername = "u"',
            "smtp.password_file",
            "together",
        ),
        Case(
            '[smtp]\nhost = "m"\nsender = "a@b.example"\nalways = ["a@b.example"]\nusername = "u"\n'
            'password_file = "f"\nsecurity = "none"',
            "smtp.security",
            "in clear",
        ),
        Case(
            '[smtp]\nhost = "m"\nsender = "a@b.example"\nrecipients = {bob = "b@b.example"}',
            "smtp.recipients",
            "address of record",
        ),
        Case('[webhook]\nurl = "http://x/"\nsecret_file = "f"', "webhook.url", "insecure_http"),
        Case('[webhook]\nurl = "ftp://x/"\nsecret_file = "f"', "webhook.url", "https://HOST/PATH"),
        Case('[webhook]\nurl = "https://[x/"\nsecret_file = "f"', "webhook.url", "https://HOST/PATH"),
        Case('[webhook]\nurl = "https://u:p@x/"\nsecret_file = "f"', "webhook.url", "no user and password"),
        Case('[webhook]\nurl = "https://x/"', "webhook.secret_file", "whsec_"),
        Case(
            '[webhook]\nurl = "https://x/"\nsecret_file = "f"\nallow = ["10.0.0.1/8"]',
            "webhook.allow",
            "without host bits",
        ),
    ],
    ids=lambda case: case.key,
)
def test_settings_that_contradict_each_other_are_named(case):
    [(key, right)] = wrong(case.text)

    assert key == case.key
    assert case.right in right


def test_a_login_in_clear_is_allowed_on_this_machine():
    text = """
        [smtp]
        host = "127.0.0.1"
        sender = "a@b.example"
        always = ["a@b.example"]
        username = "u"
        password_file = "f"
        security = "none"
    """

    assert wrong(text) == []


def test_a_user_and_password_in_a_url_are_not_repeated():
    [problem] = problems(read('[webhook]\nurl = "https://u:geheim@x/"\nsecret_file = "f"'))

    assert "geheim" not in str(problem)


GRAPH_CASES = [
    ('tenant = "common"', "graph.tenant", "tenant's id"),
    ('tenant = "a/b"', "graph.tenant", "tenant's id"),
    ('client_id = ""', "graph.client_id", "(client) id"),
    ('certificate_file = ""', "graph.secret_file", "graph.certificate_file"),
    ('secret_file = "both"', "graph.secret_file", "not both"),
    ('authority = "http://login.example"', "graph.authority", "expected https:"),
    ('endpoint = "graph.microsoft.us"', "graph.endpoint", "https://HOST/PATH"),
    ('sender = ""', "graph.sender", "mail address of yours"),
    ('pattern = ""', "graph.recipients", "nobody would be told"),
    ('pattern = "{user}@{host}"', "graph.hosts", "on the wire"),
]


@pytest.mark.parametrize(("changes", "key", "right"), GRAPH_CASES)
def test_settings_of_exchange_online_that_contradict_each_other_are_named(changes, key, right):
    given = tomllib.loads(GOOD)["graph"] | tomllib.loads(changes)
    [(found, _, expected)] = problems(from_table(NotifierSettings, {"graph": given}))

    assert found == key
    assert right in expected


def test_a_notifier_does_not_start_with_settings_that_contradict_each_other():
    settings = NotifierSettings(webhook=WebhookSettings(url="https://x/"))

    with pytest.raises(SettingsError, match=r"notify\.webhook\.secret_file = ''"):
        ways_of(settings, SystemClock())


def test_files_are_found_beside_the_configuration():
    moved = near(read(GOOD), Path("/etc/missedcall"))

    assert moved.webhook.secret_file == "/etc/missedcall/webhook.secret"
    assert moved.ews.password_file == "/etc/missedcall/ews.password"
    assert moved.graph.certificate_file == "/etc/missedcall/app.pem"
    assert moved.ews.ca_file == moved.smtp.password_file == ""


def test_the_environment_says_the_same():
    environ = {
        "MISSEDCALL_NOTIFY_SMTP_HOST": "mail.example.com",
        "MISSEDCALL_NOTIFY_SMTP_SENDER": "missed-calls@example.com",
        "MISSEDCALL_NOTIFY_SMTP_ALWAYS": "a@example.com, b@example.com",
        "MISSEDCALL_NOTIFY_SMTP_RETRY_FIRST_S": "7.5",
    }

    smtp = from_environment(environ).smtp

    assert (smtp.always, smtp.retry.first_s) == (("a@example.com", "b@example.com"), 7.5)


def test_a_contradiction_in_the_environment_names_the_variable():
    with pytest.raises(SettingsError, match="MISSEDCALL_NOTIFY_WEBHOOK_SECRET_FILE"):
        from_environment({"MISSEDCALL_NOTIFY_WEBHOOK_URL": "https://x/"})


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[webhooks.crm]\nurl = "http://x/"\nsecret_file = "s"', "webhooks.crm.url"),
        ('[webhooks.crm]\nurl = "https://x/"', "webhooks.crm.secret_file"),
        ('[webhooks.crm]\nurl = "https://x/"\nsecret_file = "s"\nname = "erp"', "webhooks.crm.name"),
        ('[webhooks."C R M"]\nurl = "https://x/"\nsecret_file = "s"', "webhooks.C R M.name"),
    ],
)
def test_what_is_wrong_with_a_further_endpoint_is_named_by_its_table(text, key):
    assert [found for found, _ in wrong(text)] == [key]


def test_the_secrets_of_further_endpoints_are_beside_the_configuration_too():
    assert near(read(GOOD), Path("/etc/mc")).webhooks["crm"].secret_file == "/etc/mc/crm.secret"


OAUTH = """[smtp]
host = "m"
sender = "a@b.example"
always = ["a@b.example"]
auth = "oauth"
username = "a@b.example"
password_file = "f"
client_id = "c"
token_url = "https://x/token"
scope = "s"
"""


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("", None),
        ('client_id = ""', "smtp.client_id"),
        ('scope = ""', "smtp.scope"),
        ('token_url = "http://x/token"', "smtp.token_url"),
        ('token_url = "http://127.0.0.1:1/token"', None),
        ('auth = "password"', "smtp.auth"),
        ('security = "none"', "smtp.security"),
    ],
)
def test_a_token_for_a_relay_needs_all_of_its_settings(line, key):
    name = line.partition(" =")[0]
    kept = "\n".join(given for given in OAUTH.splitlines() if not line or not given.startswith(f"{name} "))

    assert [found for found, _ in wrong(f"{kept}\n{line}")] == ([key] if key else [])


def test_the_files_about_people_are_looked_for_beside_the_configuration():
    given = PeopleSettings(directory_file="people.csv", templates_folder="templates")

    people = near(NotifierSettings(people=given), Path("/etc/missedcall")).people

    assert people.directory_file == "/etc/missedcall/people.csv"
    assert people.templates_folder == "/etc/missedcall/templates"
    assert people.preferences_file == ""


@pytest.mark.parametrize(
    ("people", "key"),
    [
        ({"region": "XX"}, "people.region"),
        ({"language": "klingon"}, "people.language"),
        ({"topics": True, "directory_file": "people.csv"}, "people.directory_file"),
    ],
)
def test_what_is_wrong_about_people_is_named(people, key):
    assert [problem.key for problem in problems(NotifierSettings(people=PeopleSettings(**people)))] == [key]


def test_users_from_topics_need_kafka():
    settings = NotifierSettings(people=PeopleSettings(topics=True))

    with pytest.raises(SettingsError, match="there is no Kafka here"):
        Notifier(settings, MemoryFacts(), MemoryJournal())
