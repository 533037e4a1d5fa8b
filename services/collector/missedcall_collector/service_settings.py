"""What the collector service is told: where to listen, where Kafka is, what to do while it is away."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.runtime.settings import HealthAddress

from .settings import ListenSettings

Relayed = Annotated[
    str,
    Meta(
        pattern=r"^(?:(?:udp|tcp)://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5})?$",
        description="udp://HOST:PORT or tcp://HOST:PORT",
    ),
]


class SpoolSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The disk that holds what Kafka does not take."""

    folder: str = ""
    """Of this collector alone; empty: no disk, only the memory of `listen.queue_mb`."""
    mb: Annotated[int, Meta(ge=16, le=1 << 20)] = 1024
    """Less: a shorter absence of Kafka costs messages. More: disk, and a longer way back to the present."""


class CollectorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service `missedcall_collector`."""

    kafka: KafkaSettings
    listen: ListenSettings = ListenSettings()
    spool: SpoolSettings = SpoolSettings()

    compression: Literal["none", "zstd"] = "zstd"
    """Of what is published. none: ten times the bytes for brokers and network, and 1 us less per message."""

    relay: Relayed = ""
    """Where every received frame is sent on to, unchanged: another receiver, as Homer's; empty: nowhere."""

    correlation_headers: tuple[str, ...] = ("x-cid", "x-call-id")
    """Headers that carry the A-leg's Call-ID. The same as the classifiers', or legs that belong together come to
    different partitions and are never joined."""
    call_id_suffixes: tuple[str, ...] = (r"_b2b-\d+", r"_pbx-\d+")
    """Regular expressions of what a B2BUA appends to the A-leg's Call-ID; as above."""

    health: HealthAddress = ""
    """Where /livez and /readyz are answered; empty: nowhere."""
    drain_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    """After a first SIGTERM or SIGINT what comes is still taken for so long, while /readyz says no, so that senders
    are sent to others; a second signal ends it. Less than it takes to send them there: datagrams are lost."""
    report_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    """Between two lines of counters."""
