import math
from datetime import UTC
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from support.notify import NOW, make_fact, make_notices, make_retraction

from missedcall_notifier.channels.item import CALL_ID_LIMIT, CallItem, key_of, read, write
from missedcall_notifier.channels.mail import message_id
from missedcall_notifier.channels.port import UnrenderableError
from missedcall_notifier.delivery import intent
from missedcall_notifier.notices import SUBJECT_LIMIT
from missedcall_notifier.reader import Reader
from missedcall_notifier.settings import EwsSettings
from missedcall_schemas.records import Party

SETTINGS = EwsSettings(sender="missed-calls@example.com")


def item(fact=None, zone=UTC, **changes) -> CallItem:
    return read(written(fact or make_fact(**changes), zone))


def written(fact, zone=UTC, reader=None) -> bytes:
    delivery = intent(fact, "ews", "bob@example.com", NOW, reader=reader or Reader())
    return write(delivery, SETTINGS, make_notices(zone=zone))


def test_an_item_in_full():
    assert item() == CallItem(
        subject="Missed call from +49 30 123 (“Alice”)",
        text=item().text,
        shown_caller="+49 30 123 (“Alice”)",
        number="+4930123",
        name="Alice",
        call_id="a84b4c76e66710@pc33.example.com",
        fact_id="fact-1",
        message_id="<" + message_id(make_fact(), "example.com")[1:],
        at=NOW,
        urgent=False,
    )


def test_the_same_fact_gives_the_same_bytes():
    assert written(make_fact()) == written(make_fact())


def test_the_text_has_the_callees_time_and_the_item_the_calls():
    berlin = item(zone=ZoneInfo("Europe/Berlin"))

    assert "11:42" in berlin.text
    assert berlin.at == NOW


def test_a_correction_is_found_by_the_fact_that_it_corrects():
    fact = make_fact()

    notice, correction = (intent(one, "ews", "bob@example.com", NOW) for one in (fact, make_retraction(fact)))
    assert key_of(correction) == key_of(notice)
    assert item(make_retraction(fact)).subject == "Not missed after all: call from +49 30 123 (“Alice”)"


@pytest.mark.parametrize("changes", [{"anonymous": True}, {"uri": "", "number": "", "display_name": ""}])
def test_who_is_not_known_has_neither_number_nor_name(changes):
    given = {"uri": "sip:a@b.example", "number": "+4930123", "display_name": "Alice"} | changes

    found = item(caller=Party(**given))

    assert (found.number, found.name) == ("", "")
    assert "Alice" not in found.text + found.shown_caller + found.subject


def test_a_caller_whom_the_directory_knows_has_the_directorys_name():
    found = read(written(make_fact(), reader=Reader(caller_name="Alice Miller", region="DE")))

    assert (found.shown_caller, found.name, found.number) == (
        "Alice Miller (030 123)",
        "Alice Miller",
        "+4930123",
    )


def test_a_call_without_any_time_cannot_be_written():
    with pytest.raises(UnrenderableError):
        item(rang_at=math.nan, ended_at=math.inf, decided_at=-1.0)


@settings(deadline=None)  # the first one reads a locale
@given(
    name=st.text(max_size=400),
    call_id=st.text(max_size=400),
    number=st.text(max_size=200),
    callee=st.text(max_size=200),
    fact_id=st.text(max_size=200),
)
def test_whatever_the_signalling_says_an_item_is_bounded_and_can_be_put_into_xml(
    name, call_id, number, callee, fact_id
):
    party = Party(uri=callee, number=number, display_name=name, source="from")
    fact = make_fact(fact_id, caller=party, call_id=call_id, callee=callee, also_rang=(name, callee))

    found = item(fact)

    assert len(found.subject) <= SUBJECT_LIMIT
    assert len(found.call_id) <= CALL_ID_LIMIT
    for text in (value for value in msgspec.structs.astuple(found) if isinstance(value, str)):
        etree.Element("x").text = text  # raises for what XML 1.0 cannot hold
