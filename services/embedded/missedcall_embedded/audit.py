"""`missedcall audit`: whether the facts of a live system are what follows from its log.

Rule 1: exit 0: every fact is there once, with its content, and no other is. 1: not so. 2: it cannot be said.
Rule 2: a fact is named by its id; who called whom is nobody's business here.
Rule 3: the last line is for programs: `name=number`, in a fixed order.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from missedcall_common.runtime.settings import SettingsError

from .progress import Progress

if TYPE_CHECKING:
    from missedcall_classifier.stream.audit_topics import Outcome

SUMMARY = ("calls", "facts", "compared", "duplicate", "missing", "different", "unexpected", "gaps")
"""The last line; names are only ever added, at its end."""


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    try:
        from missedcall_classifier.stream.audit_topics import audit_topics  # noqa: PLC0415 - an extra
        from missedcall_classifier.stream.settings import load  # noqa: PLC0415
        from missedcall_common.kafka.client import KafkaUnusableError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _refuse(
            f"audit needs Kafka's client ({error.name} is missing): pip install 'missedcall[kafka]'"
        )
    environment = dict(os.environ)
    if args.bootstrap:
        environment["MISSEDCALL_KAFKA_BOOTSTRAP"] = args.bootstrap
    with Progress() as progress:

        def show(what: str, done: int, total: int) -> None:
            if what and progress.due:
                progress.show(f"{what}: {done / max(total, 1):.0%} of {total:,} offsets")

        try:
            settings, policy = load(environment)
            outcome = audit_topics(settings, policy, show)
        except (SettingsError, KafkaUnusableError) as error:
            progress.clear()
            return _refuse(str(error))
    lines = list(_lines(outcome, policy.digest()))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    report = outcome.report
    if report.other_policy and not report.compared:
        return _refuse(
            f"the facts were decided under another policy than {policy.digest()}, which the settings here make: "
            "audit with the MISSEDCALL_DECIDE_* variables of the classifier"
        )
    if report.facts and not outcome.started:
        return _refuse(
            f"there are facts, but the group {settings.application} has committed nothing, so what is missing "
            "cannot be said: audit with the MISSEDCALL_APPLICATION of the classifier"
        )
    return 0 if report.exact else 1


def _refuse(text: str) -> int:
    print(text, file=sys.stderr)
    return 2


def _lines(outcome: "Outcome", policy: str) -> Iterator[str]:
    report, transactions = outcome.report, outcome.transactions
    yield from (f"{found.kind:<10} {found.fact_id} revision {found.revision}" for found in report.findings)
    yield f"policy {policy}, {outcome.partitions} partitions"
    if len(outcome.generations) > 1 or outcome.deleted:
        cuts = ", ".join(f"{cut.generation} ({cut.partitions} partitions)" for cut in outcome.generations)
        yield f"generations of the log that were read: {cuts}; {outcome.deleted} before them are deleted"
    counted = {
        "calls decided again": report.calls,
        "facts published": report.facts,
        "facts compared": report.compared,
        "facts from before the log, not compared": report.older,
        "facts of another policy, not compared": report.other_policy,
        "facts that are not due yet": report.pending,
        "records of facts that nobody can read": report.unreadable,
        "records of the log that nobody can read": report.undecidable,
        "records of the log not yet committed": outcome.lag,
        "partitions whose beginning is deleted": outcome.cut,
        "partitions that no classifier has begun": outcome.partitions - outcome.started,
        "batches missing": report.gaps,
        "batches that came twice": report.repeats,
        "restarts of collectors, by partition": report.restarts,
        "ends of transactions among the facts": transactions.markers,
        "facts that were given up with a transaction": transactions.aborted,
    }
    yield from (f"{count:>12,}  {what}" for what, count in counted.items())
    if transactions.last:
        ends = ", ".join(f"{count} {end}" for end, count in transactions.last.items())
        yield f"last transaction of each partition: {ends}"
    yield " ".join(f"{name}={getattr(report, name)}" for name in SUMMARY)
