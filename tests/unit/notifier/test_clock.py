import asyncio
import time

from missedcall_notifier.clock import SystemClock


def waited_s(event, until):
    async def main():
        started = time.monotonic()
        await SystemClock().wait(event, until)
        return time.monotonic() - started

    return asyncio.run(main())


def test_what_is_past_due_is_not_waited_for():
    assert waited_s(asyncio.Event(), SystemClock().now() - 100) < 5


def test_an_event_ends_the_wait():
    event = asyncio.Event()
    event.set()

    assert waited_s(event, None) < 5


def test_the_wait_ends_when_its_time_has_come():
    assert waited_s(asyncio.Event(), SystemClock().now() + 0.02) >= 0.01
