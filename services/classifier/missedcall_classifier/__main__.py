"""`python -m missedcall_classifier`: the classifier service, configured by `MISSEDCALL_*`."""

import asyncio
import gc
import os
import sys
from importlib import metadata
from uuid import uuid4

import uvloop

from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.kafka.cut import Cut
from missedcall_common.kafka.partitioning import look
from missedcall_common.kafka.plan import name_of, plan, refusals
from missedcall_common.kafka.rights import lacking, may_not
from missedcall_common.kafka.topics import connected
from missedcall_common.runtime.events import Event, configure, emit
from missedcall_common.runtime.settings import SettingsError
from missedcall_common.runtime.telemetry import Telemetry, TelemetryError

from .stream.app import make_app
from .stream.eos import EosWorker
from .stream.settings import ClassifierSettings, group_of, load

OURS = ("sip-transactions", "call-state", "missed-calls", "call-verdicts", "dead-letters")
"""Topics that are read or written here; of others nobody has to let us know."""
ALLOCATIONS = 20_000
"""Objects made between two looks of the garbage collector; hardly anything here is a cycle."""


def main() -> int:
    """Run until a signal.

    Returns:
        0: ended in order. 1: it could not start. 2: the settings cannot be used. 70: a transaction failed.
    """
    try:
        settings, policy = load(os.environ)
        connection(settings.kafka, "")  # looks into the files that it names
        telemetry = Telemetry(
            "classifier",
            metadata.version("missedcall-classifier"),
            settings.worker or str(uuid4()),
            os.environ,
            pulled=bool(settings.health),
        )
    except (SettingsError, KafkaUnusableError, TelemetryError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure()
    try:
        cut = look(settings.kafka, settings.application).partitioning.cut
        check_topics(settings, cut)
    except KafkaUnusableError as error:
        emit(Event.SERVICE_FAILED, error)
        sys.stderr.write(f"missedcall_classifier: {error}\n")
        return 1
    uvloop.install()  # for the thread of Faust's consumer, too
    app = make_app(settings, policy, cut, telemetry)
    worker = EosWorker(app, loop=asyncio.new_event_loop(), quiet=True, redirect_stdouts=False)
    gc.freeze()  # what is here now stays: it is not looked at again
    gc.set_threshold(ALLOCATIONS, 10, 10)
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        if app.moved and not ended.code:  # not to depend on somebody who starts us again
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - ourselves
        raise
    return 0


def check_topics(settings: ClassifierSettings, cut: Cut) -> None:
    """Raise KafkaUnusableError unless every topic of ours is there with our partition count, and ours to use."""
    ours = {name_of(topic, settings.kafka, cut) for topic in OURS}
    wanted = [topic for topic in plan(settings.kafka, cut) if topic.name in ours]
    with connected(settings.kafka, settings.application) as topics:
        found = topics.find([*ours, name_of("partitioning", settings.kafka)])
        group = group_of(settings, cut)
        if not topics.may_join(group):  # Faust would wait for ever, and say nothing
            raise KafkaUnusableError(may_not(f"group {group}", "Read"))
    if problems := [*map(str, lacking("classifier", settings.kafka, found, cut)), *refusals(wanted, found)]:
        raise KafkaUnusableError("; ".join(problems))
    for topic in wanted:
        if topic.name not in found:
            raise KafkaUnusableError(
                f"topic {topic.name} is missing: create it with `python -m missedcall_common.kafka`"
            )


if __name__ == "__main__":
    sys.exit(main())
