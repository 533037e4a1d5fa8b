"""A notifier for Exchange in a process of its own, to be killed.

`python -m support.ews_process JOURNAL URL PASSWORD_FILE AUTH FACTS`

FACTS: how many, or `redials`: calls of some callers who ring again and again, told as one notice each.
"""

import asyncio
import sys
from pathlib import Path

from support.ews import ACCOUNT
from support.notify import make_fact
from support.notify_process import NearClock
from support.repeats import run_redials

from missedcall_notifier.app import Notifier
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.retry import RetryPolicy
from missedcall_notifier.settings import EwsSettings, NotifierSettings
from missedcall_notifier.source import MemoryFacts


async def main(journal_path: str, url: str, password_file: str, auth: str, count: str) -> None:
    ews = EwsSettings(
        url=url,
        auth=auth,
        username=ACCOUNT,
        password_file=password_file,
        insecure_http=True,
        sender="missed-calls@example.com",
        recipients={"sip:bob@example.com": "bob@example.com"},
        retry=RetryPolicy(
            first_s=0.05, longest_s=0.2, throttled_s=0.05, asked_longest_s=0.05, uncertain_attempts=1_000_000
        ),
    )
    async with SqliteJournal(Path(journal_path)) as journal:
        if count == "redials":
            await run_redials(NotifierSettings(ews=ews), "ews", journal, NearClock())
        facts = MemoryFacts(make_fact(f"fact-{n}") for n in range(int(count)))
        await Notifier(NotifierSettings(ews=ews), facts, journal, NearClock()).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
