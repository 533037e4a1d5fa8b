"""Spans of calls: with the ids that all services agree on.

Needs the extra `telemetry`.
"""

from collections.abc import Mapping

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from .sampling import CallTrace


class CallIds(RandomIdGenerator):
    """Ids made at random, but for a span that stands for a call. Used from one thread."""

    def __init__(self) -> None:
        self.next: CallTrace | None = None
        """Of the span that is begun next, if it is a call's."""

    def generate_trace_id(self) -> int:
        """Return the call's trace, or a new one."""
        return super().generate_trace_id() if self.next is None else self.next.trace_id

    def generate_span_id(self) -> int:
        """Return the call's span, or a new one."""
        return super().generate_span_id() if self.next is None else self.next.span_id


def tell(
    tracer: Tracer,
    call: CallTrace,
    name: str,
    begin_s: float,
    end_s: float,
    attributes: Mapping[str, str | int | float],
    *,
    root: bool,
) -> None:
    """Begin and end a span; see `Telemetry.span`."""
    ids = getattr(tracer, "id_generator", None)
    if root and isinstance(ids, CallIds):
        ids.next = call
        parent = None
    else:
        above = SpanContext(
            call.trace_id, call.span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
        )
        parent = set_span_in_context(NonRecordingSpan(above))
    try:
        span = tracer.start_span(
            name,
            parent,
            kind=SpanKind.CONSUMER,
            attributes=dict(attributes),
            start_time=int(begin_s * 1e9),
        )
    finally:
        if isinstance(ids, CallIds):
            ids.next = None
    span.end(int(end_s * 1e9))
