"""The notifier with crash points: a process of its own, for chaos tests.

CHAOS_CRASH holds the chance at each step of a transaction and of an attempt, CHAOS_TAKE_OVER that at each step of
taking a partition over, CHAOS_SETTLE_S how long an item is given to appear in Exchange. The last line on standard
error names the step.
"""

import asyncio
import json
import os
import random
import sys
import threading
import time
from typing import NoReturn

from missedcall_notifier import stages
from missedcall_notifier.stream import partitions

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


class CrashingWriter(partitions.Writer):
    """Takes partitions over and writes transactions, some of them not to their end."""

    def __init__(self, *args):
        """Take the partition over."""
        perhaps("before-fence", RARE)
        super().__init__(*args)
        perhaps("after-fence", RARE)
        begin, commit = self._producer.begin_transaction, self._producer.commit_transaction

        def begin_transaction():
            perhaps("before-begin")
            begin()
            perhaps("after-begin")

        def commit_transaction():
            if random.random() < COMMON:
                self._producer.flush(10)
                end("before-commit")
            if random.random() < COMMON:
                threading.Thread(target=commit, daemon=True).start()
                time.sleep(random.uniform(0.0, 0.02))
                end("during-commit")
            commit()
            perhaps("after-commit")

        self._producer.begin_transaction = begin_transaction
        self._producer.commit_transaction = commit_transaction


def crashing_read(*args):
    """Read a partition, and perhaps not live to use it."""
    rows = read(*args)
    perhaps("after-load", RARE)
    return rows


def crashing_send(channel):
    """Return the stage that sends, and perhaps dies around it."""
    real = send(channel)

    async def run(job):
        perhaps("before-send")
        if random.random() < COMMON:
            attempt = asyncio.ensure_future(real(job))
            await asyncio.sleep(random.uniform(0.0, 0.01))
            end("during-send" if not attempt.done() else "after-send")
        job = await real(job)
        perhaps("after-send")
        return job

    return run


read, send = partitions.read, stages.send

if __name__ == "__main__":
    from missedcall_notifier import __main__ as service
    from missedcall_notifier import lane
    from missedcall_notifier.channels import exchange_answers

    exchange_answers.SETTLE_S = float(os.environ.get("CHAOS_SETTLE_S", exchange_answers.SETTLE_S))
    partitions.Writer = CrashingWriter
    partitions.read = crashing_read
    lane.send = crashing_send
    status = service.main()
    sys.stderr.flush()
    os._exit(status)
