"""What is done with one delivery whose attempt has begun: stages, composed.

Rule 1: a stage takes a job and returns it; one that ends the job sets its `report` or its `delivery`'s end.
Rule 2: an attempt always comes to a report. What nobody foresaw is uncertain: recorded, retried, bounded, and
        named in the log; one poisonous notice must not stop all others.
Rule 3: only the journal's errors leave the chain. Without the journal nothing may go on.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from .channels.port import Channel, UnrenderableError
from .clock import Clock
from .delivery import Delivery, settle
from .failure import Failed, Failure, Report
from .journal import Journal
from .retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Job:
    """A delivery on its way through the stages."""

    delivery: Delivery
    content: bytes | None = None
    """What is sent, once it is rendered."""
    report: Report | None = None
    """What the attempt came to, once it did."""


Stage = Callable[[Job], Awaitable[Job]]


def chain(*stages: Stage) -> Stage:
    """Run the stages in order."""

    async def run(job: Job) -> Job:
        for stage in stages:
            job = await stage(job)
        return job

    return run


def unless_reported(stage: Stage) -> Stage:
    """Skip a stage when the attempt has come to its report."""

    async def run(job: Job) -> Job:
        return job if job.report is not None else await stage(job)

    return run


def render(channel: Channel) -> Stage:
    """Put the fact into the channel's form; what cannot be rendered will never be delivered."""

    async def run(job: Job) -> Job:
        try:
            return replace(job, content=channel.render(job.delivery))
        except UnrenderableError:
            return replace(job, report=Failed(Failure.PERMANENT_ITEM, "unrenderable"))

    return run


def send(channel: Channel) -> Stage:
    """Make the attempt."""

    async def run(job: Job) -> Job:
        try:
            report = await channel.send(job.delivery, job.content or b"")
        except Exception as error:  # noqa: BLE001 a channel's bug must not cost other people their notices
            report = Failed(Failure.UNCERTAIN, f"unexpected {type(error).__name__}")
        return replace(job, report=report)

    return run


def record(journal: Journal, policy: RetryPolicy, clock: Clock) -> Stage:
    """Make the outcome durable."""

    async def run(job: Job) -> Job:
        if job.report is None:
            raise AssertionError("an attempt without a report")
        after = settle(job.delivery, job.report, policy, clock.now())
        await journal.record(job.delivery, after)
        return replace(job, delivery=after)

    return run
