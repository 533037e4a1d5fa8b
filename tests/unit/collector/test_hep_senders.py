"""What every known sender writes is read as it was meant, mistakes included."""

import pytest
from support import hep_senders
from support.captures import invite
from support.hep_senders import AGENT_ID, CAPTURED_MS, SENDERS

from missedcall_collector import hep

SIP = invite()
IPV6 = {name for name in SENDERS if name.endswith("_ipv6")}
VERSION_1 = {name for name in SENDERS if "_v1" in name}


@pytest.mark.parametrize("name", SENDERS)
def test_the_message_is_read_whole(name):
    packet = hep.decode(SENDERS[name](SIP))

    assert packet.payload.rstrip(b"\0") == SIP
    assert packet.protocol_type == hep.SIP


@pytest.mark.parametrize("name", sorted(SENDERS.keys() - IPV6))
def test_ipv4_addresses_and_ports_are_read(name):
    packet = hep.decode(SENDERS[name](SIP))

    assert (packet.src, packet.dst) == ("192.0.2.1:5060", "198.51.100.2:5080")


@pytest.mark.parametrize("name", sorted(IPV6 - {"sngrep_v3_ipv6", "opensips_v3_ipv6"}))
def test_ipv6_addresses_are_in_brackets(name):
    packet = hep.decode(SENDERS[name](SIP))

    assert (packet.src, packet.dst) == ("[2001:db8::1]:5060", "[2001:db8::2]:5080")


def test_opensips_names_the_sender_twice_over_ipv6():
    packet = hep.decode(hep_senders.opensips_v3_ipv6(SIP))

    assert (packet.src, packet.dst) == ("[2001:db8::1]:5060", "[2001:db8::1]:5080")


def test_of_sngreps_broken_ipv6_frame_all_but_the_addresses_survives():
    packet = hep.decode(hep_senders.sngrep_v3_ipv6(SIP))

    assert (packet.payload, packet.src, packet.captured_ms) == (SIP, "", CAPTURED_MS)


@pytest.mark.parametrize("name", sorted(SENDERS.keys() - VERSION_1))
def test_the_time_is_the_agents(name):
    assert hep.decode(SENDERS[name](SIP)).captured_ms == CAPTURED_MS


@pytest.mark.parametrize("name", sorted(VERSION_1))
def test_version_1_has_no_time(name):
    assert hep.decode(SENDERS[name](SIP)).captured_ms is None


@pytest.mark.parametrize("name", sorted(SENDERS.keys() - VERSION_1 - {"heplify", "heplify_zipped"}))
def test_the_agent_id_is_read_also_where_it_was_swapped(name):
    assert hep.decode(SENDERS[name](SIP)).agent == str(AGENT_ID)


@pytest.mark.parametrize("name", ["heplify", "heplify_zipped"])
def test_the_agents_name_comes_before_its_id(name):
    assert hep.decode(SENDERS[name](SIP)).agent == "edge-1"


@pytest.mark.parametrize("name", ["kamailio_v3", "asterisk", "captagent", "heplify", "opensips_homer5"])
def test_the_correlation_id_is_read(name):
    assert hep.decode(SENDERS[name](SIP)).correlation_id == "corr@1"


def test_protocol_22_is_tls():
    assert hep.decode(hep_senders.kamailio_tls(SIP)).transport == "tls"


def test_opensips_json_is_kept_apart():
    packet = hep.decode(hep_senders.opensips_v3(SIP))

    assert packet.correlation_id == ""
    assert packet.others == {0x65: b'{\n\t"sip":\t"corr@1"\n}'}


@pytest.mark.parametrize("name", ["kamailio_v3", "asterisk", "captagent", "sngrep_v3"])
def test_the_key_is_read(name):
    assert hep.decode(SENDERS[name](SIP)).auth_key == b"myhep"


def test_a_response_behind_the_padding_of_version_2_is_read_whole():
    sip = b"SIP/2.0 180 Ringing\r\nCall-ID: x\r\n\r\n"

    assert hep.decode(hep_senders.kamailio_v2(sip)).payload == sip
    assert hep.decode(hep_senders.by_the_book_v2(sip)).payload == sip


def test_eep3_is_hep3():
    sample = hep_senders.kamailio_v3(SIP)

    assert hep.decode(b"EEP3" + sample[4:]) == hep.decode(sample)
