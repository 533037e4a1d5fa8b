import pytest

from missedcall_notifier.people.log import DIRECTORY, PREFERENCES, PeopleLog, RecordError
from missedcall_notifier.people.preferences import Wishes
from missedcall_schemas.codec import encode_person, encode_preferences
from missedcall_schemas.records import Person, Preferences

ANNA = Person(addresses=("sip:anna@example.org", "sip:613@example.org"), extension="613")
PAUL = Person(addresses=("sip:paul@example.org", "sip:613@example.org"))
WISHES = Wishes(
    everybody=Preferences(min_ring_s=1.0), users={"sip:anna@example.org": Preferences(notices=True)}
)


def heard(*records):
    log = PeopleLog()
    for topic, name, value in records:
        log.hear(topic, name.encode(), value)
    return log


def people(log):
    return log.people("DE", WISHES)


def test_the_last_record_of_a_key_counts_and_one_without_a_value_deletes():
    log = heard(
        (DIRECTORY, "sip:anna@example.org", encode_person(Person(addresses=("sip:old@example.org",)))),
        (DIRECTORY, "sip:anna@example.org", encode_person(ANNA)),
        (DIRECTORY, "sip:paul@example.org", encode_person(PAUL)),
        (DIRECTORY, "sip:paul@example.org", None),
    )

    assert people(log).directory.user("sip:anna@example.org") == ANNA
    assert people(log).directory.user("sip:old@example.org") is None
    assert log.keys(DIRECTORY) == {"sip:anna@example.org"}


def test_an_address_that_two_claim_is_that_of_the_first_key_in_whatever_order_they_come():
    records = [
        (DIRECTORY, "sip:anna@example.org", encode_person(ANNA)),
        (DIRECTORY, "sip:paul@example.org", encode_person(PAUL)),
    ]

    for order in (records, records[::-1]):
        assert people(heard(*order)).directory.user("sip:613@example.org") == ANNA


def test_a_users_choice_on_the_topic_comes_before_that_of_the_file():
    name = "sip:Anna@Example.org"
    log = heard((PREFERENCES, name, encode_preferences(Preferences(notices=False))))

    assert not people(log).wishes.of("sip:anna@example.org", None).notices
    assert people(log).wishes.of("sip:anna@example.org", None).min_ring_s == 1.0
    log.hear(PREFERENCES, name.encode(), None)
    assert people(log).wishes.of("sip:anna@example.org", None).notices


@pytest.mark.parametrize(
    ("topic", "value", "error"),
    [
        (DIRECTORY, b"{", "Input data was truncated"),
        (DIRECTORY, b"{}", "Object missing required field `addresses`"),
        (DIRECTORY, b'{"addresses":["anna"]}', "addresses: expected addresses of record"),
        (PREFERENCES, b'{"quiet_hours":"late"}', 'quiet_hours: expected "22:00-07:00"'),
    ],
)
def test_a_record_that_is_not_right_is_as_none(topic, value, error):
    name = b"sip:anna@example.org"
    log = heard((topic, name.decode(), encode_person(ANNA) if topic == DIRECTORY else b"{}"))

    with pytest.raises(RecordError, match=error):
        log.hear(topic, name, value)
    assert log.keys(topic) == set()


def test_a_channel_of_a_newer_release_costs_nobody_the_record():
    log = heard((DIRECTORY, "x", b'{"addresses":["sip:anna@example.org"],"channels":["pigeon"]}'))

    assert people(log).directory.user("sip:anna@example.org").channels == ("pigeon",)
