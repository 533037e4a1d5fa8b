"""What may change in a message without changing what is read of it."""

import string

from hypothesis import assume, given
from hypothesis import strategies as st
from support.sip_text import message

from missedcall_common.sip import headers as h
from missedcall_common.sip.message import SipHead, parse
from missedcall_common.sip.names import COMPACT
from missedcall_common.sip.peek import cut, peek
from missedcall_common.sip.uri import SipUri, address_of_record, parse_uri, telephone_number

TOKEN = st.text(string.ascii_letters + string.digits + "-.!%*_+`'~", min_size=1, max_size=12)
PRINTABLE = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=30
)
WORD = st.text(string.ascii_letters + string.digits + ".-_@", min_size=1, max_size=20)
BLANKS = st.text(" \t", max_size=3)
FOLDS = st.sampled_from([" ", "\t", "\r\n ", "\r\n\t", "  \r\n   "])
END = st.sampled_from(["\r\n", "\n"])
LONG = {long: short for short, long in COMPACT.items()}
NAMES = st.sampled_from(
    ["via", "from", "to", "call-id", "cseq", "contact", "reason", "history-info", "x-own", "subject"]
)
START = "INVITE sip:bob@example.com SIP/2.0"


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """Draw a header name in any case, compact where there is a compact form."""
    if name in LONG and draw(st.booleans()):
        name = LONG[name]
    upper = draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    return "".join(char.upper() if up else char for char, up in zip(name, upper, strict=True))


def words(value: str) -> str:
    return " ".join(value.split())


@given(st.lists(st.tuples(NAMES, st.lists(WORD, min_size=1, max_size=4)), max_size=8), st.data(), END)
def test_case_compact_form_blanks_folds_and_line_ends_change_nothing(fields, data, end):
    plain = parse(message(START, *(f"{name}: {' '.join(value)}" for name, value in fields)))
    lines = []
    for name, value in fields:
        text = value[0]
        for word in value[1:]:
            text += data.draw(FOLDS).replace("\r\n", end) + word
        lines.append(
            data.draw(spelled(name)) + data.draw(BLANKS) + ":" + data.draw(BLANKS) + text + data.draw(BLANKS)
        )

    odd = parse(message(START, *lines, end=end))

    assert {name: [words(value) for value in values] for name, values in odd.headers.items()} == plain.headers
    assert (odd.method, odd.request_uri, odd.skipped, odd.complete) == ("INVITE", plain.request_uri, 0, True)


@given(st.lists(st.tuples(NAMES, WORD), max_size=12))
def test_the_order_of_different_headers_changes_nothing(fields):
    by_name = sorted(fields, key=lambda field: field[0])  # equal names keep their order

    first, second = (parse(message(START, *(f"{n}: {v}" for n, v in order))) for order in (fields, by_name))

    assert first.headers == second.headers


@given(
    st.lists(
        st.sampled_from(["SIP;cause=200", "<sip:a@b>;index=1", '"x, y" <sip:c>;p="q,r"', "a"]), min_size=1
    )
)
def test_values_on_one_line_are_values_on_many_lines(values):
    assert h.split_all([", ".join(values)]) == h.split_all(values) == values


@given(st.binary(max_size=300))
def test_the_cut_loses_no_header(tail):
    data = message(START, "Call-ID: a@b", "CSeq: 1 INVITE")[:-2] + tail
    whole, short = parse(data), parse(cut(data))

    assert (short.headers, short.skipped, short.complete) == (whole.headers, whole.skipped, whole.complete)


@given(st.binary(max_size=300))
def test_the_cut_of_a_cut_is_the_cut(data):
    once = cut(message(START, "Content-Type: application/sdp") + data)

    assert cut(once) == once


@given(st.binary(max_size=200), st.booleans())
def test_the_cut_keeps_the_media_types(body, counted):
    lines = [START, "Content-Type: application/sdp"]
    if counted:
        lines.append(f"Content-Length: {len(body) // 2}")
    data = message(*lines, body=b"v=0\r\n" + body.replace(b"a", b"\nm=audio "))

    assert h.media_types(parse(cut(data)).body) == h.media_types(parse(data).body)


@given(
    st.sampled_from([START, "SIP/2.0 180 Ringing", "sip/2.0 200", "Odd-Method tel:1 sip/2.0"]),
    st.data(),
    WORD,
    st.sampled_from(["INVITE", "BYE", "Odd"]),
    END,
    st.sampled_from(["", "\r\n\r\n"]),
    st.booleans(),
)
def test_the_peek_agrees_with_the_parser(start, data, call_id, method, end, before, cut_short):
    fold = data.draw(FOLDS).replace("\r\n", end)
    lines = data.draw(
        st.permutations(
            [
                data.draw(spelled("call-id")) + data.draw(BLANKS) + ":" + data.draw(BLANKS) + call_id,
                data.draw(spelled("cseq")) + data.draw(BLANKS) + ": 7" + fold + method,
                "Subject: Call-ID: no CSeq: no",
            ]
        )
    )
    text = message(start, *lines, end=end, body=b"\nCall-ID: wrong\nCSeq: 9 WRONG\n")
    if cut_short:
        text = text[: -len(b"\nCall-ID: wrong\nCSeq: 9 WRONG\n") - 2 * len(end)]
    head = parse(before.encode() + text)

    assert peek(before.encode() + text) == (head.method, head.status, h.cseq(head)[1], head.first("call-id"))


@given(PRINTABLE)
def test_a_quoted_display_name_comes_back(name):
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')

    assert h.parse_name_addr(f'"{quoted}" <sip:a@b>;tag=1') == (name.strip(), "sip:a@b", {"tag": "1"})


@given(st.dictionaries(TOKEN.map(str.lower), PRINTABLE, max_size=8))
def test_quoted_parameters_come_back(params):
    text = "".join(
        ";{}={}".format(name, '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"')
        for name, value in params.items()
    )

    assert h.parse_params(text) == params


@given(st.lists(st.tuples(TOKEN, st.integers(0, 9999), PRINTABLE), max_size=5), st.booleans(), st.data())
def test_reasons_come_back_however_they_are_joined(reasons, joined, data):
    values = [
        f"{protocol}{data.draw(BLANKS)};{data.draw(BLANKS)}cause{data.draw(BLANKS)}={data.draw(BLANKS)}{cause}"
        ';text="' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for protocol, cause, text in reasons
    ]

    assert h.parse_reasons([",".join(values)] if joined else values) == [
        h.Reason(protocol.upper(), cause, text) for protocol, cause, text in reasons
    ]


@given(st.text())
def test_the_tag_is_the_parameter_tag(text):
    for value in (text, f"<sip:a@b>;tag={text}", f'"{text}" <sip:a@b>;tag=1;x'):
        assume("<" not in text and ">" not in text)
        assert h.tag(value) == h.parse_name_addr(value).params.get("tag", "")


URI_TEXT = st.text(alphabet="sip:tel+49%40%23;ext=7@.-()?&[]Aa *#é\ud800x", max_size=40)


@given(st.one_of(st.text(max_size=30), URI_TEXT, URI_TEXT.map("sip:".__add__), URI_TEXT.map("tel:".__add__)))
def test_an_address_of_record_is_its_own(text):
    address = address_of_record(text)

    assert address_of_record(address) == address


@given(URI_TEXT.map("sip:a".__add__))
def test_port_parameters_and_headers_do_not_change_the_address_of_record(text):
    uri = parse_uri(text)
    assume(address_of_record(uri))
    params = {"user": uri.params.get("user", "")}
    bare = SipUri(uri.scheme, uri.user, uri.host, 0, params, "", uri.userinfo_params)

    assert address_of_record(bare) == address_of_record(uri)


@given(st.text(string.ascii_letters + string.digits + "-_.!~*'()", min_size=1), st.data())
def test_an_escaped_unreserved_character_is_the_character(user, data):
    escaped = "".join(f"%{ord(char):02X}" if data.draw(st.booleans()) else char for char in user)
    assume(not telephone_number(f"sip:{user}@b"))

    assert address_of_record(f"sip:{escaped}@b") == address_of_record(f"sip:{user}@b")


@given(st.text(string.digits, min_size=1, max_size=15), st.data())
def test_visual_separators_do_not_change_a_number(digits, data):
    spaced = "".join(digit + data.draw(st.sampled_from(["", "-", ".", " "])) for digit in digits)

    assert telephone_number(f"tel:+{spaced}") == "+" + digits
    assert address_of_record(f"sip:+{spaced}@b") == f"sip:+{digits}@b"


@given(st.ip_addresses(v=6))
def test_every_spelling_of_an_ipv6_address_is_one_host(address):
    short = address_of_record(f"sip:a@[{address.compressed}]")

    assert short.startswith("sip:a@[")
    assert address_of_record(f"sip:a@[{address.exploded.upper()}]") == short


@given(st.sampled_from(["id", "user", "header", "session", "history"]), st.data())
def test_who_asks_for_privacy_is_not_named(value, data):
    def line(name: str) -> str:
        return f'{data.draw(spelled(name))}: "Alice" <sip:alice@example.com>'

    head: SipHead = parse(
        message(
            START,
            line("from"),
            line("p-asserted-identity"),
            line("remote-party-id"),
            f"Privacy: critical;{value}",
        )
    )

    assert "alice" not in repr(h.caller_identity(head)).lower()
