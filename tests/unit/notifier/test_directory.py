import pytest
from hypothesis import given
from hypothesis import strategies as st

from missedcall_notifier.people import phone
from missedcall_notifier.people.directory import Directory
from missedcall_schemas.records import Party, Person

ANNA = Person(
    addresses=("sip:Anna.Berg@example.org", "sip:+493023125001@example.org"),
    name="Anna Berg",
    mailbox="anna.berg@example.org",
    numbers=("+49 30 23125001", "030 23125099"),
    extension="613",
)
PAUL = Person(addresses=("sip:paul@example.org",), name="Paul", numbers=("030 23125099",), extension="614")
DIRECTORY = Directory([ANNA, PAUL], "DE")


@pytest.mark.parametrize(
    ("address", "person"),
    [
        ("sip:anna.berg@example.org", ANNA),
        ("sip:ANNA.BERG@example.org", ANNA),
        ("tel:+493023125001", ANNA),
        ("sip:+493023125001@somewhere.example", ANNA),
        ("sip:03023125001@somewhere.example", ANNA),
        ("sip:613@example.org", ANNA),
        ("sip:613@elsewhere.example", None),  # another telephone system's 613
        ("tel:613", None),
        ("sip:614@example.org", PAUL),
        ("sip:+493023125099@example.org", None),  # shared: names nobody
        ("sip:anna.berg@elsewhere.example", None),
        ("sip:eve@example.org", None),
        ("", None),
        ("sip:", None),
        ("mailto:anna.berg@example.org", None),
    ],
)
def test_a_user_is_found_by_address_number_and_extension(address, person):
    assert DIRECTORY.user(address) is person


def test_a_caller_is_found_by_the_number_that_the_network_gives():
    caller = Party(uri="sip:trunk@provider.example", number="+493023125001")

    assert DIRECTORY.caller(caller) is ANNA


def test_an_anonymous_caller_is_found_by_nothing():
    caller = Party(uri="sip:anna.berg@example.org", number="+493023125001", anonymous=True)

    assert DIRECTORY.caller(caller) is None


def test_a_caller_of_whom_nothing_is_known_is_nobody():
    assert Directory([Person(addresses=("tel:613",), extension="613")]).caller(Party()) is None


def test_a_mailbox_of_two_people_is_nobodys():
    shared = Directory([ANNA, Person(addresses=("sip:x@example.org",), mailbox="Anna.Berg@example.org")])

    assert DIRECTORY.reader("anna.berg@EXAMPLE.org") is ANNA
    assert shared.reader("anna.berg@example.org") is None


@pytest.mark.parametrize(
    ("text", "region", "read"),
    [
        ("613", "DE", phone.Phone(shown="613", extension="613")),
        ("tel:613", "DE", phone.Phone(shown="613", extension="613")),
        ("110", "DE", phone.Phone(shown="110", extension="110")),
        ("+493023125001", "DE", phone.Phone("+493023125001", "030 23125001", "tel:+49-30-23125001")),
        ("+493023125001", "AT", phone.Phone("+493023125001", "+49 30 23125001", "tel:+49-30-23125001")),
        ("030 23125001", "DE", phone.Phone("+493023125001", "030 23125001", "tel:+49-30-23125001")),
        ("004930 23125001", "DE", phone.Phone("+493023125001", "030 23125001", "tel:+49-30-23125001")),
        ("030 23125001", "", phone.Phone(shown="03023125001", extension="03023125001")),
        ("+12125550123", "DE", phone.Phone("+12125550123", "+1 212-555-0123", "tel:+1-212-555-0123")),
        ("anonymous", "DE", phone.Phone()),
        ("+49", "DE", phone.Phone()),
        ("", "DE", phone.Phone()),
        ("٠٣٠٢٣١٢٥٠٠١", "DE", phone.Phone()),  # digits, but nobody signals those
        ("1" * 60, "DE", phone.Phone()),
    ],
)
def test_a_number_is_one_of_the_world_only_if_the_plans_say_so(text, region, read):
    assert phone.read(text, region) == read


@given(st.text(max_size=60), st.sampled_from(["", "DE", "US"]))
def test_no_text_makes_reading_a_number_fail_and_a_link_is_always_safe(text, region):
    read = phone.read(text, region)

    assert not set(read.link) - set("tel:+-;x=0123456789")
    assert bool(read.e164) == bool(read.link)


@given(st.text(alphabet="sip:@0123456789+;=tel.ex ", max_size=60))
def test_no_address_makes_a_look_up_fail(address):
    DIRECTORY.user(address)
    DIRECTORY.caller(Party(uri=address, number=address))
