"""A secret in a file, as a channel reads it for every attempt.

Rule 1: a new one counts without a restart, after AGAIN_S at most, and at once after the channel was down: it may
        have been refused because it is old.
Rule 2: the file is not read for every notice: it may lie on a file system that takes its time.
"""

import asyncio
from pathlib import Path

from missedcall_common.runtime.settings import read_secret
from missedcall_notifier.failure import Failed, Failure, Report

AGAIN_S = 1.0
"""Less: it is read for fewer notices each time. More: a secret that was taken away still counts."""


class SecretFile:
    """One channel's."""

    def __init__(self, path: str, key: str) -> None:
        """Name the file, and the setting that named it; nothing is read yet."""
        self._path = Path(path)
        self._key = key
        self._secret = ""
        self._read_at = 0.0

    async def read(self) -> str:
        """Return the secret.

        Raises:
            SettingsError: the file cannot be read, or holds none.
        """
        now = asyncio.get_running_loop().time()
        if not self._secret or now - self._read_at >= AGAIN_S:
            self._secret = ""
            self._secret = await asyncio.to_thread(read_secret, self._path, self._key)
            self._read_at = now
        return self._secret

    def heard(self, report: Report) -> None:
        """Forget what was read if the attempt found the channel down."""
        if isinstance(report, Failed) and report.failure is Failure.CHANNEL_DOWN:
            self._secret = ""
