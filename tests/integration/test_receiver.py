"""The receiver and its link to the pipeline, in one process."""

import asyncio
import socket
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack
from support import hep_calls

from missedcall_classifier.policy import Policy
from missedcall_collector import clock, collecting
from missedcall_collector.batching import LINGER_MS
from missedcall_collector.correlation import CorrelationRules
from missedcall_collector.settings import ListenSettings
from missedcall_embedded.link import (
    BATCH,
    REPORT,
    LinkReader,
    LinkWriter,
    Order,
    Report,
    receive_order,
    send_order,
)
from missedcall_embedded.receiver import Receiver
from missedcall_schemas import codec

PATIENCE_S = 20.0


def order(**listen) -> Order:
    settings = ListenSettings(**{"udp": ("127.0.0.1:0",), "tcp": ("127.0.0.1:0",), **listen})
    policy = Policy()
    return Order(
        listen=settings,
        correlation_headers=policy.correlation_headers,
        call_id_suffixes=policy.call_id_suffixes,
        not_before_ms=0,
    )


class Pipeline:
    """The other end: what a pipeline hears, read when the test says so."""

    def __init__(self) -> None:
        self.link, self.receivers = socket.socketpair()
        self.link.setblocking(False)
        self.receivers.setblocking(False)
        self.batches = []
        self.reports: list[Report] = []
        self._reader = LinkReader()

    async def hear(self, condition=lambda: False) -> None:
        """Read until a condition holds or the receiver has said everything."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                data = await loop.sock_recv(self.link, 65_536)
                for kind, payload in self._reader.feed(data):
                    if kind == BATCH:
                        self.batches.append(codec.decode_batch(payload))
                    else:
                        self.reports.append(msgpack.decode(payload, type=Report))
                if not data:
                    self.link.close()
                    return

    async def ports(self) -> dict[str, int]:
        await self.hear(lambda: self.reports)
        return {transport: port for transport, _, port, _ in self.reports[0].listening}

    def stop(self) -> None:
        self.link.shutdown(socket.SHUT_WR)

    @property
    def messages(self) -> int:
        return sum(len(batch.messages) for batch in self.batches)

    @property
    def holes(self) -> int:
        sequences = [batch.sequence for batch in self.batches]
        return sequences[-1] + 1 - len(sequences)


async def serve(pipeline: Pipeline, receiver: Receiver) -> None:
    with pipeline.receivers:
        await receiver.run()
    # The link stays open: what was said last waits there.


def many(count: int) -> list[bytes]:
    """Return frames that each are a message of a call."""
    frames = [frame for _, frame in hep_calls.frames(count // 8 + 4, 1000.0)]
    return frames[:count]


def test_what_is_received_becomes_batches_and_then_ticks():
    async def scenario():
        pipeline = Pipeline()
        task = asyncio.create_task(serve(pipeline, Receiver(order(), pipeline.receivers)))
        port = (await pipeline.ports())["udp"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for frame in many(40):
                sender.sendto(frame, ("127.0.0.1", port))
        await pipeline.hear(lambda: pipeline.messages == 40)
        await pipeline.hear(lambda: not pipeline.batches[-1].messages)
        pipeline.stop()
        await pipeline.hear()
        await task
        return pipeline

    pipeline = asyncio.run(scenario())

    assert pipeline.holes == 0
    assert pipeline.reports[-1].counts["received"] == 40
    clocks = [batch.clock_ms for batch in pipeline.batches]
    assert clocks == sorted(clocks)
    assert all(m.received_ms <= batch.clock_ms for batch in pipeline.batches for m in batch.messages)


def test_what_the_pipeline_cannot_keep_up_with_is_dropped_counted_and_leaves_a_hole():
    async def scenario():
        pipeline = Pipeline()
        receiver = Receiver(order(queue_mb=1), pipeline.receivers)
        task = asyncio.create_task(serve(pipeline, receiver))
        await pipeline.ports()
        frames = many(8000)
        for at in range(0, len(frames), 100):
            receiver._collecting._receive(frames[at : at + 100])
        dropped = receiver._collecting.counts["dropped.queue-full"]
        await pipeline.hear(lambda: receiver._writer.backlog == 0)
        receiver._collecting._receive(frames[:500])
        pipeline.stop()
        await pipeline.hear()
        await task
        return pipeline, dropped

    pipeline, dropped = asyncio.run(scenario())

    assert dropped > 1000
    assert pipeline.messages + dropped == 8500
    assert pipeline.holes == 1
    assert pipeline.reports[-1].counts["dropped.queue-full"] == dropped


def test_a_stream_waits_for_the_pipeline_and_loses_nothing():
    async def scenario():
        pipeline = Pipeline()
        receiver = Receiver(order(queue_mb=1), pipeline.receivers)
        task = asyncio.create_task(serve(pipeline, receiver))
        port = (await pipeline.ports())["tcp"]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        frames = many(20_000)
        writer.write(b"".join(frames))
        async with asyncio.timeout(PATIENCE_S):
            while not receiver._collecting._listeners.paused:  # noqa: ASYNC110 - the receiver tells the pipeline only
                await asyncio.sleep(0.01)
        await pipeline.hear(lambda: pipeline.messages == len(frames))
        writer.close()
        pipeline.stop()
        await pipeline.hear()
        await task
        return pipeline

    pipeline = asyncio.run(scenario())

    assert pipeline.messages == 20_000
    assert pipeline.holes == 0
    assert "dropped.queue-full" not in pipeline.reports[-1].counts


def test_what_the_kernel_dropped_while_a_collector_stood_still_is_a_hole_before_its_clock_goes_on():
    batches = []

    async def scenario():
        found = collecting.Collecting(
            order(tcp=(), receive_buffer_kb=64).listen,
            CorrelationRules(),
            hand_on=lambda _, batch: batches.append(batch),
            backlog=lambda: 0,
        )
        (where,) = await found.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(many(1)[0], where.address)
            async with asyncio.timeout(PATIENCE_S):
                while found.counts["received"] < 1:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.005)
            before_ms = found._batcher.clock_ms
            time.sleep(2 * LINGER_MS / 1000)  # noqa: ASYNC251 - nothing goes on here meanwhile
            for frame in many(2000):
                sender.sendto(frame, where.address)
        async with asyncio.timeout(PATIENCE_S):
            while not batches or batches[-1].clock_ms <= before_ms + LINGER_MS:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        await found.stop(at_once=True)
        return before_ms, found.counts["dropped.kernel"]

    before_ms, dropped = asyncio.run(scenario())
    after = next(number for number, batch in enumerate(batches) if batch.clock_ms > before_ms + LINGER_MS)

    assert dropped > 0
    assert batches[after].sequence == after + 1


def test_a_frame_that_trips_a_mistake_costs_itself_only(monkeypatch):
    def from_frame(_intake, frame, _now_ms):
        if frame == b"poison":
            raise RuntimeError("a mistake of ours")
        return []

    monkeypatch.setattr(collecting.Intake, "from_frame", from_frame)
    pipeline = Pipeline()
    receiver = Receiver(order(), pipeline.receivers)
    receiver._collecting._receive([b"poison", b"fine", b"poison"])
    pipeline.link.close()
    pipeline.receivers.close()

    assert receiver._collecting.counts["dropped.refused"] == 2


def test_the_receiver_ends_with_the_pipeline():
    async def scenario():
        pipeline = Pipeline()
        task = asyncio.create_task(serve(pipeline, Receiver(order(), pipeline.receivers)))
        await pipeline.ports()
        pipeline.link.close()
        async with asyncio.timeout(PATIENCE_S):
            await task

    with pytest.raises(BrokenPipeError):
        asyncio.run(scenario())


def test_the_clock_never_goes_back_and_never_stands_still(monkeypatch):
    wall, running = [1_000_000], [5.0]
    monkeypatch.setattr(clock.time, "time_ns", lambda: wall[0] * 1_000_000)
    monkeypatch.setattr(clock.time, "monotonic", lambda: running[0])
    ours = clock.Clock(0)
    seen = [ours.now_ms()]
    for wall_ms, elapsed_s in ((1_000_500, 0.5), (400_000, 0.5), (400_500, 0.5), (9_000_000, 0.5)):
        wall[0], running[0] = wall_ms, running[0] + elapsed_s
        seen.append(ours.now_ms())

    assert seen == [1_000_000, 1_000_500, 1_001_000, 1_001_500, 9_000_000]


def test_the_clock_is_not_before_the_log(monkeypatch):
    monkeypatch.setattr(clock.time, "time_ns", lambda: 1_000_000_000)

    assert clock.Clock(5_000_000).now_ms() == 5_000_000


def test_an_order_arrives_whole():
    one, other = socket.socketpair()
    with one, other:
        sent = order(allow=("192.0.2.0/24",))
        send_order(one, sent)

        assert receive_order(other) == sent


def test_no_order_comes_from_a_dead_pipeline():
    one, other = socket.socketpair()
    one.close()
    with other, pytest.raises(EOFError):
        receive_order(other)


@given(st.lists(st.tuples(st.sampled_from([BATCH, REPORT]), st.binary(max_size=50))), st.integers(1, 40))
def test_messages_arrive_however_the_stream_is_cut(messages, size):
    stream = b"".join(struct.pack("!IB", len(payload), kind) + payload for kind, payload in messages)
    reader = LinkReader()
    heard = [m for at in range(0, len(stream), size) for m in reader.feed(stream[at : at + size])]

    assert heard == messages


def test_the_writer_counts_what_waits():
    async def scenario():
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            other.setblocking(False)
            writer = LinkWriter(one)
            for _ in range(100):
                writer.send(BATCH, bytes(100_000))
            assert writer.backlog > 8_000_000
            heard = 0
            while heard < 100 * 100_005:
                heard += len(await asyncio.get_running_loop().sock_recv(other, 1 << 20))
            await writer.drain()
            return writer.backlog

    assert asyncio.run(scenario()) == 0
