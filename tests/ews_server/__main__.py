"""`python -m ews_server ADDRESS... [--port N] [--user U --password-file F --scheme ntlm]`: serve until SIGINT.

Prints the URL, then one line per request: operation, mailbox, items held. For trying a client by hand.
"""

import argparse
import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

from .server import EwsServer

say = partial(print, flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="ews_server", description=__doc__)
    parser.add_argument("mailboxes", nargs="+", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user", help="DOMAIN\\user; without it everybody is let in")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--scheme", choices=["basic", "ntlm"], default="ntlm")
    given = parser.parse_args()
    accounts = {given.user: given.password_file.read_text().strip()} if given.user else {}
    server = EwsServer(
        *given.mailboxes, accounts=accounts, schemes=(given.scheme,) if given.user else (), port=given.port
    )
    async with server:
        say(server.url, "schemas" if server.schemas else "no schemas")
        seen = 0
        while True:
            await asyncio.sleep(0.2)
            for asked in server.asked[seen:]:
                say(asked.operation, asked.mailbox or "-", sum(1 for _ in server.store))
            seen = len(server.asked)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
