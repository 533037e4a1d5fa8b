"""Playing a capture: on time, to a socket that is there, and a clear word where none is."""

import asyncio
import socket
import ssl
import threading

import pytest
import trustme

from missedcall_collector import hep
from missedcall_embedded.send import SLACK_S, Pace, Summary, UnreachableError, frame, play
from missedcall_embedded.target import Target
from missedcall_schemas.records import SipMessage

HEAD = b"OPTIONS sip:bob@example.com SIP/2.0\r\nCall-ID: x\r\n\r\n"


def message(ms=0, head=HEAD, **fields):
    values = {
        "key": "x",
        "call_id": "x",
        "captured_ms": 1_700_000_000_000 + ms,
        "received_ms": 1_700_000_000_000 + ms,
        "src": "192.0.2.1:5060",
        "dst": "192.0.2.2:5060",
        "transport": "udp",
        "head": head,
    }
    return SipMessage(**values | fields)


# -- pace -------------------------------------------------------------------------------------------------


def test_messages_are_due_as_they_were_recorded():
    pace = Pace()

    assert [pace.due_s(message(ms)) for ms in (500, 700, 2500)] == [0.0, 0.2, 2.0]


def test_speed_divides_the_time_between_messages():
    pace = Pace(speed=10)

    assert [pace.due_s(message(ms)) for ms in (0, 200, 2000)] == [0.0, 0.02, 0.2]


def test_a_rate_ignores_what_was_recorded():
    pace = Pace(rate=100)

    assert [pace.due_s(message(ms)) for ms in (0, 90_000, 90_001)] == [0.0, 0.01, 0.02]


def test_deadlines_do_not_drift():
    pace = Pace(rate=3)

    assert [pace.due_s(message()) for _ in range(3001)][-1] == 1000.0


# -- frames -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "sctp"])
def test_a_frame_says_what_the_record_says(transport):
    sent = message(transport=transport, agent="edge-1", correlation_id="upstream@x")

    packet = hep.decode(frame(sent))

    assert (packet.payload, packet.src, packet.dst) == (HEAD, sent.src, sent.dst)
    assert (packet.transport, packet.captured_ms) == (transport, sent.captured_ms)
    assert (packet.agent, packet.correlation_id) == ("edge-1", "upstream@x")


def test_a_numbered_agent_keeps_its_number():
    assert hep.decode(frame(message(agent="2001"))).agent_id == 2001


@pytest.mark.parametrize("agent", ["²", "12345678901234567890"])
def test_digits_that_are_no_agent_number_are_a_name(agent):
    assert hep.decode(frame(message(agent=agent))).agent_name == agent


@pytest.mark.parametrize("captured_ms", [-1, 1 << 62])
def test_a_time_that_no_frame_can_hold_is_left_out(captured_ms):
    assert hep.decode(frame(message(captured_ms=captured_ms))).captured_ms is None


def test_endpoints_that_were_not_captured_are_left_out():
    packet = hep.decode(frame(message(src="", dst="")))

    assert (packet.payload, packet.src) == (HEAD, "")


# -- play -------------------------------------------------------------------------------------------------


@pytest.fixture
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


def at(sock, scheme="udp"):
    return Target(scheme, "127.0.0.1", sock.getsockname()[1])


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def run(messages, where, pace=None, progress=None) -> Summary:
    return asyncio.run(play(messages, where, pace or Pace(rate=1e6), progress))


def test_every_message_arrives_in_order_over_udp(udp):
    summary = run([message(ms) for ms in range(100)], at(udp))

    got = [hep.decode(udp.recv(65535)).captured_ms - 1_700_000_000_000 for _ in range(100)]
    assert got == list(range(100))
    assert (summary.sent, summary.refused, summary.too_long) == (100, 0, 0)


def test_playing_takes_as_long_as_the_pace_says(udp):
    summary = run([message(ms) for ms in (0, 100, 300)], at(udp), Pace())

    assert summary.seconds >= 0.3 - SLACK_S


def test_what_does_not_fit_into_a_frame_is_counted(udp):
    summary = run([message(), message(head=HEAD + b"x" * 65_500), message()], at(udp))

    assert (summary.sent, summary.too_long) == (2, 1)


def test_what_does_not_fit_into_a_datagram_is_counted(udp):
    # A frame may have 65,535 bytes, a UDP datagram over IPv4 only 65,507 (RFC 768, RFC 791).
    head = HEAD + b"x" * (65_520 - len(frame(message())))

    summary = run([message(head=head), message()], at(udp))

    assert (summary.sent, summary.too_long) == (1, 1)


def test_nobody_on_the_udp_port_is_said():
    where = Target("udp", "127.0.0.1", free_port(socket.SOCK_DGRAM))

    with pytest.raises(UnreachableError, match="connection refused: nothing listens there"):
        run([message() for _ in range(50)], where)


def test_a_receiver_that_comes_back_gets_the_rest(udp):
    where = at(udp)
    stand_in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def messages():
        for n in range(60):
            if n == 20:
                udp.close()
            if n == 40:
                stand_in.bind(("127.0.0.1", where.port))
            yield message(n)

    summary = run(messages(), where)

    stand_in.settimeout(10)
    got = [hep.decode(stand_in.recv(65535)).captured_ms - 1_700_000_000_000 for _ in range(20)]
    stand_in.close()
    assert got == list(range(40, 60))
    assert 1 <= summary.refused <= 20


class Receiver(threading.Thread):
    """Accepts one connection and keeps what it sends."""

    def __init__(self, tls=None):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.tls = tls
        self.got = b""
        self.start()

    def run(self):
        connection, _ = self.listener.accept()
        try:
            with self.tls.wrap_socket(connection, server_side=True) if self.tls else connection as stream:
                while part := stream.recv(65536):
                    self.got += part
        except OSError:
            pass
        self.listener.close()

    def frames(self):
        self.join(10)
        return len(list(hep.HepStream().feed(self.got)))


def test_a_stream_carries_every_frame():
    receiver = Receiver()

    summary = run([message(ms) for ms in range(3000)], Target("tcp", "127.0.0.1", receiver.port))

    assert (summary.sent, receiver.frames()) == (3000, 3000)


def test_nobody_on_the_tcp_port_is_said():
    with pytest.raises(UnreachableError, match=r"tcp://127\.0\.0\.1:\d+: connection refused"):
        run([message()], Target("tcp", "127.0.0.1", free_port()))


def test_a_name_with_several_addresses_and_nobody_behind_them_is_said():
    with pytest.raises(UnreachableError, match="connection refused"):
        run([message()], Target("tcp", "localhost", free_port()))


def test_a_name_that_does_not_resolve_is_said():
    with pytest.raises(UnreachableError, match=r"^udp://nowhere\.invalid:9060: "):
        run([message()], Target("udp", "nowhere.invalid", 9060))


def test_a_receiver_that_closes_is_said():
    listener = socket.create_server(("127.0.0.1", 0))

    def close_at_once():
        connection, _ = listener.accept()
        connection.recv(6)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    thread = threading.Thread(target=close_at_once)
    thread.start()
    try:
        with pytest.raises(UnreachableError, match="went away"):
            run((message(ms) for ms in range(200_000)), Target("tcp", "127.0.0.1", listener.getsockname()[1]))
    finally:
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_side(authority, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_tls_carries_every_frame(authority, tmp_path, monkeypatch):
    issuer = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(issuer)
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer))
    receiver = Receiver(server_side(authority, "localhost"))

    summary = run([message(ms) for ms in range(500)], Target("tls", "localhost", receiver.port))

    assert (summary.sent, receiver.frames()) == (500, 500)


def test_a_certificate_that_is_not_trusted_is_said(authority):
    receiver = Receiver(server_side(authority, "localhost"))

    with pytest.raises(UnreachableError, match=r"its certificate is not trusted: .*SSL_CERT_FILE"):
        run([message()], Target("tls", "localhost", receiver.port))


def test_a_port_that_speaks_no_tls_is_said():
    listener = socket.create_server(("127.0.0.1", 0))

    def speak():
        connection, _ = listener.accept()
        connection.recv(100)
        connection.sendall(b"220 mail.example.com ESMTP\r\n")
        connection.close()

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        with pytest.raises(UnreachableError, match="TLS failed"):
            run([message()], Target("tls", "localhost", listener.getsockname()[1]))
    finally:
        thread.join()
        listener.close()
