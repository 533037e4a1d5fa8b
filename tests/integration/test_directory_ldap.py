"""`missedcall directory ldap` against a real OpenLDAP."""

import base64

import pytest
import trustme
from support.slapd import ABSENT, BASE, PASSWORD, READER, Slapd

from missedcall_embedded.cli import main
from missedcall_notifier.people.tables import persons_of_csv
from missedcall_schemas.records import Person

pytestmark = [
    pytest.mark.skipif(bool(ABSENT), reason=ABSENT or "it is here"),
    pytest.mark.xdist_group("slapd"),
]

MANY = 1200
"""More than the server gives at once."""


def entry(uid, name, **attributes):
    lines = [
        f"dn: uid={uid},{BASE}",
        "objectClass: inetOrgPerson",
        "objectClass: lyncUser",
        f"uid: {uid}",
        "sn: x",
    ]
    lines.append(f"cn:: {base64.b64encode(name.encode()).decode()}")
    for attribute, values in attributes.items():
        named = attribute.replace("_", "-")
        lines += [f"{named}: {value}" for value in ([values] if isinstance(values, str) else values)]
    return "\n".join(lines) + "\n\n"


LDIF = entry(
    "anna",
    "Anna Größe",
    mail="anna.berg@example.org",
    msRTCSIP_PrimaryUserAddress="sip:Anna.Berg@Example.ORG",
    msRTCSIP_Line="tel:+493023125001;ext=613",
    proxyAddresses=["SMTP:anna.berg@example.org", "sip:613@example.org"],
    telephoneNumber="+49 30 23125001",
    preferredLanguage="de-AT, en;q=0.5",
    memberOf=[r"cn=Sales\, Berlin,ou=groups,dc=example,dc=org"],
) + "".join(entry(f"u{n}", f"User {n}", mail=f"u{n}@example.org", mobile=f"0151 {n:07}") for n in range(MANY))


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def slapd(tmp_path_factory, authority):
    folder = tmp_path_factory.mktemp("slapd")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    tls = f"TLSCertificateFile {folder}/cert.pem\nTLSCertificateKeyFile {folder}/key.pem"
    with Slapd(folder, LDIF, tls) as server:
        yield server


@pytest.fixture
def search(slapd, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n")
    out = tmp_path / "people.csv"

    def run(*more, url=slapd.url, base=BASE):
        given = ["--url", url, "--base", base, "--bind-dn", READER, "--password-file", str(secret)]
        return main(["directory", "ldap", *given, "--out", str(out), *more]), out

    return run


def test_a_user_of_lync_in_full(search, capsys):
    status, out = search()

    assert status == 0
    assert persons_of_csv(out.read_text()) == [
        Person(
            addresses=("sip:Anna.Berg@example.org", "sip:613@example.org"),
            name="Anna Größe",
            mailbox="anna.berg@example.org",
            numbers=("+493023125001", "+49 30 23125001"),
            extension="613",
            locale="de-AT",
            groups=("Sales, Berlin",),
        )
    ]
    assert out.stat().st_mode & 0o777 == 0o640
    assert f"left out: entry without an address: {MANY}\n" in capsys.readouterr().err


def test_more_users_than_the_server_gives_at_once(search):
    status, out = search("--address", "sip:{uid}@PBX.example.org", "--map", "numbers=mobile")

    persons = persons_of_csv(out.read_text())
    assert status == 0
    assert len(persons) == MANY + 1
    last = next(person for person in persons if person.addresses == ("sip:u1199@pbx.example.org",))
    assert last.numbers == ("0151 0001199",)


def test_the_password_is_sent_to_a_server_of_the_right_name_and_authority_only(
    search, slapd, tmp_path, capsys
):
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)

    status, out = search("--starttls", "--ca-file", str(stranger))
    assert (status, out.exists()) == (1, False)
    assert "ldap_start_tls" in capsys.readouterr().err

    other_name = f"ldap://localhost:{slapd.port}"
    status, out = search("--starttls", "--ca-file", str(slapd.folder / "ca.pem"), url=other_name)
    assert (status, out.exists()) == (1, False)

    status, out = search("--starttls", "--ca-file", str(slapd.folder / "ca.pem"))
    assert status == 0, capsys.readouterr().err
    assert len(persons_of_csv(out.read_text())) == 1


def test_a_search_that_finds_far_fewer_undoes_nothing(search, capsys):
    _, out = search("--address", "sip:{uid}@pbx.example.org")
    before = out.read_text()

    status, _ = search()
    assert (status, out.read_text()) == (1, before)
    assert f"has {MANY + 1} persons, the search found 1: --force if that is right" in capsys.readouterr().err

    assert search("--force")[0] == 0
    assert len(persons_of_csv(out.read_text())) == 1


@pytest.mark.parametrize(
    ("options", "more", "words"),
    [
        ({"base": "dc=elsewhere"}, (), "No such object (32)"),
        ({}, ("--filter", "(mail="), "Bad search filter"),
        ({}, ("--filter", "(uid=nobody)"), "the search found nobody with an address"),
        ({"url": "ldap://127.0.0.1:1"}, (), "Can't contact LDAP server"),
        ({"url": "ldap://ldap.example.org"}, (), "expected ldaps: or --starttls"),
        ({"url": "http://127.0.0.1"}, (), "expected ldaps://HOST or ldap://HOST"),
        ({}, ("--starttls",), "ldap_start_tls"),  # signed by nobody we believe: nothing is sent in clear
        ({}, ("--map", "shoe_size=x"), "--map 'shoe_size=x': expected FIELD=ATTRIBUTE"),
        ({}, ("--bind-dn", "cn=eve,dc=example,dc=org"), "Invalid credentials (49)"),
    ],
)
def test_what_is_wrong_is_said_and_no_file_is_written(search, capsys, options, more, words):
    status, out = search(*more, **options)

    assert status == 1
    assert words in capsys.readouterr().err
    assert not out.exists()
