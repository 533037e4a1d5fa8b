"""RFC 4475, message by message: what each of them must give (`expected.toml`), and why."""

import tomllib

import pytest
from support.sip_text import SAMPLES, TORTURE, read_everything

from missedcall_common.sip import headers as h
from missedcall_common.sip.message import SipError, SipHead, parse
from missedcall_common.sip.peek import cut, looks_like_sip, peek
from missedcall_common.sip.uri import address_of_record, parse_uri

EXPECTED = tomllib.loads((TORTURE / "expected.toml").read_text("utf-8"))
REFUSED = {name for name, expected in EXPECTED.items() if "refused" in expected}
UNDERSTOOD = EXPECTED.keys() - REFUSED


def aor(head: SipHead, name: str) -> str:
    return address_of_record(h.parse_name_addr(head.first(name)).uri)


def test_every_sample_has_an_expectation():
    assert EXPECTED.keys() == SAMPLES.keys()


@pytest.mark.parametrize("name", sorted(UNDERSTOOD))
def test_is_understood(name):
    head = parse(SAMPLES[name])

    assert EXPECTED[name] == {
        "start": head.status or head.method,
        "uri": address_of_record(head.request_uri),
        "call_id": head.first("call-id"),
        "cseq": list(h.cseq(head)),
        "caller": aor(head, "from"),
        "callee": aor(head, "to"),
        "branches": list(h.branches(head)),
        "media": list(h.media_types(head.body)),
    }


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_is_refused_with_the_reason(name):
    with pytest.raises(SipError) as caught:
        parse(SAMPLES[name])

    assert str(caught.value) == EXPECTED[name]["refused"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_header_of_it_can_be_read(name):
    assert read_everything(SAMPLES[name])


@pytest.mark.parametrize("name", sorted(UNDERSTOOD))
def test_the_peek_agrees_with_the_parser(name):
    head = parse(SAMPLES[name])

    assert peek(SAMPLES[name]) == (head.method, head.status, h.cseq(head)[1], head.first("call-id"))


@pytest.mark.parametrize("name", sorted(UNDERSTOOD))
def test_the_cut_head_reads_the_same(name):
    whole, short = parse(SAMPLES[name]), parse(cut(SAMPLES[name]))

    assert (short.headers, h.media_types(short.body)) == (whole.headers, h.media_types(whole.body))


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - {"test"}))
def test_looks_like_sip_even_where_it_is_refused(name):
    assert looks_like_sip(SAMPLES[name])


def test_wsinv_folds_and_blanks_mean_nothing():
    head = parse(SAMPLES["wsinv"])

    assert h.tag(head.first("to")) == "1918181833n"
    assert h.parse_name_addr(head.first("from")) == (
        'J Rosenberg \\"',
        "sip:jdrosen@example.com",
        {"tag": "98asjd8"},
    )
    assert head.all("newfangledheader") == ["newfangled value continued newfangled value"]
    assert [via.transport for via in h.parse_vias(head)] == ["UDP", "TCP", "UDP"]
    assert h.parse_name_addr(head.first("contact")).params == {
        "newparam": "newvalue",
        "secondparam": "",
        "q": "0.33",
    }


def test_intmeth_control_characters_and_utf8_survive():
    head = parse(SAMPLES["intmeth"])

    assert h.parse_name_addr(head.first("to")).display_name == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert h.parse_name_addr(head.first("from")).params["fromparam''~+*_!.-%"] == "работающий"
    assert head.all("extensionheader-!.%*+_`'~") == ["\ufeff大停電"]


def test_esc02_an_escaped_name_is_another_name():
    head = parse(SAMPLES["esc02"])

    assert len(head.all("contact")) == 2
    assert len(head.all("c%6fntact")) == 1


def test_dblreq_the_second_request_is_ignored():
    assert parse(SAMPLES["dblreq"]).body == b""


def test_mpart01_a_text_part_is_not_kept():
    assert b"Hello" not in cut(SAMPLES["mpart01"])


def test_unreason_the_phrase_may_be_any_text():
    assert parse(SAMPLES["unreason"]).reason_phrase.startswith("= 2**3 * 5**2 но ")


def test_noreason_the_phrase_may_be_empty():
    assert parse(SAMPLES["noreason"]).reason_phrase == ""


def test_scalarlg_a_warning_code_has_three_digits():
    assert h.parse_warnings(parse(SAMPLES["scalarlg"]).all("warning")) == []


def test_quotbal_an_open_quote_still_has_a_name():
    value = parse(SAMPLES["quotbal"]).first("to")

    assert h.parse_name_addr(value).display_name == "Mr. J. User"


def test_escruri_the_headers_of_a_uri_are_told_apart():
    uri = parse_uri(parse(SAMPLES["escruri"]).request_uri)

    assert h.escaped_headers(uri.headers) == [("route", "<sip:example.com>")]


def test_baddn_a_comma_in_a_bare_display_name_is_part_of_it():
    value = parse(SAMPLES["baddn"]).first("from")

    assert h.parse_name_addr(value).display_name == "Bell, Alexander"


def test_cparam01_parameters_without_brackets_are_the_headers():
    contact = h.parse_name_addr(parse(SAMPLES["cparam01"]).first("contact"))

    assert (contact.uri, contact.params) == ("sip:+19725552222@gw1.example.net", {"unknownparam": ""})


def test_cparam02_parameters_in_brackets_are_the_uris():
    contact = h.parse_name_addr(parse(SAMPLES["cparam02"]).first("contact"))

    assert (contact.params, parse_uri(contact.uri).params) == ({}, {"unknownparam": ""})


def test_multi01_the_first_of_two_single_headers_counts():
    head = parse(SAMPLES["multi01"])

    assert [len(head.all(name)) for name in ("cseq", "call-id", "to", "from")] == [2, 2, 2, 2]


def test_baddn_a_head_without_its_empty_line_is_marked():
    assert not parse(SAMPLES["baddn"]).complete


def test_draft_lines_without_a_colon_are_counted():
    whole = SAMPLES["test"].replace(b"jasomi.com\r\nTO", b"jasomi.com SIP/2.0\r\nTO", 1)

    assert parse(whole).skipped == 1
