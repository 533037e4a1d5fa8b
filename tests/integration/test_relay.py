"""The relay to another receiver, on real sockets."""

import asyncio
import socket
from collections import Counter

import pytest

from missedcall_collector import relay as module
from missedcall_collector.relay import Relay

FRAMES = [b"HEP3\x00\x0cabcdef", b"HEP3\x00\x0bvwxyz"]
PATIENCE_S = 10.0


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


class Target:
    """A TCP receiver."""

    def __init__(self):
        self.data = b""
        self.connections = 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.read, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()

    async def read(self, reader, writer):
        self.connections += 1
        while data := await reader.read(65_536):
            self.data += data
            if b"bye" in data:
                break
        writer.close()


def test_datagrams_go_on_unchanged():
    async def scenario():
        counts = Counter()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
            target.bind(("127.0.0.1", 0))
            target.settimeout(PATIENCE_S)
            relay = Relay(f"udp://127.0.0.1:{target.getsockname()[1]}", counts)
            relay.start()
            await until(lambda: relay._socket is not None)
            relay.send(FRAMES)
            assert [target.recv(100) for _ in FRAMES] == FRAMES
            await relay.close()
        assert counts == {"relayed": 2}

    asyncio.run(scenario())


def test_a_stream_goes_on_unchanged_and_is_taken_up_again(monkeypatch):
    monkeypatch.setattr(module, "RECONNECT_S", 0.01)

    async def scenario():
        counts = Counter()
        async with Target() as target:
            relay = Relay(f"tcp://127.0.0.1:{target.port}", counts)
            relay.start()
            await until(lambda: relay._writer is not None)
            relay.send(FRAMES)
            await until(lambda: target.data == b"".join(FRAMES))
            relay.send([b"bye"])
            await until(lambda: target.connections == 2 and relay._writer is not None)
            relay.send(FRAMES)
            await until(lambda: target.data.endswith(b"bye" + b"".join(FRAMES)))
            await relay.close()
        assert counts["relayed"] == 5

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_nobody_there_costs_frames_and_nothing_else(kind):
    async def scenario():
        counts = Counter()
        relay = Relay(f"{kind}://127.0.0.1:1", counts)
        relay.start()
        for _ in range(50):
            relay.send(FRAMES)
            await asyncio.sleep(0.001)
        await relay.close()
        assert counts["relayed"] + counts["relay-lost"] == 100
        assert counts["relay-lost"] > 0

    asyncio.run(scenario())


def test_a_target_that_does_not_read_costs_frames_and_bounded_memory(monkeypatch):
    monkeypatch.setattr(module, "BUFFER", 100_000)

    async def scenario():
        counts = Counter()
        with socket.create_server(("127.0.0.1", 0)) as target:
            relay = Relay(f"tcp://127.0.0.1:{target.getsockname()[1]}", counts)
            relay.start()
            await until(lambda: relay._writer is not None)
            async with asyncio.timeout(PATIENCE_S):
                while not counts["relay-lost"]:
                    relay.send([b"x" * 50_000])
                    await asyncio.sleep(0)
            assert relay._writer.transport.get_write_buffer_size() <= 150_000
            relay._writer.transport.abort()
            await relay.close()

    asyncio.run(scenario())
