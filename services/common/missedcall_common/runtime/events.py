"""The catalogue of log events, and the one way to write one: `emit`.

Rule 1: an event is noun.past_verb; its level and its meaning stand beside its name. One call is one line.
Rule 2: a line tells what happened, never to whom: no Call-ID, URI, number, name or network address. The
        names of fields are an allow-list that mypy checks; what looks like an address is withheld all the
        same, since a value may come from elsewhere.
Rule 3: one line is one JSON object on standard error, those of libraries too; a library's own words are
        cut down to its template, since its arguments may be anybody's.
"""

import json
import logging
import math
import re
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self, TextIO, TypedDict, Unpack

from .counters import meaning

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
LEVEL_NAMES = {DEBUG: "debug", INFO: "info", WARNING: "warning", ERROR: "error"}


class Event(StrEnum):
    """Everything that our programs log."""

    level: int
    meaning: str

    def __new__(cls, name: str, level: int, meaning: str) -> Self:
        """Make a member whose value is the name and that carries the rest."""
        event = str.__new__(cls, name)
        event._value_ = name
        event.level = level
        event.meaning = meaning
        return event

    SERVICE_STARTED = "service.started", INFO, "Settings are read and everything is open"
    SERVICE_STOPPED = "service.stopped", INFO, "Ended as asked, with everything written"
    SERVICE_FAILED = "service.failed", ERROR, "Ends because it cannot go on; a restart resumes"

    COUNTERS_REPORTED = "counters.reported", INFO, "Totals since the start: every minute, and at the end"
    POLICY_CHANGED = "policy.changed", WARNING, "Open calls were begun under another policy than they end"

    HEALTH_OPENED = "health.opened", INFO, "Answers /livez and /readyz on this port"
    LISTENER_OPENED = "listener.opened", INFO, "Takes HEP on this transport and port"
    LISTENER_CLOSED = "listener.closed", INFO, "Takes no more HEP there"
    CONNECTION_REFUSED = "connection.refused", WARNING, "A sender was turned away: limit, allow list or TLS"
    CONNECTION_DROPPED = "connection.dropped", WARNING, "A sender's stream could not be followed any further"
    KEYS_CHANGED = "keys.changed", INFO, "The file of authenticate keys holds others, which count from now on"
    INPUT_DROPPED = "input.dropped", WARNING, "Received and not passed on, since the last such line, by cause"

    KAFKA_LOST = (
        "kafka.lost",
        WARNING,
        "Kafka does not take what it is given, or does not answer: a collector keeps it, others wait",
    )
    KAFKA_REACHED = "kafka.reached", INFO, "Kafka answers again; what waited is sent first"
    KAFKA_FAILED = "kafka.failed", ERROR, "The Kafka client failed and is replaced; nothing of it is lost"

    PARTITIONS_PAUSED = (
        "partitions.paused",
        WARNING,
        "scale-partitions holds the log: what was received waits in memory, then on disk; said again each minute",
    )
    PARTITIONS_RESUMED = (
        "partitions.resumed",
        INFO,
        "The log takes what was received again; what waited is sent first",
    )
    PARTITIONS_MOVED = (
        "partitions.moved",
        INFO,
        "The log goes on in more partitions: the process begins anew there",
    )

    STATE_LOADED = "state.loaded", INFO, "What is open in a partition, and its position, were taken up"
    PARTITION_LEFT = (
        "partition.left",
        INFO,
        "A partition is another's: `count` attempts under way had not ended",
    )
    BATCH_MISSED = "batch.missed", WARNING, "A hole in a collector's sequence: calls around it may be blind"
    CLOCK_SKEWED = "clock.skewed", WARNING, "A capture agent's clock differs from the collector's"
    LIMIT_REACHED = "limit.reached", WARNING, "A bound held: something was decided early or left out"
    CALL_JUDGED = "call.judged", INFO, "The line per call and user: outcome, rule, durations"
    CALL_RETRACTED = "call.retracted", INFO, "A call said to be missed was taken after all"

    RECORD_REFUSED = "record.refused", ERROR, "A record on a topic is not readable and was set aside"
    RECORD_NEWER = "record.newer", WARNING, "Values of a newer release were read as an older one"
    STORE_TRIMMED = "store.trimmed", INFO, "Records older or more than the retention allows were deleted"

    DIRECTORY_LOADED = (
        "directory.loaded",
        INFO,
        "The directory or the preferences changed and hold from now on",
    )
    DIRECTORY_REFUSED = "directory.refused", ERROR, "A changed file is wrong: what was read last still holds"

    NOTICE_SENT = "notice.sent", INFO, "The target took responsibility for a notice"
    NOTICE_RETRY_SCHEDULED = "notice.retry_scheduled", WARNING, "An attempt failed and will be repeated"
    NOTICE_SUPPRESSED = "notice.suppressed", INFO, "No notice is due: policy, preference, another notice"
    NOTICE_DEAD_LETTERED = "notice.dead_lettered", ERROR, "A notice was given up: a person has to look"
    TEMPLATE_FAILED = (
        "template.failed",
        ERROR,
        "A template of the operator's failed on a real call, with `cause` at `where`: ours was used",
    )
    CHANNEL_SUSPENDED = (
        "channel.suspended",
        ERROR,
        "A channel takes nothing: credentials, certificate, network",
    )
    CHANNEL_GONE = "channel.gone", ERROR, "A webhook answered 410: nothing is sent until its settings change"
    CHANNEL_RESUMED = "channel.resumed", INFO, "A suspended channel takes notices again"

    LIBRARY_LOGGED = "library.logged", WARNING, "A library's own words, without their arguments"


class Fields(TypedDict, total=False):
    """Every field that a line may have. Units are in the names; text is a word of ours, never a sender's."""

    version: str
    policy: str
    """Hash of the deciding configuration."""
    signal: str
    uptime_s: float

    transport: str
    """`udp`, `tcp`, `tls`."""
    port: int
    """Our own."""
    cause: str
    count: int
    counts: dict[str, int]
    """Totals by the names of `counters`."""
    bytes: int
    window_s: float
    """Seconds that `count` was counted over."""

    collector: str
    partition: int
    partitions: int
    generation: int
    """Of the log."""
    sequence: int
    missing: int
    open_calls: int
    waiting: int
    """Messages received and not yet acknowledged by Kafka; of a notifier: deliveries that are open."""
    clock_ms: int
    skew_ms: int
    limit: str
    """Name of the setting that bounds."""
    value: float

    fact_id: str
    outcome: str
    rule: str
    detail: str
    role: str
    confidence: str
    suppressed: str
    revision: int
    legs: int
    messages: int
    users: int
    devices: int
    ring_s: float
    settle_s: float
    """Seconds from the end of the attempt to the decision."""

    topic: str
    offset: int
    record: str
    where: str
    """Place inside a record, `$.caller.uri` or `byte 12`."""
    records: int
    load_s: float

    channel: str
    delivery_id: str
    """Id of the delivery: a hash of fact, channel and recipient."""
    trace_id: str
    """Of the call, if it is traced: 32 hexadecimal digits."""
    failure: str
    failures: int
    attempts: int
    ref: str
    """What the target calls the notice: a queue id, a status."""
    wait_s: float
    took_s: float


_ALLOWED = frozenset(Fields.__annotations__)
_LOGGER = logging.getLogger("missedcall")

_PERSONAL = re.compile(
    r"@|(?i:\b(?:sips?|tel|mailto):)|\+\d{5}|\b\d{6,}\b"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,}"
)
"""What looks like an address of record, a telephone number, an IPv4 or an IPv6 address."""
_IDS = frozenset({"fact_id", "delivery_id", "policy", "trace_id"})
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""A hash of ours may be all digits and still is no telephone number."""
_WITHHELD = "(withheld)"
_MAX_TEXT = 200
"""Characters of a text that are kept. Less: error classes are cut. More: one line could flood the log."""
_MAX_FRAMES = 8
"""Frames of a trace that are kept, the innermost: where it happened and how we came there."""


def emit(event: Event, exc: BaseException | None = None, /, **fields: Unpack[Fields]) -> None:
    """Write one line.

    Args:
        event: what happened.
        exc: the exception that made it happen: its class and its places in the code are written, its text
            is not, since it may repeat what a sender sent.
        fields: see `Fields`; another name is left out and named under `refused`.
    """
    if _LOGGER.isEnabledFor(event.level):
        _LOGGER.log(event.level, "%s", event.value, extra={"event": event, "fields": fields, "exc": exc})


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log line of this process to ``stream`` (standard error) as JSON. Call once, in `__main__`.

    Args:
        level: `debug`, `info`, `warning` or `error`; libraries are heard from `warning` on.
        stream: where to; None is standard error.

    Raises:
        ValueError: there is no such level.
    """
    if level not in LEVEL_NAMES.values():
        raise ValueError(f"level {level!r}: expected one of {', '.join(LEVEL_NAMES.values())}")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    _LOGGER.setLevel(level.upper())


class JsonLines(logging.Formatter):
    """Turns log records, ours and a library's, into JSON objects of one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line end."""
        line: dict[str, Any] = {
            "time": _rfc3339(record.created),
            "level": record.levelname.lower(),
        }
        event = getattr(record, "event", None)
        if isinstance(event, str) and record.name.partition(".")[0] == _LOGGER.name:
            line |= {"event": str(event), **_allowed(getattr(record, "fields", {}))}
            exc = getattr(record, "exc", None)
        else:
            line |= {
                "event": Event.LIBRARY_LOGGED.value,
                "logger": record.name,
                "template": _text(str(record.msg)),
            }
            exc = record.exc_info[1] if record.exc_info else None
        if exc is not None:
            line |= {"error": type(exc).__name__, "trace": _trace(exc)}
        return json.dumps(line)  # ASCII: no terminal and no log shipper sees a control character or U+2028


def _allowed(fields: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in _ALLOWED:
            continue
        if isinstance(value, str):
            kept[name] = value if name in _IDS and _ID.fullmatch(value) else _text(value)
        elif isinstance(value, int | float) and math.isfinite(value):
            kept[name] = value
        elif name == "counts":
            kept[name] = {counter: total for counter, total in value.items() if meaning(counter)}
    refused = sorted(fields.keys() - kept.keys())
    return {**kept, "refused": refused} if refused else kept


def _text(value: str) -> str:
    """Return ``value`` itself, cut short, or what stands for it if it looks personal."""
    return _WITHHELD if _PERSONAL.search(value) else value[:_MAX_TEXT]


def _trace(exc: BaseException) -> list[str]:
    """Return `module:line` of the innermost frames, outermost first."""
    places = []
    trace = exc.__traceback__
    while trace is not None:
        places.append(f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}")
        trace = trace.tb_next
    return places[-_MAX_FRAMES:]


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
