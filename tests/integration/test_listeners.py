"""The listeners on real sockets of this machine."""

import asyncio
import socket
import ssl
from collections import Counter
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trustme

from missedcall_collector import connections
from missedcall_collector import listeners as listeners_module
from missedcall_collector.binding import Allowed, ListenError
from missedcall_collector.inbox import Inbox
from missedcall_collector.listeners import Listeners
from missedcall_collector.settings import ListenSettings, address_of, read_auth_keys

PATIENCE_S = 10.0
ANY = ("127.0.0.1:0",)
FRAME = b"HEP3\x00\x0cabcdef"


def quiet(**changes) -> ListenSettings:
    """Return settings with only the listeners that a test names."""
    return ListenSettings(**{"udp": (), "tcp": (), **changes})


@asynccontextmanager
async def listening(settings: ListenSettings):
    """Yield the addresses bound, the frames received so far and the counts."""
    frames: list[bytes] = []
    counts: Counter[str] = Counter()
    listeners = Listeners(settings, frames.extend, counts)
    bound = [where.address for where in await listeners.start()]
    try:
        yield listeners, bound, frames, counts
    finally:
        await listeners.stop()


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


def udp_sender(where) -> socket.socket:
    sender = socket.socket(socket.AF_INET6 if ":" in where.host else socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(where)
    return sender


@pytest.fixture(params=["many", "one by one"])
def taken(request, monkeypatch) -> None:
    """Take datagrams by recvmmsg, and as where there is none."""
    if request.param == "one by one":
        monkeypatch.setattr(listeners_module, "Inbox", partial(Inbox, many=False))


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_datagrams_arrive_in_order(host):
    async def scenario():
        async with listening(quiet(udp=(f"{host}:0",))) as (_, (where,), frames, counts):
            with udp_sender(where) as sender:
                for number in range(600):
                    sender.send(b"%d" % number)
                await until(lambda: len(frames) == 600)
            return frames, counts

    frames, counts = asyncio.run(scenario())

    assert frames == [b"%d" % number for number in range(600)]
    assert counts == {"received": 600}


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(
    ("host", "network"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("127.0.0.1", "")]
)
def test_datagrams_of_every_size_arrive_whole_and_with_their_sender(host, network):
    sent = [b"%5d" % size + bytes(size) for size in (0, 1, 4_000, 65_502, 17, 30_000, 0)]

    async def scenario():
        settings = quiet(udp=(f"{host}:0",), allow=(network,) if network else ())
        async with listening(settings) as (_, (where,), frames, counts):
            with udp_sender(where) as sender, udp_sender(where) as another:
                for number, frame in enumerate(sent):
                    (another if number % 2 else sender).send(frame)
                await until(lambda: len(frames) == len(sent))
            return frames, counts

    frames, counts = asyncio.run(scenario())

    assert frames == sent
    assert counts == {"received": len(sent)}


def test_frames_of_a_stream_arrive_however_they_are_cut():
    async def scenario():
        async with listening(quiet(tcp=ANY)) as (_, (where,), frames, counts):
            _, writer = await asyncio.open_connection(*where)
            for byte in FRAME * 3:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0)
            await until(lambda: len(frames) == 3)
            writer.close()
            await writer.wait_closed()
            return frames, counts

    frames, counts = asyncio.run(scenario())

    assert frames == [FRAME] * 3
    assert counts["received"] == 3


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """Return the settings of a TLS listener whose certificate `authority` signed."""
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for number, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(tmp_path / "cert.pem", append=number > 0)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return {"tls_cert_file": str(tmp_path / "cert.pem"), "tls_key_file": str(tmp_path / "key.pem")}


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls_frames_arrive(authority, certificate):
    async def scenario():
        async with listening(quiet(tls=ANY, **certificate)) as (_, (where,), frames, _counts):
            _, writer = await asyncio.open_connection(*where, ssl=trusting(authority))
            writer.write(FRAME)
            await until(lambda: frames)
            writer.close()
            await writer.wait_closed()
            return frames

    assert asyncio.run(scenario()) == [FRAME]


def test_a_sender_without_the_asked_for_certificate_is_not_heard(authority, certificate, tmp_path):
    settings = quiet(tls=ANY, tls_client_ca_file=str(tmp_path / "ca.pem"), **certificate)

    async def talk(where, context) -> None:
        try:
            reader, writer = await asyncio.open_connection(*where, ssl=context)
            writer.write(FRAME)
            await reader.read()  # with TLS 1.3 the refusal comes after our handshake is done
            writer.close()
            await writer.wait_closed()
        except OSError:
            pass

    async def scenario():
        async with listening(settings) as (listeners, (where,), frames, counts):
            await talk(where, trusting(authority))
            assert not listeners._connections
            known = trusting(authority)
            authority.issue_cert("agent@example.com").configure_cert(known)
            task = asyncio.create_task(talk(where, known))
            await until(lambda: frames)
            await listeners.stop()
            await task
            return frames, counts["connections.opened"]

    assert asyncio.run(scenario()) == ([FRAME], 2)


def test_a_handshake_that_is_none_frees_its_place(certificate):
    async def scenario():
        async with listening(quiet(tls=ANY, max_connections=1, **certificate)) as (listeners, (where,), *_):
            reader, writer = await asyncio.open_connection(*where)
            writer.write(b"INVITE sip:nobody@example.com SIP/2.0\r\n\r\n")
            await reader.read()
            writer.close()
            await until(lambda: not listeners._connections)

    asyncio.run(scenario())


@pytest.mark.usefixtures("taken")
def test_senders_outside_the_allow_list_are_counted_and_not_heard():
    async def scenario():
        settings = quiet(udp=ANY, tcp=ANY, allow=("192.0.2.0/24", "2001:db8::/32"))
        async with listening(settings) as (_, (udp, tcp), frames, counts):
            with udp_sender(udp) as sender:
                sender.send(FRAME)
            reader, writer = await asyncio.open_connection(*tcp)
            assert await reader.read() == b""
            writer.close()
            await until(lambda: counts["dropped.not-allowed"])
            return frames, counts

    frames, counts = asyncio.run(scenario())

    assert frames == []
    assert counts == {"received": 1, "dropped.not-allowed": 1, "connections.not-allowed": 1}


@pytest.mark.usefixtures("taken")
def test_senders_on_the_allow_list_are_heard():
    async def scenario():
        async with listening(quiet(udp=ANY, allow=("127.0.0.0/8",))) as (_, (where,), frames, _counts):
            with udp_sender(where) as sender:
                sender.send(FRAME)
                await until(lambda: frames)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("192.0.2.7", True),
        ("192.0.3.7", False),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::1", True),
        ("fe80::1%eth0", False),
    ],
)
def test_the_allow_list_knows_both_families(host, allowed):
    assert Allowed(("192.0.2.0/24", "2001:db8::/32"))(host) is allowed


def test_the_allow_list_does_not_remember_the_whole_internet():
    allowed = Allowed(("192.0.2.0/24",))
    for number in range(3 * Allowed.REMEMBERED):
        allowed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")

    assert len(allowed._known) <= Allowed.REMEMBERED


def test_one_connection_too_many_is_turned_away():
    async def scenario():
        async with listening(quiet(tcp=ANY, max_connections=2)) as (_, (where,), frames, counts):
            links = [await asyncio.open_connection(*where) for _ in range(3)]
            assert await links[2][0].read() == b""
            links[0][1].write(FRAME)
            await until(lambda: frames)
            for _, writer in links:
                writer.close()
            return counts

    assert asyncio.run(scenario())["connections.too-many"] == 1


def test_a_place_is_free_again_when_its_connection_ends():
    async def scenario():
        async with listening(quiet(tcp=ANY, max_connections=1)) as (listeners, (where,), frames, counts):
            for number in range(1, 4):
                _, writer = await asyncio.open_connection(*where)
                writer.write(FRAME)
                await until(lambda number=number: len(frames) == number)
                writer.close()
                await writer.wait_closed()
                await until(lambda: not listeners._connections)
            return counts

    assert asyncio.run(scenario())["connections.too-many"] == 0


def test_a_silent_connection_is_closed():
    async def scenario():
        async with listening(quiet(tcp=ANY, idle_s=1.0)) as (_, (where,), _frames, counts):
            reader, writer = await asyncio.open_connection(*where)
            async with asyncio.timeout(PATIENCE_S):
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()
            return counts

    assert asyncio.run(scenario())["connections.timed-out"] == 1


def test_a_frame_that_never_ends_closes_its_connection(monkeypatch):
    monkeypatch.setattr(connections, "FRAME_S", 0.5)

    async def scenario():
        async with listening(quiet(tcp=ANY)) as (listeners, (where,), _frames, counts):
            _, writer = await asyncio.open_connection(*where)
            for _ in range(1000):
                writer.write(b"HEP3\xff\xff" if not listeners._connections else b"x")
                await asyncio.sleep(0.01)
                if counts["connections.timed-out"]:
                    break
            writer.close()
            return counts

    assert asyncio.run(scenario())["connections.timed-out"] == 1


def test_a_paused_sender_waits_and_nothing_of_it_is_lost():
    async def scenario():
        async with listening(quiet(tcp=ANY)) as (listeners, (where,), frames, _counts):
            listeners.pause()
            _, writer = await asyncio.open_connection(*where)
            writer.write(FRAME * 1000)
            await asyncio.sleep(0.1)
            assert frames == []
            listeners.resume()
            await until(lambda: len(frames) == 1000)
            writer.close()

    asyncio.run(scenario())


@pytest.mark.usefixtures("taken")
def test_what_the_kernel_has_no_room_for_is_counted():
    async def scenario():
        async with listening(quiet(udp=ANY, receive_buffer_kb=64)) as (listeners, (where,), frames, counts):
            with udp_sender(where) as sender:
                for _ in range(2000):
                    sender.send(bytes(1000))
            listeners.count_kernel_drops()
            await until(lambda: len(frames) + counts["dropped.kernel"] == 2000)
            return counts

    counts = asyncio.run(scenario())

    assert counts["dropped.kernel"] > 0
    assert counts["received"] + counts["dropped.kernel"] == 2000


def test_what_was_received_before_the_stop_is_handed_on():
    async def scenario():
        async with listening(quiet(udp=ANY, tcp=ANY)) as (listeners, (udp, tcp), frames, _counts):
            _, writer = await asyncio.open_connection(*tcp)
            with udp_sender(udp) as sender:
                for _ in range(500):
                    sender.send(FRAME)
                writer.write(FRAME * 50_000)
                await writer.drain()
                await listeners.stop()
            writer.close()
            return frames

    assert len(asyncio.run(scenario())) == 50_500


def test_a_port_in_use_is_named(monkeypatch):
    monkeypatch.setattr("missedcall_collector.binding.BIND_PATIENCE_S", 0.1)

    async def scenario():
        async with listening(quiet(udp=ANY)) as (_, (where,), *_rest):
            await Listeners(quiet(tcp=ANY, udp=(str(where),)), list, Counter()).start()

    with pytest.raises(ListenError, match=r"listen\.udp: 127\.0\.0\.1:\d+: Address already in use"):
        asyncio.run(scenario())


def test_a_port_that_a_dying_process_still_holds_is_waited_for():
    async def scenario():
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        holder.bind(("127.0.0.1", 0))
        asyncio.get_running_loop().call_later(0.2, holder.close)
        async with listening(quiet(udp=(f"127.0.0.1:{holder.getsockname()[1]}",))):
            pass

    asyncio.run(scenario())


def test_a_foreign_address_is_named():
    with pytest.raises(ListenError, match=r"listen\.tcp: 192\.0\.2\.1:9060: "):
        asyncio.run(Listeners(quiet(tcp=("192.0.2.1:9060",)), list, Counter()).start())


@pytest.mark.parametrize("missing", ["tls_cert_file", "tls_key_file"])
def test_a_missing_certificate_is_named(certificate, missing):
    settings = quiet(tls=ANY, **{**certificate, missing: "/nowhere/x.pem"})

    with pytest.raises(ListenError, match=rf"listen\.{missing} = '/nowhere/x\.pem': No such file"):
        asyncio.run(Listeners(settings, list, Counter()).start())


def test_a_file_that_is_no_certificate_is_named(certificate, tmp_path):
    (tmp_path / "cert.pem").write_text("not a certificate")

    with pytest.raises(
        ListenError, match=r"listen\.tls_cert_file .* expected a certificate and its key as PEM"
    ):
        asyncio.run(Listeners(quiet(tls=ANY, **certificate), list, Counter()).start())


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [("0.0.0.0:9060", ("0.0.0.0", 9060)), ("[::]:0", ("::", 0)), ("host:1", ("host", 1))],
)
def test_an_endpoint_is_an_address(endpoint, address):
    assert address_of(endpoint) == address
    assert str(address_of(endpoint)) == endpoint


def test_auth_keys_are_one_per_line(tmp_path):
    (tmp_path / "keys").write_text("new\r\n\nold\n")

    assert read_auth_keys(tmp_path / "keys") == (b"new", b"old")


def test_an_empty_key_file_would_let_nobody_in(tmp_path):
    (tmp_path / "keys").write_text("\n\n")

    with pytest.raises(ValueError, match="holds no key"):
        read_auth_keys(tmp_path / "keys")


@pytest.mark.usefixtures("taken")
def test_a_sender_beyond_its_share_is_dropped_over_udp_and_counted():
    async def scenario():
        async with listening(quiet(udp=ANY, per_source=10)) as (_, (where,), frames, counts):
            with udp_sender(where) as sender:
                for number in range(200):
                    sender.send(b"%d" % number)
                await until(lambda: counts["received"] == 200)
            assert len(frames) + counts["dropped.source-limit"] == 200
            assert 20 <= len(frames) < 100

    asyncio.run(scenario())


def test_a_sender_beyond_its_share_waits_over_tcp_and_loses_nothing():
    async def scenario():
        async with listening(quiet(tcp=ANY, per_source=100)) as (_, (where,), frames, counts):
            loop = asyncio.get_running_loop()
            _, writer = await asyncio.open_connection(*where)
            writer.write(FRAME * 210)
            await until(lambda: len(frames) == 210)
            began = loop.time()
            writer.write(FRAME * 5)
            await until(lambda: len(frames) == 215)
            assert loop.time() - began >= 0.05
            assert counts["received"] == 215
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario())


def test_several_sockets_share_an_endpoint():
    async def scenario():
        async with listening(quiet(udp=ANY, udp_sockets=3)) as (_, bound, frames, counts):
            assert len(set(bound)) == 1
            assert len(bound) == 3
            for number in range(40):
                with udp_sender(bound[0]) as sender:
                    sender.send(b"%d" % number)
            await until(lambda: len(frames) == 40)
            assert counts["received"] == 40

    asyncio.run(scenario())
