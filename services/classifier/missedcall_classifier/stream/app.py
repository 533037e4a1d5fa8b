"""The Faust application: one topic, one agent, two timers.

Rule 1: the agent hands a record to its unit and does nothing else; see `eos`, rule 1.
Rule 2: where nothing is heard, the log may go on in other partitions: then the process begins anew there.
"""

import asyncio
import os
import signal
import time
from typing import Any

import faust
from aiokafka.errors import GroupAuthorizationFailedError, TransactionalIdAuthorizationFailed
from faust.types import TP

from missedcall_classifier.policy import Policy
from missedcall_common.kafka.client import KafkaUnusableError, login_of, reach, tls_context
from missedcall_common.kafka.cut import Cut
from missedcall_common.kafka.partitioning import PartitioningTopic
from missedcall_common.kafka.plan import name_of
from missedcall_common.kafka.rights import may_not
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.runtime.events import Event, emit
from missedcall_common.runtime.health import Health
from missedcall_common.runtime.telemetry import SILENT, Telemetry

from .eos import EosApp
from .partitions import KafkaPartitions
from .progress import Position, Progress
from .settings import ClassifierSettings, group_of

BUFFERED = 4_096
"""Batches that wait in memory. Faust sleeps for a second when it is full. More: memory, 50 kB each."""
TICK_S = 1.0
"""Between two looks for silent partitions, and two batches that say that time goes on, as of collectors."""
FETCH_BYTES = 1_048_576
"""Of one partition at once, and so what a worker holds of each."""


def credentials(settings: KafkaSettings) -> faust.SSLCredentials | faust.SASLCredentials | None:
    """Return `reach`'s TLS and login as Faust wants them; None for a plain connection.

    Raises:
        SettingsError: a file for TLS or the password's cannot be used.
    """
    context = tls_context(settings)
    if (login := login_of(settings)) is not None:
        return faust.SASLCredentials(
            username=login.username, password=login.password, mechanism=login.mechanism, ssl_context=context
        )
    return faust.SSLCredentials(context) if context is not None else None


def make_app(settings: ClassifierSettings, policy: Policy, cut: Cut, telemetry: Telemetry = SILENT) -> EosApp:
    """Return the application for the log as it is cut; nothing is connected before its worker starts."""
    kafka = settings.kafka
    source = name_of("sip-transactions", kafka, cut)
    partitions = KafkaPartitions(settings, policy, reach(kafka), cut, telemetry)
    partitioning = PartitioningTopic(kafka, settings.application)
    progress = Progress()

    def live() -> str:
        ends = {number: app.consumer.highwater(TP(source, number)) or 0 for number in partitions.units}
        at = {number: Position(unit.next, ends[number]) for number, unit in partitions.units.items()}
        stalled = progress.stalled(time.monotonic(), at)
        return f"partition {stalled[0]} stands still" if stalled else ""

    def ready() -> str:
        return "" if partitions.ready else "partitions are not loaded"

    group = group_of(settings, cut)
    app = EosApp(
        group,
        source=source,
        partitions=partitions,
        health=Health(settings.health, live=live, ready=ready, metrics=telemetry.exposition),
        rights={
            GroupAuthorizationFailedError: may_not(f"group {group}", "Read"),
            TransactionalIdAuthorizationFailed: may_not(
                f"transactional id {settings.application}-*", "Write"
            ),
        },
        broker=[f"kafka://{broker}" for broker in kafka.bootstrap],
        broker_credentials=credentials(kafka),
        value_serializer="raw",
        key_serializer="raw",
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=1,  # 0 would choose an assignor that moves everything at each rebalance
        stream_wait_empty=True,
        stream_buffer_maxsize=BUFFERED,
        broker_commit_interval=settings.commit_s,
        broker_session_timeout=settings.session_s,
        broker_heartbeat_interval=settings.session_s / 3,
        broker_rebalance_timeout=30.0,
        broker_request_timeout=max(30.0, settings.session_s + 5),
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.worker or None,
        consumer_max_fetch_size=FETCH_BYTES,
        worker_redirect_stdouts=False,
    )
    topic = app.topic(source, value_type=bytes, key_type=bytes)

    @app.agent(topic, name="classify")
    async def classify(stream: faust.StreamT[Any]) -> None:
        async for event in stream.events():
            message: Any = event.message
            partitions.feed(message.partition, message.offset, message.value)

    async def report() -> None:
        open_calls = sum(unit.engine.open_calls for unit in partitions.units.values())
        emit(Event.COUNTERS_REPORTED, counts=dict(partitions.counts), open_calls=open_calls)

    async def tell() -> None:
        telemetry.tell(partitions.readings())

    app.timer(interval=TICK_S, name="tell")(tell)
    heard = -1

    async def look_where_it_goes_on() -> None:
        nonlocal heard
        before, heard = heard, sum(unit.heard for unit in partitions.units.values())
        if before != heard or app.moved:
            return
        try:
            found = (await asyncio.to_thread(partitioning.look)).partitioning.cut
        except KafkaUnusableError:  # it is away: nothing is to be known
            return
        if found != cut:
            app.moved = True
            emit(Event.PARTITIONS_MOVED, partitions=found.partitions, generation=found.generation)
            os.kill(os.getpid(), signal.SIGTERM)  # ends in order

    app.timer(interval=TICK_S, name="partitioning")(look_where_it_goes_on)
    app.timer(interval=TICK_S, name="clock")(partitions.let_time_go_on)
    app.timer(interval=settings.report_s, name="report")(report)
    return app
