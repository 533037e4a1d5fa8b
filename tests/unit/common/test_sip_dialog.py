import pytest

from missedcall_common.sip.dialog import NIL_UUID, Replaces, feature_tags, parse_replaces, parse_session_id

LOCAL, REMOTE = "ab30317f1a784dc48ff824d0d3715d86", "47755a9de7794ba387653f2099600ef2"


def test_a_replaces_names_a_dialog():
    assert parse_replaces("425928@bobster.example.org;to-tag=7743;from-tag=6472") == Replaces(
        "425928@bobster.example.org", "7743", "6472", early_only=False
    )


def test_a_pickup_replaces_an_early_dialog_only():
    assert parse_replaces("a@b ; From-Tag = 1 ; to-tag=2 ; Early-Only") == Replaces(
        "a@b", "2", "1", early_only=True
    )


@pytest.mark.parametrize(
    "refer_to",
    [
        "<sip:bob@example.com;gr?Replaces=a%40b%3Bto-tag%3D2%3Bfrom-tag%3D1&Require=replaces>",
        "sip:bob@example.com;gr?Require=replaces&replaces=a%40b;to-tag=2;from-tag=1",
        '"Bob" <sips:bob@example.com?Replaces=a@b%3bfrom-tag%3d1%3bto-tag%3d2>;x=y',
    ],
)
def test_a_replaces_is_found_in_a_refer_to(refer_to):
    assert parse_replaces(refer_to) == Replaces("a@b", "2", "1", early_only=False)


@pytest.mark.parametrize(
    "value", ["", ";", "a@b", ";to-tag=1;from-tag=2", "<sip:bob@example.com>", "<sip:b@c?Subject=x>"]
)
def test_what_names_no_dialog_replaces_nothing(value):
    assert parse_replaces(value) is None


@pytest.mark.parametrize(
    ("value", "pair"),
    [
        (f"{LOCAL};remote={REMOTE}", (LOCAL, REMOTE)),
        (f" {LOCAL.upper()} ; Remote = {REMOTE} ;x=y", (LOCAL, REMOTE)),
        (f"{LOCAL};remote={NIL_UUID}", (LOCAL, NIL_UUID)),
        (LOCAL, (LOCAL, "")),
        ("ab30317f-1a78-4dc4-8ff8-24d0d3715d86", (LOCAL, "")),
        (f"{LOCAL}0;remote=x", ("", "")),
        ("", ("", "")),
    ],
)
def test_a_session_id_has_two_sides(value, pair):
    assert parse_session_id(value) == pair


def test_a_contact_tells_what_its_device_is():
    contact = (
        '"Team" <sip:team@example.com;gruu;opaque=srvr:Microsoft.Rtc.Applications.Acd:xy>;automata;'
        'ACTOR="attendant";text;audio;+sip.instance="<urn:uuid:1234>";reg-id=1;expires=60'
    )

    assert feature_tags(contact) == {
        "automata": "",
        "actor": "attendant",
        "text": "",
        "audio": "",
        "+sip.instance": "urn:uuid:1234",
    }


@pytest.mark.parametrize("denied", ['automata="FALSE"', 'automata="!TRUE"', "automata=false"])
def test_a_denied_flag_is_no_flag(denied):
    assert feature_tags(f"<sip:a@b>;{denied}") == {}


def test_parameters_of_the_uri_are_no_feature_tags():
    assert feature_tags("<sip:a@b;automata>") == {}


def test_only_the_first_contact_counts():
    assert feature_tags("<sip:a@b>;audio, <sip:c@d>;automata") == {"audio": ""}


@pytest.mark.parametrize("contact", ["", "*", ",", "<>"])
def test_no_contact_has_no_feature_tags(contact):
    assert feature_tags(contact) == {}
