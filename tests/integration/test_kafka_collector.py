"""The collector service on a real Kafka: nothing lost, in order, on the right partition; Kafka away and back."""

import asyncio
import socket
import ssl
import time
import uuid
from itertools import groupby

import pytest
import trustme
from msgspec.structs import replace
from support import hep_calls
from support.collector_process import CollectorProcess, missing_numbers, read_topic, send_tcp

from missedcall_collector import hep
from missedcall_common.kafka.__main__ import main as create_topics
from missedcall_common.placing import partitions_of
from missedcall_schemas.codec import encode_batch

pytestmark = [pytest.mark.kafka]

PARTITIONS = 4
CALLS = 200


@pytest.fixture
def environment(kafka):
    found = {
        "MISSEDCALL_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "MISSEDCALL_KAFKA_PREFIX": f"c{uuid.uuid4().hex[:8]}.",
        "MISSEDCALL_KAFKA_PARTITIONS": str(PARTITIONS),
        "MISSEDCALL_KAFKA_REPLICAS": "1",
    }
    assert create_topics([], found) == 0
    return found


def topic_of(environment):
    return f"{environment['MISSEDCALL_KAFKA_PREFIX']}sip-transactions"


def frames(calls=CALLS):
    now_ms = time.time_ns() // 1_000_000
    return [hep_calls.dated(frame, now_ms) for _, frame in hep_calls.frames(calls, 1000.0)]


def sent_in_order(calls=CALLS):
    """Return the start lines of each call in the order sent, by Call-ID."""
    found = {}
    for message in hep_calls.in_time(calls, 1000.0):
        found.setdefault(message.call_id, []).append(message.head.partition(b"\r")[0])
    return found


def received_in_order(topic):
    found = {}
    for messages in topic.messages().values():
        for message in messages:
            found.setdefault(message.call_id, []).append(message.head.partition(b"\r")[0])
    return found


async def send_udp(port, all_frames, pause_every=200):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        for number, frame in enumerate(all_frames):
            sock.send(frame)
            if number % pause_every == pause_every - 1:
                await asyncio.sleep(0.02)


async def whole(environment, transport):
    sent = frames()
    async with CollectorProcess(environment) as collector:
        port = (await collector.ports())[transport]
        await (send_udp if transport == "udp" else send_tcp)(port, sent)
        counts = await collector.counted(published=len(sent))
        assert await collector.terminate() == 0
    return sent, counts, await read_topic(environment["MISSEDCALL_KAFKA_BOOTSTRAP"], topic_of(environment))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_every_message_arrives_once_in_order_on_the_partition_of_its_key(environment, transport):
    sent, counts, topic = asyncio.run(whole(environment, transport))

    assert received_in_order(topic) == sent_in_order()
    assert counts["received"] == counts["published"] == len(sent)
    assert {
        number: {at for message in messages for at in partitions_of(message.key, PARTITIONS)}
        for number, messages in topic.messages().items()
        if messages
    } == {number: {number} for number in range(PARTITIONS)}
    assert [missing_numbers(batches) for batches in topic.batches.values()] == [0] * PARTITIONS


@pytest.mark.parametrize(("compression", "share"), [("", (0.02, 0.4)), ("none", (1.0, 1.2))])
def test_what_kafka_keeps_is_compressed_unless_asked_otherwise(kafka, environment, compression, share):
    _, _, topic = asyncio.run(whole({**environment, "MISSEDCALL_COMPRESSION": compression}, "tcp"))

    kept = sum(
        log.stat().st_size for log in (kafka.folder / "data-1").glob(f"{topic_of(environment)}-*/*.log")
    )
    written = sum(
        len(encode_batch(batch)) for batches in topic.batches.values() for batch in batches if batch.messages
    )
    assert share[0] < kept / written < share[1]


def test_a_silent_partition_gets_ticks(environment):
    async def silence():
        async with CollectorProcess(environment) as collector:
            await collector.counted(published_batches=2 * PARTITIONS)
            await collector.terminate()
        return await read_topic(environment["MISSEDCALL_KAFKA_BOOTSTRAP"], topic_of(environment))

    topic = asyncio.run(silence())

    for batches in topic.batches.values():
        clocks = [batch.clock_ms for batch in batches]
        assert len(clocks) >= 2
        assert clocks == sorted(set(clocks))
        assert all(batch.messages == () for batch in batches)


def test_another_partition_count_ends_the_service_and_says_both(environment):
    async def refused():
        async with CollectorProcess({**environment, "MISSEDCALL_KAFKA_PARTITIONS": "5"}) as collector:
            return await collector.ended(), collector.events

    status, events = asyncio.run(refused())

    assert status == 1
    assert any("has 4 partitions, expected 5" in event.get("text", "") for event in events)


def test_wrong_settings_are_all_named_before_anything_starts(environment):
    async def refused():
        wrong = {**environment, "MISSEDCALL_LISTEN_UDP": "nowhere", "MISSEDCALL_SPOOL_FOLDR": "/x"}
        async with CollectorProcess(wrong) as collector:
            return await collector.ended(), [event.get("text", "") for event in collector.events]

    status, said = asyncio.run(refused())

    assert status == 2
    assert any("MISSEDCALL_LISTEN_UDP" in line and "HOST:PORT" in line for line in said)
    assert any("did you mean MISSEDCALL_SPOOL_FOLDER" in line for line in said)


def test_a_key_is_changed_without_a_restart_and_senders_without_it_are_counted(environment, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("old\n")
    keyed = [hep.encode(replace(hep.decode(frame), auth_key=b"new")) for frame in frames(4)]

    async def rotation():
        async with CollectorProcess(
            {**environment, "MISSEDCALL_LISTEN_AUTH_KEY_FILE": str(keys)}
        ) as collector:
            port = (await collector.ports())["tcp"]
            await send_tcp(port, keyed)
            await collector.counted(auth=len(keyed))
            keys.write_text("old\nnew\n")
            await collector.event("keys.changed")
            await send_tcp(port, keyed)
            counts = await collector.counted(published=len(keyed))
            await collector.terminate()
        return counts

    counts = asyncio.run(rotation())

    assert counts["auth"] == counts["published"] == len(keyed)


def test_what_is_received_over_tls_arrives_and_goes_on_to_the_relay(environment, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    sent = frames(40)
    relayed = bytearray()

    async def take(reader, writer):
        while data := await reader.read(65_536):
            relayed.extend(data)
        writer.close()

    async def scenario():
        server = await asyncio.start_server(take, "127.0.0.1", 0)
        listening = {
            **environment,
            "MISSEDCALL_LISTEN_TLS": "127.0.0.1:0",
            "MISSEDCALL_LISTEN_TLS_CERT_FILE": str(tmp_path / "cert.pem"),
            "MISSEDCALL_LISTEN_TLS_KEY_FILE": str(tmp_path / "key.pem"),
            "MISSEDCALL_RELAY": f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        }
        async with CollectorProcess(listening) as collector:
            port = (await collector.ports(3))["tls"]
            trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trust, server_hostname="localhost"
            )
            for frame in sent:
                writer.write(frame)
            await writer.drain()
            counts = await collector.counted(published=len(sent))
            writer.close()
            assert await collector.terminate() == 0
        server.close()
        await server.wait_closed()
        return counts, await read_topic(environment["MISSEDCALL_KAFKA_BOOTSTRAP"], topic_of(environment))

    counts, topic = asyncio.run(scenario())

    assert received_in_order(topic) == sent_in_order(40)
    assert counts["relayed"] == len(sent)
    assert bytes(relayed) == b"".join(sent)


def test_while_kafka_is_away_the_disk_holds_it_and_it_comes_in_order(kafka, environment, tmp_path):
    folder = tmp_path / "spool"
    away = {
        **environment,
        "MISSEDCALL_LISTEN_QUEUE_MB": "1",
        "MISSEDCALL_SPOOL_FOLDER": str(folder),
        "MISSEDCALL_SPOOL_MB": "64",
    }
    sent = frames(1000)

    async def outage():
        async with CollectorProcess(away) as collector:
            port = (await collector.ports())["tcp"]
            third = len(sent) // 3
            await send_tcp(port, sent[:third])
            await collector.counted(published=third)
            kafka.kill(1)
            await send_tcp(port, sent[third:])
            await collector.counted(received=len(sent), spooled=1)
            await collector.event("kafka.lost")
            starting = asyncio.to_thread(kafka.start, 1)
            await starting
            counts = await collector.counted(published=len(sent))
            assert await collector.terminate() == 0
        assert collector.named("kafka.reached")
        return counts, await read_topic(kafka.bootstrap, topic_of(environment))

    try:
        counts, topic = asyncio.run(outage())
    finally:
        kafka.start(1)

    assert received_in_order(topic) == sent_in_order(1000)
    assert counts["received"] == counts["published"]
    assert sum(missing_numbers(batches) for batches in topic.batches.values()) == 0
    assert [path.suffix for path in folder.iterdir() if path.suffix == ".batches"] == []


def test_what_a_stop_could_not_publish_the_next_start_publishes_first(kafka, environment, tmp_path):
    kept = {**environment, "MISSEDCALL_SPOOL_FOLDER": str(tmp_path / "spool")}
    sent = frames(100)

    async def two_lives():
        kafka.kill(1)
        async with CollectorProcess(kept) as collector:
            await send_tcp((await collector.ports())["tcp"], sent)
            await collector.counted(received=len(sent))
            assert await collector.terminate() == 0
            first = collector.named("counters.reported")[-1]
        await asyncio.to_thread(kafka.start, 1)
        async with CollectorProcess(kept) as collector:
            counts = await collector.counted(published=len(sent))
            await collector.counted(published_batches=counts["published-batches"] + PARTITIONS)
            await collector.terminate()
        return first, await read_topic(kafka.bootstrap, topic_of(environment))

    try:
        first, topic = asyncio.run(two_lives())
    finally:
        kafka.start(1)

    assert first["counts"].get("published", 0) == 0
    assert first["counts"]["spooled"] == len(sent)
    assert received_in_order(topic) == sent_in_order(100)
    for batches in topic.batches.values():
        lives = [incarnation for incarnation, _ in groupby(batch.incarnation for batch in batches)]
        assert len(lives) == 2
        assert lives == sorted(lives)


def test_beyond_the_bounds_drops_are_counted_and_leave_a_hole(kafka, environment):
    tight = {**environment, "MISSEDCALL_LISTEN_QUEUE_MB": "1"}  # and no disk
    sent = frames(2000)

    async def overflow():
        async with CollectorProcess(tight) as collector:
            port = (await collector.ports())["udp"]
            await collector.counted(published_batches=PARTITIONS)
            kafka.kill(1)
            await send_udp(port, sent, 100)
            counts = await collector.counted(received=len(sent), **{"dropped.queue_full": 1})
            await asyncio.to_thread(kafka.start, 1)
            await collector.counted(published=len(sent) - counts["dropped.queue-full"])
            before = len(collector.named("counters.reported"))
            await send_udp(port, sent[:100])
            await collector.event("counters.reported", before + 5)
            assert await collector.terminate() == 0
            last = collector.named("counters.reported")[-1]["counts"]
        return last, await read_topic(kafka.bootstrap, topic_of(environment))

    try:
        counts, topic = asyncio.run(overflow())
    finally:
        kafka.start(1)

    assert counts["dropped.queue-full"] + counts["published"] == counts["received"]
    assert len(topic.call_ids()) == counts["published"]
    assert all(missing_numbers(batches) > 0 for batches in topic.batches.values())
