"""`missedcall run`, or another program that logs as it does, as a process: started, listened to, killed."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

PATIENCE_S = 30.0


class PipelineProcess:
    """One run. Use as an async context manager; whatever happens inside, it does not outlive it."""

    def __init__(self, command: Path | Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Prepare `missedcall run --config` with a path, else the command."""
        self.events: list[dict[str, Any]] = []
        """Log lines so far; a line that is not JSON stands under `text`."""
        self._command = (
            (sys.executable, "-m", "missedcall_embedded", "run", "--config", str(command))
            if isinstance(command, Path)
            else command
        )
        self._environment = environment
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so, looking at each log line; fail if the process ends before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S), self._changed:
                await self._changed.wait_for(lambda: true() or self._reading.done())
        assert true(), self.events[-20:]

    async def event(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for ``count`` log lines of an event and return them; fail if the process ends before."""
        await self.until(lambda: len(self.named(name)) >= count)
        return self.named(name)

    def named(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of an event so far."""
        return [event for event in self.events if event.get("event") == name]

    async def ports(self, listeners: int = 2) -> dict[str, int]:
        """Wait until it listens; return port by transport."""
        return {event["transport"]: event["port"] for event in await self.event("listener.opened", listeners)}

    async def kill(self) -> None:
        """End it as a power cut ends it, but for the kernel's memory."""
        self.process.kill()
        await self.process.wait()

    async def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return its exit status."""
        self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def ended(self) -> int:
        """Wait until it ends by itself; return its exit status."""
        async with asyncio.timeout(PATIENCE_S):
            status = await self.process.wait()
            await self._reading
            return status

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                event = {"text": line.decode().rstrip()}
            async with self._changed:
                self.events.append(event)
                self._changed.notify_all()
        # Whoever waits for another line has to learn that none will come.
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self._wake()))

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()
