import pytest
from support.sip_text import head, message

from missedcall_common.sip.identity import ANONYMOUS, Identity, caller_identity, privacy
from missedcall_common.sip.message import parse

FROM = 'From: "Alice" <sip:alice@example.com>;tag=1'
ASSERTED = 'P-Asserted-Identity: "Alice A." <sip:+4930123@example.com;user=phone>'
REMOTE = 'Remote-Party-ID: "Alice R." <sip:613@pbx.example.com>;party=calling;screen=yes'


def test_from_names_the_caller():
    assert caller_identity(head(FROM)) == Identity(
        "sip:alice@example.com", "", "Alice", anonymous=False, source="from"
    )


def test_an_asserted_identity_counts_before_all_others():
    assert caller_identity(head(FROM, REMOTE, ASSERTED)) == Identity(
        "sip:+4930123@example.com", "+4930123", "Alice A.", anonymous=False, source="p-asserted-identity"
    )


def test_a_remote_party_id_counts_before_from():
    assert caller_identity(head(FROM, REMOTE)) == Identity(
        "sip:613@pbx.example.com", "613", "Alice R.", anonymous=False, source="remote-party-id"
    )


@pytest.mark.parametrize(
    "lines",
    [
        ['P-Asserted-Identity: "Alice" <sip:alice@example.com>, <tel:+49-30-123>'],
        ["P-Asserted-Identity: <tel:+49-30-123>", 'P-Asserted-Identity: "Alice" <sip:alice@example.com>'],
    ],
)
def test_a_sip_uri_and_a_number_side_by_side_are_one_caller(lines):
    assert caller_identity(head(FROM, *lines)) == Identity(
        "sip:alice@example.com", "+4930123", "Alice", anonymous=False, source="p-asserted-identity"
    )


def test_an_asserted_number_alone_is_the_caller():
    assert caller_identity(head(FROM, "P-Asserted-Identity: tel:+4930123")).uri == "tel:+4930123"


@pytest.mark.parametrize(
    "line", ["P-Asserted-Identity: <nonsense>", "P-Asserted-Identity:", "Remote-Party-ID: <>"]
)
def test_an_unusable_identity_is_passed_over(line):
    assert caller_identity(head(FROM, line)).source == "from"


def test_a_remote_party_id_of_the_called_side_is_passed_over():
    assert caller_identity(head(FROM, "Remote-Party-ID: <sip:bob@example.com>;party=called")).source == "from"


@pytest.mark.parametrize(
    "value", ["id", "user", "header", "session", "history", "ID", "user;id", "critical; id", "none, id"]
)
def test_privacy_hides_the_caller(value):
    assert caller_identity(head(FROM, ASSERTED, f"Privacy: {value}")) == ANONYMOUS


@pytest.mark.parametrize("value", ["none", "", "critical", "identity"])
def test_other_values_of_privacy_hide_nobody(value):
    assert not caller_identity(head(FROM, f"Privacy: {value}")).anonymous


@pytest.mark.parametrize(
    "value",
    [
        '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1',
        "sip:Anonymous@Anonymous.Invalid;tag=1",
        "<sip:anonymous@example.com>",
        "<sip:c8oqz84zk7z@privacy.anonymous.invalid.>",
    ],
)
def test_an_anonymous_from_hides_even_an_asserted_identity(value):
    assert caller_identity(head(f"From: {value}", ASSERTED)) == ANONYMOUS


@pytest.mark.parametrize("value", ["full", "uri", "FULL", '"full"', "full-network", '"name,uri"', "yes"])
def test_a_remote_party_id_can_hide_the_caller(value):
    assert caller_identity(head(FROM, f"{REMOTE};privacy={value}")) == ANONYMOUS


def test_a_remote_party_id_can_hide_the_name_alone():
    found = caller_identity(head(FROM, f"{REMOTE};privacy=name"))

    assert (found.uri, found.display_name, found.anonymous) == ("sip:613@pbx.example.com", "", False)


def test_a_433_says_that_the_caller_was_anonymous():
    assert caller_identity(parse(message("SIP/2.0 433 Anonymity Disallowed", FROM))) == ANONYMOUS


def test_a_response_asserts_the_called_side():
    response = parse(message("SIP/2.0 180 Ringing", FROM, ASSERTED, "Privacy: id"))

    assert caller_identity(response).source == "from"


@pytest.mark.parametrize("lines", [[], ["From: <http://example.com>"], ["From:"]])
def test_nobody_is_not_anonymous(lines):
    assert caller_identity(head(*lines)) == Identity("", "", "", anonymous=False, source="")


def test_a_very_long_from_is_read_too():
    assert (
        caller_identity(head(f"From: <sip:{'a' * 1000}@example.com>")).uri == f"sip:{'a' * 1000}@example.com"
    )


def test_privacy_values_of_all_lines_are_one_set():
    assert privacy(head("Privacy: User; ID", "Privacy: critical")) == {"user", "id", "critical"}
