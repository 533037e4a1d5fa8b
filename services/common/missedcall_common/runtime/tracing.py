"""Spans: told after what they are of. Those of calls have the ids that all services agree on.

Needs the extra `telemetry`.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from .sampling import CallTrace

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_UNSET: Final = Status(StatusCode.UNSET)


def _context(trace_id: int, span_id: int, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=is_remote, trace_flags=_SAMPLED)


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
        above = _context(call.trace_id, call.span_id, is_remote=not root)
        own = above if root else _context(call.trace_id, random.getrandbits(64) or 1)
        self._end(name, own, begin_s, end_s, attributes, parent=None if root else above)

    def tell_batch(
        self,
        name: str,
        begin_s: float,
        end_s: float,
        attributes: Mapping[str, str | int | float],
        calls: Iterable[CallTrace],
        failure: str,
    ) -> None:
        """See `Telemetry.batch`."""
        own = _context(random.getrandbits(128) or 1, random.getrandbits(64) or 1)
        links = [Link(_context(call.trace_id, call.span_id, is_remote=True)) for call in calls]
        if failure:
            attributes = {**attributes, "error.type": failure}
        status = Status(StatusCode.ERROR) if failure else _UNSET
        self._end(name, own, begin_s, end_s, attributes, links=links, status=status)

    def _end(
        self,
        name: str,
        own: SpanContext,
        begin_s: float,
        end_s: float,
        attributes: Mapping[str, str | int | float],
        *,
        parent: SpanContext | None = None,
        links: Sequence[Link] = (),
        status: Status = _UNSET,
    ) -> None:
        kind = SpanKind.PRODUCER if name.startswith("send ") else SpanKind.CONSUMER
        self._processor.on_end(
            ReadableSpan(
                name,
                own,
                parent,
                self._resource,
                attributes,
                links=links,
                kind=kind,
                status=status,
                instrumentation_scope=self._scope,
                start_time=int(begin_s * 1e9),
                end_time=int(end_s * 1e9),
            )
        )

    def close(self) -> None:
        """Send the rest."""
        self._processor.shutdown()
