"""Spans of calls: with the ids that all services agree on, and told after what they are of.

Needs the extra `telemetry`.
"""

import random
from collections.abc import Mapping
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from .sampling import CallTrace

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class Spans:
    """Hands spans to a processor.

    A `Tracer` takes six times as long, and makes the ids: it is for spans to which something is yet to happen.

    Args:
        processor: takes what has ended.
        resource: the process.
        scope: who tells.
        version: of who tells.
    """

    def __init__(self, processor: SpanProcessor, resource: Resource, scope: str, version: str) -> None:
        self._processor = processor
        self._resource = resource
        self._scope = InstrumentationScope(scope, version)

    def tell(
        self,
        call: CallTrace,
        name: str,
        begin_s: float,
        end_s: float,
        attributes: Mapping[str, str | int | float],
        *,
        root: bool,
    ) -> None:
        """See `Telemetry.span`."""
        above = SpanContext(call.trace_id, call.span_id, is_remote=not root, trace_flags=_SAMPLED)
        own = (
            above
            if root
            else SpanContext(
                call.trace_id, random.getrandbits(64) or 1, is_remote=False, trace_flags=_SAMPLED
            )
        )
        self._processor.on_end(
            ReadableSpan(
                name,
                own,
                None if root else above,
                self._resource,
                attributes,
                kind=SpanKind.CONSUMER,
                instrumentation_scope=self._scope,
                start_time=int(begin_s * 1e9),
                end_time=int(end_s * 1e9),
            )
        )

    def close(self) -> None:
        """Send the rest."""
        self._processor.shutdown()
