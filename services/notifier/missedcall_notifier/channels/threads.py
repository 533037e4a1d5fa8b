"""Calls of libraries that block, in threads that hold nobody up.

Rule 1: they are daemons: a process that is told to end at once does not wait for a server.
Rule 2: who is cancelled leaves the thread behind; it ends by the call's own time limit.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class NoThreadError(RuntimeError):
    """The machine has no thread left; nothing was called."""


def do_nothing() -> None:
    """Do nothing."""


async def in_daemon(name: str, call: Callable[[], T], ended: Callable[[], None] = do_nothing) -> T:
    """Return what `call` returns in a thread of its own, or raise what it raises.

    Args:
        name: of the thread.
        call: what blocks.
        ended: called in the loop when the thread has ended, waited for or not.

    Raises:
        NoThreadError: `ended` is not called then.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(result: object, error: Exception | None) -> None:
        ended()
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)

    def run() -> None:
        result, failure = None, None
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 it is raised again where it is waited for
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:
        raise NoThreadError from error
    found: T = await done
    return found
