import pytest

from missedcall_common.sip.uri import MAX_PARAMS, SipUri, address_of_record, parse_uri, telephone_number


def test_a_uri_is_taken_apart():
    assert parse_uri("sips:Alice:secret@Example.COM:5061;transport=TCP;lr?Subject=x&To=y") == SipUri(
        "sips", "Alice", "Example.COM", 5061, {"transport": "TCP", "lr": ""}, "Subject=x&To=y", {}
    )


def test_parameters_of_the_user_part_are_told_apart():
    uri = parse_uri("sip:+4930123;ext=7;phone-context=a.b@gw;user=phone")

    assert (uri.user, uri.userinfo_params, uri.params) == (
        "+4930123",
        {"ext": "7", "phone-context": "a.b"},
        {"user": "phone"},
    )


def test_a_tel_uri_has_a_number_and_no_host():
    assert parse_uri("tel:+49-30-123;ext=7") == SipUri("tel", "+49-30-123", "", 0, {"ext": "7"}, "", {})


def test_a_uri_of_another_scheme_keeps_its_rest():
    assert parse_uri("urn:service:sos") == SipUri("urn", "service:sos", "", 0, {}, "", {})


@pytest.mark.parametrize("port", ["0x10", "-1", "65536", "99999999999999999999", "", "²"])
def test_an_impossible_port_is_none(port):
    assert parse_uri(f"sip:a@b:{port}").port == 0


def test_an_at_sign_in_a_parameter_ends_no_user_part():
    uri = parse_uri("sip:+4930123@vm.example.com;target=sip:bob@example.com;cause=408")

    assert (uri.user, uri.host, uri.params["cause"]) == ("+4930123", "vm.example.com", "408")


def test_the_first_of_two_equal_parameters_counts():
    assert parse_uri("sip:a@b;x=1;X=2").params == {"x": "1"}


def test_only_so_many_parameters_are_read():
    text = "sip:a@b" + "".join(f";p{i}" for i in range(10 * MAX_PARAMS))

    assert len(parse_uri(text).params) == MAX_PARAMS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # what names a device, a way or a service is dropped
        ("sip:bob@example.com", "sip:bob@example.com"),
        ("SIP:bob@EXAMPLE.com", "sip:bob@example.com"),
        ("sips:bob@example.com", "sip:bob@example.com"),
        ("sip:bob@example.com:5060", "sip:bob@example.com"),
        ("sip:bob@example.com.", "sip:bob@example.com"),
        ("sip:bob:secret@example.com", "sip:bob@example.com"),
        ("sip:bob@example.com;transport=tcp;user=phone?Subject=x", "sip:bob@example.com"),
        ("sip:bob@example.com;opaque=user:epid:q2AbC;gruu", "sip:bob@example.com"),
        ("sip:bob@example.com;gr=urn:uuid:f81d4fae", "sip:bob@example.com"),
        ("sip:bob;ms-skip-rnl@example.com", "sip:bob@example.com"),
        (" <sip:bob@example.com> ", "sip:bob@example.com"),
        # the user part keeps its case and its meaning
        ("sip:Bob@example.com", "sip:Bob@example.com"),
        ("sip:%62o%42@example.com", "sip:boB@example.com"),
        ("sip:a%2fb%40c@example.com", "sip:a%2Fb%40c@example.com"),
        ("sip:100%@example.com", "sip:100%25@example.com"),
        ("sip:müller@example.com", "sip:m%C3%BCller@example.com"),
        ("sip:m%c3%bcller@example.com", "sip:m%C3%BCller@example.com"),
        ("sip:a b@example.com", "sip:a%20b@example.com"),
        ("sip:bob@home@example.com", "sip:bob%40home@example.com"),
        # telephone numbers
        ("sip:+49(30)12-34.5@gw", "sip:+493012345@gw"),
        ("sip:%2B4930123@gw", "sip:+4930123@gw"),
        ("sip:030-123@gw;user=phone", "sip:030123@gw"),
        ("sip:100-2@gw", "sip:100-2@gw"),
        ("sip:+4930123;ext=613@gw;user=phone", "sip:+4930123;ext=613@gw"),
        ("sip:+4930123;npdi;ext=6-13;rn=1@gw", "sip:+4930123;ext=613@gw"),
        ("sip:+4930123;ext=a@gw", "sip:+4930123@gw"),
        ("sip:*21%23@gw", "sip:*21%23@gw"),
        ("sip:*21#@gw", "sip:*21%23@gw"),
        ("tel:+49-30-123", "tel:+4930123"),
        ("TEL:+49 30 123;EXT=613", "tel:+4930123;ext=613"),
        ("tel:+4930123;phone-context=+49", "tel:+4930123"),
        ("tel:7042;ext=5;phone-context=Example.COM", "tel:7042;ext=5;phone-context=example.com"),
        ("tel:7042", "tel:7042"),
        ("tel:1A2b*#", "tel:1a2b*#"),
        ("tel:+4930123?Reason=SIP%3Bcause%3D302", "tel:+4930123"),
        # hosts
        ("sip:example.com", "sip:example.com"),
        ("sip:@example.com", "sip:example.com"),
        ("sip:bob@192.0.2.1", "sip:bob@192.0.2.1"),
        ("sip:bob@[2001:DB8::0:1]:5060", "sip:bob@[2001:db8::1]"),
        # the rest
        ("bob@example.com", "sip:bob@example.com"),
        ("URN:service:SOS.fire", "urn:service:sos.fire"),
    ],
)
def test_the_address_of_record(text, expected):
    assert address_of_record(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "bob",
        "+4930123",
        "sip:",
        "sip:bob@",
        "sip:bob@:5060",
        "sip:bob@a b",
        "sip:bob@[2001",
        "sip:bob@[]",
        "sip:bob@[not:an:address]",
        "sip:bob@a:b:c",
        "tel:",
        "tel:bob",
        "tel:+",
        "urn:",
        "http://example.com",
        "mailto:bob@example.com",
        "*",
    ],
)
def test_what_is_no_address_has_no_address_of_record(text):
    assert address_of_record(text) == ""


def test_a_parsed_uri_has_the_same_address_of_record():
    text = "sips:bob@EXAMPLE.com;x=y"

    assert address_of_record(parse_uri(text)) == address_of_record(text)


def test_a_very_long_uri_has_an_address_of_record():
    assert address_of_record(f"sip:{'x' * 5000}@example.com") == f"sip:{'x' * 5000}@example.com"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("sip:+4930123;ext=5@gw", "+4930123"),
        ("sip:+49 (30) 123@gw", "+4930123"),
        ("sip:%2b4930123@gw", "+4930123"),
        ("sip:613@pbx.example.com", "613"),
        ("sip:030-123@gw;user=phone", "030123"),
        ("tel:+49-30-123;ext=5", "+4930123"),
        ("sip:*21%23@gw", "*21#"),
        ("sip:%2331%230123@gw", "#31#0123"),
        ("sip:100-2@gw", ""),
        ("sip:bob@example.com", ""),
        ("sip:bob1@example.com", ""),
        ("sip:anonymous@anonymous.invalid", ""),
        ("sip:*@gw", ""),
        ("sip:+@gw", ""),
        ("sip:example.com", ""),
        ("urn:service:110", ""),
        ("", ""),
    ],
)
def test_the_telephone_number_of_a_uri(text, number):
    assert telephone_number(text) == number
