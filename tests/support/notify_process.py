"""A notifier in a process of its own, to be killed.

`python -m support.notify_process JOURNAL SMTP_PORT FACTS [CA_FILE PASSWORD_FILE]`: with both by STARTTLS and login.
"""

import asyncio
import sys
from pathlib import Path

from support.notify import NOW, make_fact

from missedcall_notifier.app import Notifier
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.retry import RetryPolicy
from missedcall_notifier.settings import NotifierSettings, SmtpSettings
from missedcall_notifier.source import MemoryFacts


class NearClock:
    """The machine's clock, set back to just after the facts."""

    def __init__(self) -> None:
        from missedcall_notifier.clock import SystemClock

        self._clock = SystemClock()
        self._behind = self._clock.now() - NOW - 20

    def now(self) -> float:
        return self._clock.now() - self._behind

    async def wait(self, event, until):
        await self._clock.wait(event, None if until is None else until + self._behind)


async def main(journal_path: str, port: str, count: str, ca_file: str = "", password_file: str = "") -> None:
    smtp = SmtpSettings(
        host="127.0.0.1",
        port=int(port),
        security="starttls" if ca_file else "none",
        ca_file=ca_file,
        username="notifier" if password_file else "",
        password_file=password_file,
        helo_name="localhost",
        sender="missed-calls@example.com",
        always=("bob@example.com",),
        retry=RetryPolicy(first_s=0.05, longest_s=0.2, uncertain_attempts=1000),
    )
    facts = MemoryFacts(make_fact(f"fact-{n}") for n in range(int(count)))
    async with SqliteJournal(Path(journal_path)) as journal:
        await Notifier(NotifierSettings(smtp=smtp), facts, journal, NearClock()).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
