"""A notifier for Exchange Online in a process of its own, to be killed.

`python -m support.graph_process JOURNAL URL TENANT CLIENT_ID SECRET_FILE CA_FILE FACTS`

FACTS: how many, or `redials`: calls of some callers who ring again and again, told as one notice each.
"""

import asyncio
import sys
from pathlib import Path

from support.notify import make_fact
from support.notify_process import NearClock
from support.repeats import run_redials

from missedcall_notifier.app import Notifier
from missedcall_notifier.journal_sqlite import SqliteJournal
from missedcall_notifier.retry import RetryPolicy
from missedcall_notifier.settings import GraphSettings, NotifierSettings
from missedcall_notifier.source import MemoryFacts


async def main(
    journal_path: str, url: str, tenant: str, client_id: str, secret_file: str, ca_file: str, count: str
) -> None:
    graph = GraphSettings(
        tenant=tenant,
        client_id=client_id,
        secret_file=secret_file,
        authority=url,
        endpoint=url,
        ca_file=ca_file,
        sender="missed-calls@contoso.example",
        recipients={"sip:bob@example.com": "bob@contoso.example"},
        retry=RetryPolicy(
            first_s=0.05, longest_s=0.2, throttled_s=0.05, asked_longest_s=0.05, uncertain_attempts=1_000_000
        ),
    )
    async with SqliteJournal(Path(journal_path)) as journal:
        if count == "redials":
            await run_redials(NotifierSettings(graph=graph), "graph", journal, NearClock())
        facts = MemoryFacts(make_fact(f"fact-{n}") for n in range(int(count)))
        await Notifier(NotifierSettings(graph=graph), facts, journal, NearClock()).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
