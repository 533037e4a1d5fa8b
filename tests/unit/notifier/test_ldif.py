from hypothesis import given
from hypothesis import strategies as st

from missedcall_notifier.people.ldif import attributes, entries, persons
from missedcall_notifier.people.tables import csv_of_persons, persons_of_csv
from missedcall_schemas.records import Person

LDIF = """\
# refldap://elsewhere.example/DC=x

dn: CN=Anna,DC=example,DC=org
mail: anna@example.org
displayName: Anna Berg, a name that is so long that it was
  broken over two lines
jpegPhoto:: /9j/4AAQSkZJRgABAQ==
proxyAddresses: SIP:anna@Example.ORG
proxyAddresses: smtp:anna@example.org
ipPhone: 613

dn: CN=Paul,DC=example,DC=org
proxyAddresses: sip:paul@example.org
proxyAddresses: sip:anna@example.org
mail: no mail address
telephoneNumber: ask the desk

dn: CN=Printer,DC=example,DC=org
mail: printer@example.org
"""


def test_entries_become_persons_and_what_is_not_right_is_counted():
    found, left_out = persons(entries(LDIF))

    assert found == [
        Person(
            addresses=("sip:anna@example.org",),
            name="Anna Berg, a name that is so long that it was broken over two lines",
            mailbox="anna@example.org",
            extension="613",
        ),
        Person(addresses=("sip:paul@example.org",)),
    ]
    assert left_out == {
        "wrong mailbox": 1,
        "wrong numbers": 1,
        "address of another entry": 1,
        "entry without an address": 1,
    }


def test_an_address_can_be_made_of_attributes():
    found, _ = persons(
        entries("dn: x\nuid: eve\n"), patterns=["sip:{uid}@PBX.example.org", "sip:{pager}@x.example"]
    )

    assert [person.addresses for person in found] == [("sip:eve@pbx.example.org",)]
    assert attributes({"mailbox": ("mail",)}, ["sip:{uid}@x"]) == ["mail", "uid"]


LINES = st.lists(
    st.sampled_from(
        [
            "dn: x",
            "",
            " more",
            "mail: a@b.example",
            "mail:: !",
            "cn:: w6Q=",
            "cn:: /w==",
            "proxyAddresses: sip:@",
            "#",
            "proxyAddresses: sip:a@b.example",
            "proxyAddresses: sip:c;d@b.example",
            "displayName: a;b",
            ":",
            "::",
            "memberOf: cn=",
            "preferredLanguage: de-AT,en",
            "preferredLanguage: ;",
            "msRTCSIP-Line: tel:+49;ext=x",
            "telephoneNumber: 030 1",
        ]
    ),
    max_size=30,
)


@given(LINES)
def test_whatever_a_server_says_the_persons_can_be_written_and_read_again(lines):
    found, _ = persons(entries("\n".join(lines)))

    assert not found or persons_of_csv(csv_of_persons(found)) == found
