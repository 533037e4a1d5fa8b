"""The catalogue of metrics, which calls are traced, and what comes out."""

from collections import Counter

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from missedcall_common.runtime.counters import COUNTERS
from missedcall_common.runtime.metrics import Kind, catalogue, in_prometheus, metric_of
from missedcall_common.runtime.sampling import CallTrace, Sampler
from missedcall_common.runtime.telemetry import SILENT, Reading, Telemetry, TelemetryError
from missedcall_common.runtime.tracing import Spans


def lines(telemetry):
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in telemetry.exposition().decode().splitlines()
        if line.startswith("missedcall_")
    }


@pytest.fixture
def pulled():
    telemetry = Telemetry("collector", "1.2", "c1", {}, pulled=True)
    yield telemetry
    telemetry.close()


def test_every_counter_is_a_metric_and_every_metric_says_what_it_is():
    metrics = catalogue()

    assert {metric_of(row)[0] for row in COUNTERS} <= metrics.keys()
    assert all(metric.meaning for metric in metrics.values())


def test_no_two_metrics_have_one_name_in_prometheus():
    names = Counter(in_prometheus(name, metric) for name, metric in catalogue().items())

    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize(
    ("counter", "metric"),
    [
        ("received", ("missedcall.received", "")),
        ("malformed-sip", ("missedcall.malformed_sip", "")),
        ("dropped.kernel", ("missedcall.dropped", "kernel")),
        ("connections.opened", ("missedcall.connections.opened", "")),
        ("connections.tls", ("missedcall.connections", "tls")),
        ("outcome-missed", ("missedcall.outcome", "missed")),
        ("unrouted:suppressed:policy", ("missedcall.unrouted", "suppressed:policy")),
    ],
)
def test_the_rest_of_a_familys_name_is_the_cause(counter, metric):
    assert metric_of(counter) == metric


def test_a_counter_that_nobody_knows_has_no_metric():
    with pytest.raises(KeyError):
        metric_of("wrong")


def test_prometheus_reads_what_was_told_last(pulled):
    pulled.tell([Reading("received", 5), Reading("dropped.kernel", 2), Reading("missedcall.backlog", 7.0)])
    pulled.tell([Reading("received", 6), Reading("missedcall.behind", 1.5, {"partition": 3})])

    assert lines(pulled) == {"missedcall_received_total": 6, 'missedcall_behind_seconds{partition="3"}': 1.5}


def test_each_metric_has_the_name_in_prometheus_that_the_catalogue_says(pulled):
    metrics = catalogue()
    pulled.tell(Reading(name, 1) for name, metric in metrics.items() if metric.kind is not Kind.HISTOGRAM)
    for name, metric in metrics.items():
        if metric.kind is Kind.HISTOGRAM:
            pulled.record(name, 1.0)

    said = {name.partition("{")[0] for name in lines(pulled)}
    told = {
        in_prometheus(name, metric) + ("_count" if metric.kind is Kind.HISTOGRAM else "")
        for name, metric in metrics.items()
    }
    assert told <= said


def test_a_histogram_counts_in_seconds(pulled):
    pulled.record("missedcall.delivery.duration", 0.2, channel="smtp")

    said = lines(pulled)
    assert said['missedcall_delivery_duration_seconds_bucket{channel="smtp",le="0.1"}'] == 0
    assert said['missedcall_delivery_duration_seconds_bucket{channel="smtp",le="0.25"}'] == 1


def test_who_has_no_port_and_no_endpoint_tells_nobody():
    SILENT.tell([Reading("received", 1)])
    SILENT.record("missedcall.commit.duration", 1.0)

    assert SILENT.exposition() == b""
    assert SILENT.sampler.trace("call") is None


def test_opentelemetry_can_be_switched_off():
    telemetry = Telemetry("collector", "1", "c", {"OTEL_SDK_DISABLED": "true"}, pulled=True)

    assert telemetry.exposition() == b""


@pytest.mark.parametrize("text", ["often", "-1", "1.1", "nan"])
def test_a_share_of_calls_that_is_none_is_refused(text):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER_ARG": text}

    with pytest.raises(TelemetryError, match="expected a share of calls, 0 to 1"):
        Telemetry("collector", "1", "c", environment, pulled=False)


def test_about_the_share_that_was_asked_for_is_traced_and_always_the_same_calls():
    calls = [f"call-{number}@example.com" for number in range(20_000)]
    traced = [call for call in calls if Sampler(0.1).trace(call)]

    assert 0.09 < len(traced) / len(calls) < 0.11
    assert traced == [call for call in calls if Sampler(0.1).trace(call)]
    assert {call for call in calls if Sampler(0.05).trace(call)} < set(traced)
    assert not any(Sampler(0.0).trace(call) for call in calls)
    assert len({Sampler(1.0).trace(call) for call in calls}) == len(calls)


def test_a_trace_is_named_as_w3c_wants_it():
    trace = Sampler(1.0).trace("call")

    assert CallTrace(0xA, 0xB).traceparent == f"00-{10:032x}-{11:016x}-01"
    assert 0 < trace.trace_id < 2**128
    assert 0 < trace.span_id < 2**64


def test_spans_of_a_call_are_below_the_one_that_stands_for_it():
    memory = InMemorySpanExporter()
    spans, call = Spans(SimpleSpanProcessor(memory), Resource({"a": "b"}), "scope", "1"), CallTrace(10, 11)

    spans.tell(call, "child", 1.0, 2.0, {"a": 1}, root=False)
    spans.tell(call, "child", 1.0, 2.0, {"a": 1}, root=False)
    spans.tell(call, "call", 1.0, 3.5, {}, root=True)

    child, other, root = memory.get_finished_spans()
    assert (root.context.trace_id, root.context.span_id, root.parent) == (10, 11, None)
    assert (child.context.trace_id, child.parent.span_id, dict(child.attributes)) == (10, 11, {"a": 1})
    assert len({span.context.span_id for span in (child, other, root)}) == 3
    assert (root.start_time, root.end_time) == (1_000_000_000, 3_500_000_000)
    assert (root.resource.attributes["a"], root.instrumentation_scope.name) == ("b", "scope")


def test_the_span_of_a_batch_is_a_trace_of_its_own_that_names_its_calls():
    memory = InMemorySpanExporter()
    spans = Spans(SimpleSpanProcessor(memory), Resource({}), "scope", "1")

    spans.tell_batch("send a", 1.0, 2.0, {"n": 3}, [CallTrace(10, 11)], "")
    spans.tell_batch("settle a", 1.0, 2.0, {}, [], "KafkaTimeoutError")

    sent, failed = memory.get_finished_spans()
    assert (sent.parent, sent.kind, sent.status.status_code) == (None, SpanKind.PRODUCER, StatusCode.UNSET)
    assert [(link.context.trace_id, link.context.span_id) for link in sent.links] == [(10, 11)]
    assert sent.context.trace_id not in (10, failed.context.trace_id)
    assert (failed.kind, failed.status.status_code) == (SpanKind.CONSUMER, StatusCode.ERROR)
    assert dict(failed.attributes) == {"error.type": "KafkaTimeoutError"}
