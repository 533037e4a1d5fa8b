"""Laws of reassembly: how a stream was cut, repeated and reordered changes nothing."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from support.captures import invite, ipv4_fragments, ringing, udp4

from missedcall_collector.intake import NEEDED
from missedcall_collector.ip import Reassembler
from missedcall_collector.sip_stream import SipStream
from missedcall_collector.tcp import Direction
from missedcall_common.sip.peek import peek

MESSAGES = [invite("a", body=b"v=0\r\n"), ringing("a"), invite("b", method="CANCEL"), invite("c")]
STREAM = b"\r\n\r\n".join(MESSAGES)

cuts = st.lists(st.integers(1, len(STREAM) - 1), max_size=20).map(lambda c: [0, *sorted(set(c)), len(STREAM)])


@st.composite
def segments(draw):
    """The stream in segments: cut anywhere, some twice, some overlapping, in any order but the first."""
    places = draw(cuts)
    plain = [(a, STREAM[a:b]) for a, b in pairwise(places)]
    extra = draw(st.lists(st.tuples(st.integers(0, len(STREAM)), st.integers(1, 200)), max_size=8))
    others = plain[1:] + [(at, STREAM[at : at + size]) for at, size in extra]
    return [plain[0], *draw(st.permutations(others))]


@given(segments(), st.integers(0, 0xFFFF_FFFF))
def test_whatever_happened_to_the_segments_the_messages_are_the_same(parts, first):
    direction, stream = Direction(), SipStream()
    found = []
    for at, data in parts:
        for piece in direction.receive((first + at) & 0xFFFF_FFFF, data, 0):
            found += stream.feed(piece)

    assert found == MESSAGES
    assert direction.held_bytes == 0


@given(segments(), st.data())
def test_a_lost_segment_never_makes_up_a_message(parts, data):
    lost = data.draw(st.integers(0, len(parts) - 1))
    direction, stream = Direction(), SipStream()
    found = []
    for n, (at, piece) in enumerate(parts):
        if n != lost:
            for delivered in direction.receive(at, piece, 0):
                found += stream.gap() if delivered is None else stream.feed(delivered)
    for delivered in direction.close():
        found += stream.gap() if delivered is None else stream.feed(delivered)
    found += stream.gap()

    # What begins in the middle of a start line is a message of an unknown method, which the intake drops.
    kept = {message.partition(b"\r\n\r\n")[0] for message in found if peek(message).method in NEEDED}
    assert kept <= {message.partition(b"\r\n\r\n")[0] for message in MESSAGES}


@given(st.integers(1, 60).map(lambda n: n * 8), st.randoms(use_true_random=False), st.booleans())
def test_fragments_in_any_order_are_one_datagram(size, random, twice):
    packet = udp4(invite(body=bytes(range(256))))
    fragments = ipv4_fragments(packet, size) * (2 if twice else 1)
    random.shuffle(fragments)
    ip = Reassembler(Counter())

    whole = [s[3] for f in fragments if (s := ip.segment(f, 0, 0)) is not None]

    assert packet[20:] in whole
    assert set(whole) == {packet[20:]}


@given(cuts, cuts)
def test_the_cut_into_pieces_changes_no_message(first, second):
    found = []
    for places in (first, second):
        stream = SipStream()
        found.append([m for a, b in pairwise(places) for m in stream.feed(STREAM[a:b])])

    assert found[0] == found[1] == MESSAGES
