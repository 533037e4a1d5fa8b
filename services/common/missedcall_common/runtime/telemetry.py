"""Numbers and traces out of a process, by OpenTelemetry: pulled by Prometheus, pushed by OTLP, or neither.

Rule 1: nothing here is called per message. A service tells its totals about once a second (`tell`); what asks for
        them reads the last that was told, on whatever thread it likes.
Rule 2: it is configured as OpenTelemetry says (`OTEL_EXPORTER_OTLP_ENDPOINT`, ...); without such a variable
        nothing is sent anywhere. Metrics for Prometheus are there whenever the port for probes is.
Rule 3: whoever receives it is not needed: what cannot be sent is lost, and the service does not notice.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from .metrics import BOUNDS_S, Kind, catalogue, metric_of
from .sampling import CallTrace, Sampler

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import CollectorRegistry

    from .tracing import Spans

SCOPE: Final = "missedcall"
RATIO: Final = 0.005
"""Share of calls that are traced, unless OTEL_TRACES_SAMPLER_ARG says another. A span: 3 us, and 17 to send it."""
_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Reading(NamedTuple):
    """One number."""

    name: str
    """A counter's name, or a metric's."""
    value: float
    attributes: Mapping[str, str | int] = {}


class TelemetryError(Exception):
    """The environment asks for what cannot be; the text says what."""


class Telemetry:
    """One process's numbers and traces.

    Args:
        service: `collector`, `classifier` or `notifier`.
        version: of the service.
        instance: tells this process from others of the service; not a person's.
        environment: the process's; only `OTEL_*` is looked at.
        pulled: whether there is a port from which Prometheus can read.

    Raises:
        TelemetryError: a variable cannot be used, or the extra `telemetry` is not installed.
    """

    def __init__(
        self, service: str, version: str, instance: str, environment: Mapping[str, str], *, pulled: bool
    ) -> None:
        self.told: Mapping[str, list[Reading]] = {}
        """By metric: what was told last."""
        self._histograms: dict[str, Histogram] = {}
        self._meters: MeterProvider | None = None
        self._spans: Spans | None = None
        self._registry: CollectorRegistry | None = None
        off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        metrics = not off and (
            _ENDPOINT in environment or "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" in environment
        )
        traces = not off and (_ENDPOINT in environment or "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in environment)
        self.traces: Final = traces
        """Whether spans go anywhere."""
        self.sampler: Final = Sampler(_ratio(environment) if traces else 0.0)
        """Which calls are traced."""
        if off or not (metrics or traces or pulled):
            return
        try:
            self._open(service, version, instance, metrics=metrics, traces=traces, pulled=pulled)
        except ModuleNotFoundError as error:
            if not pulled or metrics or traces:
                raise TelemetryError(
                    f"{error.name} is missing: install missedcall-common[telemetry]"
                ) from error

    def _open(
        self, service: str, version: str, instance: str, *, metrics: bool, traces: bool, pulled: bool
    ) -> None:
        # Only who asks for it pays 20 MB and a third of a second.
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector  # noqa: PLC0415

        from .tracing import Spans  # noqa: PLC0415

        resource = Resource.create(
            {
                "service.name": f"missedcall-{service}",
                "service.version": version,
                "service.instance.id": instance,
            }
        )
        readers: list[MetricReader] = []
        if pulled:
            registry = self._registry = CollectorRegistry()
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            readers.append(PrometheusMetricReader(scope_info_enabled=False, registry=registry))
        if metrics:
            readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
        self._meters = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
        self._declare(self._meters.get_meter(SCOPE, version))
        if traces:
            self._spans = Spans(BatchSpanProcessor(OTLPSpanExporter()), resource, SCOPE, version)

    def _declare(self, meter: "Meter") -> None:
        for name, metric in catalogue().items():
            if metric.kind is Kind.HISTOGRAM:
                self._histograms[name] = meter.create_histogram(
                    name, metric.unit, metric.meaning, explicit_bucket_boundaries_advisory=BOUNDS_S
                )
            elif metric.kind is Kind.COUNTER:
                meter.create_observable_counter(name, [_Observe(self, name)], metric.unit, metric.meaning)
            else:
                meter.create_observable_gauge(name, [_Observe(self, name)], metric.unit, metric.meaning)

    def tell(self, readings: Iterable[Reading]) -> None:
        """Say how everything stands; what is not among ``readings`` is not told any more."""
        told: dict[str, list[Reading]] = {}
        for reading in readings:
            name, attributes = reading.name, reading.attributes
            if not name.startswith(SCOPE):
                name, cause = metric_of(name)
                if cause:
                    attributes = {**attributes, "cause": cause}
            told.setdefault(name, []).append(Reading(name, reading.value, attributes))
        self.told = told

    def record(self, name: str, value: float, **attributes: str) -> None:
        """Add a value to a histogram: 10 us, so once per transaction or delivery, not per message."""
        histogram = self._histograms.get(name)
        if histogram is not None:
            histogram.record(value, attributes)

    def span(
        self,
        call: CallTrace,
        name: str,
        begin_s: float,
        end_s: float,
        attributes: Mapping[str, str | int | float],
        *,
        root: bool = False,
    ) -> None:
        """Tell what was done for a call that is traced, after it was done.

        Args:
            call: the trace.
            name: what was done, and on which topic: `process sip-transactions`.
            begin_s: POSIX seconds.
            end_s: the same.
            attributes: see `metrics`, rule 2.
            root: whether this span stands for the call as a whole.
        """
        if self._spans is not None:
            self._spans.tell(call, name, begin_s, end_s, attributes, root=root)

    def batch(
        self,
        name: str,
        begin_s: float,
        end_s: float,
        attributes: Mapping[str, str | int | float],
        *,
        calls: Iterable[CallTrace] = (),
        failure: str = "",
    ) -> None:
        """Tell of many records that went to Kafka together, after they did or did not. A trace of its own.

        Args:
            name: what was done, and on which topic: `send sip-transactions`.
            begin_s: POSIX seconds.
            end_s: the same.
            attributes: see `metrics`, rule 2.
            calls: those of them that are traced: linked.
            failure: the class of the error, if it failed.
        """
        if self._spans is not None:
            self._spans.tell_batch(name, begin_s, end_s, attributes, calls, failure)

    def exposition(self) -> bytes:
        """Return what Prometheus reads; empty if it cannot."""
        if self._registry is None:
            return b""
        from prometheus_client import generate_latest  # noqa: PLC0415

        return generate_latest(self._registry)

    def close(self) -> None:
        """Send the rest, for some seconds at most. Blocks."""
        if self._spans is not None:
            self._spans.close()
        if self._meters is not None:
            self._meters.shutdown(timeout_millis=3_000)


SILENT: Final = Telemetry("", "", "", {}, pulled=False)
"""Tells nobody anything."""


class _Observe:
    """Says how one metric stands, to who asks."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self._telemetry = telemetry
        self._name = name

    def __call__(self, _options: "CallbackOptions") -> "list[Observation]":
        from opentelemetry.metrics import Observation  # noqa: PLC0415

        return [
            Observation(one.value, dict(one.attributes)) for one in self._telemetry.told.get(self._name, ())
        ]


def _ratio(environment: Mapping[str, str]) -> float:
    text = environment.get("OTEL_TRACES_SAMPLER_ARG", "") or str(RATIO)
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise TelemetryError(f"OTEL_TRACES_SAMPLER_ARG = {text!r}: expected a share of calls, 0 to 1")
    return ratio
