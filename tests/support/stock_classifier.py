"""The same engine in Faust as its manual has it: a table for the state, `send` for what follows.

The negative control of the chaos test, a process of its own. CHAOS_STOCK is the processing guarantee,
`exactly_once` or `at_least_once`. It ends itself by chance, as `crashing_classifier` does.
"""

import json
import os
import sys
from typing import Any

import faust
import uvloop
from crashing_classifier import perhaps

from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy
from missedcall_classifier.stream.eos import EosWorker
from missedcall_classifier.stream.settings import ClassifierSettings, load
from missedcall_common.kafka.plan import name_of
from missedcall_common.runtime.events import configure
from missedcall_schemas import codec


def stock_app(settings: ClassifierSettings, policy: Policy, guarantee: str) -> faust.App:
    """Return the application."""
    kafka = settings.kafka
    app = faust.App(
        settings.application,
        broker=[f"kafka://{broker}" for broker in kafka.bootstrap],
        processing_guarantee=guarantee,
        value_serializer="raw",
        key_serializer="raw",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_partitions=kafka.partitions,
        topic_replication_factor=len(kafka.bootstrap),
        stream_buffer_maxsize=4_096,
        broker_commit_interval=settings.commit_s,
        broker_session_timeout=settings.session_s,
        broker_heartbeat_interval=settings.session_s / 3,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.worker or None,
        worker_redirect_stdouts=False,
    )
    source = app.topic(name_of("sip-transactions", kafka), value_type=bytes, key_type=bytes)
    facts = app.topic(name_of("missed-calls", kafka), value_type=bytes, key_type=bytes)
    verdicts = app.topic(name_of("call-verdicts", kafka), value_type=bytes, key_type=bytes)
    rows = app.Table("rows", partitions=kafka.partitions, key_type=bytes, value_type=bytes)
    engines: dict[int, Engine] = {}

    @app.on_partitions_revoked.connect
    async def forget(*_: Any, **__: Any) -> None:
        engines.clear()

    def engine_of(partition: int) -> Engine:
        if partition not in engines:
            engines[partition] = Engine(policy)
            mine = b"%d/" % partition
            engines[partition].load(
                [
                    (key[len(mine) :].decode("utf-8", "surrogatepass"), row)
                    for key, row in rows.items()
                    if key.startswith(mine) and row is not None
                ]
            )
        return engines[partition]

    @app.agent(source, name="classify")
    async def classify(stream: faust.StreamT[Any]) -> None:
        async for event in stream.events():
            partition = event.message.partition
            engine = engine_of(partition)
            decisions = engine.feed(codec.decode_batch(event.message.value))
            perhaps("decided")
            for decision in decisions:
                for fact in decision.facts:
                    await facts.send(key=fact.callee.encode(), value=codec.encode_missed_call(fact))
                for verdict in decision.verdicts:
                    await verdicts.send(key=verdict.callee.encode(), value=codec.encode_verdict(verdict))
            perhaps("sent")
            for name, row in engine.changes():
                key = b"%d/" % partition + name.encode("utf-8", "surrogatepass")
                if row is not None:
                    rows[key] = row
                elif key in rows:
                    del rows[key]
            perhaps("stored")

    return app


def main() -> int:
    """Run until a signal."""
    settings, policy = load(os.environ)
    configure()
    app = stock_app(settings, policy, os.environ["CHAOS_STOCK"])
    try:
        worker = EosWorker(app, loop=uvloop.new_event_loop(), quiet=True, redirect_stdouts=False)
        worker.execute_from_commandline()
    except Exception as error:  # noqa: BLE001 - Faust raises whatever it met
        os.write(2, json.dumps({"event": "stock.failed", "error": repr(error)[:300]}).encode() + b"\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
