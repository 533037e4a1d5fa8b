"""What the services tell OpenTelemetry of a run, and what nobody is told."""

import asyncio
import json
import re
import time

import pytest
from support import hep_calls, kafka_log
from support.classifier_process import ClassifierProcess
from support.collector_process import CollectorProcess, send_tcp
from support.notifier_process import NotifierProcess, webhook
from support.otlp_sink import OtlpSink
from support.webhook_sink import WebhookSink

from missedcall_common.runtime.sampling import Sampler

pytestmark = [pytest.mark.kafka]

PARTITIONS = 2
CALLS = 40
HEALTH = {"MISSEDCALL_HEALTH": "127.0.0.1:0"}


@pytest.fixture
def environment(kafka):
    return {**kafka_log.environment(kafka, PARTITIONS), **HEALTH, "MISSEDCALL_KAFKA_CHANNELS": "webhook"}


async def metrics_of(process):
    (event,) = await process.event("health.opened")
    reader, writer = await asyncio.open_connection("127.0.0.1", event["port"])
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


BATCHES = ("send sip-transactions", "settle sip-transactions", "send notify-journal")


def total(spans, name):
    return sum(
        attribute.value.int_value for span in spans for attribute in span.attributes if attribute.key == name
    )


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the sink is asked, it tells nobody
            await asyncio.sleep(0.1)


def test_a_call_is_one_trace_and_nobody_is_named(environment, tmp_path):
    messages = list(hep_calls.in_time(CALLS, 100.0))
    frames = [
        hep_calls.dated(frame, time.time_ns() // 1_000_000) for _, frame in hep_calls.frames(CALLS, 100.0)
    ]
    traces = {Sampler(1.0).trace(message.call_id).trace_id for message in messages}
    collecting = {
        name: value
        for name, value in environment.items()
        if name not in ("MISSEDCALL_APPLICATION", "MISSEDCALL_SESSION_S")
    }

    async def scenario(sink):
        def named(name):
            return [span for span in sink.spans if span.name == name]

        async with (
            WebhookSink() as receiver,
            CollectorProcess({**collecting, **sink.environment}) as collector,
            ClassifierProcess({**environment, **sink.environment}) as classifier,
            NotifierProcess(
                {**collecting, **sink.environment, **webhook(receiver.port, tmp_path)}
            ) as notifier,
        ):
            await classifier.event("state.loaded", PARTITIONS)
            await notifier.event("service.started")
            await send_tcp((await collector.ports())["tcp"], frames)
            await until(lambda: len(named("process sip-transactions")) >= CALLS)
            await until(lambda: len(named("process missed-calls")) == len(named("send missed-calls")) > 0)
            await until(
                lambda: (
                    {"missedcall.facts", "missedcall.published", "missedcall.notices"} <= sink.metrics.keys()
                )
            )
            processes = (collector, classifier, notifier)
            while b'missedcall_undelivered{channel="webhook"} 0.0' not in await metrics_of(notifier):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.2)
            pulled = [await metrics_of(process) for process in processes]
            for process in processes:
                assert await process.terminate() == 0
            said = [json.dumps(event).encode() for process in processes for event in process.events]
        return pulled, said

    with OtlpSink() as sink:
        pulled, said = asyncio.run(scenario(sink))

    batches = {name: [span for span in sink.spans if span.name == name] for name in BATCHES}
    of_calls = [span for span in sink.spans if span.name not in BATCHES]
    roots = [span for span in of_calls if not span.parent_span_id]
    assert {int.from_bytes(span.trace_id) for span in of_calls} == traces
    assert sorted(int.from_bytes(span.trace_id) for span in roots) == sorted(traces)
    by_trace = {span.trace_id: span.span_id for span in roots}
    assert all(by_trace[span.trace_id] == span.parent_span_id for span in of_calls if span.parent_span_id)
    assert {span.name for span in of_calls} == {
        *("receive hep", "process sip-transactions", "send missed-calls", "process missed-calls")
    }
    assert b"missedcall_published_total" in pulled[0]
    assert b"missedcall_decision_delay_seconds_bucket" in pulled[1]
    assert b'missedcall_delivery_duration_seconds_bucket{channel="webhook"' in pulled[2]
    assert b'missedcall_undelivered{channel="webhook"} 0.0' in pulled[2]

    assert total(batches["send sip-transactions"], "missedcall.messages") == len(messages)
    assert total(batches["settle sip-transactions"], "messaging.batch.message_count") > 0
    assert total(batches["send notify-journal"], "messaging.batch.message_count") > 0
    linked = [link.trace_id for span in batches["settle sip-transactions"] for link in span.links]
    assert sorted(map(int.from_bytes, linked)) == sorted(traces)
    named = {int(event["trace_id"], 16) for event in map(json.loads, said) if "trace_id" in event}
    assert named == {
        int.from_bytes(span.trace_id) for span in of_calls if span.name == "process missed-calls"
    }

    personal = {message.call_id for message in messages} | {
        name for message in messages for name in re.findall(r"call(?:er|ee)\d{6}", message.head.decode())
    }
    everything = b"\n".join([*sink.bodies, *pulled, *said]).decode("latin-1")
    assert len(personal) == 3 * CALLS
    assert [name for name in personal if name in everything] == []
    assert re.findall(r"sips?:|tel:", everything) == []
