"""The classifier, which ends itself by chance at any step of a transaction: a process of its own, for chaos tests.

CHAOS_CRASH holds the chance at each step, CHAOS_TAKE_OVER that at each step of taking a partition over.
CHAOS_QUIET_S is how long collectors may be silent before time goes on without them.
The last line on standard error names the step.
"""

import asyncio
import json
import os
import random
import sys
from typing import Any, NoReturn

from missedcall_classifier import __main__ as service
from missedcall_classifier.stream import partitions

CRASHED = 71
"""Exit status; 70 is what the service itself ends with."""

COMMON = float(os.environ.get("CHAOS_CRASH", "0"))
RARE = float(os.environ.get("CHAOS_TAKE_OVER", "0"))


def perhaps(step: str, chance: float = COMMON) -> None:
    """End the process at once, by chance."""
    if random.random() < chance:
        end(step)


def end(step: str) -> NoReturn:
    """End the process as kill -9 would."""
    os.write(2, json.dumps({"event": "test.crashed", "step": step}).encode() + b"\n")
    os._exit(CRASHED)


class CrashingProducer(partitions.AIOKafkaProducer):
    """Writes transactions, some of them not to their end."""

    async def start(self) -> None:
        """Take the transactional id."""
        perhaps("before-fence", RARE)
        await super().start()
        perhaps("after-fence", RARE)

    async def begin_transaction(self) -> None:
        """Begin."""
        perhaps("before-begin")
        await super().begin_transaction()
        perhaps("after-begin")

    async def send_offsets_to_transaction(self, *args: Any) -> None:
        """Send the offset; what is in the transaction is on the broker by then."""
        if random.random() < COMMON:
            await self.flush()
            end("after-sends")
        await super().send_offsets_to_transaction(*args)
        if random.random() < COMMON:
            await self.flush()
            end("before-commit")

    async def commit_transaction(self) -> None:
        """Commit; the answer may come to nobody."""
        if random.random() < COMMON:
            committing = asyncio.ensure_future(super().commit_transaction())
            await asyncio.sleep(random.uniform(0.0, 0.02))
            committing.cancel()
            end("during-commit")
        await super().commit_transaction()
        perhaps("after-commit")


class CrashingPartitions(partitions.KafkaPartitions):
    """Partitions whose new owner may not live for long."""

    async def _load(self, partition: int) -> None:
        await super()._load(partition)
        perhaps("after-load", RARE)


if __name__ == "__main__":
    from missedcall_classifier.stream import app, silence

    silence.QUIET_S = float(os.environ.get("CHAOS_QUIET_S", silence.QUIET_S))

    partitions.AIOKafkaProducer = CrashingProducer
    app.KafkaPartitions = CrashingPartitions
    sys.exit(service.main())
