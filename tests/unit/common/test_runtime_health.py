"""What a probe is answered, on a real socket of loopback."""

import asyncio
import socket

import pytest

from missedcall_common.runtime import health
from missedcall_common.runtime.health import Health, HealthError


async def asked(port, request):
    """Send bytes; return all that comes back until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def answers(*requests, live=lambda: "", ready=lambda: ""):
    async def scenario():
        endpoint = Health("127.0.0.1:0", live=live, ready=ready)
        await endpoint.start()
        port = endpoint._server.sockets[0].getsockname()[1]
        try:
            return [await asked(port, request) for request in requests]
        finally:
            await endpoint.stop()

    return asyncio.run(scenario())


def get(path, method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_all_is_well():
    live, ready = answers(get("/livez"), get("/readyz?verbose"))

    assert live.startswith(b"HTTP/1.1 200 OK\r\n")
    assert live.endswith(b"\r\n\r\nok\n")
    assert ready.startswith(b"HTTP/1.1 200 ")


def test_what_is_not_well_is_said_of_the_one_that_it_concerns():
    live, ready = answers(get("/livez"), get("/readyz"), ready=lambda: "partitions are not loaded")

    assert live.startswith(b"HTTP/1.1 200 ")
    assert ready.startswith(b"HTTP/1.1 503 ")
    assert ready.endswith(b"\r\n\r\npartitions are not loaded\n")


def test_head_has_the_length_and_no_body():
    (answer,) = answers(get("/livez", "HEAD"))

    assert b"Content-Length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), b"404"),
        (get("/livez/../etc"), b"404"),
        (get("/livez", "POST"), b"405"),
        (b"\r\n\r\n", b"404"),
        (b"\xff\xfe \r\n\r\n", b"404"),
    ],
)
def test_anything_else_is_refused(request_, status):
    (answer,) = answers(request_)

    assert answer.split(b" ")[1] == status


def test_a_request_without_an_end_is_not_read_on_and_the_next_is_answered():
    endless, good = answers(b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 2_000, get("/livez"))

    assert endless == b""
    assert good.startswith(b"HTTP/1.1 200 ")


def test_who_says_nothing_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(health, "REQUEST_S", 0.2)

    assert answers(b"GET /live") == [b""]


def test_of_too_many_connections_the_last_is_closed_at_once(monkeypatch):
    monkeypatch.setattr(health, "CONNECTIONS", 1)

    async def scenario():
        endpoint = Health("127.0.0.1:0", live=lambda: "", ready=lambda: "")
        await endpoint.start()
        port = endpoint._server.sockets[0].getsockname()[1]
        _, idle = await asyncio.open_connection("127.0.0.1", port)
        while not endpoint._open:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        refused = await asked(port, b"")
        idle.close()
        while endpoint._open:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        answered = await asked(port, get("/livez"))
        await endpoint.stop()
        return refused, answered

    refused, answered = asyncio.run(scenario())

    assert refused == b""
    assert answered.startswith(b"HTTP/1.1 200 ")


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = Health(f"127.0.0.1:{taken.getsockname()[1]}", live=lambda: "", ready=lambda: "")

        with pytest.raises(HealthError, match=r"health 127\.0\.0\.1:\d+: .*in use"):
            asyncio.run(endpoint.start())


def test_without_an_address_there_is_no_endpoint():
    async def scenario():
        endpoint = Health("", live=lambda: "", ready=lambda: "")
        await endpoint.start()
        await endpoint.stop()
        return endpoint._server

    assert asyncio.run(scenario()) is None
