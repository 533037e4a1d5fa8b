import pytest
from ews_server.schema import FOLDER, Schemas
from exchangelib import errors
from lxml import etree
from support.ews import NO_SCHEMAS

from missedcall_notifier.channels.exchange_answers import (
    DENIED,
    ROWS,
    SETTLE_S,
    Answer,
    classify,
    failed,
    read_answer,
)
from missedcall_notifier.failure import Failed, Failure

F = Failure

FAULT = b"""<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">
<s:Body><s:Fault><faultcode>a:ErrorServerBusy</faultcode><detail>
<e:ResponseCode xmlns:e="x">ErrorServerBusy</e:ResponseCode>
<e:Message xmlns:e="x">busy</e:Message><t:MessageXml xmlns:t="x">
<t:Value Name="BackOffMilliseconds">297749</t:Value></t:MessageXml></detail></s:Fault></s:Body></s:Envelope>"""

MIXED = b"""<s:Envelope xmlns:s="x"><s:Body><m:FindItemResponse xmlns:m="y">
<m:FindItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>
</m:FindItemResponseMessage>
<m:FindItemResponseMessage ResponseClass="Error">
<m:MessageText>&lt;ResponseCode&gt;ErrorX&lt;/ResponseCode&gt;</m:MessageText>
<m:ResponseCode>ErrorFolderNotFound</m:ResponseCode></m:FindItemResponseMessage></m:FindItemResponse></s:Body></s:Envelope>"""


def test_a_fault_says_its_code_and_for_how_long():
    assert read_answer(500, FAULT) == Answer(True, 500, True, "ErrorServerBusy", 297.749)


def test_the_first_error_of_several_messages_counts_and_no_text_is_taken_for_a_code():
    assert read_answer(200, MIXED).code == "ErrorFolderNotFound"


def test_what_a_proxy_says_is_no_soap():
    assert read_answer(502, FAULT) == Answer(True, 502)
    assert read_answer(200, b"<html>ErrorServerBusy</html>") == Answer(True, 200)


def test_a_page_that_never_ends_costs_no_time():  # unbounded, the pattern took minutes
    body = b"<s:Envelope " + b"<m:ResponseCode " * 60_000 + b"<t:Value " * 10_000

    assert read_answer(200, body).code == ""


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (Answer(), F.CHANNEL_DOWN),
        (Answer(sent=True), F.UNCERTAIN),
        (Answer(True, 200, soap=True), F.UNCERTAIN),
        (Answer(True, 200), F.UNCERTAIN),
        (Answer(True, 302), F.CHANNEL_DOWN),
        (Answer(True, 400), F.UNCERTAIN),
        (Answer(True, 401), F.CHANNEL_DOWN),
        (Answer(True, 403), F.CHANNEL_DOWN),
        (Answer(True, 404), F.CHANNEL_DOWN),
        (Answer(True, 413), F.PERMANENT_ITEM),
        (Answer(True, 429), F.THROTTLED),
        (Answer(True, 500), F.UNCERTAIN),
        (Answer(True, 502), F.UNCERTAIN),
        (Answer(True, 503), F.UNCERTAIN),
        (Answer(True, 999), F.UNCERTAIN),
        (Answer(True, 500, soap=True, code="ErrorServerBusy"), F.THROTTLED),
        (Answer(True, 200, soap=True, code="ErrorOfTheYear2031"), F.UNCERTAIN),
    ],
    ids=str,
)
def test_how_far_a_request_came_tells_what_it_means(answer, failure):
    assert classify(answer, welcome=False) is failure


@pytest.mark.parametrize("code", sorted(DENIED))
def test_a_refusal_is_about_the_account_until_it_was_let_in_somewhere(code):
    answer = Answer(True, 200, soap=True, code=code)

    assert classify(answer, welcome=False) is F.CHANNEL_DOWN
    assert classify(answer, welcome=True) is F.SLOW


def test_a_search_is_never_uncertain():
    assert failed("find", Answer(sent=True), "ReadTimeout", welcome=True) == Failed(
        F.TRANSIENT, "find ReadTimeout"
    )
    assert failed("create", Answer(sent=True), "ReadTimeout", welcome=True) == Failed(
        F.UNCERTAIN, "create ReadTimeout", SETTLE_S
    )


CODES = sorted({code for codes, _ in ROWS for code in codes})

NOT_STORED = {F.THROTTLED, F.TRANSIENT, F.SLOW, F.PERMANENT_RECIPIENT, F.PERMANENT_ITEM, F.CHANNEL_DOWN}


def schema_codes() -> set[str]:
    if Schemas.find() is None:
        pytest.skip(NO_SCHEMAS)
    tree = etree.parse(FOLDER / "messages.xsd")
    xs = "{http://www.w3.org/2001/XMLSchema}"
    kind = tree.find(f".//{xs}simpleType[@name='ResponseCodeType']")
    return {e.get("value") for e in kind.iter(f"{xs}enumeration")}


def test_every_code_of_a_row_is_one_of_exchange():
    assert set(CODES) - schema_codes() == set()


def test_every_code_of_exchange_has_a_meaning_and_those_without_a_row_may_have_stored():
    meanings = {
        code: classify(Answer(True, 200, True, code), welcome=False) for code in schema_codes() - {"NoError"}
    }

    assert len(meanings) > 400
    assert {code for code, failure in meanings.items() if failure in NOT_STORED} == set(CODES)


def test_every_error_of_the_library_has_a_meaning():
    names = [name for name in vars(errors) if name.startswith("Error")]

    assert len(names) > 300
    assert all(isinstance(classify(Answer(True, 200, True, name), welcome=False), Failure) for name in names)
